//! The configuration: what every setting is, where it may come from, and what is refused.
//!
//! ```text
//! defaults  <  greenlane.toml  <  GREENLANE_<SECTION>__<KEY>  <  flags
//!   sections.rs     \________________ layers.rs ________________/
//!       |                                |
//!       +--> catalogue.rs (every key) -->+--> check.rs --> Loaded { settings, sources }
//! ```
//!
//! **Invariants.** A key that no one knows and a value that no one can read stop the start, whatever
//! the layer, even if a stronger layer replaces them. All problems are reported at once. A secret is
//! never printed: not by `Debug`, not by `--check-config`, not by an error.
//!
//! To add a key: a field and its default in `sections.rs`, then the line in `catalogue.rs` that the
//! compiler asks for. Nothing else.

mod sections;
pub use sections::{
    AuditDurability, AuditFailure, AuditSettings, AuthSettings, DrainSettings, DrawSettings,
    FreshnessSettings, LimitSettings, LogFormat, LogSettings, PolicySettings, ServerSettings,
    ShipmentSettings, UpstreamSettings,
};

mod duration;
pub use duration::{Span, SpanError};

mod secret;
pub use secret::{Secret, StoreUrl};

mod catalogue;

mod layers;
pub use layers::{DEFAULT_FILE, load};

mod loaded;
pub use loaded::{Loaded, Source};

mod check;

mod error;
pub use error::{Given, Problem, SettingsError};

use serde::Deserialize;

/// Everything an operator can set, with the defaults of `greenlane serve`.
///
/// Built by [`load`]; each field is one `[section]` of `greenlane.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the service listens, keeps its files, and which acceptance times it takes.
    pub server: ServerSettings,
    /// Where the registry comes from.
    pub upstream: UpstreamSettings,
    /// Where policies and operating parameters come from.
    pub policy: PolicySettings,
    /// How old registry data may be.
    pub freshness: FreshnessSettings,
    /// The secret behind the random draw.
    pub draw: DrawSettings,
    /// The log of decisions.
    pub audit: AuditSettings,
    /// What port terminals ask.
    pub shipments: ShipmentSettings,
    /// Who calls.
    pub auth: AuthSettings,
    /// How the service stops.
    pub drain: DrainSettings,
    /// What one client, and all of them together, may take.
    pub limits: LimitSettings,
    /// What is logged, and how.
    pub log: LogSettings,
}

impl Settings {
    /// Gives the address of the upstream store: `upstream.url`, or the embedded store in
    /// `server.data_dir` when that is empty.
    ///
    /// May hold a password: show [`StoreUrl`] instead.
    #[must_use]
    pub fn upstream_url(&self) -> String {
        if self.upstream.url.is_empty() {
            format!("sqlite://{}", self.server.data_dir.join("greenlane.db").display())
        } else {
            self.upstream.url.expose().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_upstream_url_is_the_embedded_store_in_the_data_directory() {
        let mut settings = Settings::default();
        assert_eq!(settings.upstream_url(), "sqlite://./greenlane-data/greenlane.db");

        settings.server.data_dir = "/var/lib/greenlane".into();
        assert_eq!(
            settings.upstream_url(),
            "sqlite:///var/lib/greenlane/greenlane.db"
        );
    }

    #[test]
    fn upstream_url_that_is_set_is_taken_as_it_is() {
        let mut settings = Settings::default();
        settings.upstream.url = StoreUrl::new("postgres://greenlane:pw@db/customs");
        assert_eq!(settings.upstream_url(), "postgres://greenlane:pw@db/customs");
    }
}
