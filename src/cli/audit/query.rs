//! `greenlane audit query`

mod offline;

use anyhow::ensure;
use jiff::Timestamp;
use serde_json::json;

use super::Log;
use crate::{
    audit::{decision, query::DecisionFilter},
    cli::{Context, client, output},
    wire::{
        convert, json,
        pb::{self, audit_record::Entry, audit_service_client::AuditServiceClient},
    },
};

/// Look logged decisions up
///
/// From the running server, oldest first; or offline from the files of one log (--log), or from what every replica shipped to
/// a store (--store), replica by replica in the order of their logs. With --output json each record is a line of its own:
/// its replica, its sequence and the record; a server tells of a record its request, its decision and its caller.
#[derive(Debug, clap::Args)]
pub(super) struct Query {
    /// The decision of this id
    #[arg(long, value_name = "UUID", conflicts_with_all = ["declaration", "enterprise", "office", "from", "to", "lane"])]
    decision: Option<String>,

    /// Decisions on this declaration
    #[arg(long, value_name = "NUMBER")]
    declaration: Option<String>,

    /// Decisions with this enterprise, by its customs code, among the parties
    #[arg(long, value_name = "CODE")]
    enterprise: Option<String>,

    /// Decisions at this office
    #[arg(long, value_name = "CODE")]
    office: Option<String>,

    /// Decided at or after this instant, such as `2026-11-24T00:00:00+08:00`
    #[arg(long, value_name = "INSTANT")]
    from: Option<Timestamp>,

    /// Decided before this instant
    #[arg(long, value_name = "INSTANT")]
    to: Option<Timestamp>,

    /// Decisions in this lane, such as GREEN
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,

    /// At most so many records; 0 is all of them
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: u64,

    #[command(flatten)]
    log: Log,

    /// The store to read, such as `postgres://...` or `nats://...`, instead of a server
    #[arg(long, value_name = "URL", conflicts_with = "log")]
    store: Option<String>,

    /// Every kind of record, not decisions alone; offline, and with --output json
    #[arg(long)]
    all_kinds: bool,
}

/// A record that is to be shown.
#[derive(Debug)]
struct Shown {
    replica: String,
    sequence: u64,
    record: pb::AuditRecord,
}

/// Shows records as they come.
struct Printer {
    json: bool,
    left: u64,
    rows: Vec<[String; 7]>,
}

impl Printer {
    /// Takes one; `false` once it wants no more.
    fn take(&mut self, shown: &Shown) -> anyhow::Result<bool> {
        if self.json {
            let line = json!({
                "replica": shown.replica,
                "sequence": shown.sequence.to_string(),
                "record": json::to_value("AuditRecord", &shown.record)?,
            });
            output::line(&line.to_string())?;
        } else if let Some(Entry::Decision(entry)) = &shown.record.entry {
            self.rows.push(row(shown, entry));
        }
        self.left -= 1;
        Ok(self.left > 0)
    }
}

impl Query {
    /// Runs the command; whether anything was found.
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<bool> {
        let json = context.output == output::Format::Json;
        let offline = self.log.log.is_some() || self.store.is_some();
        ensure!(
            !self.all_kinds || offline && json,
            "--all-kinds needs --log or --store, and --output json"
        );
        if let Some(id) = &self.decision {
            ensure!(uuid::Uuid::try_parse(id).is_ok(), "--decision: {id:?} is no UUID");
        }
        let all = if self.limit == 0 { u64::MAX } else { self.limit };
        let mut printer = Printer {
            json,
            left: all,
            rows: Vec::new(),
        };
        let filter = self.filter()?;
        match (&self.log.log, &self.store) {
            (Some(directory), _) => {
                offline::directory(directory, &mut |shown| self.show(&filter, shown, &mut printer))?;
            }
            (None, Some(url)) => {
                client::block_on(offline::store(context, url, &mut |shown| {
                    self.show(&filter, shown, &mut printer)
                }))?;
            }
            (None, None) => client::block_on(self.ask(context, &filter, &mut printer))?,
        }
        if !json {
            let headings = [
                "decided at",
                "declaration",
                "office",
                "lane",
                "tier",
                "decision",
                "in the log",
            ];
            output::table(&headings, &printer.rows)?;
        }
        Ok(printer.left < all)
    }

    fn filter(&self) -> anyhow::Result<DecisionFilter> {
        let lane = self.lane.as_ref().map(|lane| lane.to_ascii_uppercase());
        if let Some(lane) = &lane {
            ensure!(lane_of(lane).is_some(), "--lane: there is no lane {lane}");
        }
        Ok(DecisionFilter {
            decided_from: self.from,
            decided_to: self.to,
            customs_office: self.office.clone(),
            customs_code: self.enterprise.clone(),
            declaration_number: self.declaration.clone(),
            lane,
        })
    }

    /// Shows a record that was read, if it is wanted; `false` once no more is.
    fn show(&self, filter: &DecisionFilter, shown: &Shown, printer: &mut Printer) -> anyhow::Result<bool> {
        let wanted = match &shown.record.entry {
            Some(Entry::Decision(entry)) => {
                let id = entry
                    .decision
                    .as_ref()
                    .map(|decision| decision.decision_id.as_str());
                let is_that = self.decision.as_deref().is_none_or(|wanted| {
                    let same =
                        |id: &str| uuid::Uuid::try_parse(id).ok() == uuid::Uuid::try_parse(wanted).ok();
                    id.is_some_and(same)
                });
                is_that && decision::passes(filter, entry)
            }
            // A filter is about decisions; without one everything is wanted.
            _ => self.all_kinds && self.decision.is_none() && *filter == DecisionFilter::default(),
        };
        if wanted { printer.take(shown) } else { Ok(true) }
    }

    /// Asks the server.
    async fn ask(
        &self,
        context: &Context,
        filter: &DecisionFilter,
        printer: &mut Printer,
    ) -> anyhow::Result<()> {
        let channel = client::connect(context).await?;
        let mut audit = AuditServiceClient::new(channel).max_decoding_message_size(client::MAX_MESSAGE);
        if let Some(id) = &self.decision {
            let request = pb::GetDecisionRequest {
                key: Some(pb::get_decision_request::Key::DecisionId(id.clone())),
            };
            return match audit.get_decision(request).await {
                Ok(answer) => {
                    if let Some(record) = answer.into_inner().record {
                        printer.take(&told(record))?;
                    }
                    Ok(())
                }
                Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
                Err(status) => Err(client::refusal(&status)),
            };
        }
        let mut request = pb::ListDecisionsRequest {
            decided_from: filter.decided_from.map(convert::instant),
            decided_to: filter.decided_to.map(convert::instant),
            customs_office: filter.customs_office.clone().unwrap_or_default(),
            customs_code: filter.customs_code.clone().unwrap_or_default(),
            declaration_number: filter.declaration_number.clone().unwrap_or_default(),
            lane: filter
                .lane
                .as_deref()
                .and_then(lane_of)
                .unwrap_or_default()
                .into(),
            page_size: 0,
            page_token: String::new(),
        };
        loop {
            request.page_size = u32::try_from(printer.left).unwrap_or(u32::MAX);
            let answer = audit.list_decisions(request.clone()).await;
            let page = answer.map_err(|status| client::refusal(&status))?.into_inner();
            for record in page.records {
                if !printer.take(&told(record))? {
                    return Ok(());
                }
            }
            if page.next_page_token.is_empty() {
                return Ok(());
            }
            request.page_token = page.next_page_token;
        }
    }
}

fn lane_of(word: &str) -> Option<pb::Lane> {
    pb::Lane::from_str_name(&format!("LANE_{word}")).filter(|lane| *lane != pb::Lane::Unspecified)
}

/// A record as far as a server tells of it.
fn told(record: pb::AuditedDecision) -> Shown {
    Shown {
        replica: record.replica,
        sequence: record.sequence,
        record: pb::AuditRecord {
            recorded_at: None,
            entry: Some(Entry::Decision(pb::DecisionEntry {
                request: record.request,
                decision: record.decision,
                caller: record.caller,
                ..pb::DecisionEntry::default()
            })),
        },
    }
}

fn row(shown: &Shown, entry: &pb::DecisionEntry) -> [String; 7] {
    let decided = entry.decision.clone().unwrap_or_default();
    let office = entry
        .request
        .as_ref()
        .map(|request| request.customs_office.clone());
    [
        decision::decided_at(entry).to_string(),
        decided.declaration_number.clone(),
        office.unwrap_or_default(),
        decision::lane(entry).to_owned(),
        output::term(decided.credit_tier().as_str_name(), "CREDIT_TIER_"),
        decided.decision_id.clone(),
        format!("{} {}", shown.replica, shown.sequence),
    ]
}
