//! From wire messages to the domain: every rule of the contract's table, every violation at once.

mod simulation;

pub use simulation::{ValidSimulation, simulation};

use std::{str::FromStr, time::Duration};

use arrayvec::ArrayString;
use jiff::{SignedDuration, Timestamp};

use super::{
    pb::{self, party::Identifier},
    violations::Violations,
};
use crate::domain::{
    CreditTier, Date, Direction, PartyRole, TradeMode, TransportMode,
    date::later,
    declaration::{Declaration, GoodsItem, MAX_PARTIES, Party},
    identifier::{DeclarationNumber, EnterpriseId, ParsedAeoCode},
};

/// Most goods items a declaration may name.
pub(super) const MAX_GOODS: usize = 100;
/// Most containers a declaration may name.
pub(super) const MAX_CONTAINERS: usize = 100;

/// Which acceptance times are taken.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Now.
    pub now: Timestamp,
    /// How far ahead of now, inclusive.
    pub ahead: Duration,
    /// How far behind now, inclusive.
    pub behind: Duration,
    /// The first acceptance date to which a policy applies.
    pub first_policy: Date,
}

impl Window {
    /// The first instant that is taken, but for the policies.
    pub(super) fn earliest(&self) -> Timestamp {
        let earliest = self.now.checked_sub(signed(self.behind));
        earliest.unwrap_or(Timestamp::MIN)
    }

    /// The last one.
    pub(super) fn latest(&self) -> Timestamp {
        later(self.now, signed(self.ahead))
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// A request that keeps every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidRequest {
    /// What was declared.
    pub declaration: Declaration,
    /// When it was accepted, or now.
    pub accepted_at: Timestamp,
}

/// Checks a request against every rule; `window` bounds its acceptance time.
pub fn request(request: &pb::DecideRequest, window: &Window) -> Result<ValidRequest, Violations> {
    let mut violations = Violations::default();
    let accepted_at = accepted_at(request, window, &mut violations);
    let declaration = declaration(request, &mut violations);
    match (declaration, accepted_at) {
        (Some(declaration), Some(accepted_at)) if violations.is_empty() => Ok(ValidRequest {
            declaration,
            accepted_at,
        }),
        _ => Err(violations),
    }
}

fn accepted_at(
    request: &pb::DecideRequest,
    window: &Window,
    violations: &mut Violations,
) -> Option<Timestamp> {
    let Some(sent) = &request.accepted_at else {
        return Some(window.now);
    };
    let field = "accepted_at";
    let accepted_at = instant(field, sent, violations)?;
    if accepted_at > window.latest() {
        let ahead = humantime::format_duration(window.ahead);
        violations.add(
            field,
            format!("must be at most {ahead} ahead of the server's time"),
        );
    } else if accepted_at < window.earliest() {
        let behind = humantime::format_duration(window.behind);
        violations.add(
            field,
            format!("must be at most {behind} behind the server's time"),
        );
    } else if Date::of(accepted_at) < window.first_policy {
        violations.add(field, no_policy_before(window.first_policy));
    }
    Some(accepted_at)
}

/// The rule that an acceptance date before the first policy breaks.
pub fn no_policy_before(first: Date) -> String {
    format!("must not be before {first}: no policy applies")
}

/// Reads an instant.
pub fn instant(field: &str, sent: &prost_types::Timestamp, violations: &mut Violations) -> Option<Timestamp> {
    // The range of google.protobuf.Timestamp: years 1 to 9999.
    const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let in_range = SECONDS.contains(&sent.seconds) && (0..1_000_000_000).contains(&sent.nanos);
    match Timestamp::new(sent.seconds, sent.nanos) {
        Ok(instant) if in_range => Some(instant),
        // jiff ends a day before 9999-12-31 in UTC so that every time zone can show it.
        Err(_) if in_range => Some(if sent.seconds > 0 {
            Timestamp::MAX
        } else {
            Timestamp::MIN
        }),
        _ => {
            violations.add(field, "must be a valid timestamp between the years 1 and 9999");
            None
        }
    }
}

/// Checks everything of a request but its acceptance time; adds to `violations` what breaks a rule.
pub fn declaration(request: &pb::DecideRequest, violations: &mut Violations) -> Option<Declaration> {
    let number = parse::<DeclarationNumber>("declaration_number", &request.declaration_number, violations);
    let direction = required::<Direction>("direction", request.direction, violations);
    if let (Some(number), Some(direction)) = (&number, direction) {
        check_direction(number, direction, violations);
    }
    let mut checker = Checker { violations };
    let parties = checker.parties(&request.parties);
    let goods = checker.goods(&request.goods);
    let customs_office = parse("customs_office", &request.customs_office, checker.violations);
    let transport_mode =
        optional::<TransportMode>("transport_mode", request.transport_mode, checker.violations);
    let trade_mode = optional::<TradeMode>("trade_mode", request.trade_mode, checker.violations);
    let transport_document = checker.transport_document(&request.transport_document_number);
    let containers = checker.containers(&request.container_numbers);
    Some(Declaration {
        number: number?,
        direction: direction?,
        parties,
        goods,
        customs_office: customs_office?,
        transport_mode,
        trade_mode,
        transport_document,
        containers,
    })
}

fn check_direction(number: &DeclarationNumber, direction: Direction, violations: &mut Violations) {
    if !agrees(number, direction) {
        violations.add(
            "direction",
            "must agree with character 9 of declaration_number: 0 or E for EXPORT, 1 or I for IMPORT",
        );
    }
}

/// Whether a number is one of declarations of that direction.
pub(super) fn agrees(number: &DeclarationNumber, direction: Direction) -> bool {
    match direction {
        Direction::Import => matches!(number.direction_character(), b'1' | b'I'),
        Direction::Export => matches!(number.direction_character(), b'0' | b'E'),
        Direction::Transit => true,
    }
}

/// Whether that is the number of a transport document: printable ASCII without spaces.
pub(super) fn is_transport_document(text: &str) -> bool {
    text.bytes().all(|byte| (0x21..=0x7e).contains(&byte))
}

fn parse<T: FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: &str,
    violations: &mut Violations,
) -> Option<T> {
    if text.is_empty() {
        violations.add(field, "is required");
        return None;
    }
    text.parse()
        .map_err(|error: T::Err| violations.add(field, error.to_string()))
        .ok()
}

/// A closed set of terms that the wire sends as a number, 0 when it is not sent.
pub trait Term: Copy {
    /// The term with that number.
    fn of(number: i32) -> Option<Self>;
}

macro_rules! terms {
    ($($term:ty),+) => {
        $(impl Term for $term {
            fn of(number: i32) -> Option<Self> { Self::from_number(number) }
        })+
    };
}

terms!(Direction, PartyRole, TransportMode, TradeMode, CreditTier);

fn required<T: Term>(field: &str, number: i32, violations: &mut Violations) -> Option<T> {
    let term = optional(field, number, violations);
    if number == 0 {
        violations.add(field, "is required");
    }
    term
}

fn optional<T: Term>(field: &str, number: i32, violations: &mut Violations) -> Option<T> {
    let term = T::of(number);
    if term.is_none() && number != 0 {
        violations.add(field, format!("{number} is no value of this enum"));
    }
    term
}

struct Checker<'v> {
    violations: &'v mut Violations,
}

impl Checker<'_> {
    fn parties(&mut self, sent: &[pb::Party]) -> arrayvec::ArrayVec<Party, MAX_PARTIES> {
        if sent.is_empty() || sent.len() > MAX_PARTIES {
            self.violations.add("parties", "must be 1 to 16");
        } else if sent
            .iter()
            .all(|party| party.role == i32::from(PartyRole::ForeignParty.number()))
        {
            self.violations.add(
                "parties",
                "must have at least one party of another role than FOREIGN_PARTY",
            );
        }
        let each = sent.iter().take(MAX_PARTIES).enumerate();
        each.filter_map(|(index, party)| self.party(index, party))
            .collect()
    }

    fn party(&mut self, index: usize, sent: &pb::Party) -> Option<Party> {
        // A path is put together only for a violation.
        let role = PartyRole::from_number(sent.role);
        if role.is_none() {
            let problem = if sent.role == 0 {
                "is required".to_owned()
            } else {
                format!("{} is no value of this enum", sent.role)
            };
            self.violations.add(format!("parties[{index}].role"), problem);
        }
        let (name, text) = match &sent.identifier {
            None => {
                self.violations
                    .add(format!("parties[{index}].identifier"), "is required");
                return None;
            }
            Some(Identifier::CustomsCode(text)) => ("customs_code", text),
            Some(Identifier::SocialCreditCode(text)) => ("social_credit_code", text),
            Some(Identifier::AeoCode(text)) => ("aeo_code", text),
        };
        let id = match &sent.identifier {
            Some(Identifier::CustomsCode(_)) => text.parse().map(EnterpriseId::Customs),
            Some(Identifier::SocialCreditCode(_)) => text.parse().map(EnterpriseId::SocialCredit),
            _ => text.parse().map(|code| match code {
                ParsedAeoCode::Chinese(code) => EnterpriseId::Customs(code),
                ParsedAeoCode::Foreign(code) => EnterpriseId::Foreign(code),
            }),
        };
        let id = id
            .map_err(|error| {
                self.violations
                    .add(format!("parties[{index}].{name}"), error.to_string());
            })
            .ok()?;
        let role = role?;
        if matches!(id, EnterpriseId::Foreign(_)) && role != PartyRole::ForeignParty {
            self.violations.add(
                format!("parties[{index}].aeo_code"),
                "must be a Chinese code (CN and 10 characters): a foreign code is allowed only on FOREIGN_PARTY",
            );
            return None;
        }
        Some(Party { role, id })
    }

    fn goods(&mut self, sent: &[pb::GoodsItem]) -> smallvec::SmallVec<[GoodsItem; 4]> {
        if sent.len() > MAX_GOODS {
            self.violations.add("goods", "must be 0 to 100");
        }
        let each = sent.iter().take(MAX_GOODS).enumerate();
        each.filter_map(|(index, item)| {
            let hs_code = self.element("goods", index, ".hs_code", &item.hs_code);
            let origin_country = self.element("goods", index, ".origin_country", &item.origin_country);
            Some(GoodsItem {
                hs_code: hs_code?,
                origin_country: origin_country?,
            })
        })
        .collect()
    }

    fn containers(
        &mut self,
        sent: &[String],
    ) -> smallvec::SmallVec<[crate::domain::identifier::ContainerNumber; 4]> {
        if sent.len() > MAX_CONTAINERS {
            self.violations.add("container_numbers", "must be 0 to 100");
        }
        let each = sent.iter().take(MAX_CONTAINERS).enumerate();
        each.filter_map(|(index, number)| self.element("container_numbers", index, "", number))
            .collect()
    }

    /// Parses a field of a list's element; its path is put together only for a violation.
    fn element<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        list: &str,
        index: usize,
        field: &str,
        text: &str,
    ) -> Option<T> {
        let rule = match text.parse() {
            Ok(value) => return Some(value),
            Err(_) if text.is_empty() => "is required".to_owned(),
            Err(error) => error.to_string(),
        };
        self.violations.add(format!("{list}[{index}]{field}"), rule);
        None
    }

    fn transport_document(&mut self, sent: &str) -> Option<ArrayString<64>> {
        if sent.is_empty() {
            return None;
        }
        let number = ArrayString::from(sent)
            .ok()
            .filter(|_| is_transport_document(sent));
        if number.is_none() {
            self.violations.add(
                "transport_document_number",
                "must be up to 64 printable ASCII characters without spaces",
            );
        }
        number
    }
}
