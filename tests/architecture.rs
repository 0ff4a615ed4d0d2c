//! The import rule, as a test: what each folder of `src/` may name, of the crate and of others.
//!
//! Every file is read as tokens, so that comments and texts do not count and macro bodies do; what stands under
//! `#[cfg(test)]` is left out. A path counts by its beginning: `crate::registry::Age` in `policy/` names the folder
//! `registry`, `super::super::app` in a file of `cli/` the folder `app`, `tokio::time` the crate `tokio`.

#![allow(
    clippy::needless_pass_by_value,
    clippy::wildcard_enum_match_arm,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What a folder may name. Every folder may name itself and `std` (but see `PURE`).
struct Rule {
    folder: &'static str,
    /// Folders of this crate; a path such as `upstream::sqlite::History` admits that item alone.
    own: &'static [&'static str],
    /// Other crates.
    crates: &'static [&'static str],
    /// No clock, no I/O, no async, no log.
    pure: bool,
}

const RULES: [Rule; 16] = [
    Rule {
        folder: "domain",
        own: &[],
        crates: &["arrayvec", "csv", "jiff", "serde", "smallvec", "thiserror"],
        pure: true,
    },
    Rule {
        folder: "policy",
        own: &["domain"],
        crates: &[
            "arrayvec",
            "hex",
            "humantime",
            "jiff",
            "ring",
            "serde",
            "serde_json",
            "smallvec",
            "thiserror",
            "toml",
            "zeroize",
        ],
        pure: true,
    },
    Rule {
        folder: "registry",
        own: &["background", "domain"],
        crates: &[
            "arc_swap",
            "arrayvec",
            "dashmap",
            "foldhash",
            "hex",
            "jiff",
            "ring",
            "smallvec",
            "thiserror",
        ],
        pure: false,
    },
    Rule {
        folder: "facilitation",
        own: &["domain", "policy", "registry"],
        crates: &[
            "arc_swap",
            "arrayvec",
            "hex",
            "jiff",
            "smallvec",
            "thiserror",
            "zeroize",
        ],
        pure: false,
    },
    Rule {
        folder: "metrics",
        own: &["domain"],
        crates: &["prometheus_client"],
        pure: false,
    },
    Rule {
        folder: "background",
        own: &[],
        crates: &["rustix"],
        pure: false,
    },
    Rule {
        folder: "access",
        own: &[],
        crates: &["base64", "ring", "serde", "serde_json", "thiserror", "toml"],
        pure: true,
    },
    Rule {
        folder: "trust",
        own: &["access", "metrics"],
        crates: &[
            "arc_swap",
            "hex",
            "jiff",
            "rand",
            "ring",
            "rustix",
            "rustls",
            "rustls_native_certs",
            "thiserror",
            "tokio",
            "tokio_rustls",
            "tracing",
            "x509_cert",
            "zeroize",
        ],
        pure: false,
    },
    Rule {
        folder: "upstream",
        own: &["background", "domain", "metrics", "registry"],
        crates: &[
            "arrayvec",
            "async_nats",
            "bytes",
            "crc32fast",
            "foldhash",
            "futures_util",
            "hex",
            "jiff",
            "lz4_flex",
            "nkeys",
            "rand",
            "ring",
            "rusqlite",
            "rustls",
            "rustls_native_certs",
            "serde",
            "serde_json",
            "smallvec",
            "thiserror",
            "tokio",
            "tokio_postgres",
            "tokio_postgres_rustls",
            "tracing",
            "zeroize",
        ],
        pure: false,
    },
    Rule {
        folder: "wire",
        own: &["domain", "policy", "registry", "facilitation"],
        crates: &[
            "arrayvec",
            "base64",
            "bytes",
            "humantime",
            "jiff",
            "prost",
            "prost_reflect",
            "prost_types",
            "serde",
            "serde_json",
            "smallvec",
            "thiserror",
            // The generated stubs alone.
            "tonic",
        ],
        pure: false,
    },
    Rule {
        folder: "audit",
        own: &[
            "background",
            "domain",
            "policy",
            "registry",
            "facilitation",
            "wire",
            "metrics",
            "upstream::commitments::StoredCommitment",
            // Where the log is shipped to.
            "upstream::archive",
            // How the mode of a secret's file is judged.
            "trust::secret_file",
        ],
        crates: &[
            "arc_swap",
            "arrayvec",
            "base64",
            "bytes",
            "crc32fast",
            "dashmap",
            "foldhash",
            "hex",
            "jiff",
            "prost",
            "prost_types",
            "rand",
            "ring",
            "rustix",
            "serde",
            "serde_json",
            "smallvec",
            "thiserror",
            "tokio",
            "tracing",
            "uuid",
            "zeroize",
        ],
        pure: false,
    },
    Rule {
        folder: "shipments",
        own: &[
            "domain",
            "policy",
            "registry",
            "facilitation",
            "wire",
            "metrics",
            // What an earlier life left unsaved is in the log.
            "audit::read",
            // And so is what nobody has asked for yet.
            "audit::index",
            "audit::query",
            "upstream::shipments",
            "upstream::status::FeedStatus",
            "upstream::UpstreamError",
        ],
        crates: &[
            "base64",
            "bytes",
            "dashmap",
            "foldhash",
            "jiff",
            "moka",
            "prost",
            "prost_types",
            "rand",
            "smallvec",
            "thiserror",
            "tokio",
            "tracing",
            "uuid",
        ],
        pure: false,
    },
    Rule {
        folder: "service",
        own: &[
            "access",
            "audit",
            "shipments",
            "domain",
            "metrics",
            "policy",
            "registry",
            "facilitation",
            "wire",
            // What upstream says of itself, and former rows; never the follower or a connection.
            "upstream::history::History",
            "upstream::status::FeedStatus",
            "upstream::UpstreamError",
            "upstream::commitments::Commitments",
        ],
        crates: &[
            "arc_swap",
            "async_stream",
            "bytes",
            "foldhash",
            "futures_util",
            "http",
            "http_body",
            "http_body_util",
            "hyper",
            "jiff",
            // Verified tokens.
            "moka",
            "opentelemetry",
            "opentelemetry_sdk",
            "prost",
            "prost_types",
            "rand",
            "thiserror",
            "tokio",
            "tokio_stream",
            "tonic",
            "tonic_health",
            "tonic_reflection",
            "tonic_types",
            "tower_service",
            "tracing",
            "uuid",
        ],
        pure: false,
    },
    Rule {
        folder: "web",
        own: &[
            "access",
            "trust",
            "domain",
            "metrics",
            "policy",
            "facilitation",
            // Realized rates, and whether the log can be written.
            "audit::rates",
            "audit::log::AuditLog",
            // What happened to the feed lately.
            "upstream::status::Event",
            "wire",
            "service",
        ],
        crates: &[
            "bytes",
            "hex",
            "http",
            "http_body_util",
            "hyper",
            "hyper_util",
            "jiff",
            "percent_encoding",
            "prost",
            "ring",
            "serde_json",
            "tokio",
            "tonic",
            "tracing",
        ],
        pure: false,
    },
    Rule {
        folder: "app",
        own: &[
            "background",
            "access",
            "trust",
            "domain",
            "metrics",
            "policy",
            "registry",
            "facilitation",
            "upstream",
            "audit",
            "shipments",
            "wire",
            "service",
            "web",
        ],
        crates: &["*"],
        pure: false,
    },
    Rule {
        folder: "cli",
        own: &[
            "background",
            "access",
            "trust",
            "domain",
            "metrics",
            "policy",
            "registry",
            "facilitation",
            "upstream",
            "audit",
            "shipments",
            "wire",
            "service",
            "web",
            "app",
        ],
        crates: &["*"],
        pure: false,
    },
];

/// Words that a pure folder never says.
const IMPURE_WORDS: [&str; 14] = [
    "SystemTime",
    "async",
    "await",
    "dbg",
    "eprint",
    "eprintln",
    "print",
    "println",
    "rand",
    "rusqlite",
    "tokio",
    "tonic",
    "tracing",
    "unsafe",
];

/// Beginnings of paths that a pure folder never names.
const IMPURE_PATHS: [&str; 8] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// What a pure folder may name all the same: values, that open nothing.
const PURE_PATHS: [&str; 2] = ["std::net::IpAddr", "std::net::SocketAddr"];

/// The longest a file of `src/` may be, its tests included.
const MAX_LINES: usize = 400;

/// Files that are longer, each with the reason; whoever shortens one takes it off the list.
const LONG_FILES: [(&str, &str); 0] = [];

// === the rule on the sources as they are ===

#[test]
fn every_folder_imports_only_what_it_may() {
    let sources = Sources::read();
    let crates = external_crates();
    let mut findings = Vec::new();
    for (file, text) in &sources.files {
        let Some(rule) = RULES.iter().find(|rule| Some(rule.folder) == folder_of(file)) else {
            continue;
        };
        findings.extend(check(rule, file, text, &crates));
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn every_folder_has_a_rule_and_main_only_starts_the_command_line() {
    let sources = Sources::read();
    let ruled: BTreeSet<_> = RULES.iter().map(|rule| rule.folder).collect();
    for file in sources.files.keys() {
        match folder_of(file) {
            Some(folder) => assert!(
                ruled.contains(folder),
                "src/{file}: there is no rule for the folder {folder}"
            ),
            None => assert!(
                file == "lib.rs" || file == "main.rs",
                "src/{file}: belongs into a folder"
            ),
        }
    }
    let named = Names::of("main.rs", &sources.files["main.rs"], &external_crates());
    let own: BTreeSet<_> = named
        .own
        .iter()
        .map(|(path, _)| path.as_str())
        .chain(named.crates.iter().map(|(path, _)| path.as_str()))
        .filter(|path| !path.starts_with("std"))
        .collect();
    for path in own {
        assert!(
            path.starts_with("greenlane::cli") || path.starts_with("mimalloc"),
            "src/main.rs names {path}"
        );
    }
}

#[test]
fn no_file_is_too_long() {
    let sources = Sources::read();
    let mut long = BTreeMap::new();
    for file in sources.all.keys() {
        let lines = sources.all[file].lines().count();
        if lines > MAX_LINES {
            long.insert(file.as_str(), lines);
        }
    }
    for (file, reason) in LONG_FILES {
        assert!(!reason.is_empty(), "{file}: an exception needs a reason");
        assert!(
            long.remove(file).is_some(),
            "src/{file} is no longer over {MAX_LINES} lines: take it off LONG_FILES"
        );
    }
    assert!(long.is_empty(), "over {MAX_LINES} lines: {long:?}");
}

#[test]
fn nothing_in_the_sources_panics_on_purpose() {
    let sources = Sources::read();
    let mut findings = Vec::new();
    for (file, text) in &sources.files {
        findings.extend(panics(file, text));
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

// === the checker on sources that are made up ===

#[test]
fn the_checker_finds_every_way_to_name_what_is_not_allowed() {
    let crates = external_crates();
    let policy = &RULES[1];
    assert_eq!(policy.folder, "policy");
    for (bad, named) in [
        ("use crate::registry::Age;", "registry::Age"),
        ("use crate::{domain::Date, app::App};", "app::App"),
        ("fn f() -> crate::upstream::Look { loop {} }", "upstream::Look"),
        ("use super::super::service;", "service"),
        ("mod inner { use super::super::super::registry; }", "registry"),
        ("use tokio::time;", "tokio"),
        ("use {serde::Serialize, rusqlite as sql};", "rusqlite"),
        ("fn f() { ::tracing::info!(\"x\"); }", "tracing"),
        (
            "macro_rules! m { () => { $crate::facilitation::Moment::now() } }",
            "facilitation",
        ),
        ("fn f() { vec![std::time::SystemTime::now()]; }", "SystemTime"),
        ("use std::time::Instant;", "Instant"),
        ("use std::time::{self, Duration};", "std::time"),
        ("use std::time::*;", "std::time::*"),
        ("use std as s;", "std"),
        ("use std::{fmt, fs};", "std::fs"),
        ("use std::{self as s, net::{self}};", "std::net"),
        ("fn f() { println!(\"x\"); }", "println"),
        ("fn f() { jiff::Timestamp::now(); }", "now"),
        ("async fn f() {}", "async"),
        ("#[cfg(not(test))] use tokio::time;", "tokio"),
        (
            "#[cfg(test)] mod tests { use tokio::time; } use tonic::Status;",
            "tonic",
        ),
    ] {
        let findings = check(policy, "policy/made_up.rs", bad, &crates);
        assert!(
            findings.iter().any(|finding| finding.contains(named)),
            "{bad}: {findings:?}"
        );
    }
}

#[test]
fn the_checker_lets_pass_what_is_allowed() {
    let crates = external_crates();
    let policy = &RULES[1];
    for good in [
        "//! tokio::time, crate::app\n/// tracing\nfn f() -> &'static str { \"tokio::spawn\" }",
        "use std::{collections::BTreeMap, sync::Arc}; use crate::domain::{self, Date}; use super::Facts;",
        "use self::inner::Thing; mod inner { pub use super::super::Facts; }",
        "#[cfg(test)] mod tests { use proptest::prelude::*; use crate::registry::Age; }",
        "#[cfg(test)] #[expect(unused, reason = \"r\")] fn only_in_tests() { tokio::spawn(f); }",
        "enum Either { Instant(u8) } use std::time::Duration;",
        // A name of its own that is also a crate's.
        "use ring::digest; mod http; fn f() { http::get(); digest::digest(); }",
    ] {
        let findings = check(policy, "policy/made_up.rs", good, &crates);
        assert!(findings.is_empty(), "{good}: {findings:?}");
    }
}

#[test]
fn one_item_may_be_allowed_without_the_rest_of_its_folder() {
    let crates = external_crates();
    let service = RULES.iter().find(|rule| rule.folder == "service").unwrap();
    let status = "use crate::upstream::{history::History, status::FeedStatus};";
    assert_eq!(
        check(service, "service/a.rs", status, &crates),
        Vec::<String>::new()
    );
    let reader = "use crate::upstream::{follower::Follower, sqlite::Reader};";
    assert_eq!(check(service, "service/a.rs", reader, &crates).len(), 2);
}

#[test]
fn the_checker_finds_panics_outside_of_tests() {
    for bad in [
        "fn f() { g().unwrap(); }",
        "fn f() { g().expect(\"x\"); }",
        "fn f() { g().map(Option::unwrap); }",
        "fn f() { todo!() }",
        "fn f() { if g() { panic!(\"x\") } }",
    ] {
        assert_eq!(panics("a.rs", bad).len(), 1, "{bad}");
    }
    for good in [
        "#[expect(unused, reason = \"r\")] fn f() { g().unwrap_or_default(); }",
        "#[cfg(test)] mod tests { fn f() { g().unwrap(); } }",
        "/// `unwrap()`\nfn f() {}",
        "fn f(s: S) { s.expect.compare(); }",
    ] {
        assert_eq!(panics("a.rs", good), Vec::<String>::new(), "{good}");
    }
}

// === reading ===

struct Sources {
    /// Path under `src/` to text, without the files that only tests have.
    files: BTreeMap<String, String>,
    /// The same with them.
    all: BTreeMap<String, String>,
}

impl Sources {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut all = BTreeMap::new();
        collect(&root, &root, &mut all);
        assert!(all.len() > 20, "src/ was not found");
        let mut only_tests = BTreeSet::new();
        for (file, text) in &all {
            for module in test_modules(parse(file, text)) {
                let folder = file
                    .strip_suffix("/mod.rs")
                    .or_else(|| file.strip_suffix(".rs"))
                    .unwrap_or(file);
                only_tests.insert(format!("{folder}/{module}.rs"));
            }
        }
        let mut files = all.clone();
        files.retain(|file, _| !only_tests.contains(file));
        Self { files, all }
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

fn folder_of(file: &str) -> Option<&str> {
    file.split_once('/').map(|(folder, _)| folder)
}

/// The module path of a file: `policy/decide.rs` is `policy::decide`, `policy/mod.rs` is `policy`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/')
        .filter(|part| !matches!(*part, "lib" | "main"))
        .map(str::to_owned)
        .collect()
}

/// The names by which code calls the crates of `[dependencies]`, and its own crate from outside.
fn external_crates() -> BTreeSet<String> {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    dependencies
        .keys()
        .map(|name| name.replace('-', "_"))
        .chain(["std", "core", "alloc", "greenlane"].map(str::to_owned))
        .collect()
}

fn parse(file: &str, text: &str) -> Vec<TokenTree> {
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("src/{file}: {error}"));
    tokens.into_iter().collect()
}

// === what a source names ===

fn check(rule: &Rule, file: &str, text: &str, crates: &BTreeSet<String>) -> Vec<String> {
    let names = Names::of(file, text, crates);
    let mut findings = Vec::new();
    let mut find = |line: usize, what: &str| {
        let finding = format!("src/{file}:{line}: {} must not name {what}", rule.folder);
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    };
    let begins_with = |path: &str, start: &str| {
        path == start
            || path
                .strip_prefix(start)
                .is_some_and(|rest| rest.starts_with("::"))
    };
    for (path, line) in &names.own {
        let own_folder = begins_with(path, rule.folder);
        if !own_folder && !rule.own.iter().any(|allowed| begins_with(path, allowed)) {
            find(*line, path);
        }
    }
    for (path, line) in &names.crates {
        let name = path.split("::").next().unwrap_or_default();
        if !matches!(name, "std" | "core" | "alloc")
            && !rule.crates.contains(&name)
            && !rule.crates.contains(&"*")
        {
            find(*line, path);
        }
        // Behind a glob or a whole module anything may hide; and jiff has a clock too.
        let hides =
            ["std", "std::time"].contains(&path.as_str()) || path.starts_with("std") && path.ends_with('*');
        let clock = path.ends_with("::now");
        if PURE_PATHS.contains(&path.as_str()) {
            continue;
        }
        if rule.pure && (hides || clock || IMPURE_PATHS.iter().any(|start| begins_with(path, start))) {
            find(*line, path);
        }
    }
    if rule.pure {
        for (word, line) in &names.words {
            if IMPURE_WORDS.contains(&word.as_str()) {
                find(*line, word);
            }
        }
    }
    findings
}

/// Everything a source names: paths with where they stand.
#[derive(Debug, Default)]
struct Names {
    /// Of this crate, from its root.
    own: Vec<(String, usize)>,
    /// Of others, beginning with the crate.
    crates: Vec<(String, usize)>,
    /// Every identifier.
    words: Vec<(String, usize)>,
}

impl Names {
    fn of(file: &str, text: &str, crates: &BTreeSet<String>) -> Self {
        let mut names = Self::default();
        let tokens = without_tests(parse(file, text));
        names.walk(&tokens, &module_of(file), crates, &BTreeSet::new());
        names
    }

    fn walk(
        &mut self,
        tokens: &[TokenTree],
        module: &[String],
        crates: &BTreeSet<String>,
        outer: &BTreeSet<String>,
    ) {
        // Names that this scope gives to something else than the crate of that name.
        let mut local = outer.clone();
        local.extend(declared(tokens));
        let mut at = 0;
        while at < tokens.len() {
            if is_word(tokens.get(at), "use") {
                let end = (at..tokens.len())
                    .find(|&end| punct(tokens.get(end)) == Some(';'))
                    .unwrap_or(tokens.len());
                // An import brings its own names: it is never shadowed by them.
                self.tree(&tokens[at + 1..end], &[], module, crates, outer);
                at = end + 1;
                continue;
            }
            if is_word(tokens.get(at), "mod")
                && let Some(TokenTree::Ident(name)) = tokens.get(at + 1)
                && let Some(TokenTree::Group(body)) = tokens.get(at + 2)
            {
                let inner: Vec<_> = body.stream().into_iter().collect();
                let mut path = module.to_vec();
                path.push(name.to_string());
                // A module sees nothing of the names around it.
                self.walk(&inner, &path, crates, &BTreeSet::new());
                at += 3;
                continue;
            }
            match &tokens[at] {
                TokenTree::Group(group) => {
                    let inner: Vec<_> = group.stream().into_iter().collect();
                    self.walk(&inner, module, crates, &local);
                    at += 1;
                }
                TokenTree::Ident(_) => {
                    let (path, next) = path_at(tokens, at);
                    // What follows on `::` without a beginning of its own belongs to a type: `<T>::new`.
                    let continued = at >= 2 && is_separator(tokens, at - 2) && !rooted(tokens, at - 2);
                    // A lone word is a name of the scope: only a `use` may name a crate by that alone.
                    if !continued && path.len() > 1 {
                        self.note(&path, line(&tokens[at]), module, crates, &local);
                    }
                    self.note_words(&tokens[at..next]);
                    at = next;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
            }
        }
    }

    /// One tree of a `use`: prefixes, groups, globs and renames.
    fn tree(
        &mut self,
        tokens: &[TokenTree],
        prefix: &[String],
        module: &[String],
        crates: &BTreeSet<String>,
        local: &BTreeSet<String>,
    ) {
        for branch in tokens.split(|token| punct(Some(token)) == Some(',')) {
            let Some(first) = branch.first() else { continue };
            let mut path = prefix.to_vec();
            let mut nested = false;
            for token in branch {
                match token {
                    TokenTree::Ident(part) if part == "as" => break,
                    TokenTree::Ident(part) if part == "self" && !path.is_empty() => {}
                    TokenTree::Ident(part) => path.push(part.to_string()),
                    TokenTree::Group(group) => {
                        let inner: Vec<_> = group.stream().into_iter().collect();
                        self.tree(&inner, &path, module, crates, local);
                        nested = true;
                    }
                    TokenTree::Punct(glob) if glob.as_char() == '*' => path.push("*".to_owned()),
                    TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                }
            }
            self.note_words(branch);
            if !nested {
                self.note(&path, line(first), module, crates, local);
            }
        }
    }

    fn note_words(&mut self, tokens: &[TokenTree]) {
        for token in tokens {
            if let TokenTree::Ident(word) = token {
                self.words.push((word.to_string(), line(token)));
            }
        }
    }

    fn note(
        &mut self,
        path: &[String],
        line: usize,
        module: &[String],
        crates: &BTreeSet<String>,
        local: &BTreeSet<String>,
    ) {
        let Some(first) = path.first() else { return };
        let mut from = match first.as_str() {
            "crate" => Vec::new(),
            "self" | "super" if path.len() > 1 => module.to_vec(),
            _ => {
                if crates.contains(first) && !local.contains(first) {
                    self.crates.push((path.join("::"), line));
                }
                return;
            }
        };
        let mut rest = path.iter().peekable();
        while let Some(step) = rest.next_if(|step| matches!(step.as_str(), "crate" | "self" | "super")) {
            if step == "super" {
                from.pop();
            }
        }
        from.extend(rest.cloned());
        if !from.is_empty() {
            self.own.push((from.join("::"), line));
        }
    }
}

/// The path that begins at an identifier, and where it ends.
fn path_at(tokens: &[TokenTree], mut at: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    while let Some(TokenTree::Ident(part)) = tokens.get(at) {
        path.push(part.to_string());
        at += 1;
        if is_separator(tokens, at) && matches!(tokens.get(at + 2), Some(TokenTree::Ident(_))) {
            at += 2;
        } else {
            break;
        }
    }
    (path, at)
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    punct(tokens.get(at)) == Some(':') && punct(tokens.get(at + 1)) == Some(':')
}

/// Whether a `::` begins a path, as in `::tracing::info!`, and does not follow on a type.
fn rooted(tokens: &[TokenTree], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
    match before {
        None => true,
        Some(TokenTree::Punct(punct)) => punct.as_char() != '>',
        Some(TokenTree::Ident(_) | TokenTree::Group(_) | TokenTree::Literal(_)) => false,
    }
}

/// Names that a scope declares as modules or imports from elsewhere than a crate's root.
fn declared(tokens: &[TokenTree]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for at in 0..tokens.len() {
        if is_word(tokens.get(at), "mod") {
            names.extend(word(tokens.get(at + 1)));
        } else if is_word(tokens.get(at), "use") {
            let end = (at..tokens.len())
                .find(|&end| punct(tokens.get(end)) == Some(';'))
                .unwrap_or(tokens.len());
            imported(&tokens[at + 1..end], None, &mut names);
        }
    }
    names
}

fn imported(tokens: &[TokenTree], prefix: Option<&str>, names: &mut BTreeSet<String>) {
    for branch in tokens.split(|token| punct(Some(token)) == Some(',')) {
        let mut last = prefix.map(str::to_owned);
        let mut steps = usize::from(prefix.is_some());
        let mut group = false;
        for token in branch {
            match token {
                TokenTree::Ident(part) if part == "as" => steps += 1,
                TokenTree::Ident(part) if part == "self" && steps > 0 => steps += 1,
                TokenTree::Ident(part) => {
                    last = Some(part.to_string());
                    steps += 1;
                }
                TokenTree::Group(inner) => {
                    let inner: Vec<_> = inner.stream().into_iter().collect();
                    imported(&inner, last.as_deref(), names);
                    group = true;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
        // `use http;` names the crate itself.
        if !group && steps > 1 {
            names.extend(last);
        }
    }
}

// === leaving tests out ===

/// The tokens without the items that stand under `#[cfg(test)]`, at any depth.
fn without_tests(tokens: Vec<TokenTree>) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_cfg_test(&tokens, at) {
            at = item_end(&tokens, at);
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                let inner = without_tests(group.stream().into_iter().collect());
                let mut slim = proc_macro2::Group::new(group.delimiter(), inner.into_iter().collect());
                slim.set_span(group.span());
                kept.push(slim.into());
            }
            other => kept.push(other.clone()),
        }
        at += 1;
    }
    kept
}

fn is_cfg_test(tokens: &[TokenTree], at: usize) -> bool {
    punct(tokens.get(at)) == Some('#')
        && matches!(tokens.get(at + 1), Some(TokenTree::Group(group))
            if group.delimiter() == Delimiter::Bracket && group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// Where the item ends that the attribute at `at` stands on: after `;`, or after its braces.
fn item_end(tokens: &[TokenTree], mut at: usize) -> usize {
    while at < tokens.len() {
        at += 1;
        match &tokens[at - 1] {
            TokenTree::Punct(punct) if punct.as_char() == ';' => break,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
            _ => {}
        }
    }
    at
}

/// The files that `#[cfg(test)] mod name;` takes in.
fn test_modules(tokens: Vec<TokenTree>) -> Vec<String> {
    let mut modules = Vec::new();
    for at in 0..tokens.len() {
        if is_cfg_test(&tokens, at) {
            let item = &tokens[at..item_end(&tokens, at)];
            let name = item.iter().position(|token| is_word(Some(token), "mod"));
            if let Some(name) = name
                && punct(item.last()) == Some(';')
            {
                modules.extend(word(item.get(name + 1)));
            }
        }
    }
    modules
}

// === panics ===

fn panics(file: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    find_panics(file, &without_tests(parse(file, text)), &mut findings);
    findings
}

fn find_panics(file: &str, tokens: &[TokenTree], findings: &mut Vec<String>) {
    for at in 0..tokens.len() {
        if let TokenTree::Group(group) = &tokens[at] {
            let inner: Vec<_> = group.stream().into_iter().collect();
            find_panics(file, &inner, findings);
        }
        let Some(name) = word(tokens.get(at)) else {
            continue;
        };
        let before = at.checked_sub(1).and_then(|before| punct(tokens.get(before)));
        let called = matches!(tokens.get(at + 1), Some(TokenTree::Group(group))
            if group.delimiter() == Delimiter::Parenthesis);
        let method = matches!(name.as_str(), "unwrap" | "expect" | "unwrap_err" | "expect_err")
            && (before == Some('.') && called || before == Some(':'));
        let macro_call = matches!(name.as_str(), "panic" | "todo" | "unimplemented" | "unreachable")
            && punct(tokens.get(at + 1)) == Some('!');
        if method || macro_call {
            findings.push(format!("src/{file}:{}: {name}", line(&tokens[at])));
        }
    }
}

// === tokens ===

fn word(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_word(token: Option<&TokenTree>, text: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == text)
}

fn punct(token: Option<&TokenTree>) -> Option<char> {
    match token {
        Some(TokenTree::Punct(punct)) => Some(punct.as_char()),
        _ => None,
    }
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}
