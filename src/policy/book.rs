//! The policies together: which one an acceptance date chooses, and the parameters beside them.

use std::{collections::BTreeMap, sync::Arc};

use thiserror::Error;

use super::{Parameters, Policy, check, decree::PolicyError, parameters::ParametersError};
use crate::domain::Date;

/// The files shipped in the binary.
const EMBEDDED: [(&str, &str); 4] = [
    ("cn-gacc-225.toml", include_str!("decrees/cn-gacc-225.toml")),
    ("cn-gacc-237.toml", include_str!("decrees/cn-gacc-237.toml")),
    ("cn-gacc-251.toml", include_str!("decrees/cn-gacc-251.toml")),
    ("cn-gacc-282.toml", include_str!("decrees/cn-gacc-282.toml")),
];

/// The name of the parameters file.
pub const PARAMETERS_FILE: &str = "parameters.toml";
const EMBEDDED_PARAMETERS: &str = include_str!("parameters.toml");

/// Every policy, in order of effect, and the operating parameters: one consistent set.
#[derive(Debug, Clone)]
pub struct PolicyBook {
    policies: Vec<Arc<Policy>>,
    /// The parameters for every policy.
    pub parameters: Arc<Parameters>,
}

/// Why a set of files cannot be used.
#[derive(Debug, Error)]
pub enum BookError {
    /// A policy file.
    #[error("{file}: {error}")]
    Policy {
        /// Its name.
        file: String,
        /// What is wrong.
        error: PolicyError,
    },
    /// The parameters file.
    #[error("{PARAMETERS_FILE}: {0}")]
    Parameters(#[from] ParametersError),
    /// The files contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// A policy breaks an invariant.
    #[error("{0}")]
    Unlawful(check::Finding),
}

impl PolicyBook {
    /// Reads the embedded files, each replaced by its namesake in `files` (name to text), with the others added.
    ///
    /// The set is proven by [`check::prove`] before it is returned.
    pub fn read(files: &BTreeMap<String, String>) -> Result<Self, BookError> {
        Self::read_unproven(files)?.proven()
    }

    /// As [`Self::read`], but without the proof: for reports on what it finds.
    pub fn read_unproven(files: &BTreeMap<String, String>) -> Result<Self, BookError> {
        let mut texts: BTreeMap<&str, &str> = EMBEDDED.into_iter().collect();
        texts.insert(PARAMETERS_FILE, EMBEDDED_PARAMETERS);
        texts.extend(files.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let parameters = Parameters::parse(texts.remove(PARAMETERS_FILE).unwrap_or(EMBEDDED_PARAMETERS))?;
        let mut policies = Vec::with_capacity(texts.len());
        for (file, text) in texts {
            let policy = Policy::parse(text).map_err(|error| BookError::Policy {
                file: file.to_owned(),
                error,
            })?;
            policies.push(Arc::new(policy));
        }
        Self::unproven(policies, Arc::new(parameters))
    }

    /// Puts policies in order and proves them.
    pub fn new(policies: Vec<Arc<Policy>>, parameters: Arc<Parameters>) -> Result<Self, BookError> {
        Self::unproven(policies, parameters)?.proven()
    }

    /// Puts policies in order, without the proof.
    pub(super) fn unproven(
        mut policies: Vec<Arc<Policy>>,
        parameters: Arc<Parameters>,
    ) -> Result<Self, BookError> {
        policies.sort_by_key(|policy| policy.document.effective_from);
        for pair in policies.windows(2) {
            if pair[0].document.effective_from == pair[1].document.effective_from {
                return Err(BookError::Contradiction(format!(
                    "{} and {} both take effect on {}",
                    pair[0].id(),
                    pair[1].id(),
                    pair[0].document.effective_from
                )));
            }
        }
        let mut ids: Vec<_> = policies.iter().map(|policy| policy.id()).collect();
        ids.sort_unstable();
        if let Some((twice, _)) = ids.iter().zip(ids.iter().skip(1)).find(|(one, next)| one == next) {
            return Err(BookError::Contradiction(format!(
                "two files give the policy {twice}"
            )));
        }
        Ok(Self { policies, parameters })
    }

    fn proven(self) -> Result<Self, BookError> {
        for policy in &self.policies {
            check::prove(policy, &self.parameters).map_err(BookError::Unlawful)?;
        }
        Ok(self)
    }

    /// The embedded set.
    pub fn embedded() -> Result<Self, BookError> {
        Self::read(&BTreeMap::new())
    }

    /// The policy for an acceptance date; `None` before the first one.
    pub fn on(&self, accepted_on: Date) -> Option<&Arc<Policy>> {
        self.policies
            .iter()
            .rev()
            .find(|policy| policy.document.effective_from <= accepted_on)
    }

    /// The policy of that identifier.
    pub fn by_id(&self, id: &str) -> Option<&Arc<Policy>> {
        self.policies.iter().find(|policy| policy.id() == id)
    }

    /// Every policy, in order of effect.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_acceptance_date_chooses_the_policy() {
        let book = PolicyBook::embedded().expect("the shipped policies are good");
        let on = |day: &str| {
            book.on(day.parse().expect("a date"))
                .map(|policy| policy.id().to_owned())
        };
        assert_eq!(on("2014-11-30"), None);
        for (day, id) in [
            ("2014-12-01", "CN-GACC-225"),
            ("2018-04-30", "CN-GACC-225"),
            ("2018-05-01", "CN-GACC-237"),
            ("2021-10-31", "CN-GACC-237"),
            ("2021-11-01", "CN-GACC-251"),
            ("2026-03-31", "CN-GACC-251"),
            ("2026-04-01", "CN-GACC-282"),
        ] {
            assert_eq!(on(day).as_deref(), Some(id), "{day}");
        }
    }

    #[test]
    fn the_canonical_form_gives_the_same_policy_and_no_other_under_its_digest() {
        let book = PolicyBook::embedded().expect("the shipped policies are good");
        for policy in book.policies() {
            let read = Policy::from_canonical(policy.canonical(), &policy.digest).expect("good");
            assert_eq!(read, **policy);
            let altered = policy.canonical().replace("800000", "800001");
            assert_ne!(altered, policy.canonical());
            assert!(matches!(
                Policy::from_canonical(&altered, &policy.digest),
                Err(PolicyError::Digest(_))
            ));
        }
        let parameters = &book.parameters;
        let read = Parameters::from_canonical(parameters.canonical(), &parameters.digest).expect("good");
        assert_eq!(read, **parameters);
        assert!(Parameters::from_canonical(parameters.canonical(), &"0".repeat(64)).is_err());
    }

    #[test]
    fn two_policies_for_the_same_day_are_refused() {
        let text = include_str!("decrees/cn-gacc-251.toml").replace("\"CN-GACC-251\"", "\"CN-GACC-251B\"");
        let files = BTreeMap::from([("mine.toml".to_owned(), text)]);
        let error = PolicyBook::read(&files).expect_err("refused").to_string();
        assert!(error.contains("both take effect on 2021-11-01"), "{error}");
    }
}
