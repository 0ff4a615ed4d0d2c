//! Texts that callers and operators hand in: tokens, keys, statements, proofs. What is read is written as the same text.
//!
//! The first byte says which.

use std::sync::LazyLock;

use greenlane::{
    app::settings::Span,
    audit::{
        head::SignedHead,
        query::{DecisionFilter, DecisionKey, page_token, read_page_token},
        seal::Seal,
    },
    domain::{
        Date,
        identifier::{ContainerNumber, DeclarationNumber, EnterpriseId, HsCode, HsPrefix, ParsedAeoCode},
    },
    policy::draw::{Epoch, EpochKey},
    shipments::WatchToken,
    wire::{enterprise_key, pb::shipment_key::Key, shipment_key},
};

use super::Seed;
use crate::world::{EPOCH, now};

pub(crate) fn run(data: &[u8]) -> bool {
    let Some((&kind, text)) = data.split_first() else {
        return false;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    match kind % 6 {
        0 => page(text),
        1 => WatchToken::read(text)
            .map(|token| assert_eq!(token.text(), text))
            .is_some(),
        2 => Seal::parse(text)
            .map(|seal| assert_eq!(seal.text(), text))
            .is_some(),
        3 => SignedHead::parse(text)
            .map(|head| assert_eq!(head.text(), text))
            .is_some(),
        4 => keys(text),
        _ => identifiers(text),
    }
}

static FILTER: LazyLock<DecisionFilter> = LazyLock::new(|| DecisionFilter {
    decided_from: Some(now()),
    customs_office: Some("2225".to_owned()),
    ..DecisionFilter::default()
});

fn page(text: &str) -> bool {
    let Some(key) = read_page_token(&FILTER, text) else {
        return false;
    };
    // Its digest is not compared here; what it is of is the rest.
    let written = page_token(&FILTER, &key);
    assert_eq!(
        written.get(32..),
        text.get(32..).map(str::to_ascii_lowercase).as_deref()
    );
    assert_eq!(read_page_token(&FILTER, &written), Some(key));
    true
}

/// An enterprise or a shipment as people name it.
fn keys(text: &str) -> bool {
    match shipment_key::written(text).key {
        None => assert!(text.is_empty()),
        Some(Key::ContainerNumber(own) | Key::DeclarationNumber(own)) => assert_eq!(own, text),
    }
    let Ok(id) = enterprise_key::written(text) else {
        return false;
    };
    let again = match id {
        // One that looks like a customs code, also with the word before it, is told from it by the brackets.
        EnterpriseId::Foreign(code) => enterprise_key::written(&format!("AEO<{}>", code.as_str())),
        EnterpriseId::Customs(_) | EnterpriseId::SocialCredit(_) => enterprise_key::written(id.as_str()),
    };
    assert_eq!(again, Ok(id));
    true
}

fn identifiers(text: &str) -> bool {
    let mut read = false;
    let mut same = |written: Option<String>| {
        if let Some(written) = written {
            assert_eq!(written, text);
            read = true;
        }
    };
    same(text.parse::<Date>().ok().map(|date| date.to_string()));
    same(
        text.parse::<DeclarationNumber>()
            .ok()
            .map(|number| number.to_string()),
    );
    same(
        text.parse::<ContainerNumber>()
            .ok()
            .map(|number| number.to_string()),
    );
    same(text.parse::<HsCode>().ok().map(|code| code.as_str().to_owned()));
    same(
        text.parse::<HsPrefix>()
            .ok()
            .map(|prefix| prefix.as_str().to_owned()),
    );
    same(text.parse::<Epoch>().ok().map(|epoch| epoch.name().to_string()));
    if let Ok(date) = text.parse::<Date>() {
        assert_eq!(Date::from_number(date.number()), Some(date));
        assert_eq!(Date::from_days(date.days()), Some(date));
        assert_eq!(Date::of(date.midnight()), date);
    }
    if let Ok(ParsedAeoCode::Foreign(code)) = text.parse() {
        // A country AE and an operator O... is read as itself only behind the word.
        let written = format!("AEO{}", code.as_str());
        assert_eq!(written.parse(), Ok(ParsedAeoCode::Foreign(code)));
        read = true;
    }
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse(), Ok(span), "{span}");
        read = true;
    }
    if let Some(key) = EpochKey::from_hex(text) {
        assert_eq!(key.reveal(), text.to_ascii_lowercase());
        read = true;
    }
    read
}

pub(crate) fn seeds() -> Vec<Seed> {
    let key = DecisionKey {
        decided_at: now(),
        replica: "kh-1-0f0f0f0f".to_owned(),
        sequence: 42,
    };
    let watch = WatchToken {
        instance: u64::MAX,
        keys: 7,
        count: 123,
        at: now(),
    };
    let head = SignedHead {
        replica: "kh-1-0f0f0f0f".to_owned(),
        sequence: 7,
        chain: [7; 32],
        at: now(),
        public_key: [9; 32],
    };
    let seal = Seal {
        replica: "kh-1-0f0f0f0f".to_owned(),
        segment: 1,
        records: 7,
        bytes: 12_345,
        chain_before: [0; 32],
        chain_after: [7; 32],
        merkle_root: [8; 32],
        previous_seal: [0; 32],
        sealed_at: now(),
        public_key: [9; 32],
    };
    let texts = [
        ("page", 0, page_token(&FILTER, &key)),
        ("watch", 1, watch.text()),
        ("seal", 2, seal.text()),
        ("head", 3, head.text()),
        ("container", 4, "CSQU3054383".to_owned()),
        ("enterprise", 4, "AEO<SG 201234567890>".to_owned()),
        ("social", 4, "91110000600037341L".to_owned()),
        ("date", 5, "2026-11-23".to_owned()),
        ("declaration", 5, "222520261000000001".to_owned()),
        ("hs", 5, "8471300000".to_owned()),
        ("span", 5, "1h30m".to_owned()),
        ("epoch", 5, "2026-11".to_owned()),
        ("key", 5, "07".repeat(32)),
        ("none", 4, EPOCH.to_owned()),
    ];
    texts
        .map(|(name, kind, text)| (name.to_owned(), [&[kind][..], text.as_bytes()].concat()))
        .into()
}
