//! A configuration file. No secret that stands in it is ever told.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::LazyLock};

use greenlane::app::settings;

use super::Seed;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder").keep();
    folder.join("greenlane.toml")
});

pub(crate) fn run(data: &[u8]) -> bool {
    fs::write(&*FILE, data).expect("written");
    let loaded = settings::load(Some(&FILE), [], []);
    let told = match &loaded {
        Ok(loaded) => {
            let rows = loaded.rows();
            assert!(
                rows.iter()
                    .all(|(key, value, source)| !key.is_empty() && !value.is_empty() && !source.is_empty())
            );
            format!("{rows:?} {loaded:?}")
        }
        Err(error) => {
            assert!(!error.problems.is_empty(), "refused, and nothing told");
            format!("{error} {error:?}")
        }
    };
    for secret in secrets(data) {
        assert!(!told.contains(&secret), "a secret is told: {told}");
    }
    loaded.is_ok()
}

/// The secrets of a file that stand nowhere else in it, where they are long enough to be told from anything else.
fn secrets(data: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(data).unwrap_or_default();
    let table = text.parse::<toml::Table>().unwrap_or_default();
    let secret = table.get("draw").and_then(|draw| draw.get("master_secret"));
    let password = table.get("upstream").and_then(|upstream| upstream.get("url"));
    let password = password.and_then(toml::Value::as_str).and_then(|url| {
        // An embedded store is a path, which may hold anything.
        let (_, rest) = url.split_once("://").filter(|(scheme, _)| *scheme != "sqlite")?;
        let (user, _) = rest.split_once('@')?;
        let (_, password) = user.split_once(':')?;
        Some(password.to_owned())
    });
    let secret = secret.and_then(toml::Value::as_str).map(str::to_owned);
    let found = secret.into_iter().chain(password);
    found
        .filter(|secret| secret.len() >= 12 && text.matches(secret.as_str()).count() == 1)
        .collect()
}

pub(crate) fn seeds() -> Vec<Seed> {
    let all = settings::load(None, [], [])
        .map(|loaded| loaded.rows())
        .unwrap_or_default();
    let mut sections = BTreeMap::<&str, String>::new();
    for (key, value, _) in &all {
        let (section, name) = key.split_once('.').expect("a section and a key");
        let value = match value.as_str() {
            "(not set)" => format!("\"{}\"", "07".repeat(32)),
            plain if plain.starts_with('"') || plain.parse::<u64>().is_ok() => plain.to_owned(),
            plain @ ("true" | "false") => plain.to_owned(),
            text => format!("\"{text}\""),
        };
        let text = sections
            .entry(section)
            .or_insert_with(|| format!("[{section}]\n"));
        text.extend([name, " = ", &value, "\n"]);
    }
    let wrong = "[server]\ngrpc_addr = \"127.0.0.1\"\nworkers = -1\n[serve]\nx = 1\n[draw]\nmaster_secret = \"planted-secret-marker\"\n\
        [upstream]\nurl = \"postgres://greenlane:planted-password@db/customs\"\npoll_interval = \"20 parsecs\"\nlog = 1\n";
    let sections = sections.into_iter();
    let mut seeds: Vec<Seed> = sections
        .map(|(section, text)| (format!("{section}.toml"), text.into_bytes()))
        .collect();
    seeds.push(("wrong.toml".to_owned(), wrong.as_bytes().to_vec()));
    seeds
}
