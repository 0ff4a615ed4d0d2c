//! Page tokens: where a page ended, bound to the list that it was a page of.

use jiff::Timestamp;
use ring::digest::{Context, SHA256};

use super::nanoseconds;
use crate::{
    audit::segment::MAX_NAME,
    upstream::archive::{DecisionFilter, DecisionKey},
};

const DIGEST: usize = 16;
const FIXED: usize = DIGEST + 16;

/// The token of the page behind `key` in the list of that filter. Any replica reads it.
pub fn page_token(filter: &DecisionFilter, key: &DecisionKey) -> String {
    let mut place = Vec::with_capacity(FIXED + key.replica.len());
    place.extend(nanoseconds(key.decided_at).to_be_bytes());
    place.extend(key.sequence.to_be_bytes());
    place.extend(key.replica.as_bytes());
    let mut token = digest(filter, &place).to_vec();
    token.extend(place);
    hex::encode(token)
}

/// The key of a token; `None` unless it is one of the list of that filter.
pub fn read_page_token(filter: &DecisionFilter, token: &str) -> Option<DecisionKey> {
    if token.len() > 2 * (FIXED + MAX_NAME) {
        return None;
    }
    let token = hex::decode(token).ok()?;
    let (given, place) = token.split_first_chunk::<DIGEST>()?;
    if !cfg!(fuzzing) && *given != digest(filter, place) {
        return None;
    }
    let (at, rest) = place.split_first_chunk()?;
    let (sequence, replica) = rest.split_first_chunk()?;
    Some(DecisionKey {
        decided_at: Timestamp::from_nanosecond(i64::from_be_bytes(*at).into()).ok()?,
        replica: String::from_utf8(replica.to_vec()).ok()?,
        sequence: u64::from_be_bytes(*sequence),
    })
}

/// Of the filter and the place together: neither can be changed without the other.
fn digest(filter: &DecisionFilter, place: &[u8]) -> [u8; DIGEST] {
    let DecisionFilter {
        decided_from,
        decided_to,
        customs_office,
        customs_code,
        declaration_number,
        lane,
    } = filter;
    let mut context = Context::new(&SHA256);
    context.update(b"greenlane-page-v1");
    let instant = |at: &Option<Timestamp>| at.map(|at| nanoseconds(at).to_string());
    for field in [
        &instant(decided_from),
        &instant(decided_to),
        customs_office,
        customs_code,
        declaration_number,
        lane,
    ] {
        let text = field.as_deref().unwrap_or_default();
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    context.update(place);
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&context.finish().as_ref()[..DIGEST]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_for_the_list_that_gave_it_and_for_no_other() {
        let key = DecisionKey {
            decided_at: Timestamp::from_nanosecond(1_795_000_000_123_456_789).unwrap(),
            replica: "kh-1-0f0f0f0f".to_owned(),
            sequence: 42,
        };
        let filter = DecisionFilter {
            customs_office: Some("2225".to_owned()),
            ..DecisionFilter::default()
        };
        let token = page_token(&filter, &key);
        assert_eq!(read_page_token(&filter, &token), Some(key));
        assert_eq!(read_page_token(&DecisionFilter::default(), &token), None);
        for other in [
            "",
            "00",
            "zz",
            &token[2..],
            &format!("{token}00"),
            &"0".repeat(10_000),
        ] {
            assert_eq!(read_page_token(&filter, other), None, "{other}");
        }
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(
                read_page_token(&filter, &String::from_utf8(changed).unwrap()),
                None
            );
        }
    }
}
