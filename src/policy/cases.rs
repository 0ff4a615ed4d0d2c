//! Cases that a lawyer can read: what a policy must answer, with the article that says so.

mod circumstances;
mod expectation;

use std::sync::Arc;

use jiff::SignedDuration;
use serde::Deserialize;
use smallvec::smallvec;
use thiserror::Error;

use self::expectation::Expectation;
use super::{Facts, Parameters, Policy, PolicyBook, decide, draw::Draw};
use crate::domain::{
    CreditTier, Date, Direction, Freshness, PartyRole, TradeMode, TransportMode,
    date::later,
    declaration::{Declaration, GoodsItem, Party},
    order::{ControlOrder, OrderBasis, OrderKind},
    recognition::{Arrangement, ShippedArrangement, shipped_arrangements},
};

/// The case files shipped in the binary, by name.
pub const SHIPPED: [(&str, &str); 8] = [
    ("cn-gacc-225.toml", include_str!("cases/cn-gacc-225.toml")),
    ("cn-gacc-237.toml", include_str!("cases/cn-gacc-237.toml")),
    ("cn-gacc-251.toml", include_str!("cases/cn-gacc-251.toml")),
    ("cn-gacc-282.toml", include_str!("cases/cn-gacc-282.toml")),
    ("orders.toml", include_str!("cases/orders.toml")),
    ("recognition.toml", include_str!("cases/recognition.toml")),
    ("freshness.toml", include_str!("cases/freshness.toml")),
    ("parameters.toml", include_str!("cases/parameters.toml")),
];

/// A file of cases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// The cases, in order.
    pub case: Vec<Case>,
}

/// One case: a declaration's circumstances and what must come of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A sentence.
    pub name: String,
    /// Why the answer must be so.
    pub article: String,
    accepted_on: Date,
    policy: Option<String>,
    #[serde(default = "import")]
    direction: Direction,
    transport_mode: Option<TransportMode>,
    trade_mode: Option<TradeMode>,
    #[serde(default = "office")]
    customs_office: String,
    draw_ppm: Option<u32>,
    #[serde(default = "fresh")]
    freshness: Freshness,
    parties: Vec<CaseParty>,
    #[serde(default = "goods")]
    goods: Vec<CaseGoods>,
    #[serde(default)]
    containers: Vec<String>,
    #[serde(default)]
    orders: Vec<CaseOrder>,
    arrangements: Option<Vec<ShippedArrangement>>,
    #[serde(default)]
    parameters: toml::Table,
    expect: Expectation,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseParty {
    role: PartyRole,
    tier: Option<CreditTier>,
    from: Option<Date>,
    until: Option<Date>,
    #[serde(default)]
    suspended: bool,
    #[serde(default)]
    scheduled: Vec<CaseSchedule>,
    #[serde(default)]
    unknown: bool,
    operator: Option<CaseOperator>,
    operator_unknown: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseSchedule {
    tier: CreditTier,
    from: Date,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseOperator {
    country: String,
    programme: String,
    from: Option<Date>,
    until: Option<Date>,
    #[serde(default)]
    suspended: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseGoods {
    hs_code: String,
    origin_country: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseOrder {
    id: String,
    kind: OrderKind,
    basis: OrderBasis,
    party: Option<usize>,
    hs_prefix: Option<String>,
    origin_country: Option<String>,
    customs_office: Option<String>,
    container_number: Option<String>,
    direction: Option<Direction>,
    valid_from: Option<String>,
    valid_to: Option<String>,
    #[serde(default)]
    legal_basis: String,
    #[serde(default)]
    public_reason: String,
    confidential_reason: Option<String>,
}

fn import() -> Direction {
    Direction::Import
}

fn fresh() -> Freshness {
    Freshness::Fresh
}

fn office() -> String {
    "2225".to_owned()
}

fn goods() -> Vec<CaseGoods> {
    vec![CaseGoods {
        hs_code: "8471300000".to_owned(),
        origin_country: "KR".to_owned(),
    }]
}

/// Why a case could not be put to the policy.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct BadCase(String);

/// Reads a file of cases.
pub fn read(text: &str) -> Result<Vec<Case>, BadCase> {
    toml::from_str::<CaseFile>(text)
        .map(|file| file.case)
        .map_err(|error| BadCase(error.to_string()))
}

/// The shipped cases, with the file each is from.
pub fn shipped() -> Result<Vec<(&'static str, Case)>, BadCase> {
    let mut cases = Vec::new();
    for (file, text) in SHIPPED {
        let read = read(text).map_err(|error| BadCase(format!("{file}: {error}")))?;
        cases.extend(read.into_iter().map(|case| (file, case)));
    }
    Ok(cases)
}

impl Case {
    /// Puts the case to the policies; gives what differs from what it expects, a line each.
    pub fn run(&self, book: &PolicyBook) -> Result<Vec<String>, BadCase> {
        self.differences(book)
            .map_err(|problem| BadCase(format!("{}: {problem}", self.name)))
    }

    /// The policy that it is put to.
    pub(super) fn policy<'b>(&self, book: &'b PolicyBook) -> Result<&'b Arc<Policy>, String> {
        match &self.policy {
            Some(id) => book.by_id(id).ok_or_else(|| format!("no policy {id}")),
            None => book
                .on(self.accepted_on)
                .ok_or_else(|| format!("no policy on {}", self.accepted_on)),
        }
    }

    fn differences(&self, book: &PolicyBook) -> Result<Vec<String>, String> {
        let policy = self.policy(book)?;
        let parameters = self.parameters(book)?;
        let declaration = self.declaration()?;
        let arrangements = self.arrangements()?;
        let orders = self.orders(&declaration)?;
        let decided_at = later(self.accepted_on.midnight(), SignedDuration::from_hours(12));
        let mut matching: Vec<&ControlOrder> = orders
            .iter()
            .filter(|order| order.in_force(decided_at))
            .filter(|order| {
                order.selectors.match_declaration(&declaration, |id| {
                    declaration.parties.iter().any(|party| party.id.as_str() == id)
                })
            })
            .collect();
        matching.sort_by(|one, other| one.id.cmp(&other.id));
        let parties = self.parties.iter().zip(&declaration.parties);
        let facts = Facts {
            declaration: &declaration,
            parties: parties
                .map(|(case, party)| case.facts(party.id))
                .collect::<Result<_, _>>()?,
            arrangements: smallvec![&arrangements[..]],
            orders: matching.into_iter().collect(),
            accepted_on: self.accepted_on,
            decided_at,
            freshness: self.freshness,
        };
        let draw = self.draw_ppm.map(draw_of);
        Ok(self.expect.compare(&decide(policy, &parameters, &facts, draw)))
    }

    fn parameters(&self, book: &PolicyBook) -> Result<Arc<Parameters>, String> {
        if self.parameters.is_empty() {
            return Ok(Arc::clone(&book.parameters));
        }
        let mut document =
            toml::Table::try_from(&book.parameters.document).map_err(|error| error.to_string())?;
        for (key, value) in &self.parameters {
            match (document.get_mut(key), value) {
                (Some(toml::Value::Table(own)), toml::Value::Table(case)) => own.extend(case.clone()),
                _ => drop(document.insert(key.clone(), value.clone())),
            }
        }
        let document = document
            .try_into()
            .map_err(|error| format!("parameters: {error}"))?;
        Parameters::compile(document)
            .map(Arc::new)
            .map_err(|error| format!("parameters: {error}"))
    }

    fn declaration(&self) -> Result<Declaration, String> {
        let mark = if self.direction == Direction::Export {
            '0'
        } else {
            '1'
        };
        let year = self.accepted_on.civil().0;
        let mut parties = arrayvec::ArrayVec::new();
        for (index, case) in self.parties.iter().enumerate() {
            let id = case.id(index)?;
            parties
                .try_push(Party { role: case.role, id })
                .map_err(|_| "too many parties".to_owned())?;
        }
        let goods = self.goods.iter().map(|item| {
            Ok(GoodsItem {
                hs_code: parse(&item.hs_code)?,
                origin_country: parse(&item.origin_country)?,
            })
        });
        Ok(Declaration {
            number: parse(&format!("{}{year}{mark}000000001", self.customs_office))?,
            direction: self.direction,
            parties,
            goods: goods.collect::<Result<_, String>>()?,
            customs_office: parse(&self.customs_office)?,
            transport_mode: self.transport_mode,
            trade_mode: self.trade_mode,
            transport_document: None,
            containers: self
                .containers
                .iter()
                .map(|number| parse(number))
                .collect::<Result<_, _>>()?,
        })
    }

    fn arrangements(&self) -> Result<Vec<Arrangement>, String> {
        let rows = match &self.arrangements {
            Some(rows) => rows.clone(),
            None => shipped_arrangements().map_err(|error| error.to_string())?,
        };
        rows.iter()
            .map(|row| row.read().map_err(|error| error.to_string()))
            .collect()
    }

    fn orders(&self, declaration: &Declaration) -> Result<Vec<ControlOrder>, String> {
        self.orders.iter().map(|order| order.order(declaration)).collect()
    }
}

fn parse<T: std::str::FromStr<Err: ToString>>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error: T::Err| format!("{text:?}: {}", error.to_string()))
}

/// The smallest draw that counts as that many parts per million.
fn draw_of(ppm: u32) -> Draw {
    let draw = ((u128::from(ppm) << 64).div_ceil(1_000_000)).min(u128::from(u64::MAX));
    // Cut to 64 bits just above.
    Draw(u64::try_from(draw).unwrap_or(u64::MAX))
}
