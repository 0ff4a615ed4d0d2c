//! The format byte by byte.

use std::{
    io,
    time::{Duration, UNIX_EPOCH},
};

use super::{frame::Kind, *};
use crate::{
    domain::{identifier::EnterpriseId, recognition::shipped_arrangements},
    registry::{Change, image::Block, row::Entity},
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
fn file_of(blocks: &[(Kind, &[u8])]) -> Vec<u8> {
    let mut encoder = frame::Encoder::new(Vec::new()).unwrap();
    for (kind, plain) in blocks {
        encoder.block(*kind, plain).unwrap();
    }
    encoder.finish().unwrap().0
}

/// What is in the blocks of a good file.
struct Parts {
    header: Vec<u8>,
    rows: Vec<u8>,
    others: Vec<u8>,
    trailer: Trailer,
}

impl Parts {
    fn new() -> Self {
        let mut rows = Vec::new();
        let tables = generation(3).dump(|block| match block {
            Block::Enterprises(bytes) => {
                rows.extend_from_slice(bytes);
                Ok(())
            }
            Block::Changed(_) => Err("nothing changed"),
        });
        let tables = tables.unwrap();
        let epoch = tables.place.position.epoch.to_string();
        let enterprises = u64::MAX;
        Self {
            header: parts::Header { epoch, enterprises }.encode(),
            rows,
            others: parts::encode_tables(&tables),
            trailer: Trailer {
                place: tables.place,
                confirmed_at: UNIX_EPOCH,
                written_at: UNIX_EPOCH,
                store: String::new(),
                policy_digest: String::new(),
                tiers: tables.tiers,
                digest: tables.digest,
                blocks: 3,
            },
        }
    }

    fn trailer(&self, change: impl FnOnce(&mut Trailer)) -> Vec<u8> {
        let mut trailer = self.trailer.clone();
        change(&mut trailer);
        trailer.encode()
    }

    fn file(&self, rows: &[u8], others: &[u8], trailer: &[u8]) -> Vec<u8> {
        file_of(&[
            (Kind::Header, &self.header),
            (Kind::Enterprises, rows),
            (Kind::Tables, others),
            (Kind::Trailer, trailer),
        ])
    }
}

#[track_caller]
fn assert_refused(bytes: &[u8], said: &str) {
    let error = decoded(bytes).expect_err("no image");
    assert!(matches!(error, FileError::Inconsistent { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("inconsistent: {said}"));
}

#[test]
fn what_is_well_formed_but_no_image_is_inconsistent() {
    let parts = Parts::new();
    let Parts {
        header, rows, others, ..
    } = &parts;
    let whole = parts.trailer(|_| ());
    assert!(decoded(&parts.file(rows, others, &whole)).is_ok());

    assert_refused(
        &parts.file(&rows[..rows.len() - 1], others, &whole),
        "the columns do not have the length that the number of rows asks for, in block 1",
    );
    assert_refused(
        &parts.file(rows, &others[..others.len() - 1], &whole),
        "a row cannot be read, in the table of quarantined rows",
    );
    assert_refused(
        &parts.file(rows, &[&others[..], b"x"].concat(), &whole),
        "there are bytes after their end, in the tables",
    );
    assert_refused(
        &parts.file(rows, others, &whole[1..]),
        "the trailer cannot be read, in block 3",
    );
    let twice = [
        (Kind::Header, &header[..]),
        (Kind::Enterprises, rows),
        (Kind::Enterprises, rows),
        (Kind::Trailer, &whole),
    ];
    assert_refused(&file_of(&twice), "an enterprise stands twice, in block 2");
    let early = [
        (Kind::Header, &header[..]),
        (Kind::Changed, rows),
        (Kind::Enterprises, rows),
        (Kind::Trailer, &whole),
    ];
    assert_refused(
        &file_of(&early),
        "it is of a kind that does not belong there, in block 2",
    );
    assert_refused(
        &file_of(&[(Kind::Enterprises, rows)]),
        "it is of a kind that does not belong there, in block 0",
    );
    assert_refused(
        &file_of(&[(Kind::Header, b"x"), (Kind::Trailer, &whole)]),
        "the header cannot be read, in block 0",
    );
}

#[test]
fn a_trailer_that_contradicts_the_rest_is_inconsistent() {
    let parts = Parts::new();
    let file = |change: fn(&mut Trailer)| parts.file(&parts.rows, &parts.others, &parts.trailer(change));
    assert_refused(
        &file(|trailer| trailer.blocks = 4),
        "there are not as many blocks as it says, in block 3",
    );
    assert_refused(
        &file(|trailer| trailer.tiers[0] += 1),
        "the enterprises of a tier are not as many as the image says, in the whole",
    );
    assert_refused(
        &file(|trailer| trailer.place.position.epoch = "x".into()),
        "header and trailer are of two stores, in block 3",
    );
    // A digest that disagrees with the rows is found by counting afresh alone.
    let other = decoded(&file(|trailer| trailer.digest[0] ^= 1)).unwrap();
    let error = other.check().expect_err("another digest").to_string();
    assert!(error.contains("have the digest"), "{error}");
}
