//! Keys of shipments on the command line.

use std::{collections::HashSet, io::Read as _};

use anyhow::{Context as _, ensure};

/// Shipments, as people name them.
#[derive(Debug, clap::Args)]
pub(super) struct Keys {
    /// Declaration or container numbers; - reads more of them from standard input, separated by white space
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
}

impl Keys {
    /// The keys in their order, each once.
    pub(super) fn read(self) -> anyhow::Result<Vec<String>> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for key in self.keys {
            if key == "-" {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .context("standard input")?;
                keys.extend(text.split_whitespace().map(str::to_owned));
            } else {
                keys.push(key);
            }
        }
        let mut seen = HashSet::with_capacity(keys.len());
        keys.retain(|key| seen.insert(key.clone()));
        ensure!(!keys.is_empty(), "standard input names no shipment");
        Ok(keys)
    }
}
