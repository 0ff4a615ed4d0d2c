//! THREATMODEL.md names the test that shows each of its claims: each of them is there.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

use std::{fs, path::Path};

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("THREATMODEL.md")).unwrap();
    let mut named = 0;
    let (mut missing, mut bare) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let tests: Vec<_> = line
            .split('`')
            .filter_map(|word| word.split_once("::"))
            .filter(|(file, _)| file.starts_with("tests/") || file.starts_with("src/"))
            .collect();
        // A row of the tables of claims: three cells, the last of which is the proof.
        if line.starts_with("| ") && line.matches(" | ").count() == 2 && !line.contains("shown by") {
            let is_asset = line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit());
            if tests.is_empty() && !is_asset && !line.starts_with("| |") {
                bare.push(line.to_owned());
            }
        }
        for (file, test) in tests {
            named += 1;
            let source = fs::read_to_string(root.join(file)).unwrap_or_default();
            let is_there = |keyword: &str| source.contains(&format!("{keyword} {test}("));
            if !is_there("fn") && !is_there("def") {
                missing.push(format!("{file}::{test}"));
            }
        }
    }
    assert!(named > 20, "{named}");
    assert_eq!(missing, Vec::<String>::new(), "named, and not there");
    assert_eq!(bare, Vec::<String>::new(), "claims without a test");
}
