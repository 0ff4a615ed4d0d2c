//! Decisions as a table for people.

use std::io;

use super::output;
use crate::wire::pb;

/// Prints decisions, a row each, with their reasons.
pub(super) fn print(decisions: &[(String, pb::Decision)]) -> io::Result<()> {
    let headings = [
        "declaration",
        "lane",
        "tier",
        "inspection",
        "priority",
        "green channel",
        "reasons",
    ];
    output::table(
        &headings,
        decisions.iter().map(|(label, decision)| row(label, decision)),
    )
}

fn row(label: &str, decision: &pb::Decision) -> [String; 7] {
    let inspection = decision.inspection.clone().unwrap_or_default();
    let priority = decision.priority.unwrap_or_default();
    let green = decision.green_channel.clone().unwrap_or_default();
    let selected = if inspection.selected {
        "SELECTED"
    } else {
        "not selected"
    };
    let basis = output::term(inspection.basis().as_str_name(), "INSPECTION_BASIS_");
    let blocked: Vec<_> = green
        .blocked_by()
        .map(|code| output::term(code.as_str_name(), "REASON_CODE_"))
        .collect();
    let number = &decision.declaration_number;
    [
        if label.is_empty() {
            number.clone()
        } else {
            format!("{number}\n{label}")
        },
        output::term(decision.lane().as_str_name(), "LANE_"),
        output::term(decision.credit_tier().as_str_name(), "CREDIT_TIER_"),
        format!(
            "{:.4} %\n{selected}\n({basis})",
            f64::from(inspection.rate_ppm) / 10_000.0
        ),
        format!(
            "{}\nrank {}",
            output::term(priority.priority_class().as_str_name(), "PRIORITY_CLASS_"),
            priority.rank
        ),
        if green.eligible {
            "eligible".to_owned()
        } else {
            format!("no:\n{}", blocked.join("\n"))
        },
        decision.reasons.iter().map(reason).collect::<Vec<_>>().join("\n"),
    ]
}

fn reason(reason: &pb::Reason) -> String {
    let code = output::term(reason.code().as_str_name(), "REASON_CODE_");
    let party = reason
        .party
        .map(|party| format!(" (party {party})"))
        .unwrap_or_default();
    let article = if reason.article.is_empty() {
        String::new()
    } else {
        format!(" [{}]", reason.article)
    };
    format!("{code}{party}: {}{article}", reason.text)
}
