//! The callers file: who is known by which credential, and what each is to the service.
//!
//! ```toml
//! [[caller]]
//! name = "port-of-yantian"
//! identity = "spiffe://customs.example/terminal/*"
//! roles = ["terminal"]
//!
//! [[caller]]
//! name = "single-window"
//! subject = "single-window@customs.example"
//! roles = ["clearance"]
//! max_rate = 2000
//! max_calls = 500
//! ```

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use super::{
    Caller, Cause, PeerCertificate, Quota, Role, Roles,
    identity::{self, Identity},
};

/// The longest name, in bytes: it stands in every record of the audit log.
const MAX_NAME_BYTES: usize = 128;
/// The longest subject or issuer, in bytes.
const MAX_CLAIM_BYTES: usize = 1024;

/// Every caller that is known.
#[derive(Debug, Clone, Default)]
pub struct Callers {
    /// By the certificate's URI.
    uris: HashMap<String, Arc<Caller>>,
    /// By what stands before a star.
    stems: HashMap<String, Arc<Caller>>,
    /// By the token's subject.
    subjects: HashMap<String, Vec<OfSubject>>,
}

/// The issuer that a token must have, if any, and whose it is then.
type OfSubject = (Option<String>, Arc<Caller>);

/// Why a callers file is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct CallersError {
    /// Where, from 1.
    pub line: usize,
    /// Why.
    pub problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    caller: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    identity: Option<Spanned<String>>,
    subject: Option<Spanned<String>>,
    issuer: Option<Spanned<String>>,
    roles: Spanned<Vec<Spanned<String>>>,
    max_rate: Option<u32>,
    max_calls: Option<u32>,
}

/// What is wrong, and where in the text.
type Problem = (Range<usize>, String);

impl Callers {
    /// Reads a callers file; the first thing that is wrong with it is told, with its line.
    pub fn read(text: &str) -> Result<Self, CallersError> {
        let at = |(span, problem): Problem| CallersError {
            line: text.get(..span.start).unwrap_or_default().matches('\n').count() + 1,
            problem,
        };
        let document: Document = toml::from_str(text).map_err(|error: toml::de::Error| {
            at((error.span().unwrap_or(0..0), error.message().replace('\n', ", ")))
        })?;
        if document.caller.is_empty() {
            return Err(at((
                0..0,
                "there is no [[caller]]: nobody would be known".to_owned(),
            )));
        }
        let mut reading = Reading::default();
        for entry in document.caller {
            reading.add(entry).map_err(at)?;
        }
        Ok(reading.callers)
    }

    /// The caller whose certificate it is. One that shows the identities of several callers is nobody's.
    pub fn of_certificate(&self, certificate: &PeerCertificate) -> Result<&Arc<Caller>, Cause> {
        let mut found: Option<&Arc<Caller>> = None;
        for uri in &certificate.uris {
            let open = || self.stems.get(identity::split(uri)?.0);
            let Some(caller) = self.uris.get(uri).or_else(open) else {
                continue;
            };
            if found.is_some_and(|other| !Arc::ptr_eq(other, caller)) {
                return Err(Cause::UnknownCaller);
            }
            found = Some(caller);
        }
        found.ok_or(Cause::UnknownCaller)
    }

    /// The caller whose token has that issuer and subject.
    pub fn of_token(&self, issuer: &str, subject: &str) -> Result<&Arc<Caller>, Cause> {
        let callers = self.subjects.get(subject).ok_or(Cause::UnknownCaller)?;
        callers
            .iter()
            .find(|(wanted, _)| wanted.as_deref().is_none_or(|wanted| wanted == issuer))
            .map(|(_, caller)| caller)
            .ok_or(Cause::UnknownCaller)
    }
}

/// A file that is being read.
#[derive(Default)]
struct Reading {
    callers: Callers,
    names: BTreeSet<Arc<str>>,
    identities: Vec<(Identity, Arc<str>)>,
}

impl Reading {
    fn add(&mut self, entry: Entry) -> Result<(), Problem> {
        let Entry {
            name,
            identity,
            subject,
            issuer,
            roles,
            max_rate,
            max_calls,
        } = entry;
        let span = name.span();
        let name = self.name(name)?;
        let caller = Arc::new(Caller {
            name: Arc::clone(&name),
            roles: read_roles(roles)?,
            quota: Quota {
                rate: max_rate,
                calls: max_calls,
            },
        });
        if identity.is_none() && subject.is_none() {
            let problem = format!("{name} needs an identity or a subject to be known by");
            return Err((span, problem));
        }
        if let Some(identity) = identity {
            self.identity(identity, &caller)?;
        }
        match (subject, issuer) {
            (Some(subject), issuer) => self.subject(subject, issuer, &caller)?,
            (None, Some(issuer)) => {
                let problem = format!("{name} has an issuer, but no subject");
                return Err((issuer.span(), problem));
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn name(&mut self, name: Spanned<String>) -> Result<Arc<str>, Problem> {
        let (span, name) = (name.span(), name.into_inner());
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(allowed) {
            let problem =
                format!("name must be 1 to {MAX_NAME_BYTES} letters, digits and - _ . : / @ of ASCII");
            return Err((span, problem));
        }
        if *name == *Caller::anonymous().name {
            return Err((span, format!("{name} is nobody's name")));
        }
        let name: Arc<str> = name.into();
        if !self.names.insert(Arc::clone(&name)) {
            return Err((span, format!("another caller is called {name}")));
        }
        Ok(name)
    }

    fn identity(&mut self, text: Spanned<String>, caller: &Arc<Caller>) -> Result<(), Problem> {
        let (span, text) = (text.span(), text.into_inner());
        let own: Identity = text
            .parse()
            .map_err(|problem| (span.clone(), format!("identity {problem}")))?;
        if let Some((other, name)) = self.identities.iter().find(|(other, _)| other.overlaps(&own)) {
            let problem = format!("identity {own} overlaps with {other} of {name}");
            return Err((span, problem));
        }
        let (key, is_open) = own.key();
        let by = if is_open {
            &mut self.callers.stems
        } else {
            &mut self.callers.uris
        };
        by.insert(key.to_owned(), Arc::clone(caller));
        self.identities.push((own, Arc::clone(&caller.name)));
        Ok(())
    }

    fn subject(
        &mut self,
        subject: Spanned<String>,
        issuer: Option<Spanned<String>>,
        caller: &Arc<Caller>,
    ) -> Result<(), Problem> {
        let span = subject.span();
        let subject = claim("subject", subject)?;
        let issuer = issuer.map(|issuer| claim("issuer", issuer)).transpose()?;
        let others = self.callers.subjects.entry(subject).or_default();
        let overlapping = others
            .iter()
            .find(|(other, _)| other.is_none() || issuer.is_none() || *other == issuer);
        if let Some((_, other)) = overlapping {
            let problem = format!("the subject is that of {}", other.name);
            return Err((span, problem));
        }
        others.push((issuer, Arc::clone(caller)));
        Ok(())
    }
}

fn claim(what: &str, text: Spanned<String>) -> Result<String, Problem> {
    let (span, text) = (text.span(), text.into_inner());
    if text.is_empty() || text.len() > MAX_CLAIM_BYTES {
        return Err((span, format!("{what} must be 1 to {MAX_CLAIM_BYTES} bytes")));
    }
    Ok(text)
}

fn read_roles(roles: Spanned<Vec<Spanned<String>>>) -> Result<Roles, Problem> {
    let span = roles.span();
    let mut read = Roles::NONE;
    for name in roles.into_inner() {
        let named = |role: &Role| role.as_str() == name.get_ref();
        let Some(role) = Role::ALL.into_iter().find(named) else {
            let problem = format!("there is no role {:?}; there are {}", name.get_ref(), Roles::ALL);
            return Err((name.span(), problem));
        };
        read = read.and(Roles::of(&[role]));
    }
    if read == Roles::NONE {
        return Err((span, "a caller needs a role".to_owned()));
    }
    Ok(read)
}

#[cfg(test)]
mod tests;
