use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use greenlane::{
    audit::read::LogReader,
    wire::pb::{self, audit_record::Entry},
};
use prost::Message as _;

use crate::support::{
    app::TestApp,
    requests::{batch, bytes, import, what_if},
    store::{ADVANCED, REGULAR},
};

const PARAMETERS: &str = include_str!("../../src/policy/parameters.toml");

/// Every record of a log with its sequence.
fn log(directory: &Path) -> Vec<(u64, pb::AuditRecord)> {
    let groups = LogReader::open(directory, 0).unwrap().map(Result::unwrap);
    groups
        .flat_map(|group| group.decoded().collect::<Vec<_>>())
        .collect()
}

fn decisions(directory: &Path) -> Vec<pb::DecisionEntry> {
    let decision = |(_, record): (u64, pb::AuditRecord)| match record.entry {
        Some(Entry::Decision(entry)) => Some(entry),
        _ => None,
    };
    log(directory).into_iter().filter_map(decision).collect()
}

#[tokio::test]
async fn every_answer_is_in_the_log_as_it_was_given_before_it_is_received() {
    let folder = tempfile::tempdir().unwrap();
    let app = TestApp::ready_with(|settings| settings.audit.directory = folder.path().to_owned()).await;
    let mut client = app.facilitation();
    for sequence in 0..20 {
        let request = import(sequence, if sequence % 2 == 0 { ADVANCED } else { REGULAR });
        let answered = client.decide(request.clone()).await.unwrap().into_inner();
        let logged = decisions(folder.path()).pop().unwrap();
        assert_eq!(logged.request, Some(request));
        assert_eq!(logged.decision, answered.decision);
        assert_eq!(logged.caller, "anonymous");
        let facts = logged.facts.unwrap();
        let row = facts.parties[0].enterprise.clone().unwrap();
        assert_eq!(
            row.credit_tier,
            answered.decision.unwrap().parties[0].registered_tier
        );
    }
    let items = (100..150).map(|sequence| bytes(&import(sequence, REGULAR)));
    let answered = client.batch_decide(batch(items)).await.unwrap().into_inner();
    let given: Vec<Option<pb::Decision>> = answered
        .results
        .into_iter()
        .map(|result| match result.result {
            Some(pb::batch_decide_result::Result::Decision(decision)) => Some(decision),
            _ => None,
        })
        .collect();
    let logged = decisions(folder.path());
    let last: Vec<Option<pb::Decision>> = logged[20..].iter().map(|entry| entry.decision.clone()).collect();
    assert_eq!(last, given);
}

#[tokio::test]
async fn refusals_and_simulations_are_no_decisions() {
    let folder = tempfile::tempdir().unwrap();
    let app = TestApp::ready_with(|settings| settings.audit.directory = folder.path().to_owned()).await;
    let mut client = app.facilitation();
    client.decide(pb::DecideRequest::default()).await.unwrap_err();
    let now = greenlane::wire::convert::instant(jiff::Timestamp::now());
    client.simulate(what_if(import(1, REGULAR), now)).await.unwrap();
    assert_eq!(decisions(folder.path()), []);
}

#[tokio::test]
async fn the_log_begins_with_who_writes_it_and_the_policies_and_tells_of_others_before_they_decide() {
    let (folder, policies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let app = TestApp::ready_with(|settings| {
        settings.audit.directory = folder.path().to_owned();
        settings.policy.directory = policies.path().to_owned();
    })
    .await;
    let mut client = app.facilitation();
    let mut digests = Vec::new();
    for baseline in [24_400, 30_000] {
        let changed = PARAMETERS.replace(
            "default_baseline_ppm = 24400",
            &format!("default_baseline_ppm = {baseline}"),
        );
        fs::write(policies.path().join("new"), changed).unwrap();
        fs::rename(
            policies.path().join("new"),
            policies.path().join("parameters.toml"),
        )
        .unwrap();
        crate::support::eventually("the parameters are in force", crate::support::SOON, async || {
            let answered = client.decide(import(1, REGULAR)).await.unwrap().into_inner();
            let decision = answered.decision.unwrap();
            let in_force = decision.inspection.unwrap().rate_ppm == baseline;
            in_force.then(|| digests.push(decision.policy.unwrap().parameters_digest))
        })
        .await;
    }
    assert_ne!(digests[0], digests[1]);
    let records = log(folder.path());
    assert!(matches!(records[0].1.entry, Some(Entry::Opened(_))));
    assert!(matches!(records[1].1.entry, Some(Entry::Activation(_))));
    let mut active = std::collections::BTreeSet::new();
    for (_, record) in records {
        match record.entry {
            Some(Entry::Activation(activation)) => {
                for policy in activation.policies.into_iter().chain(activation.parameters) {
                    let digest = ring::digest::digest(&ring::digest::SHA256, policy.canonical.as_bytes());
                    assert_eq!(
                        hex::encode(digest),
                        policy.digest,
                        "the document is the one of that digest"
                    );
                    active.insert(policy.digest);
                }
            }
            Some(Entry::Decision(entry)) => {
                let policy = entry.decision.unwrap().policy.unwrap();
                assert!(active.contains(&policy.digest) && active.contains(&policy.parameters_digest));
            }
            _ => {}
        }
    }
    assert!(digests.iter().all(|digest| active.contains(digest)));
}

#[tokio::test]
async fn a_declaration_keeps_its_draw_over_a_restart_and_is_told_to_be_a_repetition() {
    let folder = tempfile::tempdir().unwrap();
    let change = |settings: &mut greenlane::app::settings::Settings| {
        settings.audit.directory = folder.path().to_owned();
    };
    for sent in ["", "BL-0815", "BL-0816"] {
        let app = TestApp::ready_with(change).await;
        let request = pb::DecideRequest {
            transport_document_number: sent.to_owned(),
            ..import(7, REGULAR)
        };
        app.facilitation().decide(request).await.unwrap();
    }
    let logged = decisions(folder.path());
    let draws: Vec<_> = logged
        .iter()
        .map(|entry| entry.facts.clone().unwrap().draw.unwrap())
        .collect();
    assert_eq!(draws[0].subject_kind, "declaration");
    assert_eq!(draws, [draws[0].clone(), draws[0].clone(), draws[0].clone()]);
    let repeated: Vec<bool> = logged.iter().map(|entry| entry.repeated_declaration).collect();
    assert_eq!(repeated, [false, true, true]);
}

#[tokio::test]
async fn without_a_log_nothing_is_written_and_decisions_are_given_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("audit");
    let app = TestApp::ready_with(|settings| {
        settings.audit.directory.clone_from(&directory);
        settings.audit.durability = greenlane::app::settings::AuditDurability::Off;
    })
    .await;
    app.facilitation().decide(import(1, REGULAR)).await.unwrap();
    let segments = fs::read_dir(&directory).map(|files| {
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("segment")).count()
    });
    assert_eq!(segments.unwrap_or(0), 0);
}

#[tokio::test]
async fn nobody_but_its_owner_may_enter_a_log_that_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("audit");
    let _app = TestApp::ready_with(|settings| settings.audit.directory.clone_from(&directory)).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("00000000000000000001.segment")), 0o600);
    assert_eq!(mode(&directory.join("signing.key")), 0o600);
}

#[tokio::test]
async fn with_power_durability_answers_come_and_are_logged() {
    let folder = tempfile::tempdir().unwrap();
    let app = TestApp::ready_with(|settings| {
        settings.audit.directory = folder.path().to_owned();
        settings.audit.durability = greenlane::app::settings::AuditDurability::Power;
    })
    .await;
    let mut calls = tokio::task::JoinSet::new();
    for sequence in 0..100 {
        let mut client = app.facilitation();
        calls.spawn(async move { client.decide(import(sequence, REGULAR)).await });
    }
    while let Some(answered) = calls.join_next().await {
        answered.unwrap().unwrap();
    }
    assert_eq!(decisions(folder.path()).len(), 100);
    assert_eq!(
        log(folder.path()).last().unwrap().0,
        log(folder.path()).len() as u64
    );
}

#[test]
fn a_record_of_an_unknown_kind_is_passed_over() {
    // Field 15, length-delimited, two bytes: what a later version might write.
    let record = pb::AuditRecord::decode(&[0x7a, 2, 8, 1][..]).unwrap();
    assert_eq!(record.entry, None);
}
