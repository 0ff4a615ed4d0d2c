//! Usual requests, from their bytes straight to what was declared: without the message and its strings.
//!
//! What is read here is what prost and [`validate`](super::validate) make of the same bytes, which a property test holds.
//! Whatever is not as most of them are, be it right or wrong, is left to those two: they tell which field breaks which rule.

use arrayvec::{ArrayString, ArrayVec};
use jiff::Timestamp;
use prost::encoding::decode_varint;
use smallvec::SmallVec;

use super::validate::{MAX_CONTAINERS, MAX_GOODS, Term, ValidRequest, Window, agrees, is_transport_document};
use crate::domain::{
    Date, PartyRole,
    declaration::{Declaration, GoodsItem, Party},
    identifier::{EnterpriseId, ParsedAeoCode},
};

/// Keys of fields by number: those of fewer than 16 take a byte.
const fn number(field: u8) -> u8 {
    field << 3
}

/// The same of texts and messages.
const fn length_delimited(field: u8) -> u8 {
    field << 3 | 2
}

/// Reads an encoded `DecideRequest`; `window` bounds its acceptance time. `None` unless it keeps every rule, waits for no
/// version, says each thing once, and names every party in the normal form.
pub fn request(bytes: &[u8], window: &Window) -> Option<ValidRequest> {
    const DECLARATION_NUMBER: u8 = length_delimited(1);
    const DIRECTION: u8 = number(2);
    const PARTY: u8 = length_delimited(3);
    const GOODS_ITEM: u8 = length_delimited(4);
    const CUSTOMS_OFFICE: u8 = length_delimited(5);
    const TRANSPORT_MODE: u8 = number(6);
    const TRADE_MODE: u8 = number(7);
    const TRANSPORT_DOCUMENT: u8 = length_delimited(8);
    const CONTAINER: u8 = length_delimited(9);
    const ACCEPTED_AT: u8 = length_delimited(10);

    let (mut number, mut direction, mut customs_office) = (None, None, None);
    let (mut transport_mode, mut trade_mode, mut transport_document) = (None, None, None);
    let (mut parties, mut goods, mut containers) = (ArrayVec::new(), SmallVec::new(), SmallVec::new());
    let mut accepted_at = None;
    let mut fields = Fields(bytes);
    while let Some(key) = fields.byte() {
        match key {
            DECLARATION_NUMBER => set(&mut number, fields.identifier()?)?,
            DIRECTION => set(&mut direction, fields.term()?)?,
            PARTY => parties.try_push(party(fields.bytes()?)?).ok()?,
            GOODS_ITEM if goods.len() < MAX_GOODS => goods.push(goods_item(fields.bytes()?)?),
            CUSTOMS_OFFICE => set(&mut customs_office, fields.identifier()?)?,
            TRANSPORT_MODE => set(&mut transport_mode, fields.term()?)?,
            TRADE_MODE => set(&mut trade_mode, fields.term()?)?,
            TRANSPORT_DOCUMENT => {
                let text = fields.text().filter(|text| is_transport_document(text))?;
                set(&mut transport_document, ArrayString::from(text).ok()?)?;
            }
            CONTAINER if containers.len() < MAX_CONTAINERS => containers.push(fields.identifier()?),
            ACCEPTED_AT => set(&mut accepted_at, instant(fields.bytes()?)?)?,
            _ => return None,
        }
    }
    let (number, direction) = (number?, direction?);
    let is_counted = |party: &Party| party.role != PartyRole::ForeignParty;
    if !agrees(&number, direction) || !parties.iter().any(is_counted) {
        return None;
    }
    let accepted_at = match accepted_at {
        None => window.now,
        Some(at) if at > window.latest() || at < window.earliest() => return None,
        Some(at) if Date::of(at) < window.first_policy => return None,
        Some(at) => at,
    };
    Some(ValidRequest {
        declaration: Declaration {
            number,
            direction,
            parties,
            goods,
            customs_office: customs_office?,
            transport_mode,
            trade_mode,
            transport_document,
            containers,
        },
        accepted_at,
    })
}

fn party(bytes: &[u8]) -> Option<Party> {
    const ROLE: u8 = number(1);
    const CUSTOMS_CODE: u8 = length_delimited(2);
    const SOCIAL_CREDIT_CODE: u8 = length_delimited(3);
    const AEO_CODE: u8 = length_delimited(4);

    let (mut role, mut id) = (None, None);
    let mut fields = Fields(bytes);
    while let Some(key) = fields.byte() {
        match key {
            ROLE => set(&mut role, fields.term()?)?,
            CUSTOMS_CODE => set(&mut id, EnterpriseId::Customs(fields.identifier()?))?,
            SOCIAL_CREDIT_CODE => set(&mut id, EnterpriseId::SocialCredit(fields.identifier()?))?,
            AEO_CODE => set(&mut id, foreign(fields.text()?)?)?,
            _ => return None,
        }
    }
    let (role, id) = (role?, id?);
    let may_have = !matches!(id, EnterpriseId::Foreign(_)) || role == PartyRole::ForeignParty;
    may_have.then_some(Party { role, id })
}

/// A foreign code that is its own normal form: of another one, the answer repeats what was sent.
fn foreign(text: &str) -> Option<EnterpriseId> {
    match text.parse().ok()? {
        ParsedAeoCode::Foreign(code) if code.as_str() == text => Some(EnterpriseId::Foreign(code)),
        ParsedAeoCode::Foreign(_) | ParsedAeoCode::Chinese(_) => None,
    }
}

fn goods_item(bytes: &[u8]) -> Option<GoodsItem> {
    const HS_CODE: u8 = length_delimited(1);
    const ORIGIN_COUNTRY: u8 = length_delimited(2);

    let (mut hs_code, mut origin_country) = (None, None);
    let mut fields = Fields(bytes);
    while let Some(key) = fields.byte() {
        match key {
            HS_CODE => set(&mut hs_code, fields.text()?.parse().ok()?)?,
            ORIGIN_COUNTRY => set(&mut origin_country, fields.identifier()?)?,
            _ => return None,
        }
    }
    Some(GoodsItem {
        hs_code: hs_code?,
        origin_country: origin_country?,
    })
}

/// An instant since 1970.
fn instant(bytes: &[u8]) -> Option<Timestamp> {
    const SECONDS: u8 = number(1);
    const NANOS: u8 = number(2);

    let (mut seconds, mut nanos) = (None, None);
    let mut fields = Fields(bytes);
    while let Some(key) = fields.byte() {
        match key {
            SECONDS => set(&mut seconds, i64::try_from(fields.varint()?).ok()?)?,
            NANOS => set(&mut nanos, i32::try_from(fields.varint()?).ok()?)?,
            _ => return None,
        }
    }
    let nanos = nanos.unwrap_or_default();
    // What is out of range is refused, and not only by what can be told.
    if nanos >= 1_000_000_000 {
        return None;
    }
    Timestamp::new(seconds?, nanos).ok()
}

/// Sets what is not set yet.
fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// The fields of a message, of which each key takes a byte.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    /// The next byte: a key, or a number below 128.
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn term<T: Term>(&mut self) -> Option<T> {
        let number = self.byte().filter(|number| *number < 0x80)?;
        T::of(number.into())
    }

    fn varint(&mut self) -> Option<u64> {
        decode_varint(&mut self.0).ok()
    }

    /// Fewer than 128 bytes.
    fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = self.byte().filter(|length| *length < 0x80)?;
        let (bytes, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'b str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// An identifier, which is ASCII if it is one.
    fn identifier<T: TryFrom<&'b [u8]>>(&mut self) -> Option<T> {
        self.bytes()?.try_into().ok()
    }
}
