//! The format byte by byte.

use std::{
    io,
    time::{Duration, UNIX_EPOCH},
};

use super::*;
use crate::{
    domain::{identifier::EnterpriseId, recognition::shipped_arrangements},
    registry::{Change, row::Entity},
    upstream::{columns::Column, row},
};

/// A generation with some of everything, good and unreadable.
pub(super) fn generation(enterprises: u64) -> Generation {
    let generation = Generation::new("0123456789abcdef", 10);
    generation.load(&changes(enterprises));
    generation.finish_load(enterprises, Some([7, 8]));
    generation
}

fn changes(enterprises: u64) -> Vec<Change> {
    let text = |text: &'static str| Column::Text(text.into());
    let owned = |text: String| Column::Text(text.into());
    let mut changes: Vec<_> = (0..enterprises)
        .map(|number| {
            let code = format!("{:010}", 1_100_000_000 + number);
            let social = if number % 3 == 0 {
                Column::Null
            } else {
                owned(format!("91110000{number:09}0"))
            };
            let tier = ["ADVANCED_CERTIFIED", "REGULAR", "DISCREDITED", "NO_TIER"];
            let tier = tier[usize::try_from(number % 4).unwrap()];
            let suspended = Column::Integer((number % 5 == 0).into());
            let name = owned(format!("上海第{number}进出口有限公司"));
            row::put(
                Entity::Enterprise,
                &[
                    owned(code),
                    social,
                    name,
                    text(tier),
                    text("2020-01-01"),
                    Column::Null,
                    suspended,
                ],
            )
        })
        .collect();
    for (code, tier, date) in [
        ("1100000001", "CERTIFIED", "2027-01-01"),
        ("1100000001", "REGULAR", "2028-01-01"),
        ("1100000002", "NO_TIER", "2027-01-01"),
        ("9900000000", "REGULAR", "2027-01-01"),
    ] {
        changes.push(row::put(
            Entity::ScheduledTier,
            &[text(code), text(tier), text(date)],
        ));
    }
    for (code, until) in [("SG2012345678", Column::Null), ("JPABC123", text("2030-01-01"))] {
        let from = text("2020-02-02");
        let columns = [
            text(code),
            text("SG"),
            text("STP-Plus"),
            text("Operator"),
            from,
            until,
            Column::Integer(1),
        ];
        changes.push(row::put(Entity::RecognisedOperator, &columns));
    }
    for shipped in shipped_arrangements().unwrap().into_iter().take(3) {
        let columns = [
            shipped.country,
            shipped.programme,
            shipped.direction,
            shipped.transport_modes,
        ];
        let mut columns: Vec<_> = columns.into_iter().map(owned).collect();
        columns.extend([owned(shipped.effective_from), Column::Null]);
        changes.push(row::put(Entity::MutualRecognition, &columns));
    }
    for (id, kind, prefix, until, confidential) in [
        (
            "order-1",
            "HOLD",
            text("8471"),
            text("2027-01-01T00:00:00.123456789Z"),
            text("Undervaluation"),
        ),
        ("order-2", "INSPECT", Column::Null, Column::Null, Column::Null),
        (
            "order-3",
            "NO_KIND",
            text("no digits"),
            Column::Null,
            Column::Null,
        ),
    ] {
        let null = || Column::Null;
        let columns = [
            text(id),
            text(kind),
            text("TARGETED"),
            text("1100000001"),
            prefix,
            text("KP"),
            text("2225"),
            null(),
            text("IMPORT"),
            text("2026-01-01T00:00:00Z"),
            until,
            text("Customs Law"),
            text("Selected"),
            confidential,
        ];
        changes.push(row::put(Entity::ControlOrder, &columns));
    }
    changes
}

pub(super) fn about() -> About<'static> {
    About {
        store: "sqlite",
        policy_digest: "abc",
        confirmed_at: UNIX_EPOCH + Duration::new(1_700_000_000, 5),
    }
}

fn bytes(generation: &Generation) -> Vec<u8> {
    encode(generation, &about(), Vec::new()).unwrap().0
}

fn decoded(bytes: &[u8]) -> Result<Loaded, FileError> {
    decode(bytes, bytes.len() as u64)
}

#[track_caller]
fn assert_same(loaded: &Generation, original: &Generation, enterprises: u64) {
    assert_eq!(loaded.place(), original.place());
    assert_eq!(loaded.tier_counts(), original.tier_counts());
    assert_eq!(loaded.digest(), original.digest());
    assert_eq!(loaded.recount(), original.recount());
    assert_eq!(loaded.recount().digest, original.digest());
    assert_eq!(loaded.recount().astray, 0);
    assert_eq!(loaded.quarantined(), original.quarantined());
    assert_eq!(loaded.digest_at(enterprises), Some(original.digest()));
    let tables = |generation: &Generation| {
        let mut tables = generation.dump(|_| Ok::<_, io::Error>(())).unwrap();
        tables.schedules.sort_by_key(|row| row.customs_code);
        tables.operators.sort_by_key(|row| row.aeo_code);
        tables
    };
    assert_eq!(tables(loaded), tables(original));
    for number in 0..enterprises {
        let code = format!("{:010}", 1_100_000_000 + number).parse().unwrap();
        let id = EnterpriseId::Customs(code);
        let entry = original.enterprise(&id).unwrap();
        assert_eq!(loaded.enterprise(&id).as_ref(), Some(&entry));
        if let Some(social) = entry.registered.social_credit_code {
            assert_eq!(
                loaded.enterprise(&EnterpriseId::SocialCredit(social)),
                Some(entry)
            );
        }
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    for enterprises in [0, 1, 30, 60_000] {
        let original = generation(enterprises);
        assert!(original.quarantined_count() >= 2);
        let (written, about_it) = encode(&original, &about(), Vec::new()).unwrap();
        let loaded = decoded(&written).unwrap();
        assert_same(&loaded.generation, &original, enterprises);
        assert_eq!(loaded.info, about_it.info);
        assert_eq!(loaded.info, inspect(&written[..]).unwrap());
        assert_eq!(loaded.info.place, original.place());
        assert_eq!(loaded.info.confirmed_at, about().confirmed_at);
        assert_eq!(
            (loaded.info.store.as_str(), loaded.info.policy_digest.as_str()),
            ("sqlite", "abc")
        );
        assert_eq!(
            (loaded.info.tiers, &loaded.info.digest),
            (original.tier_counts(), &original.digest())
        );
        assert_eq!(
            (loaded.info.bytes, loaded.info.enterprises()),
            (written.len() as u64, enterprises)
        );
    }
}

#[test]
fn every_flipped_byte_is_found() {
    let whole = bytes(&generation(12));
    for at in 0..whole.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            let error = decoded(&damaged).expect_err("a damaged file");
            let expected = match at {
                0..16 => matches!(error, FileError::NotOurs),
                16..20 => matches!(error, FileError::Version { .. }),
                _ if at >= whole.len() - 32 => matches!(error, FileError::Hash { .. }),
                _ => matches!(error, FileError::Checksum { .. }),
            };
            assert!(expected, "byte {at}: {error:?}");
            assert_eq!(
                error.to_string(),
                inspect(&damaged[..]).expect_err("damaged").to_string()
            );
        }
    }
}

#[test]
fn every_cut_is_torn_and_nothing_may_follow_the_end() {
    let whole = bytes(&generation(12));
    for length in 0..whole.len() {
        let error = decoded(&whole[..length]).expect_err("a torn file");
        assert!(
            matches!(error, FileError::Torn { at, .. } if at == length as u64),
            "{error:?}"
        );
        assert!(matches!(inspect(&whole[..length]), Err(FileError::Torn { .. })));
    }
    let longer = [&whole[..], b"x"].concat();
    let error = decoded(&longer).expect_err("a longer file");
    assert_eq!(
        error.to_string(),
        format!("inconsistent: it goes on after its end, in byte {}", whole.len())
    );
}

#[test]
fn another_version_and_other_files_are_refused_by_name() {
    let mut older = bytes(&generation(1));
    older[16..20].copy_from_slice(&0_u32.to_le_bytes());
    assert_eq!(
        decoded(&older).expect_err("an older file").to_string(),
        "of format version 0; this build reads version 1 alone: export it anew"
    );
    let error = decoded(b"SQLite format 3\0and so on").expect_err("no file of ours");
    assert_eq!(error.to_string(), "no snapshot file of Greenlane");
}

/// A file of these blocks, whose checksums and hash hold.
fn file_of(blocks: &[(frame::Kind, &[u8])]) -> Vec<u8> {
    let mut encoder = frame::Encoder::new(Vec::new()).unwrap();
    for (kind, plain) in blocks {
        encoder.block(*kind, plain).unwrap();
    }
    encoder.finish().unwrap().0
}

#[test]
fn what_is_well_formed_but_no_image_is_inconsistent() {
    use frame::Kind::{Changed, Enterprises, Tables, Trailer as End};
    let original = generation(3);
    let header = parts::Header {
        epoch: "0123456789abcdef".to_owned(),
        enterprises: u64::MAX,
    }
    .encode();
    let (mut rows, tables) = (Vec::new(), {
        let mut rows = Vec::new();
        let tables = original.dump(|block| match block {
            crate::registry::image::Block::Enterprises(bytes) => {
                rows.extend_from_slice(bytes);
                Ok(())
            }
            crate::registry::image::Block::Changed(_) => Err("nothing changed"),
        });
        (rows, tables.unwrap())
    });
    rows.extend_from_slice(&tables.0);
    let tables = tables.1;
    let trailer = |change: fn(&mut Trailer), blocks| {
        let mut trailer = Trailer {
            place: tables.place.clone(),
            confirmed_at: UNIX_EPOCH,
            written_at: UNIX_EPOCH,
            store: String::new(),
            policy_digest: String::new(),
            tiers: tables.tiers,
            digest: tables.digest,
            blocks,
        };
        change(&mut trailer);
        trailer.encode()
    };
    let others = parts::encode_tables(&tables);
    let file = |rows: &[u8], others: &[u8], end: &[u8]| {
        file_of(&[
            (frame::Kind::Header, &header),
            (Enterprises, rows),
            (Tables, others),
            (End, end),
        ])
    };
    assert!(decoded(&file(&rows, &others, &trailer(|_| (), 3))).is_ok());

    let refused = |bytes: &[u8]| {
        let error = decoded(bytes).expect_err("no image");
        let FileError::Inconsistent { place, problem } = error else {
            panic!("{error:?}");
        };
        format!("{place}: {problem}")
    };
    let whole = trailer(|_| (), 3);
    let said = [
        refused(&file(&rows[..rows.len() - 1], &others, &whole)),
        refused(&file(&rows, &others[..others.len() - 1], &whole)),
        refused(&file(&rows, &[&others[..], b"x"].concat(), &whole)),
        refused(&file(&rows, &others, &whole[1..])),
        refused(&file(&rows, &others, &trailer(|_| (), 4))),
        refused(&file(
            &rows,
            &others,
            &trailer(|trailer| trailer.tiers[0] += 1, 3),
        )),
        refused(&file(
            &rows,
            &others,
            &trailer(|trailer| trailer.place.position.epoch = "x".into(), 3),
        )),
        refused(&file_of(&[
            (frame::Kind::Header, &header),
            (Enterprises, &rows),
            (Enterprises, &rows),
            (End, &whole),
        ])),
        refused(&file_of(&[
            (frame::Kind::Header, &header),
            (Changed, &rows),
            (Enterprises, &rows),
            (End, &whole),
        ])),
        refused(&file_of(&[(Enterprises, &rows)])),
        refused(&file_of(&[(frame::Kind::Header, b"x"), (End, &whole)])),
    ];
    let expected = [
        "block 1: the columns do not have the length that the number of rows asks for",
        "the table of quarantined rows: a row cannot be read",
        "the tables: there are bytes after their end",
        "block 3: the trailer cannot be read",
        "block 3: there are not as many blocks as it says",
        "the whole: the enterprises of a tier are not as many as the image says",
        "block 3: header and trailer are of two stores",
        "block 2: an enterprise stands twice",
        "block 2: it is of a kind that does not belong there",
        "block 0: it is of a kind that does not belong there",
        "block 0: the header cannot be read",
    ];
    assert_eq!(said, expected);

    // A row and a digest that disagree are found by counting afresh alone.
    let other = decoded(&file(
        &rows,
        &others,
        &trailer(|trailer| trailer.digest[0] ^= 1, 3),
    ))
    .unwrap();
    let error = other.check().expect_err("another digest").to_string();
    assert!(error.contains("have the digest"), "{error}");
}
