//! `greenlane policy test`

use std::{path::PathBuf, process::ExitCode};

use serde_json::json;

use super::{directory, named_files};
use crate::{
    cli::{Context, output},
    policy::{
        PolicyBook,
        cases::{self, Case},
    },
};

/// Put cases to the policies: what they must answer, with the article that says so
#[derive(Debug, clap::Args)]
pub(super) struct Test {
    /// Files of cases [default: the shipped ones]
    files: Vec<PathBuf>,
}

struct Failure {
    file: String,
    name: String,
    article: String,
    differences: Vec<String>,
}

impl Test {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let book = PolicyBook::read(&directory(context)?)?;
        let cases = self.cases()?;
        let failures: Vec<_> = cases
            .iter()
            .filter_map(|(file, case)| Failure::of(file, case, &book))
            .collect();
        let (passed, failed) = (cases.len() - failures.len(), failures.len());
        match context.output {
            output::Format::Table => {
                for failure in &failures {
                    let Failure {
                        file,
                        name,
                        article,
                        differences,
                    } = failure;
                    let article = if article.is_empty() { "no article" } else { article };
                    output::line(&format!("{file}: {name} ({article})"))?;
                    for difference in differences {
                        output::line(&format!("    {difference}"))?;
                    }
                }
                output::line(&format!("{passed} passed, {failed} failed"))?;
            }
            output::Format::Json => {
                let failures: Vec<_> = failures.iter().map(Failure::json).collect();
                output::json(&json!({"passed": passed, "failed": failed, "failures": failures}))?;
            }
        }
        Ok(if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn cases(&self) -> anyhow::Result<Vec<(String, Case)>> {
        let mut cases = Vec::new();
        if self.files.is_empty() {
            let shipped = cases::shipped()?.into_iter();
            cases.extend(shipped.map(|(file, case)| (file.to_owned(), case)));
        }
        for (file, text) in named_files(&self.files)? {
            let read = cases::read(&text).map_err(|error| anyhow::anyhow!("{file}: {error}"))?;
            cases.extend(read.into_iter().map(|case| (file.clone(), case)));
        }
        Ok(cases)
    }
}

impl Failure {
    fn of(file: &str, case: &Case, book: &PolicyBook) -> Option<Self> {
        let differences = match case.run(book) {
            Ok(differences) if differences.is_empty() => return None,
            Ok(differences) => differences,
            Err(error) => vec![error.to_string()],
        };
        Some(Self {
            file: file.to_owned(),
            name: case.name.clone(),
            article: case.article.clone(),
            differences,
        })
    }

    fn json(&self) -> serde_json::Value {
        let Self {
            file,
            name,
            article,
            differences,
        } = self;
        json!({"file": file, "name": name, "article": article, "differences": differences})
    }
}
