use std::{fs, path::Path};

use super::*;
use crate::audit::{
    read::LogReader,
    segment::{self, ReplicaName},
};

fn settings(directory: &Path) -> WriterSettings {
    WriterSettings {
        directory: directory.to_owned(),
        replica: ReplicaName::from("test").expect("short enough"),
        segment_bytes: 2048,
        sync: false,
    }
}

fn open(directory: &Path, on_failure: OnFailure) -> Arc<AuditLog> {
    let (opened, activation) = (pb::LogOpened::default(), pb::PolicyActivation::default());
    AuditLog::open(
        settings(directory),
        on_failure,
        opened,
        activation,
        Box::new(drop),
    )
    .expect("opened")
}

fn decision(caller: &str) -> Vec<u8> {
    let entry = pb::audit_record::Entry::Decision(pb::DecisionEntry {
        caller: caller.to_owned(),
        ..pb::DecisionEntry::default()
    });
    record(entry).encode_to_vec()
}

/// Every record of a log, in order.
fn entries(directory: &Path) -> Vec<pb::audit_record::Entry> {
    let groups = LogReader::open(directory, 0)
        .expect("a log")
        .map(|group| group.expect("whole"));
    let records: Vec<_> = groups
        .flat_map(|group| group.decoded().collect::<Vec<_>>())
        .collect();
    let sequences: Vec<u64> = records.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(
        sequences,
        (1..=records.len() as u64).collect::<Vec<_>>(),
        "no gap"
    );
    records
        .into_iter()
        .filter_map(|(_, record)| record.entry)
        .collect()
}

fn callers(directory: &Path) -> Vec<String> {
    let caller = |entry| {
        if let pb::audit_record::Entry::Decision(entry) = entry {
            Some(entry.caller)
        } else {
            None
        }
    };
    entries(directory).into_iter().filter_map(caller).collect()
}

/// Runs a future beside the task of a lane, as a serving thread does.
fn beside<T>(lane: &Lane, work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::select! {
            () = lane.clone().run() => unreachable!("a lane runs for ever"),
            done = work => done,
        }
    })
}

#[test]
fn an_answer_waits_for_its_record_and_calls_that_are_ready_share_a_group() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path(), OnFailure::Refuse);
    let lane = Lane::new(Some(Arc::clone(&log)));
    let names: Vec<String> = (0..20).map(|number| format!("caller {number}")).collect();
    beside(&lane, async {
        let appended: Vec<Appended> = names
            .iter()
            .map(|name| lane.append(|buffer| buffer.extend(decision(name))))
            .collect();
        assert!(
            callers(directory.path()).is_empty(),
            "nothing is written before the group is"
        );
        for appended in appended {
            assert_eq!(appended.await, Ok(()));
            assert_eq!(
                callers(directory.path()),
                names,
                "all of the group is written by then"
            );
        }
    });
    let groups = LogReader::open(directory.path(), 0).expect("a log").count();
    assert_eq!(groups, 2, "that of the opening, and one for all");
}

#[test]
fn lanes_of_many_threads_write_one_gap_free_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path(), OnFailure::Refuse);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let lane = Lane::new(Some(Arc::clone(&log)));
            scope.spawn(move || {
                beside(&lane, async {
                    for number in 0..200 {
                        let name = format!("{thread}/{number}");
                        let appended = lane.append(|buffer| buffer.extend(decision(&name)));
                        assert_eq!(appended.await, Ok(()));
                    }
                });
            });
        }
    });
    let mut callers = callers(directory.path());
    callers.sort_unstable();
    callers.dedup();
    assert_eq!(callers.len(), 800);
    assert_eq!(
        log.head().borrow().sequence,
        entries(directory.path()).len() as u64
    );
}

/// Appends until a new segment is due and cannot be made, because the directory is gone; then lets it be made again.
fn through_a_failure(on_failure: OnFailure) -> (tempfile::TempDir, u64, u64) {
    let parent = tempfile::tempdir().expect("a directory");
    let (directory, away) = (parent.path().join("audit"), parent.path().join("away"));
    let log = open(&directory, on_failure);
    let lane = Lane::new(Some(Arc::clone(&log)));
    let (mut answered, mut refused) = (0, 0);
    beside(&lane, async {
        let mut send = async |times: u64| {
            for _ in 0..times {
                let appended = lane.append(|buffer| buffer.extend(decision("anonymous")));
                match appended.await {
                    Ok(()) => answered += 1,
                    Err(NotLogged) => refused += 1,
                }
            }
        };
        send(5).await;
        fs::rename(&directory, &away).expect("moved");
        send(200).await;
        fs::rename(&away, &directory).expect("moved back");
        send(5).await;
    });
    (parent, answered, refused)
}

#[test]
fn while_it_cannot_be_written_decisions_are_refused_and_it_recovers_by_itself() {
    let (parent, answered, refused) = through_a_failure(OnFailure::Refuse);
    assert!(refused > 100, "{refused}");
    let logged = callers(&parent.path().join("audit")).len() as u64;
    assert_eq!(
        logged, answered,
        "what was answered is in the log, and nothing else"
    );
}

#[test]
fn decisions_served_without_a_record_are_counted_in_the_log_afterwards() {
    let (parent, answered, refused) = through_a_failure(OnFailure::Serve);
    assert_eq!((answered, refused), (210, 0));
    let directory = parent.path().join("audit");
    let missing: u64 = entries(&directory)
        .into_iter()
        .filter_map(|entry| {
            if let pb::audit_record::Entry::Unlogged(gap) = entry {
                Some(gap.decisions)
            } else {
                None
            }
        })
        .sum();
    assert!(missing > 100, "{missing}");
    assert_eq!(callers(&directory).len() as u64 + missing, answered);
}

#[test]
fn every_segment_and_every_run_begins_with_who_writes() {
    let directory = tempfile::tempdir().expect("a directory");
    for _ in 0..2 {
        let log = open(directory.path(), OnFailure::Refuse);
        for _ in 0..60 {
            let entry = pb::audit_record::Entry::Inspection(pb::InspectionEntry::default());
            log.append(&[record(entry)]).expect("appended");
        }
    }
    let segments = segment::list(directory.path()).expect("listed");
    assert!(segments.len() > 1, "{segments:?}");
    let begins = entries(directory.path())
        .into_iter()
        .filter(|entry| matches!(entry, pb::audit_record::Entry::Opened(own) if own.replica == "test"));
    assert_eq!(
        begins.count(),
        segments.len() + 1,
        "the second run began within a segment"
    );
}

#[test]
fn without_a_log_everything_is_as_good_as_logged() {
    let lane = Lane::new(None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let appended = lane.append(|_| unreachable!("nothing is written"));
    assert_eq!(runtime.block_on(appended), Ok(()));
}
