//! What is fuzzed.

mod access;
mod changes;
mod decide;
mod files;
mod import;
mod json;
mod lists;
mod replay;
mod segment;
mod settings;
mod shipments;
mod snapshot;
mod tokens;

/// A reader of what others wrote.
pub(crate) struct Target {
    /// Its name, also that of its seeds' folder.
    pub(crate) name: &'static str,
    /// Reads an input; gives whether that was taken for what it should be. Panics where it breaks a promise.
    pub(crate) run: fn(&[u8]) -> bool,
    /// Inputs to begin with, each under a name.
    pub(crate) seeds: fn() -> Vec<Seed>,
}

/// An input to begin with.
pub(crate) type Seed = (String, Vec<u8>);

const fn target(name: &'static str, run: fn(&[u8]) -> bool, seeds: fn() -> Vec<Seed>) -> Target {
    Target { name, run, seeds }
}

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    target("decide", decide::run, decide::seeds),
    target("lists", lists::run, lists::seeds),
    target("json", json::run, json::seeds),
    target("policy", files::policy, files::policy_seeds),
    target("parameters", files::parameters, files::parameters_seeds),
    target("arrangements", files::arrangements, files::arrangements_seeds),
    target("import", import::run, import::seeds),
    target("settings", settings::run, settings::seeds),
    target("snapshot", snapshot::run, snapshot::seeds),
    target("changes", changes::run, changes::seeds),
    target("segment", segment::run, segment::seeds),
    target("replay", replay::run, replay::seeds),
    target("shipments", shipments::run, shipments::seeds),
    target("tokens", tokens::run, tokens::seeds),
    target("bearer", access::bearer, access::bearer_seeds),
    target("keys", access::keys, access::keys_seeds),
    target("callers", access::callers, access::callers_seeds),
    // Made by openssl: this program issues none.
    target("certificate", access::certificate, Vec::new),
];
