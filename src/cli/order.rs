//! `greenlane order`: control orders in the store

use std::process::ExitCode;

use arrayvec::ArrayString;
use clap::{Subcommand, builder::NonEmptyStringValueParser};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Context,
    author::signed,
    enterprise::{said, store},
    output,
};
use crate::{
    domain::{
        Direction,
        identifier::{
            BadIdentifier, ContainerNumber, Country, CustomsCode, CustomsOffice, HsPrefix, ParsedAeoCode,
            SocialCreditCode,
        },
        order::{ControlOrder, OrderBasis, OrderEnterprise, OrderKind, Selectors},
    },
    upstream::edit::{Editor, Ending, StoredOrder},
};

/// Give, list and end control orders
#[derive(Debug, clap::Args)]
pub(super) struct Order {
    #[command(subcommand)]
    command: OrderCommand,
}

#[derive(Debug, Subcommand)]
enum OrderCommand {
    Add(Box<Add>),
    List(List),
    End(End),
}

impl Order {
    /// Runs the command.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self.command {
            OrderCommand::Add(command) => command.run(context),
            OrderCommand::List(command) => command.run(context),
            OrderCommand::End(command) => command.run(context),
        }
    }
}

/// Give a control order
#[derive(Debug, clap::Args)]
struct Add {
    /// A name of its own
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    id: String,

    /// What it demands: HOLD, INSPECT or DOCUMENTS
    #[arg(long)]
    kind: OrderKind,

    /// Why it exists: MANDATED (by law), TARGETED (by intelligence) or EMERGENCY
    #[arg(long)]
    basis: OrderBasis,

    #[command(flatten)]
    selectors: SelectorArgs,

    /// In force from this instant on, such as 2026-11-01T00:00:00+08:00 [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    valid_from: Option<Timestamp>,

    /// No longer in force from this instant on [default: no end]
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    valid_to: Option<Timestamp>,

    /// The article behind it
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    legal_basis: String,

    /// What the trader may know
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    public_reason: String,

    /// What only officers and auditors may know
    #[arg(long, value_name = "TEXT")]
    confidential_reason: Option<String>,
}

/// What the order is about. At least one is needed; a declaration matches when all that are given do.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct SelectorArgs {
    /// A party's customs code, social credit code or AEO code
    #[arg(long, value_name = "CODE", value_parser = enterprise_id)]
    enterprise_id: Option<OrderEnterprise>,

    /// Goods whose commodity code begins so; with --origin-country the same goods item
    #[arg(long, value_name = "DIGITS")]
    hs_prefix: Option<HsPrefix>,

    /// Goods of this origin (ISO 3166-1 alpha-2)
    #[arg(long, value_name = "COUNTRY")]
    origin_country: Option<Country>,

    /// The office of the declaration
    #[arg(long, value_name = "OFFICE")]
    customs_office: Option<CustomsOffice>,

    /// One of the containers
    #[arg(long, value_name = "NUMBER")]
    container_number: Option<ContainerNumber>,

    /// IMPORT, EXPORT or TRANSIT
    #[arg(long)]
    direction: Option<Direction>,
}

fn instant(text: &str) -> Result<Timestamp, &'static str> {
    text.parse()
        .map_err(|_| "must be an instant such as 2026-11-01T00:00:00+08:00")
}

/// The identifier in the form in which it is held against a declaration's parties.
fn enterprise_id(text: &str) -> Result<OrderEnterprise, BadIdentifier> {
    const FORM: BadIdentifier = BadIdentifier(
        "must be a customs code (10 characters 0-9 A-Z), a social credit code (18) or an AEO code",
    );
    let code = |code: &str| ArrayString::from(code).map_err(|_| FORM);
    if text.parse::<CustomsCode>().is_ok() || text.parse::<SocialCreditCode>().is_ok() {
        return code(text);
    }
    match text.parse() {
        Ok(ParsedAeoCode::Foreign(foreign)) => code(foreign.as_str()),
        Ok(ParsedAeoCode::Chinese(chinese)) => code(chinese.as_str()),
        Err(_) => Err(FORM),
    }
}

impl Add {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let SelectorArgs {
            enterprise_id,
            hs_prefix,
            origin_country,
            customs_office,
            container_number,
            direction,
        } = self.selectors;
        let order = ControlOrder {
            id: self.id,
            kind: self.kind,
            basis: self.basis,
            selectors: Selectors {
                enterprise_id,
                hs_prefix,
                origin_country,
                customs_office,
                container_number: container_number.and_then(|number| ArrayString::from(number.as_str()).ok()),
                direction,
            },
            valid_from: self.valid_from.unwrap_or_else(Timestamp::now),
            valid_to: self.valid_to,
            legal_basis: self.legal_basis,
            public_reason: self.public_reason,
            confidential_reason: self.confidential_reason,
        };
        if let Some(end) = order.valid_to {
            anyhow::ensure!(
                order.valid_from < end,
                "--valid-to {end} is not after --valid-from {}",
                order.valid_from
            );
        }
        signed(Editor::open_or_create(&store(context))?)?.add_order(&order)?;
        let ControlOrder { id, kind, basis, .. } = &order;
        let done = serde_json::json!({"id": id, "kind": kind, "basis": basis});
        said(context, &format!("added order {id}: {kind}, {basis}"), &done)
    }
}

/// List the control orders that are in force
#[derive(Debug, clap::Args)]
struct List {
    /// Those too that have ended or have yet to begin
    #[arg(long)]
    all: bool,

    /// With the reasons that only officers and auditors may know
    #[arg(long)]
    confidential: bool,
}

impl List {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let now = Timestamp::now();
        let mut orders = Editor::open(&store(context))?.orders()?;
        // One that cannot be read is everybody's business.
        orders.retain(|order| self.all || order.unreadable.is_some() || order.in_force(now));
        match context.output {
            output::Format::Table => self.table(&orders, now)?,
            output::Format::Json => output::json(&self.json(orders, now))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn table(&self, orders: &[StoredOrder], now: Timestamp) -> anyhow::Result<()> {
        if orders.is_empty() {
            return Ok(output::line(if self.all {
                "no orders"
            } else {
                "no orders in force"
            })?);
        }
        let mut columns = vec!["id", "kind", "basis", "selects", "valid_from", "valid_to"];
        if self.all {
            columns.push("in force");
        }
        columns.extend(["legal_basis", "public_reason"]);
        if self.confidential {
            columns.push("confidential_reason");
        }
        if orders.iter().any(|order| order.unreadable.is_some()) {
            columns.push("unreadable");
        }
        let cell = |order: &StoredOrder, column: &str| match column {
            "selects" => selects(order),
            "in force" => if order.in_force(now) { "yes" } else { "no" }.to_owned(),
            "unreadable" => order.unreadable.clone().unwrap_or_default(),
            column => text(order, column).unwrap_or_default(),
        };
        let rows = orders.iter().map(|order| {
            columns
                .iter()
                .map(|column| cell(order, column))
                .collect::<Vec<_>>()
        });
        Ok(output::table(&columns, rows)?)
    }

    fn json(&self, orders: Vec<StoredOrder>, now: Timestamp) -> Value {
        let row = |order: StoredOrder| {
            let in_force = order.in_force(now);
            let mut row = order.row;
            if !self.confidential {
                row.remove("confidential_reason");
            }
            row.insert("in_force".to_owned(), in_force.into());
            if let Some(problem) = order.unreadable {
                row.insert("unreadable".to_owned(), problem.into());
            }
            Value::Object(row)
        };
        orders.into_iter().map(row).collect()
    }
}

fn text(order: &StoredOrder, column: &str) -> Option<String> {
    match order.row.get(column)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Some(value.to_string())
        }
    }
}

fn selects(order: &StoredOrder) -> String {
    const SELECTORS: [&str; 6] = [
        "enterprise_id",
        "hs_prefix",
        "origin_country",
        "customs_office",
        "container_number",
        "direction",
    ];
    let given = SELECTORS
        .iter()
        .filter_map(|column| Some(format!("{column}={}", text(order, column)?)));
    given.collect::<Vec<_>>().join(", ")
}

/// End a control order
#[derive(Debug, clap::Args)]
struct End {
    /// Its name
    id: String,

    /// No longer in force from this instant on [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<Timestamp>,
}

impl End {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let id = self.id;
        let at = self.at.unwrap_or_else(Timestamp::now);
        let (end, changed) = match signed(Editor::open(&store(context))?)?.end_order(&id, at)? {
            Ending::Unknown => anyhow::bail!("no order {id} in the store"),
            Ending::Before(end) => (end, false),
            Ending::Ended => (at, true),
        };
        let ends = if changed { "ends" } else { "had ended" };
        let end = format!("{end:.3}");
        let done = serde_json::json!({"id": id, "valid_to": end, "changed": changed});
        said(context, &format!("order {id} {ends} at {end}"), &done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enterprise_is_named_as_declarations_are_compared() {
        let named = |text: &str| enterprise_id(text).map(|id| id.as_str().to_owned());
        for (text, id) in [
            ("1101919107", "1101919107"),
            ("91110000600037341L", "91110000600037341L"),
            ("CN1101919107", "1101919107"),
            ("aeo<sg 2012>", "SG2012"),
        ] {
            assert_eq!(named(text).as_deref(), Ok(id));
        }
        assert!(named("12").is_err());
    }
}
