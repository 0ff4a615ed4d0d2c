//! `greenlane enterprise`: the register of enterprises in the store

mod file;
mod import;
mod lines;
mod rows;
mod show;

pub use file::EnterpriseFile;

use std::{process::ExitCode, str::FromStr};

use clap::{Subcommand, builder::NonEmptyStringValueParser};
use jiff::Timestamp;

use super::{Context, author::signed, output};
use crate::{
    app::source_settings,
    domain::{
        CreditTier, Date,
        enterprise::ScheduledTier,
        identifier::{CustomsCode, SocialCreditCode},
    },
    upstream::{
        edit::{Assign, Editor, EnterpriseChange},
        source::SourceSettings,
    },
};

/// Fill, change and read the register of enterprises
#[derive(Debug, clap::Args)]
pub(super) struct Enterprise {
    #[command(subcommand)]
    command: EnterpriseCommand,
}

#[derive(Debug, Subcommand)]
enum EnterpriseCommand {
    Import(import::Import),
    Set(Set),
    Show(show::Show),
    Schedule(Schedule),
    Unschedule(Unschedule),
}

impl Enterprise {
    /// Runs the command.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self.command {
            EnterpriseCommand::Import(command) => command.run(context),
            EnterpriseCommand::Set(command) => command.run(context),
            EnterpriseCommand::Show(command) => command.run(context),
            EnterpriseCommand::Schedule(command) => command.run(context),
            EnterpriseCommand::Unschedule(command) => command.run(context),
        }
    }
}

/// Register an enterprise, or change what is given of one
#[derive(Debug, clap::Args)]
struct Set {
    /// 10 characters 0-9 A-Z
    customs_code: CustomsCode,

    #[command(flatten)]
    columns: Columns,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Columns {
    /// Its name; a new enterprise needs one
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,

    /// `ADVANCED_CERTIFIED`, `CERTIFIED`, `REGULAR`, `DISCREDITED` or `SERIOUSLY_DISCREDITED`; a new enterprise needs one
    #[arg(long)]
    tier: Option<CreditTier>,

    /// First day of the tier (UTC+8) [default: today, where the tier changes]
    #[arg(long, value_name = "DATE")]
    effective_from: Option<Date>,

    /// First day no longer covered by the tier (UTC+8), or "none"
    #[arg(long, value_name = "DATE", value_parser = or_none::<Date>)]
    valid_until: Option<Assign<Date>>,

    /// 18 characters (GB 32100), or "none"
    #[arg(long, value_name = "CODE", value_parser = or_none::<SocialCreditCode>)]
    social_credit_code: Option<Assign<SocialCreditCode>>,

    /// Whether it is suspended: managed as REGULAR at best
    #[arg(long, value_name = "BOOL")]
    suspended: Option<bool>,
}

fn or_none<T: FromStr>(text: &str) -> Result<Assign<T>, T::Err> {
    if text == "none" {
        return Ok(Assign::Clear);
    }
    text.parse().map(Assign::Set)
}

impl Set {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let Columns {
            name,
            tier,
            effective_from,
            valid_until,
            social_credit_code,
            suspended,
        } = self.columns;
        let change = EnterpriseChange {
            name,
            social_credit_code: social_credit_code.unwrap_or_default(),
            credit_tier: tier,
            tier_effective_from: effective_from,
            tier_valid_until: valid_until.unwrap_or_default(),
            suspended,
        };
        let code = self.customs_code;
        let mut editor = signed(Editor::open_or_create(&store(context))?)?;
        let is_new = editor.set_enterprise(code, &change, Date::of(Timestamp::now()))?;
        let done = if is_new { "registered" } else { "changed" };
        said(
            context,
            &format!("{done} {code}"),
            &serde_json::json!({"customs_code": code.as_str(), "done": done}),
        )
    }
}

/// Decide a change of tier in advance
#[derive(Debug, clap::Args)]
struct Schedule {
    /// 10 characters 0-9 A-Z; need not be registered yet
    customs_code: CustomsCode,

    /// The tier from that day on
    #[arg(long)]
    tier: CreditTier,

    /// First day of the tier (UTC+8)
    #[arg(long, value_name = "DATE")]
    from: Date,
}

impl Schedule {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let Self {
            customs_code: code,
            tier,
            from,
        } = self;
        let scheduled = ScheduledTier {
            effective_from: from,
            credit_tier: tier,
        };
        signed(Editor::open_or_create(&store(context))?)?.schedule(code, scheduled)?;
        let done =
            serde_json::json!({"customs_code": code.as_str(), "credit_tier": tier, "effective_from": from});
        said(context, &format!("{code} is {tier} from {from} on"), &done)
    }
}

/// Take back a change of tier decided in advance
#[derive(Debug, clap::Args)]
struct Unschedule {
    /// 10 characters 0-9 A-Z
    customs_code: CustomsCode,

    /// The first day of the tier that was scheduled (UTC+8)
    #[arg(long, value_name = "DATE")]
    from: Date,
}

impl Unschedule {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let Self {
            customs_code: code,
            from,
        } = self;
        let was_scheduled = signed(Editor::open(&store(context))?)?.unschedule(code, from)?;
        anyhow::ensure!(was_scheduled, "nothing is scheduled for {code} on {from}");
        let done = serde_json::json!({"customs_code": code.as_str(), "effective_from": from});
        said(
            context,
            &format!("nothing is scheduled for {code} on {from} any more"),
            &done,
        )
    }
}

/// The store of the configuration.
pub(super) fn store(context: &Context) -> SourceSettings {
    source_settings(context.settings())
}

/// Tells in one line what was done.
pub(super) fn said(context: &Context, text: &str, json: &serde_json::Value) -> anyhow::Result<ExitCode> {
    match context.output {
        output::Format::Table => output::line(text)?,
        output::Format::Json => output::json(json)?,
    }
    Ok(ExitCode::SUCCESS)
}
