//! `greenlane policy show`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{book, by_id, yes};
use crate::{
    cli::{Context, output},
    domain::Ppm,
    policy::{
        Parameters, Policy,
        decree::{MeasureDocument, Only, Provenance, RateDocument, Scope, Source, TierDocument},
        diff,
    },
};

/// Show a whole policy, or the operating parameters
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Such as CN-GACC-251; or parameters
    id: String,
}

impl Show {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let book = book(context)?;
        let parameters = &book.parameters;
        match (self.id.as_str(), context.output) {
            ("parameters", output::Format::Table) => parameters_table(parameters)?,
            ("parameters", output::Format::Json) => {
                output::json(&with_digest(
                    serde_json::to_value(&parameters.document)?,
                    &parameters.digest,
                ))?;
            }
            (id, format) => {
                let policy = by_id(&book, id)?;
                let baseline = parameters.document.default_baseline_ppm;
                match format {
                    output::Format::Table => policy_table(policy, baseline)?,
                    output::Format::Json => output::json(&policy_json(policy, baseline)?)?,
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn with_digest(mut document: Value, digest: &str) -> Value {
    if let Value::Object(keys) = &mut document {
        keys.insert("digest".to_owned(), digest.into());
    }
    document
}

// === policies ===

/// The document as written, with its digest and the figure of each rate.
fn policy_json(policy: &Policy, baseline: Ppm) -> anyhow::Result<Value> {
    let mut document = serde_json::to_value(&policy.document)?;
    let rows = document.get_mut("tier").and_then(Value::as_array_mut);
    for (row, tier) in rows.into_iter().flatten().zip(&policy.document.tier) {
        if let Some(Value::Object(rate)) = row.get_mut("rate") {
            let figure = policy.row(tier.tier).rate.apply(baseline);
            rate.insert("at_default_baseline_ppm".to_owned(), json!(figure));
        }
    }
    Ok(with_digest(document, &policy.digest))
}

fn policy_table(policy: &Policy, baseline: Ppm) -> anyhow::Result<()> {
    let document = &policy.document;
    let roles: Vec<_> = document.counted_roles.iter().map(|role| role.name()).collect();
    let head = [
        ("id", document.id.clone()),
        ("decree", document.decree.clone()),
        ("title", document.title.en.clone()),
        ("", document.title.zh.clone()),
        ("authority", document.authority.clone()),
        ("effective from", document.effective_from.to_string()),
        ("provisional", yes(document.provisional)),
        ("counted roles", roles.join(", ")),
        ("digest", policy.digest.clone()),
    ];
    output::table(&["policy", ""], head.map(|(key, value)| [key.to_owned(), value]))?;
    for tier in &document.tier {
        output::line(&match &tier.name {
            Some(name) => format!("\n{}: {} {}", tier.tier, name.en, name.zh),
            None => format!("\n{}", tier.tier),
        })?;
        let rows = tier_rows(policy, tier, baseline);
        output::table(&["entry", "value", "article", "provenance"], rows)?;
    }
    output::line("\nRules of no tier")?;
    output::table(&["rule", "article", "provenance"], rules(policy)?)?;
    Ok(())
}

fn tier_rows(policy: &Policy, tier: &TierDocument, baseline: Ppm) -> Vec<[String; 4]> {
    let TierDocument {
        tier: own,
        taken_as,
        name: _,
        rate,
        document_review,
        priority_class,
        green_channel,
        measure,
    } = tier;
    let row = |entry: &str, value: String, article: &str, provenance: Provenance| {
        [
            entry.to_owned(),
            value,
            article.to_owned(),
            provenance.name().to_owned(),
        ]
    };
    let mut rows = Vec::new();
    if let Some(target) = taken_as {
        rows.push(row(
            "taken as",
            target.tier.to_string(),
            &target.article,
            target.provenance,
        ));
    }
    if let Some(RateDocument {
        article, provenance, ..
    }) = rate
    {
        let words = diff::rate(policy.row(*own).rate, baseline);
        rows.push(row("inspection rate", words, article, *provenance));
    }
    if let Some(cell) = document_review {
        rows.push(row(
            "document review",
            cell.value.to_string(),
            &cell.article,
            cell.provenance,
        ));
    }
    if let Some(cell) = priority_class {
        rows.push(row(
            "priority class",
            cell.value.to_string(),
            &cell.article,
            cell.provenance,
        ));
    }
    if let Some(cell) = green_channel {
        rows.push(row(
            "green channel",
            yes(cell.value),
            &cell.article,
            cell.provenance,
        ));
    }
    // Shipment measures first, as on a decision.
    for scope in [Scope::Shipment, Scope::Enterprise] {
        rows.extend(measure.iter().filter(|entry| entry.scope == scope).map(|entry| {
            let measure = entry.measure.to_string();
            row(place(entry), measure, &entry.article, entry.provenance)
        }));
    }
    rows
}

const fn place(entry: &MeasureDocument) -> &'static str {
    match (entry.scope, entry.only) {
        (Scope::Shipment, None) => "shipment",
        (Scope::Shipment, Some(Only::Export)) => "shipment, exports",
        (Scope::Shipment, Some(Only::Processing)) => "shipment, processing trade",
        (Scope::Enterprise, _) => "enterprise",
    }
}

fn rules(policy: &Policy) -> anyhow::Result<Vec<[String; 3]>> {
    let articles = serde_json::to_value(&policy.document.articles)?;
    let rules = articles.as_object().into_iter().flatten().map(|(rule, source)| {
        let Source { article, provenance } = serde_json::from_value(source.clone())?;
        Ok([rule.replace('_', " "), article, provenance.name().to_owned()])
    });
    rules.collect()
}

// === parameters ===

fn parameters_table(parameters: &Parameters) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    flatten("", &serde_json::to_value(&parameters.document)?, &mut rows);
    rows.push(["digest".to_owned(), parameters.digest.clone()]);
    Ok(output::table(&["parameter", "value"], rows)?)
}

/// A row for each value, under its path; an empty list is a value too.
fn flatten(path: &str, value: &Value, rows: &mut Vec<[String; 2]>) {
    match value {
        Value::Object(keys) => {
            for (key, value) in keys {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                flatten(&path, value, rows);
            }
        }
        Value::Array(items) if items.is_empty() => rows.push([path.to_owned(), "none".to_owned()]),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{at}]"), item, rows);
            }
        }
        Value::String(text) => rows.push([path.to_owned(), text.clone()]),
        Value::Null | Value::Bool(_) | Value::Number(_) => rows.push([path.to_owned(), value.to_string()]),
    }
}
