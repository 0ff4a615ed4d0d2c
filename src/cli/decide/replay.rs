//! A file of declarations, replayed through a running server.
//!
//! Two kinds of CSV are read, told apart by their header:
//!
//! - Ours: `declaration_number, direction, customs_office, hs_code, origin_country` and, where known, `consignee,
//!   consignor, declarant, transport_mode, trade_mode, transport_document_number`.
//! - The Korea Customs Service's import declaration datasets (22 columns, "Declaration ID" first), mapped so:
//!   office, its number filled up to 4 digits; HS6 and origin as they stand; transport mode by the Korean code (10 sea,
//!   20 rail, 30 road, 40 air, 50 mail, else other); the importer becomes the consignee with customs code `KI` + 8, the
//!   declarant the declarant with `KD` + 8, where the 8 are the anonymous id filled up with zeros on the left; the
//!   declaration number is office, this year, `1`, and the declaration id in 9 digits. Dates are dropped (decisions are
//!   made today), as are tax, mass, price, sellers and fraud labels.

use std::{collections::BTreeMap, fs::File, path::Path, process::ExitCode};

use anyhow::{Context as _, ensure};
use csv::StringRecord;
use indicatif::{ProgressBar, ProgressStyle};

use super::{BATCH, Decider, flags::identifier};
use crate::{
    cli::{Context, client, output},
    domain::{Date, Direction, PartyRole, TradeMode, TransportMode},
    facilitation::Moment,
    wire::pb,
};

/// Shares of importers by tier, in parts per 1000: about 1 % of active firms are advanced certified (7,029 of some
/// 688,000 in 2025) and about 1.4 % discredited (6,788 of some 492,000).
const ADVANCED_PER_MILLE: u64 = 10;
const DISCREDITED_PER_MILLE: u64 = 14;

pub(super) fn run(context: &Context, file: &Path) -> anyhow::Result<ExitCode> {
    let mut source = Source::open(file)?;
    let mut mix = Mix::default();
    client::block_on(async {
        let mut service = Decider::connect(context).await?;
        let progress = progress(file)?;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let next = source.next()?;
            let ended = next.is_none();
            batch.extend(next);
            if batch.len() == BATCH || (ended && !batch.is_empty()) {
                for result in service.decide(&batch).await? {
                    mix.count(result);
                }
                batch.clear();
                progress.set_position(source.position());
            }
            if ended {
                progress.finish_and_clear();
                return Ok(());
            }
        }
    })?;
    mix.print(context.output)?;
    Ok(if mix.refused == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Writes the enterprises that a file names, for `enterprise import`: importers in the real proportions of tiers by a
/// hash of their code, so that the same file always gives the same register; everybody else advanced certified, because
/// the lower tier prevails and the importers' is to show.
pub(super) fn write_enterprises(file: &Path, target: &Path) -> anyhow::Result<ExitCode> {
    let mut source = Source::open(file)?;
    let mut enterprises = BTreeMap::new();
    while let Some(request) = source.next()? {
        for party in request.parties {
            if let Some(pb::party::Identifier::CustomsCode(code)) = party.identifier {
                let importer = party.role == i32::from(PartyRole::Consignee.number());
                let tier = if importer {
                    tier_of(&code)
                } else {
                    "ADVANCED_CERTIFIED"
                };
                enterprises.insert(code, tier);
            }
        }
    }
    let mut writer = csv::Writer::from_path(target).with_context(|| target.display().to_string())?;
    writer.write_record(["customs_code", "name", "credit_tier", "tier_effective_from"])?;
    for (code, tier) in &enterprises {
        writer.write_record([code.as_str(), &format!("Enterprise {code}"), tier, "2020-01-01"])?;
    }
    writer.flush()?;
    output::line(&format!(
        "{}: {} enterprises",
        target.display(),
        enterprises.len()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn tier_of(code: &str) -> &'static str {
    let hash = ring::digest::digest(&ring::digest::SHA256, code.as_bytes());
    let number = hash
        .as_ref()
        .iter()
        .take(4)
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    match number % 1000 {
        share if share < ADVANCED_PER_MILLE => "ADVANCED_CERTIFIED",
        share if share < ADVANCED_PER_MILLE + DISCREDITED_PER_MILLE => "DISCREDITED",
        _ => "REGULAR",
    }
}

fn progress(file: &Path) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{wide_bar} {percent} % {eta}")?;
    Ok(ProgressBar::new(std::fs::metadata(file)?.len()).with_style(style))
}

/// A CSV file of declarations.
struct Source {
    name: String,
    reader: csv::Reader<File>,
    headers: StringRecord,
    korean: bool,
    year: i32,
}

impl Source {
    fn open(file: &Path) -> anyhow::Result<Self> {
        let name = file.display().to_string();
        let mut reader = csv::Reader::from_path(file).with_context(|| name.clone())?;
        let headers = reader.headers()?.clone();
        let korean = headers.get(0) == Some("Declaration ID");
        let wanted = [
            "declaration_number",
            "direction",
            "customs_office",
            "hs_code",
            "origin_country",
        ];
        if !korean {
            for column in wanted {
                ensure!(
                    headers.iter().any(|own| own == column),
                    "{name}: column {column} is missing"
                );
            }
        }
        let year = Date::of(Moment::now().timestamp).civil().0;
        Ok(Self {
            name,
            reader,
            headers,
            korean,
            year,
        })
    }

    fn position(&self) -> u64 {
        self.reader.position().byte()
    }

    fn next(&mut self) -> anyhow::Result<Option<pb::DecideRequest>> {
        let mut record = StringRecord::new();
        if !self
            .reader
            .read_record(&mut record)
            .with_context(|| self.name.clone())?
        {
            return Ok(None);
        }
        let line = record.position().map_or(0, csv::Position::line);
        let row = Row {
            headers: &self.headers,
            record: &record,
        };
        let request = if self.korean {
            Ok(row.korean(self.year))
        } else {
            row.own()
        };
        request
            .with_context(|| format!("{} line {line}", self.name))
            .map(Some)
    }
}

struct Row<'r> {
    headers: &'r StringRecord,
    record: &'r StringRecord,
}

impl Row<'_> {
    fn get(&self, column: &str) -> &str {
        let place = self.headers.iter().position(|own| own == column);
        place.and_then(|place| self.record.get(place)).unwrap_or_default()
    }

    fn term<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &self,
        column: &str,
    ) -> anyhow::Result<Option<T>> {
        match self.get(column) {
            "" => Ok(None),
            text => Ok(Some(text.parse().with_context(|| column.to_owned())?)),
        }
    }

    fn own(&self) -> anyhow::Result<pb::DecideRequest> {
        let direction = self.term::<Direction>("direction")?;
        let roles = [
            (PartyRole::Declarant, "declarant"),
            (PartyRole::Consignee, "consignee"),
            (PartyRole::Consignor, "consignor"),
        ];
        let parties = roles
            .into_iter()
            .filter(|(_, column)| !self.get(column).is_empty());
        let text = |column: &str| self.get(column).to_owned();
        Ok(pb::DecideRequest {
            declaration_number: text("declaration_number"),
            direction: direction.map_or(0, |direction| direction.number().into()),
            parties: parties
                .map(|(role, column)| party(role, self.get(column)))
                .collect(),
            goods: vec![pb::GoodsItem {
                hs_code: text("hs_code"),
                origin_country: text("origin_country"),
            }],
            customs_office: text("customs_office"),
            transport_mode: self
                .term::<TransportMode>("transport_mode")?
                .map_or(0, |mode| mode.number().into()),
            trade_mode: self
                .term::<TradeMode>("trade_mode")?
                .map_or(0, |mode| mode.number().into()),
            transport_document_number: text("transport_document_number"),
            ..pb::DecideRequest::default()
        })
    }

    fn korean(&self, year: i32) -> pb::DecideRequest {
        let office = format!("{:0>4}", self.get("Office ID"));
        let transport_mode = match self.get("Mode of Transport") {
            "10" => TransportMode::Sea,
            "20" => TransportMode::Rail,
            "30" => TransportMode::Road,
            "40" => TransportMode::Air,
            "50" => TransportMode::Mail,
            _ => TransportMode::Other,
        };
        let code = |prefix: &str, column: &str| format!("{prefix}{:0>8}", self.get(column));
        pb::DecideRequest {
            declaration_number: format!("{office}{year}1{:0>9}", self.get("Declaration ID")),
            direction: Direction::Import.number().into(),
            parties: vec![
                party(PartyRole::Consignee, &code("KI", "Importer ID")),
                party(PartyRole::Declarant, &code("KD", "Declarant ID")),
            ],
            goods: vec![pb::GoodsItem {
                hs_code: self.get("HS6 Code").to_owned(),
                origin_country: self.get("Country of Origin").to_owned(),
            }],
            customs_office: office,
            transport_mode: transport_mode.number().into(),
            ..pb::DecideRequest::default()
        }
    }
}

fn party(role: PartyRole, code: &str) -> pb::Party {
    pb::Party {
        role: role.number().into(),
        identifier: Some(identifier(code)),
    }
}

/// The mix of answers, by tier.
#[derive(Default)]
struct Mix {
    tiers: BTreeMap<i32, TierMix>,
    refused: u64,
}

#[derive(Default)]
struct TierMix {
    decided: u64,
    rate_sum: u64,
    selected: u64,
    lanes: BTreeMap<i32, u64>,
}

impl Mix {
    fn count(&mut self, result: Result<pb::Decision, String>) {
        let decision = match result {
            Ok(decision) => decision,
            Err(error) => {
                self.refused += 1;
                eprintln!("{error}");
                return;
            }
        };
        let tier = self.tiers.entry(decision.credit_tier).or_default();
        let inspection = decision.inspection.unwrap_or_default();
        tier.decided += 1;
        tier.rate_sum += u64::from(inspection.rate_ppm);
        tier.selected += u64::from(inspection.selected);
        *tier.lanes.entry(decision.lane).or_default() += 1;
    }

    #[expect(clippy::cast_precision_loss, reason = "shares for people")]
    fn print(&self, format: output::Format) -> anyhow::Result<()> {
        let lanes = [
            pb::Lane::Green,
            pb::Lane::Blue,
            pb::Lane::Yellow,
            pb::Lane::Red,
            pb::Lane::Manual,
        ];
        let name = |tier: i32| {
            pb::CreditTier::try_from(tier)
                .map(|tier| output::term(tier.as_str_name(), "CREDIT_TIER_"))
                .unwrap_or_default()
        };
        let lane = |lane: pb::Lane| output::term(lane.as_str_name(), "LANE_");
        if format == output::Format::Json {
            let tier = |(&tier, mix): (&i32, &TierMix)| {
                let lanes: BTreeMap<_, _> = lanes
                    .iter()
                    .map(|&own| (lane(own), mix.lanes.get(&(own as i32)).copied().unwrap_or(0)))
                    .collect();
                serde_json::json!({
                    "credit_tier": name(tier), "decided": mix.decided, "selected": mix.selected,
                    "mean_rate_ppm": mix.rate_sum / mix.decided.max(1), "lanes": lanes,
                })
            };
            let tiers: Vec<_> = self.tiers.iter().map(tier).collect();
            return output::json(&serde_json::json!({"tiers": tiers, "refused": self.refused}));
        }
        let percent = |part: u64, whole: u64| format!("{:.3} %", part as f64 * 100.0 / whole.max(1) as f64);
        let row = |(&tier, mix): (&i32, &TierMix)| {
            let mut row = vec![
                name(tier),
                mix.decided.to_string(),
                format!(
                    "{:.4} %",
                    mix.rate_sum as f64 / mix.decided.max(1) as f64 / 10_000.0
                ),
                percent(mix.selected, mix.decided),
            ];
            row.extend(
                lanes
                    .iter()
                    .map(|&own| mix.lanes.get(&(own as i32)).copied().unwrap_or(0).to_string()),
            );
            row
        };
        let lane_names: Vec<String> = lanes.iter().map(|&own| lane(own)).collect();
        let mut headings = vec!["tier", "decided", "mean rate", "selected"];
        headings.extend(lane_names.iter().map(String::as_str));
        output::table(&headings, self.tiers.iter().map(row))?;
        let decided: u64 = self.tiers.values().map(|mix| mix.decided).sum();
        output::line(&format!("{decided} decided, {} refused", self.refused))?;
        Ok(())
    }
}
