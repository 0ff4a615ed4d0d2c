use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::UNIX_EPOCH,
};

use greenlane::{
    domain::identifier::{CustomsCode, EnterpriseId, SocialCreditCode},
    registry::{Change, Generation, row::Entity},
    upstream::{
        columns::Column,
        file::{self, About},
        row,
        sqlite::StorePath,
    },
};
use proptest::prelude::*;

use super::support::store;

const EPOCH: &str = "0123456789abcdef";
const TIERS: [&str; 6] = [
    "ADVANCED_CERTIFIED",
    "CERTIFIED",
    "REGULAR",
    "DISCREDITED",
    "SERIOUSLY_DISCREDITED",
    "NO_TIER",
];

fn about() -> About<'static> {
    About {
        store: "sqlite",
        policy_digest: "",
        confirmed_at: UNIX_EPOCH,
    }
}

fn code(number: usize) -> CustomsCode {
    format!("{number:010}").parse().unwrap()
}

fn social(number: usize) -> SocialCreditCode {
    format!("{number:018}").parse().unwrap()
}

fn text(text: &str) -> Column<'static> {
    Column::Text(text.to_owned().into())
}

fn put(number: usize, social_credit: Option<usize>, tier: usize, name: &str) -> Change {
    let columns = [
        text(code(number).as_str()),
        social_credit.map_or(Column::Null, |number| text(social(number).as_str())),
        text(name),
        text(TIERS[tier % TIERS.len()]),
        text("2020-01-01"),
        if tier.is_multiple_of(2) {
            text("2030-01-01")
        } else {
            Column::Null
        },
        Column::Integer(tier.is_multiple_of(3).into()),
    ];
    row::put(Entity::Enterprise, &columns)
}

fn gone(number: usize) -> Change {
    row::gone(Entity::Enterprise, code(number).as_str())
}

/// What the commits lead to when nothing else goes on, up to a sequence.
fn replayed(base: &[Change], commit: impl Fn(u64) -> Vec<Change>, sequence: u64) -> Generation {
    let generation = Generation::new(EPOCH, base.len());
    generation.load(base);
    generation.finish_load(0, None);
    for sequence in 1..=sequence {
        generation.commit(&commit(sequence), sequence, Some([sequence, 0]));
    }
    generation
}

#[track_caller]
fn assert_same(image: &Generation, expected: &Generation, numbers: usize) {
    assert_eq!(image.place(), expected.place());
    assert_eq!(image.tier_counts(), expected.tier_counts());
    assert_eq!(image.digest(), expected.digest());
    let recount = image.recount();
    assert_eq!(recount, expected.recount());
    assert_eq!((recount.digest, recount.astray), (expected.digest(), 0));
    assert_eq!(image.quarantined(), expected.quarantined());
    assert_eq!(image.order_count(), expected.order_count());
    assert_eq!(image.operator_count(), expected.operator_count());
    for number in 0..numbers {
        let ids = [
            EnterpriseId::Customs(code(number)),
            EnterpriseId::SocialCredit(social(number)),
        ];
        for id in ids {
            assert_eq!(image.enterprise(&id), expected.enterprise(&id), "{id:?}");
        }
        let schedule = |generation: &Generation| generation.read(|view| view.schedule(code(number))).0;
        assert_eq!(schedule(image), schedule(expected));
    }
}

// === commits between any two writes ===

/// Enterprises of the small registers; each has a name so long that a few hundred fill a block.
const NUMBERS: usize = 400;

/// An output that lets a commit in at every write.
struct Meanwhile<'a> {
    generation: &'a Generation,
    commits: &'a [Vec<Change>],
    bytes: Vec<u8>,
}

impl Write for Meanwhile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sequence = self.generation.position().sequence + 1;
        if let Some(commit) = self.commits.get(usize::try_from(sequence).unwrap() - 1) {
            self.generation.commit(commit, sequence, Some([sequence, 0]));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Op {
    Put {
        number: usize,
        social: Option<usize>,
        tier: usize,
        long: bool,
    },
    Gone(usize),
    Schedule {
        number: usize,
        tier: usize,
    },
    Unschedule(usize),
    Order(usize, usize),
    OrderGone(usize),
    Operator(usize, bool),
    OperatorGone(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let number = 0..NUMBERS;
    let tier = 0..TIERS.len();
    prop_oneof![
        6 => (number.clone(), prop::option::of(number.clone()), tier.clone(), any::<bool>())
            .prop_map(|(number, social, tier, long)| Op::Put { number, social, tier, long }),
        2 => number.clone().prop_map(Op::Gone),
        2 => (number.clone(), tier.clone()).prop_map(|(number, tier)| Op::Schedule { number, tier }),
        1 => number.prop_map(Op::Unschedule),
        1 => (0..4_usize, tier).prop_map(|(id, tier)| Op::Order(id, tier)),
        1 => (0..4_usize).prop_map(Op::OrderGone),
        1 => (0..4_usize, any::<bool>()).prop_map(|(id, good)| Op::Operator(id, good)),
        1 => (0..4_usize).prop_map(Op::OperatorGone),
    ]
}

/// The changes of a commit; as in a store, no two enterprises have one social credit code.
fn changes(ops: &[Op], owners: &mut [Option<usize>]) -> Vec<Change> {
    let mut changes = Vec::new();
    let release = |owners: &mut [Option<usize>], number| {
        for owner in owners.iter_mut().filter(|owner| **owner == Some(number)) {
            *owner = None;
        }
    };
    for op in ops {
        match *op {
            Op::Put {
                number,
                social,
                tier,
                long,
            } => {
                release(owners, number);
                if let Some(social) = social
                    && let Some(former) = owners[social].replace(number)
                {
                    changes.push(gone(former));
                }
                let name = "长".repeat(if long { 1_300 } else { 3 });
                changes.push(put(number, social, tier, &name));
            }
            Op::Gone(number) => {
                release(owners, number);
                changes.push(gone(number));
            }
            Op::Schedule { number, tier } => {
                let columns = [text(code(number).as_str()), text(TIERS[tier]), text("2027-01-01")];
                changes.push(row::put(Entity::ScheduledTier, &columns));
            }
            Op::Unschedule(number) => {
                changes.push(row::gone(
                    Entity::ScheduledTier,
                    &format!("{}|2027-01-01", code(number)),
                ));
            }
            Op::Order(id, kind) => {
                let kind = ["HOLD", "INSPECT", "DOCUMENTS", "NO_KIND"][kind % 4];
                let mut columns = vec![text(&format!("order-{id}")), text(kind), text("MANDATED")];
                columns.extend((0..5).map(|_| Column::Null));
                columns.extend(["IMPORT", "2026-01-01T00:00:00Z"].map(text));
                columns.push(Column::Null);
                columns.extend(["Art 1", "Chosen", "Not for everybody"].map(text));
                changes.push(row::put(Entity::ControlOrder, &columns));
            }
            Op::OrderGone(id) => changes.push(row::gone(Entity::ControlOrder, &format!("order-{id}"))),
            Op::Operator(id, good) => {
                let columns = [
                    text(&format!("SG{id:08}")),
                    text("SG"),
                    text("STP-Plus"),
                    text("Operator"),
                    text(if good { "2020-01-01" } else { "some day" }),
                    Column::Null,
                    Column::Integer(0),
                ];
                changes.push(row::put(Entity::RecognisedOperator, &columns));
            }
            Op::OperatorGone(id) => {
                changes.push(row::gone(Entity::RecognisedOperator, &format!("SG{id:08}")));
            }
        }
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_image_is_of_one_position_whatever_is_committed_meanwhile(
        commits in prop::collection::vec(prop::collection::vec(op(), 1..20), 0..16),
        before in 0..4_usize,
    ) {
        let name = "公".repeat(1_200);
        let base: Vec<_> = (0..NUMBERS).map(|number| put(number, Some(number), number, &name)).collect();
        let mut owners: Vec<_> = (0..NUMBERS).map(Some).collect();
        let commits: Vec<_> = commits.iter().map(|ops| changes(ops, &mut owners)).collect();
        let commit = |sequence| commits[usize::try_from(sequence).unwrap() - 1].clone();

        let generation = replayed(&base, commit, before.min(commits.len()) as u64);
        let output = Meanwhile { generation: &generation, commits: &commits, bytes: Vec::new() };
        let (output, written) = file::encode(&generation, &about(), output).unwrap();
        let loaded = file::decode(&output.bytes[..], output.bytes.len() as u64).unwrap();
        prop_assert_eq!(&loaded.info, &written.info);
        let sequence = loaded.info.place.position.sequence;
        assert_same(&loaded.generation, &replayed(&base, commit, sequence), NUMBERS);

        // What was loaded goes on as the original does.
        for sequence in sequence + 1..=commits.len() as u64 {
            loaded.generation.commit(&commit(sequence), sequence, Some([sequence, 0]));
        }
        let end = replayed(&base, commit, commits.len() as u64);
        assert_same(&loaded.generation, &end, NUMBERS);
    }
}

// === commits on another thread ===

/// Two enterprises of the big register exchange their social credit codes, or go.
fn exchange(sequence: u64) -> Vec<Change> {
    // Any mixing will do that says the same again.
    let mixed = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let mixed = usize::try_from(mixed).unwrap();
    let one = mixed % (BIG / 2) * 2;
    let (tier, other) = (mixed >> 16, one + 1);
    match mixed >> 24 & 7 {
        0 => vec![gone(one), gone(other)],
        1..4 => vec![
            put(one, Some(other), tier, "one"),
            put(other, Some(one), tier, "other"),
        ],
        _ => vec![
            put(one, Some(one), tier, "one"),
            put(other, Some(other), tier, "other"),
        ],
    }
}

const BIG: usize = 60_000;

#[test]
fn images_made_while_another_thread_commits_are_each_of_one_position() {
    let base: Vec<_> = (0..BIG)
        .map(|number| put(number, Some(number), number, "base"))
        .collect();
    let generation = replayed(&base, exchange, 0);
    let done = AtomicBool::new(false);
    let images: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in 1.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                generation.commit(&exchange(sequence), sequence, Some([sequence, 0]));
            }
        });
        let images = (0..3)
            .map(|_| file::encode(&generation, &about(), Vec::new()).unwrap().0)
            .collect();
        done.store(true, Ordering::Relaxed);
        images
    });
    let mut last = 0;
    for image in images {
        let loaded = file::decode(&image[..], image.len() as u64).unwrap();
        let sequence = loaded.info.place.position.sequence;
        assert!(sequence > last, "commits went on: {sequence} after {last}");
        last = sequence;
        assert_same(&loaded.generation, &replayed(&base, exchange, sequence), BIG);
    }
}

#[test]
fn an_image_that_cannot_be_written_leaves_the_generation_as_it_was() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let base: Vec<_> = (0..100)
        .map(|number| put(number, Some(number), number, "base"))
        .collect();
    let generation = replayed(&base, exchange, 5);
    assert!(file::encode(&generation, &about(), Full).is_err());
    generation.commit(&exchange(6), 6, Some([6, 0]));
    let (bytes, _) = file::encode(&generation, &about(), Vec::new()).unwrap();
    let loaded = file::decode(&bytes[..], bytes.len() as u64).unwrap();
    assert_same(&loaded.generation, &replayed(&base, exchange, 6), 100);
}

// === the commands ===

fn greenlane(folder: &Path, arguments: &[&str]) -> Output {
    let store = format!("upstream.url=sqlite://{}", folder.join("greenlane.db").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenlane"));
    command
        .current_dir(folder)
        .args(["--set", &store])
        .args(arguments);
    command.output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_commands_export_show_and_verify_and_name_the_damage() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let database = folder.join("greenlane.db");
    drop(StorePath(database.clone()).open_or_create().unwrap());
    let sql = store::connect(&database);
    store::enterprise_of_each_tier(&sql);
    let head = store::head(&sql);

    let exported = json(&greenlane(
        folder,
        &["--output", "json", "snapshot", "export", "--to", "a.snapshot"],
    ));
    let info = json(&greenlane(
        folder,
        &["--output", "json", "snapshot", "info", "a.snapshot"],
    ));
    let verified = json(&greenlane(
        folder,
        &["--output", "json", "snapshot", "verify", "a.snapshot"],
    ));
    assert_eq!(info, verified);
    assert_eq!(exported["sha256"], info["sha256"]);
    assert_eq!(info["epoch"], head.epoch);
    assert_eq!(info["sequence"], head.sequence);
    assert_eq!(info["store"], "sqlite");
    assert_eq!(info["enterprises"], 5);
    assert_eq!(info["tiers"]["ADVANCED_CERTIFIED"], 1);
    assert_eq!(
        info["bytes"],
        fs::metadata(folder.join("a.snapshot")).unwrap().len()
    );
    let table = greenlane(folder, &["snapshot", "info", "a.snapshot"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains(&head.epoch) && table.contains("policy digest"),
        "{table}"
    );

    let whole = fs::read(folder.join("a.snapshot")).unwrap();
    let mut damaged = whole.clone();
    damaged[200] ^= 1;
    for (bytes, said) in [
        (&damaged[..], "damaged: the checksum of block"),
        (&whole[..whole.len() - 1], "torn: it ends after"),
        (b"something else", "no snapshot file of Greenlane"),
    ] {
        fs::write(folder.join("b.snapshot"), bytes).unwrap();
        for command in ["verify", "info"] {
            let refused = greenlane(folder, &["snapshot", command, "b.snapshot"]);
            let error = String::from_utf8(refused.stderr).unwrap();
            assert_eq!(refused.status.code(), Some(1), "{error}");
            assert!(error.contains("b.snapshot") && error.contains(said), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
    let missing = greenlane(folder, &["snapshot", "verify", "c.snapshot"]);
    assert!(String::from_utf8(missing.stderr).unwrap().contains("c.snapshot"));
    assert_eq!(missing.status.code(), Some(1));
}
