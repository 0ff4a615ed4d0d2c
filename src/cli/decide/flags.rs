//! A declaration given by flags.

use std::str::FromStr;

use anyhow::{Context as _, anyhow};

use crate::{
    domain::{Direction, PartyRole, TradeMode, TransportMode},
    wire::pb::{self, party::Identifier},
};

#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// 18 characters, such as 222520261000000001
    #[arg(long, requires_all = ["party", "customs_office"])]
    declaration_number: Option<String>,

    /// IMPORT, EXPORT or TRANSIT [default: as character 9 of the declaration number says]
    #[arg(long)]
    direction: Option<Direction>,

    /// ROLE=CODE, such as CONSIGNEE=1101919107: a customs code, a social credit code or an AEO code; repeatable
    #[arg(long, value_name = "ROLE=CODE", value_parser = party)]
    party: Vec<(PartyRole, String)>,

    /// HS:ORIGIN, such as 8471300000:KR; repeatable
    #[arg(long, value_name = "HS:ORIGIN", value_parser = goods)]
    goods: Vec<(String, String)>,

    /// 4 digits
    #[arg(long)]
    customs_office: Option<String>,

    /// SEA, AIR, RAIL, ROAD, MAIL or OTHER
    #[arg(long)]
    transport_mode: Option<TransportMode>,

    /// GENERAL, PROCESSING, `E_COMMERCE` or OTHER
    #[arg(long)]
    trade_mode: Option<TradeMode>,

    /// Bill of lading, air waybill and so on
    #[arg(long, default_value = "")]
    transport_document_number: String,

    /// ISO 6346; repeatable
    #[arg(long)]
    container_number: Vec<String>,

    /// Instant of acceptance, such as 2026-11-23T08:00:00+08:00 [default: now]
    #[arg(long)]
    accepted_at: Option<jiff::Timestamp>,
}

fn party(text: &str) -> anyhow::Result<(PartyRole, String)> {
    let (role, code) = text.split_once('=').context("must be ROLE=CODE")?;
    Ok((PartyRole::from_str(role)?, code.to_owned()))
}

fn goods(text: &str) -> anyhow::Result<(String, String)> {
    let (hs_code, origin) = text.split_once(':').context("must be HS:ORIGIN")?;
    Ok((hs_code.to_owned(), origin.to_owned()))
}

/// Which kind of identifier a code is, by its form.
pub(super) fn identifier(code: &str) -> Identifier {
    match code.len() {
        10 => Identifier::CustomsCode(code.to_owned()),
        18 => Identifier::SocialCreditCode(code.to_owned()),
        _ => Identifier::AeoCode(code.to_owned()),
    }
}

impl Flags {
    /// The request, if one was given; the server judges it.
    pub(super) fn request(self) -> anyhow::Result<Option<pb::DecideRequest>> {
        let Some(declaration_number) = self.declaration_number else {
            return Ok(None);
        };
        let direction = match (self.direction, declaration_number.as_bytes().get(8)) {
            (Some(direction), _) => direction,
            (None, Some(b'1' | b'I')) => Direction::Import,
            (None, Some(b'0' | b'E')) => Direction::Export,
            (None, _) => return Err(anyhow!("--declaration-number: character 9 must be 0, 1, I or E")),
        };
        let party = |(role, code): (PartyRole, String)| pb::Party {
            role: role.number().into(),
            identifier: Some(identifier(&code)),
        };
        Ok(Some(pb::DecideRequest {
            declaration_number,
            direction: direction.number().into(),
            parties: self.party.into_iter().map(party).collect(),
            goods: self
                .goods
                .into_iter()
                .map(|(hs_code, origin_country)| pb::GoodsItem {
                    hs_code,
                    origin_country,
                })
                .collect(),
            customs_office: self.customs_office.unwrap_or_default(),
            transport_mode: self.transport_mode.map_or(0, |mode| mode.number().into()),
            trade_mode: self.trade_mode.map_or(0, |mode| mode.number().into()),
            transport_document_number: self.transport_document_number,
            container_numbers: self.container_number,
            accepted_at: self.accepted_at.map(crate::wire::convert::instant),
            min_registry_version: None,
        }))
    }
}
