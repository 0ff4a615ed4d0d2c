//! `greenlane enterprise import`

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::Context as _;
use foldhash::fast::FixedState;
use indicatif::ProgressBar;

use super::{EnterpriseFile, store};
use crate::{
    cli::{Context, author::signed, output},
    domain::{enterprise::Enterprise, identifier::CustomsCode},
    upstream::edit::{self, EditError, Editor, Imported},
};

/// Bad lines beyond this are counted, not listed.
const MAX_LISTED: usize = 1_000;

/// Import enterprises from a CSV file, in one transaction
///
/// The header names columns of the table `enterprise` in any order: `customs_code`, `name`, `credit_tier` and
/// `tier_effective_from`; and, if wanted, `social_credit_code`, `tier_valid_until` and suspended. An enterprise that is
/// registered already gets the values of the columns that are there.
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// The file; - is the standard input
    file: PathBuf,

    /// Import the good lines even if others are bad
    #[arg(long)]
    skip_bad: bool,
}

impl Import {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let begun = Instant::now();
        let store = store(context);
        let name = self.file.display().to_string();
        let (input, progress) = open(&self.file).with_context(|| name.clone())?;
        let mut file = EnterpriseFile::open(progress.wrap_read(input)).with_context(|| name.clone())?;

        let mut editor = signed(Editor::open_or_create(&store)?)?;
        let mut lines = Lines {
            import: editor.import(file.optional_columns())?,
            seen: HashSet::default(),
            bad: Vec::new(),
            bad_count: 0,
        };
        while let Some((line, enterprise)) = file.next_record().with_context(|| name.clone())? {
            lines.put(line, enterprise)?;
        }
        for (line, taken) in lines.import.refused()? {
            lines.bad(line, taken.to_string());
        }
        lines.bad.sort_by_key(|bad| bad.line);
        let Lines {
            import,
            bad,
            bad_count,
            ..
        } = lines;
        let imported = if bad_count == 0 || self.skip_bad {
            Some(import.commit()?)
        } else {
            None
        };
        progress.finish_and_clear();

        report_bad(&bad, bad_count);
        report(context, imported, &bad, bad_count, begun)?;
        anyhow::ensure!(
            imported.is_some(),
            "{name}: bad lines: {bad_count}; nothing was imported (--skip-bad imports the others)"
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn open(file: &Path) -> io::Result<(Box<dyn Read>, ProgressBar)> {
    let (input, size): (Box<dyn Read>, _) = if file == Path::new("-") {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(file)?;
        let metadata = file.metadata()?;
        // A pipe has a name but no size.
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    Ok((input, output::progress(size)))
}

/// A line that is not imported, and why.
struct BadLine {
    line: u64,
    reason: String,
}

struct Lines<'e> {
    import: edit::Import<'e>,
    /// The customs codes so far, packed: the file may have any size.
    seen: HashSet<u64, FixedState>,
    bad: Vec<BadLine>,
    bad_count: u64,
}

impl Lines<'_> {
    fn put(&mut self, line: u64, read: Result<Enterprise, String>) -> Result<(), EditError> {
        let enterprise = match read {
            Ok(enterprise) => enterprise,
            Err(reason) => {
                self.bad(line, reason);
                return Ok(());
            }
        };
        if !self.seen.insert(packed(enterprise.customs_code)) {
            let code = enterprise.customs_code;
            self.bad(
                line,
                format!("customs_code: \"{code}\" stands in the file before"),
            );
            return Ok(());
        }
        match self.import.put(line, &enterprise) {
            Err(taken @ EditError::Taken { .. }) => self.bad(line, taken.to_string()),
            other => other?,
        }
        Ok(())
    }

    fn bad(&mut self, line: u64, reason: String) {
        self.bad_count += 1;
        if self.bad.len() < MAX_LISTED {
            self.bad.push(BadLine { line, reason });
        }
    }
}

/// A customs code as a number in base 36.
fn packed(code: CustomsCode) -> u64 {
    let digit = |byte: u8| {
        if byte.is_ascii_digit() {
            byte - b'0'
        } else {
            byte - b'A' + 10
        }
    };
    code.as_bytes()
        .iter()
        .fold(0, |sum, &byte| sum * 36 + u64::from(digit(byte)))
}

fn report_bad(bad: &[BadLine], bad_count: u64) {
    for BadLine { line, reason } in bad {
        eprintln!("line {line}: {reason}");
    }
    let more = bad_count - bad.len() as u64;
    if more > 0 {
        eprintln!("and {more} more");
    }
}

fn report(
    context: &Context,
    imported: Option<Imported>,
    bad: &[BadLine],
    bad_count: u64,
    begun: Instant,
) -> anyhow::Result<()> {
    let nothing = imported.is_none();
    let imported = imported.unwrap_or_default();
    let (
        total,
        Imported {
            new,
            updated,
            unchanged,
        },
    ) = (imported.total(), imported);
    let seconds = begun.elapsed().as_secs_f64();
    match context.output {
        output::Format::Table if nothing => {}
        output::Format::Table => {
            let skipped = if bad_count == 0 {
                String::new()
            } else {
                format!(", {bad_count} bad skipped")
            };
            output::line(&format!(
                "imported {total} enterprises ({new} new, {updated} updated, {unchanged} unchanged{skipped}) in {seconds:.1} s"
            ))?;
        }
        output::Format::Json => {
            let listed: Vec<_> = bad
                .iter()
                .map(|BadLine { line, reason }| serde_json::json!({"line": line, "reason": reason}))
                .collect();
            output::json(&serde_json::json!({
                "imported": total,
                "new": new,
                "updated": updated,
                "unchanged": unchanged,
                "bad": bad_count,
                "bad_lines": listed,
                "seconds": seconds,
            }))?;
        }
    }
    Ok(())
}
