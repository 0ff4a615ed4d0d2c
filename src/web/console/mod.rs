//! The console: one page that says at a glance how a replica is, explains decisions, and looks enterprises up.
//!
//! | path | what |
//! |---|---|
//! | `/` | the page |
//! | `/console/figures` | what it shows, in JSON. It is the page's alone, no contract: it may change with any release |
//! | `/console/...` | style, scripts and what else the page is made of |
//!
//! Everything is embedded in the program and nothing comes from elsewhere, which the page's Content-Security-Policy also holds
//! it to. Decisions are explained by `/v1/simulate` and enterprises looked up by `/v1/enterprises/`, as anybody may.

mod assets;
mod figures;
pub mod history;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use self::history::History;
use super::response::{Answer, document, text};
use crate::{
    audit::{log::AuditLog, rates::RateTable},
    metrics::Metrics,
    service::{health::Health, registry::RegistryRpc},
};

/// What the paths of the page's parts begin with.
const PATH: &str = "/console/";

/// What a browser must not do with anything of the console: load from elsewhere, run what stands in the page itself, show it
/// in a frame, send forms, guess types, tell other sites where it was.
const GUARDS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// What the console shows is read from here.
#[derive(Debug)]
pub struct Console {
    /// The state of the data and the policies, in the contract's own messages.
    pub registry: RegistryRpc,
    /// Whether decisions can be had.
    pub health: Arc<Health>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Realized rates.
    pub rates: Arc<RateTable>,
    /// The audit log; `None` where nothing is logged.
    pub log: Option<Arc<AuditLog>>,
    /// The last minutes.
    pub history: Arc<History>,
    /// The replica's name.
    pub replica: String,
    /// When the process began, in milliseconds since 1970: the history begins anew with it.
    pub started_at: i64,
    /// The program's version and commit.
    pub version: &'static str,
}

impl Console {
    /// Whether a path is one of the console's.
    pub(super) fn has(path: &str) -> bool {
        matches!(path, "/" | "/favicon.ico") || path.starts_with(PATH)
    }

    /// Answers a GET of one of its paths.
    pub(super) async fn answer(&self, path: &str, query: Option<&str>, headers: &HeaderMap) -> Answer {
        let part = match path {
            "/" => "index.html",
            "/favicon.ico" => "icon.svg",
            _ => path.strip_prefix(PATH).unwrap_or_default(),
        };
        let mut answer = match part {
            "figures" => self.figures(query).await,
            part => assets::answer(part, headers)
                .unwrap_or_else(|| text(StatusCode::NOT_FOUND, "the console has no such part")),
        };
        for (name, value) in GUARDS {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    async fn figures(&self, query: Option<&str>) -> Answer {
        let mut answer = match self.read(since(query)).await {
            Ok(figures) => document(StatusCode::OK, &figures),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the figures cannot be written"),
        };
        let no_store = HeaderValue::from_static("no-store");
        answer.headers_mut().insert(header::CACHE_CONTROL, no_store);
        answer
    }
}

/// The instant, in milliseconds since 1970, up to which the page knows the history already; 0 where it does not say.
fn since(query: Option<&str>) -> i64 {
    query
        .and_then(|query| query.strip_prefix("since=")?.parse().ok())
        .unwrap_or_default()
}
