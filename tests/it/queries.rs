use std::{path::Path, sync::Arc};

use greenlane::{
    app::{settings::Settings as AppSettings, settings::StoreUrl, source_settings},
    audit::{
        decision,
        log::{AuditLog, OnFailure, record},
        query::{Decisions, MAX_PAGE, OwnLog, page_token, read_page_token},
        read::{Group, LogReader},
        sealer::Sealer,
        segment::ReplicaName,
        ship::Shipper,
        signing::SigningKey,
        writer::WriterSettings,
    },
    upstream::{
        archive::{Archive, ArchiveReader, DecisionFilter, HeadTaken, Progress, SignedText},
        source::SourceSettings,
    },
    wire::pb::{self, audit_record::Entry, party::Identifier},
};
use jiff::Timestamp;
use proptest::{option, prelude::*, test_runner::TestRunner};
use rand::{SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::support::{SOON, app::TestApp, cases, postgres::Postgres, requests};

const OFFICES: [&str; 3] = ["2225", "0202", "5101"];
/// 2026-10-31T23:59:00Z: the decisions lie in two months.
const BEGIN: i64 = 1_793_491_140_000_000_000;
const BETWEEN: i64 = 500_000_000;

fn code(number: u32) -> String {
    format!("31019100{number:02}")
}

fn declaration(number: u32) -> String {
    format!("222520261{number:09}")
}

/// A log with decisions drawn at random, some of them decided before the one that was logged before.
struct Own {
    log: Arc<AuditLog>,
    folder: TempDir,
    written: Vec<(u64, pb::DecisionEntry)>,
    numbers: StdRng,
}

impl Own {
    fn new(replica: &str, seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = WriterSettings {
            directory: folder.path().to_owned(),
            replica: ReplicaName::from(replica).unwrap(),
            segment_bytes: 32 << 10,
            sync: false,
        };
        let key = Arc::new(SigningKey::load_or_make(&folder.path().join("signing.key")).unwrap());
        let sealer = Sealer::spawn(folder.path().to_owned(), key, Box::new(|_, _| ())).unwrap();
        let (opened, activation) = (pb::LogOpened::default(), pb::PolicyActivation::default());
        let log = AuditLog::open(
            settings,
            OnFailure::Refuse,
            opened,
            activation,
            sealer.take_full(),
        )
        .unwrap();
        // It ends with the log's writer.
        drop(sealer);
        Self {
            log,
            folder,
            written: Vec::new(),
            numbers: StdRng::seed_from_u64(seed),
        }
    }

    /// Logs so many groups more.
    fn write(&mut self, groups: usize) {
        for _ in 0..groups {
            let entries: Vec<_> = (0..self.numbers.random_range(1..5))
                .map(|_| self.decision())
                .collect();
            let records: Vec<_> = entries
                .iter()
                .map(|entry| record(Entry::Decision(entry.clone())))
                .collect();
            let first = self.log.append(&records).unwrap();
            self.written.extend((first..).zip(entries));
        }
    }

    fn decision(&mut self) -> pb::DecisionEntry {
        let numbers = &mut self.numbers;
        let step = i64::try_from(self.written.len()).unwrap() * BETWEEN;
        let at = BEGIN + step + numbers.random_range(-5 * BETWEEN..5 * BETWEEN);
        let declaration = declaration(numbers.random_range(0..40));
        let registered = code(numbers.random_range(0..12));
        // One party is sent by its customs code, another is known by it.
        let sent = pb::Party {
            role: pb::PartyRole::Consignee.into(),
            identifier: Some(Identifier::CustomsCode(code(numbers.random_range(0..12)))),
        };
        let id = uuid::Builder::from_unix_timestamp_millis(
            u64::try_from(at / 1_000_000).unwrap(),
            &numbers.random(),
        );
        pb::DecisionEntry {
            request: Some(pb::DecideRequest {
                declaration_number: declaration.clone(),
                customs_office: OFFICES[numbers.random_range(0..OFFICES.len())].to_owned(),
                parties: vec![sent],
                ..pb::DecideRequest::default()
            }),
            decision: Some(pb::Decision {
                decision_id: id.into_uuid().to_string(),
                declaration_number: declaration,
                lane: numbers.random_range(1..=5),
                decided_at: Some(prost_types::Timestamp {
                    seconds: at.div_euclid(1_000_000_000),
                    nanos: i32::try_from(at.rem_euclid(1_000_000_000)).unwrap(),
                }),
                ..pb::Decision::default()
            }),
            facts: Some(pb::DecisionFacts {
                parties: vec![pb::PartyFacts {
                    enterprise: Some(pb::EnterpriseFacts {
                        customs_code: registered,
                        ..pb::EnterpriseFacts::default()
                    }),
                    operator: None,
                }],
                ..pb::DecisionFacts::default()
            }),
            caller: "anonymous".to_owned(),
            ..pb::DecisionEntry::default()
        }
    }

    fn directory(&self) -> &Path {
        self.folder.path()
    }

    fn own_log(&self) -> OwnLog {
        OwnLog {
            directory: self.directory().to_owned(),
            replica: self.log.replica().to_owned(),
            head: self.log.head(),
        }
    }

    fn groups(&self) -> Vec<Group> {
        let reader = LogReader::open(self.directory(), 1).unwrap();
        reader.map(Result::unwrap).collect()
    }
}

/// A decision by its place in lists.
type Placed = ((Timestamp, String, u64), pb::DecisionEntry);

/// Everything that was logged and passes, by a scan of all of it and by rules of the test's own.
fn by_scan(logs: &[&Own], filter: &DecisionFilter) -> Vec<Placed> {
    let mut found = Vec::new();
    for own in logs {
        for (sequence, entry) in &own.written {
            let (request, decided) = (entry.request.as_ref().unwrap(), entry.decision.as_ref().unwrap());
            let at = decided.decided_at.unwrap();
            let at = Timestamp::new(at.seconds, at.nanos).unwrap();
            let Some(Identifier::CustomsCode(sent)) = &request.parties[0].identifier else {
                panic!("a customs code was sent");
            };
            let facts = entry.facts.as_ref().unwrap();
            let codes = [sent, &facts.parties[0].enterprise.as_ref().unwrap().customs_code];
            let lane = ["", "MANUAL", "RED", "YELLOW", "BLUE", "GREEN"];
            let lane_of = |word: &str| pb::Lane::from_str_name(&format!("LANE_{word}")).unwrap() as i32;
            assert!(lane[1..].iter().all(|word| lane_of(word) > 0));
            let passes = filter.decided_from.is_none_or(|from| from <= at)
                && filter.decided_to.is_none_or(|to| at < to)
                && filter
                    .customs_office
                    .as_ref()
                    .is_none_or(|office| *office == request.customs_office)
                && filter
                    .customs_code
                    .as_ref()
                    .is_none_or(|code| codes.contains(&code))
                && filter
                    .declaration_number
                    .as_ref()
                    .is_none_or(|n| *n == decided.declaration_number)
                && filter
                    .lane
                    .as_ref()
                    .is_none_or(|lane| lane_of(lane) == decided.lane);
            if passes {
                found.push(((at, own.log.replica().to_owned(), *sequence), entry.clone()));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Every page of a list; each page's end goes through its token.
async fn by_pages(decisions: &Decisions, filter: &DecisionFilter, page_size: usize) -> Vec<Placed> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = decisions.list(filter, after.as_ref(), page_size).await.unwrap();
        assert!(page.decisions.len() <= page_size.clamp(1, MAX_PAGE));
        found.extend(page.decisions.into_iter().map(|own| {
            let at = decision::decided_at(&own.record);
            ((at, own.replica, own.sequence), own.record)
        }));
        let Some(next) = page.next else { return found };
        after = read_page_token(filter, &page_token(filter, &next));
        assert_eq!(after, Some(next));
    }
}

fn filters(decisions: i64) -> impl Strategy<Value = DecisionFilter> {
    let instant = || {
        (-10..decisions + 10, 0..BETWEEN).prop_map(|(step, within)| {
            Timestamp::from_nanosecond(i128::from(BEGIN + step * BETWEEN + within)).unwrap()
        })
    };
    let lanes = prop::sample::select(vec!["MANUAL", "RED", "YELLOW", "BLUE", "GREEN"]);
    (
        option::of(instant()),
        option::of(instant()),
        option::weighted(0.3, prop::sample::select(OFFICES.to_vec())),
        option::weighted(0.3, (0_u32..13).prop_map(code)),
        option::weighted(0.2, (0_u32..41).prop_map(declaration)),
        option::weighted(0.3, lanes),
    )
        .prop_map(
            |(decided_from, decided_to, office, customs_code, declaration_number, lane)| DecisionFilter {
                decided_from,
                decided_to,
                customs_office: office.map(str::to_owned),
                customs_code,
                declaration_number,
                lane: lane.map(str::to_owned),
            },
        )
}

async fn assert_found_singly(decisions: &Decisions, logs: &[&Own]) {
    let all = by_scan(logs, &DecisionFilter::default());
    for (place, entry) in all.iter().step_by(17) {
        let id = &entry.decision.as_ref().unwrap().decision_id;
        let found = decisions.find(&id.to_ascii_uppercase()).await.unwrap().unwrap();
        assert_eq!(
            (&found.replica, found.sequence, &found.record),
            (&place.1, place.2, entry)
        );
    }
    assert!(
        decisions
            .find("0190a000-0000-7000-8000-000000000000")
            .await
            .unwrap()
            .is_none()
    );
    for number in (0..41).map(declaration) {
        let last = all
            .iter()
            .rev()
            .find(|(_, entry)| entry.decision.as_ref().unwrap().declaration_number == number);
        let found = decisions.latest(&number).await.unwrap();
        assert_eq!(
            found.map(|found| found.record),
            last.map(|(_, entry)| entry.clone()),
            "{number}"
        );
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn lists_of_the_own_log_are_those_of_a_scan_of_all_of_it_while_it_grows() {
    let mut own = Own::new("kh-1-0badcafe", 7);
    own.write(400);
    let decisions = Decisions::new(Some(own.own_log()), None, watch::Sender::new(0).subscribe());
    let runtime = runtime();
    let mut runner = TestRunner::new(cases(60));
    let own = std::cell::RefCell::new(own);
    runner
        .run(&(filters(1_000), 1_usize..300), |(filter, page_size)| {
            own.borrow_mut().write(1);
            let found = runtime.block_on(by_pages(&decisions, &filter, page_size));
            prop_assert_eq!(found, by_scan(&[&own.borrow()], &filter));
            Ok(())
        })
        .unwrap();
    runtime.block_on(assert_found_singly(&decisions, &[&own.borrow()]));
}

#[test]
fn pages_go_on_where_they_ended_though_decisions_come_between_them() {
    let mut own = Own::new("kh-1-0badcafe", 11);
    own.write(100);
    let decisions = Decisions::new(Some(own.own_log()), None, watch::Sender::new(0).subscribe());
    let filter = DecisionFilter::default();
    let before = by_scan(&[&own], &filter);
    let runtime = runtime();
    let (mut seen, mut after) = (Vec::new(), None);
    while seen.len() < before.len() {
        let page = runtime
            .block_on(decisions.list(&filter, after.as_ref(), 13))
            .unwrap();
        seen.extend(page.decisions.into_iter().map(|found| found.sequence));
        own.write(2);
        after = page.next;
    }
    let mut once = seen.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), seen.len(), "none comes twice");
    // What was there at the first page is on one of them, however much came later.
    let missing = before
        .iter()
        .filter(|(place, _)| !seen.contains(&place.2))
        .count();
    assert_eq!(missing, 0);
}

#[test]
fn a_page_ends_before_it_is_too_large_for_a_client_and_the_next_goes_on() {
    let own = Own::new("kh-1-0badcafe", 3);
    let large = pb::DecisionEntry {
        caller: "c".repeat(300 << 10),
        decision: Some(pb::Decision::default()),
        ..pb::DecisionEntry::default()
    };
    for _ in 0..20 {
        own.log.append(&[record(Entry::Decision(large.clone()))]).unwrap();
    }
    let decisions = Decisions::new(Some(own.own_log()), None, watch::Sender::new(0).subscribe());
    let runtime = runtime();
    let page = runtime
        .block_on(decisions.list(&DecisionFilter::default(), None, 1000))
        .unwrap();
    assert!(
        (2..=8).contains(&page.decisions.len()),
        "{}",
        page.decisions.len()
    );
    assert!(page.next.is_some());
    assert_eq!(
        runtime
            .block_on(by_pages(&decisions, &DecisionFilter::default(), 1000))
            .len(),
        20
    );
}

// === the service ===

#[tokio::test]
async fn what_breaks_a_rule_is_told_field_by_field_and_a_token_is_of_its_own_list() {
    let app = TestApp::ready().await;
    let mut audit = app.audit();
    let instant = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let bad = pb::ListDecisionsRequest {
        decided_from: instant(2_000_000_000),
        decided_to: instant(1_000_000_000),
        customs_office: "22250".to_owned(),
        customs_code: "310191000x".to_owned(),
        declaration_number: "1".to_owned(),
        lane: 99,
        ..pb::ListDecisionsRequest::default()
    };
    let status = audit.list_decisions(bad).await.unwrap_err();
    let mut paths = requests::fields(&status);
    paths.sort_unstable();
    let every = [
        "customs_code",
        "customs_office",
        "decided_to",
        "declaration_number",
        "lane",
    ];
    assert_eq!(paths, every);
    let get = |key| pb::GetDecisionRequest { key };
    let id = |id: &str| Some(pb::get_decision_request::Key::DecisionId(id.to_owned()));
    let number = |number: &str| {
        Some(pb::get_decision_request::Key::DeclarationNumber(
            number.to_owned(),
        ))
    };
    for (key, field) in [
        (None, "key"),
        (id("0190a000"), "decision_id"),
        (number("222520261"), "declaration_number"),
    ] {
        let status = audit.get_decision(get(key)).await.unwrap_err();
        assert_eq!(requests::fields(&status), [field]);
    }
    let unknown = audit
        .get_decision(get(id("0190a000-0000-7000-8000-000000000000")))
        .await;
    assert_eq!(unknown.unwrap_err().code(), tonic::Code::NotFound);
    let unknown = audit.get_decision(get(number("222520261000000009"))).await;
    assert_eq!(unknown.unwrap_err().code(), tonic::Code::NotFound);

    let mut facilitation = app.facilitation();
    for sequence in 1..=3 {
        let request = requests::import(sequence, "1101919107");
        facilitation.decide(request).await.unwrap();
    }
    let all = pb::ListDecisionsRequest {
        page_size: 2,
        ..pb::ListDecisionsRequest::default()
    };
    let page = audit.list_decisions(all.clone()).await.unwrap().into_inner();
    assert_eq!(page.records.len(), 2);
    let next = pb::ListDecisionsRequest {
        page_token: page.next_page_token.clone(),
        ..all.clone()
    };
    let last = audit.list_decisions(next).await.unwrap().into_inner();
    assert_eq!((last.records.len(), last.next_page_token.as_str()), (1, ""));
    assert_eq!(last.records[0].caller, "anonymous");
    for (other, token) in [
        (
            pb::ListDecisionsRequest {
                customs_office: "2225".to_owned(),
                ..all.clone()
            },
            page.next_page_token,
        ),
        (all.clone(), "00ff".to_owned()),
    ] {
        let with = pb::ListDecisionsRequest {
            page_token: token,
            ..other
        };
        let status = audit.list_decisions(with).await.unwrap_err();
        assert_eq!(requests::fields(&status), ["page_token"]);
    }
}

// === the archive ===

fn store(url: &str) -> SourceSettings {
    let mut settings = AppSettings::default();
    settings.upstream.url = StoreUrl::new(url);
    source_settings(&settings)
}

/// Ships the groups of a log up to a record.
async fn ship(archive: &mut Archive, own: &Own, to: u64) -> Progress {
    let replica = own.log.replica();
    let progress = archive.progress(replica).await.unwrap();
    let groups: Vec<_> = own
        .groups()
        .iter()
        .filter(|group| group.header.first_sequence >= progress.next_sequence)
        .filter(|group| group.header.next_sequence() <= to + 1)
        .map(decision::shipped)
        .collect();
    archive.ship(replica, &progress, &groups).await.unwrap()
}

#[test]
fn lists_over_a_database_are_those_of_every_log_whatever_of_them_is_shipped_yet() {
    let runtime = runtime();
    let postgres = runtime.block_on(Postgres::with_store());
    let mut archive = Archive::open(&store(&postgres.url())).unwrap();
    let (mut ours, mut theirs) = (Own::new("kh-1-0badcafe", 7), Own::new("kh-0-5eed5eed", 8));
    ours.write(300);
    theirs.write(300);
    let last = |own: &Own| own.log.head().borrow().sequence;
    runtime.block_on(ship(&mut archive, &theirs, last(&theirs)));
    let told = watch::Sender::new(0);
    let reader = ArchiveReader::open(&store(&postgres.url())).unwrap();
    let decisions = Decisions::new(Some(ours.own_log()), reader, told.subscribe());
    // What is shipped is told of before or after it is.
    for (case, part) in [0, 3, 9, 10].into_iter().enumerate() {
        let progress = runtime.block_on(ship(&mut archive, &ours, last(&ours) * part / 10));
        if case % 2 == 1 {
            told.send_replace(progress.next_sequence - 1);
        }
        // Each page is a connection.
        let mut few = cases(15);
        few.cases = few.cases.min(300);
        let mut runner = TestRunner::new(few);
        runner
            .run(&(filters(800), 1_usize..200), |(filter, page_size)| {
                let found = runtime.block_on(by_pages(&decisions, &filter, page_size));
                prop_assert_eq!(found, by_scan(&[&ours, &theirs], &filter));
                Ok(())
            })
            .unwrap();
        runtime.block_on(assert_found_singly(&decisions, &[&ours, &theirs]));
    }
}

#[test]
fn shipping_again_or_beside_another_changes_nothing_and_the_copy_is_the_log() {
    let runtime = runtime();
    let postgres = runtime.block_on(Postgres::with_store());
    let mut own = Own::new("kh-1-0badcafe", 5);
    own.write(100);
    let replica = own.log.replica().to_owned();
    let last = own.log.head().borrow().sequence;
    runtime.block_on(async {
        let [mut one, mut other] = [(); 2].map(|()| Archive::open(&store(&postgres.url())).unwrap());
        let groups: Vec<_> = own.groups().iter().map(decision::shipped).collect();
        let begin = one.progress(&replica).await.unwrap();
        assert_eq!(begin, Progress::default());
        let middle = one.ship(&replica, &begin, &groups[..40]).await.unwrap();
        assert!(other.ship(&replica, &begin, &groups[..60]).await.is_err());
        assert!(one.ship(&replica, &begin, &groups[..40]).await.is_err());
        assert_eq!(other.progress(&replica).await.unwrap(), middle);
        let wrong = Progress {
            chain: [7; 32],
            ..middle
        };
        assert!(other.ship(&replica, &wrong, &groups[40..]).await.is_err());
        let end = ship(&mut other, &own, last).await;
        assert_eq!(end.next_sequence, last + 1);

        let reader = ArchiveReader::open(&store(&postgres.url())).unwrap().unwrap();
        assert_eq!(reader.replicas().await.unwrap(), [replica.as_str()]);
        let (mut copy, mut next) = (Vec::new(), 1);
        loop {
            let frames = reader.groups(&replica, next, 5_000).await.unwrap();
            let Some(last) = frames.last() else { break };
            let header = greenlane::audit::frame::GroupHeader::read(last.first_chunk().unwrap());
            next = header.unwrap().next_sequence();
            copy.extend(frames);
        }
        assert_eq!(
            copy,
            groups.iter().map(|group| group.frame.clone()).collect::<Vec<_>>()
        );
        let session = postgres.session().await;
        let counted = session
            .query_one(
                "SELECT count(*), count(DISTINCT sequence) FROM audit_decision",
                &[],
            )
            .await
            .unwrap();
        let written = i64::try_from(own.written.len()).unwrap();
        assert_eq!(
            (counted.get::<_, i64>(0), counted.get::<_, i64>(1)),
            (written, written)
        );
        // An old month is dropped without touching the others.
        session
            .batch_execute("DROP TABLE audit_decision_202610")
            .await
            .unwrap();
        let left = reader
            .list(
                &DecisionFilter::default(),
                None,
                greenlane::upstream::archive::Bound {
                    records: 10_000,
                    bytes: usize::MAX >> 2,
                },
            )
            .await
            .unwrap();
        let november: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let expected = by_scan(
            &[&own],
            &DecisionFilter {
                decided_from: Some(november),
                ..DecisionFilter::default()
            },
        );
        assert_eq!(left.len(), expected.len());
        assert!(!left.is_empty() && left.len() < own.written.len());
    });
}

#[test]
fn heads_never_go_back_in_any_store() {
    let runtime = runtime();
    let postgres = runtime.block_on(Postgres::with_store());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("greenlane.db");
    greenlane::upstream::sqlite::StorePath(path.clone())
        .open_or_create()
        .unwrap();
    for url in [postgres.url(), format!("sqlite://{}", path.display())] {
        runtime.block_on(async {
            let mut archive = Archive::open(&store(&url)).unwrap();
            let head = |sequence: u64| SignedText {
                sequence,
                text: format!("head {sequence}"),
                signature: vec![1; 64],
            };
            assert_eq!(archive.put_head("a", &head(5)).await.unwrap(), HeadTaken::Taken);
            assert_eq!(archive.put_head("a", &head(5)).await.unwrap(), HeadTaken::Taken);
            assert_eq!(
                archive.put_head("a", &head(4)).await.unwrap(),
                HeadTaken::Behind { stored: 5 }
            );
            assert_eq!(archive.put_head("b", &head(1)).await.unwrap(), HeadTaken::Taken);
            assert_eq!(archive.put_head("a", &head(6)).await.unwrap(), HeadTaken::Taken);
            archive.put_key("a", "PEM").await.unwrap();
            archive.put_key("a", "PEM").await.unwrap();
        });
    }
}

#[test]
fn a_replica_ships_with_the_rights_that_are_documented_and_can_take_nothing_back() {
    let runtime = runtime();
    let postgres = runtime.block_on(Postgres::with_store());
    let mut own = Own::new("kh-1-0badcafe", 5);
    own.write(50);
    runtime.block_on(async {
        let owner = postgres.session().await;
        owner
            .batch_execute(
                "CREATE ROLE replica LOGIN;
                 GRANT SELECT ON enterprise, scheduled_tier, recognised_operator, mutual_recognition, control_order,
                                 change_log, registry_meta, enterprise_history TO replica;
                 GRANT SELECT, INSERT ON audit_group, audit_decision, audit_progress, audit_head, audit_seal, audit_key
                    TO replica;
                 GRANT UPDATE ON audit_progress, audit_head TO replica;
                 CREATE ROLE stranger LOGIN",
            )
            .await
            .unwrap();
        let url = |role: &str| postgres.url().replace("postgres@", &format!("{role}@"));
        let mut archive = Archive::open(&store(&url("replica"))).unwrap();
        let last = own.log.head().borrow().sequence;
        assert_eq!(ship(&mut archive, &own, last).await.next_sequence, last + 1);
        for (role, sql) in [
            ("replica", "DELETE FROM audit_group".to_owned()),
            ("replica", "UPDATE audit_decision SET lane = 'GREEN'".to_owned()),
            ("replica", "DROP TABLE audit_decision_202611".to_owned()),
            ("stranger", format!("SELECT audit_partitions('{}')", Timestamp::now())),
        ] {
            let (client, connection) =
                tokio_postgres::connect(&url(role).replace("?sslmode=disable", ""), tokio_postgres::NoTls)
                    .await
                    .unwrap();
            let mut driver = tokio::task::JoinSet::new();
            driver.spawn(async move { drop(connection.await) });
            let refused = client.batch_execute(&sql).await.unwrap_err();
            assert_eq!(
                refused.code(),
                Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE),
                "{role}: {sql}"
            );
        }
    });
}

#[test]
fn a_log_whose_unshipped_segments_were_deleted_is_shipped_from_what_is_left_on() {
    let runtime = runtime();
    let postgres = runtime.block_on(Postgres::with_store());
    let mut own = Own::new("kh-1-0badcafe", 5);
    own.write(400);
    let replica = own.log.replica().to_owned();
    let last = own.log.head().borrow().sequence;
    let shipped_to = watch::Sender::new(0);
    let mut told = shipped_to.subscribe();
    let segments = greenlane::audit::segment::list(own.directory()).unwrap();
    assert!(segments.len() > 4);
    let (stop, stopped) = watch::channel(false);
    let metrics = Arc::new(greenlane::metrics::Metrics::default());
    let shipper = |shipped_to: &watch::Sender<u64>| Shipper {
        archive: Archive::open(&store(&postgres.url())).unwrap(),
        groups: true,
        directory: own.directory().to_owned(),
        replica: replica.clone(),
        head: own.log.head(),
        sign: Box::new(|head| SignedText {
            sequence: head.sequence,
            text: String::new(),
            signature: Vec::new(),
        }),
        public_key: String::new(),
        head_interval: std::time::Duration::from_millis(50),
        shipped_to: shipped_to.clone(),
        metrics: Arc::clone(&metrics),
    };
    runtime.block_on(async {
        // Only the beginning is shipped before the middle goes.
        let mut archive = Archive::open(&store(&postgres.url())).unwrap();
        let progress = ship(&mut archive, &own, segments[1].0 - 1).await;
        assert_eq!(progress.next_sequence, segments[1].0);
        for (_, path) in &segments[..3] {
            std::fs::remove_file(path).unwrap();
        }
        let to_its_end = async {
            let all = tokio::time::timeout(SOON, told.wait_for(|shipped_to| *shipped_to == last)).await;
            all.expect("it is shipped to its end").unwrap();
            stop.send_replace(true);
        };
        let (ended, ()) = tokio::join!(shipper(&shipped_to).run(stopped), to_its_end);
        ended.unwrap();
        let session = postgres.session().await;
        let row = session
            .query_one(
                "SELECT min(first_sequence) FILTER (WHERE first_sequence >= $1), count(*) FROM audit_group",
                &[&i64::try_from(progress.next_sequence).unwrap()],
            )
            .await
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), i64::try_from(segments[3].0).unwrap());
    });
}
