//! `greenlane enterprise show`

use std::process::ExitCode;

use serde_json::Value;

use super::store;
use crate::{
    cli::{Context, output},
    domain::identifier::{BadIdentifier, EnterpriseId},
    upstream::edit::{Editor, StoredEnterprise, StoredRow},
    wire::enterprise_key,
};

/// Former rows to show.
const HISTORY: usize = 10;

/// Show an enterprise as the store holds it, with scheduled tiers and its latest former rows
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// A customs code, a social credit code, or a Chinese AEO code
    #[arg(value_parser = identifier)]
    id: EnterpriseId,
}

fn identifier(text: &str) -> Result<EnterpriseId, BadIdentifier> {
    match enterprise_key::written(text)? {
        EnterpriseId::Foreign(_) => Err(BadIdentifier(
            "is a foreign operator's: the register holds Chinese enterprises",
        )),
        id @ (EnterpriseId::Customs(_) | EnterpriseId::SocialCredit(_)) => Ok(id),
    }
}

impl Show {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let id = self.id;
        let found = Editor::open(&store(context))?.enterprise(&id, HISTORY)?;
        let Some(enterprise) = found else {
            anyhow::bail!("no enterprise {} in the store", id.as_str());
        };
        match context.output {
            output::Format::Table => table(&enterprise)?,
            output::Format::Json => output::json(&json(enterprise))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn table(enterprise: &StoredEnterprise) -> anyhow::Result<()> {
    const ROW: [&str; 8] = [
        "customs_code",
        "social_credit_code",
        "name",
        "credit_tier",
        "tier_effective_from",
        "tier_valid_until",
        "suspended",
        "updated_at",
    ];
    output::table(
        &["column", "value"],
        ROW.map(|column| [column.to_owned(), text(&enterprise.row, column)]),
    )?;
    if !enterprise.scheduled.is_empty() {
        listed(
            "Scheduled tiers",
            &["effective_from", "credit_tier"],
            &enterprise.scheduled,
        )?;
    }
    if !enterprise.history.is_empty() {
        const FORMER: [&str; 8] = [
            "recorded_from",
            "recorded_to",
            "name",
            "social_credit_code",
            "credit_tier",
            "tier_effective_from",
            "tier_valid_until",
            "suspended",
        ];
        listed("Former rows, the latest first", &FORMER, &enterprise.history)?;
    }
    Ok(())
}

fn listed(title: &str, columns: &[&str], rows: &[StoredRow]) -> anyhow::Result<()> {
    output::line(&format!("\n{title}"))?;
    let cells = rows
        .iter()
        .map(|row| columns.iter().map(|column| text(row, column)));
    Ok(output::table(columns, cells)?)
}

/// A stored value in words.
fn text(row: &StoredRow, column: &str) -> String {
    match row.get(column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(value) if column == "suspended" => match value.as_i64() {
            Some(0) => "no".to_owned(),
            Some(1) => "yes".to_owned(),
            _ => value.to_string(),
        },
        Some(value) => value.to_string(),
    }
}

fn json(enterprise: StoredEnterprise) -> Value {
    let StoredEnterprise {
        mut row,
        scheduled,
        mut history,
    } = enterprise;
    // SQLite has no booleans; what is neither 0 nor 1 is shown as it is.
    for row in history.iter_mut().chain([&mut row]) {
        if let Some(suspended) = row.get_mut("suspended")
            && let Some(number @ (0 | 1)) = suspended.as_i64()
        {
            *suspended = Value::Bool(number == 1);
        }
    }
    row.insert("scheduled_tiers".to_owned(), as_list(scheduled));
    row.insert("history".to_owned(), as_list(history));
    Value::Object(row)
}

fn as_list(rows: Vec<StoredRow>) -> Value {
    rows.into_iter().map(Value::Object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enterprise_is_named_by_any_of_its_codes() {
        let customs = |text: &str| identifier(text).map(|id| id.as_str().to_owned());
        for text in ["1101919107", "CN1101919107", "aeo<cn 1101919107>"] {
            assert_eq!(customs(text).as_deref(), Ok("1101919107"), "{text}");
        }
        assert_eq!(customs("91110000600037341L").as_deref(), Ok("91110000600037341L"));
        for text in ["", "12x", "SG201234567890"] {
            assert!(identifier(text).is_err(), "{text}");
        }
    }
}
