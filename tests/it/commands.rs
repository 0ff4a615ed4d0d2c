use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use greenlane::upstream::{postgres::store_digest, sqlite};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::support::postgres::Postgres;

/// Runs a command against a store; gives its exit code, its JSON without what depends on the clock, and its complaints.
fn run(url: &str, arguments: &str, input: &str) -> (bool, Value, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_greenlane"))
        .args(["--output", "json", "--set"])
        .arg(format!("upstream.url={url}"))
        .args(
            arguments
                .split(' ')
                .map(|word| word.replace('_', " ").replace('~', "_")),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let mut json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    settle(&mut json);
    (
        output.status.success(),
        json,
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Takes out what depends on the clock, and writes instants in one form.
fn settle(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for key in ["updated_at", "recorded_from", "recorded_to", "seconds"] {
                object.remove(key);
            }
            object.values_mut().for_each(settle);
        }
        Value::Array(values) => values.iter_mut().for_each(settle),
        Value::String(text) => {
            if let Ok(instant) = text.parse::<jiff::Timestamp>() {
                *text = instant.to_string();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

const FIRST: &str = "customs_code,name,credit_tier,tier_effective_from,social_credit_code\n\
    1101919101,\"Tab\there, back\\slash\",ADVANCED_CERTIFIED,2020-01-01,91110000600037341L\n\
    1101919102,上海进出口有限公司,REGULAR,2020-01-01,\n\
    1101919103,Third,DISCREDITED,2020-01-01,911100006000373428\n";
const BAD: &str = "customs_code,name,credit_tier,tier_effective_from,social_credit_code\n\
    1101919104,Fourth,REGULAR,2020-01-01,91110000600037341L\n\
    1101919105,Fifth,GOLDEN,2020-01-01,\n\
    1101919102,Second,REGULAR,2020-01-01,\n";
const AGAIN: &str = "customs_code,name,credit_tier,tier_effective_from\n\
    1101919101,\"Tab\there, back\\slash\",ADVANCED_CERTIFIED,2020-01-01\n\
    1101919103,Third,REGULAR,2026-01-01\n";
// `_` stands for a space, `~` for `_`.
const COMMANDS: [(&str, &str); 24] = [
    ("enterprise import -", FIRST),
    ("enterprise import -", BAD),
    ("enterprise import - --skip-bad", BAD),
    ("enterprise import -", AGAIN),
    (
        "enterprise set 1101919106 --name Sixth --tier REGULAR --effective-from 2021-01-01",
        "",
    ),
    (
        "enterprise set 1101919106 --social-credit-code 91110000600037341L",
        "",
    ),
    ("enterprise set 1101919107 --suspended true", ""),
    (
        "enterprise set 1101919106 --suspended true --valid-until 2030-01-01",
        "",
    ),
    (
        "enterprise set 1101919101 --social-credit-code none --tier DISCREDITED --effective-from 2026-02-01",
        "",
    ),
    (
        "enterprise schedule 1101919101 --tier REGULAR --from 2030-01-01",
        "",
    ),
    (
        "enterprise schedule 1101919101 --tier CERTIFIED --from 2030-01-01",
        "",
    ),
    (
        "enterprise schedule 1101919102 --tier CERTIFIED --from 2030-01-01",
        "",
    ),
    ("enterprise unschedule 1101919102 --from 2030-01-01", ""),
    ("enterprise unschedule 1101919102 --from 2030-01-01", ""),
    ("enterprise show 1101919101", ""),
    ("enterprise show 91110000600037341L", ""),
    ("enterprise show 1101919103", ""),
    (
        "order add --id A --kind INSPECT --basis TARGETED --hs-prefix 8471 --legal-basis Law --public-reason Recall \
      --valid-from 2026-01-01T00:00:00+08:00 --confidential-reason A_tip",
        "",
    ),
    (
        "order add --id A --kind HOLD --basis MANDATED --hs-prefix 8471 --legal-basis Law --public-reason Recall",
        "",
    ),
    ("order list --all --confidential", ""),
    ("order end A --at 2026-02-01T00:00:00Z", ""),
    ("order end A --at 2026-03-01T00:00:00Z", ""),
    ("order end B --at 2026-03-01T00:00:00Z", ""),
    ("order list --all", ""),
];

#[tokio::test]
async fn the_command_line_writes_both_kinds_of_store_alike() {
    let server = Postgres::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = sqlite::StorePath(folder.path().join("greenlane.db"));
    let embedded = format!("sqlite://{}", path.0.display());
    let database = server.url();

    let (done, _, complaint) = run(&database, "enterprise show 1101919101", "");
    assert!(
        !done && complaint.contains("run greenlane migrate"),
        "{complaint}"
    );
    let (done, made, complaint) = run(&database, "migrate", "");
    assert!(done, "{complaint}");
    assert_eq!(
        (&made["from_version"], &made["to_version"]),
        (&Value::Null, &3.into())
    );
    let (done, made, _) = run(&database, "migrate --trim", "");
    assert!(done);
    assert_eq!((&made["from_version"], &made["trimmed"]), (&3.into(), &0.into()));
    assert!(run(&embedded, "migrate --trim", "").0);

    for (arguments, input) in COMMANDS {
        let expected = run(&embedded, arguments, input);
        let told = run(&database, arguments, input);
        assert_eq!(told, expected, "{arguments}");
    }
    let (tell, _told) = oneshot::channel();
    let stored = store_digest(&server.settings(), tell).await.unwrap();
    let held = sqlite::Reader::new(path, std::time::Duration::ZERO)
        .snapshot()
        .unwrap();
    assert_eq!(stored, held.generation.digest());
}

#[tokio::test]
async fn an_import_may_hand_a_code_from_one_enterprise_to_another() {
    let server = Postgres::with_store().await;
    let url = server.url();
    let header = "customs_code,name,credit_tier,tier_effective_from,social_credit_code\n";
    let line = |code: u32, social: &str| format!("{code},Name,REGULAR,2020-01-01,{social}\n");
    let (one, other) = ("91110000600037341L", "911100006000373428");
    let file = [header, &line(1_101_919_101, one), &line(1_101_919_102, other)].concat();
    assert!(run(&url, "enterprise import -", &file).0);
    let file = [header, &line(1_101_919_101, other), &line(1_101_919_102, one)].concat();
    let (done, told, complaint) = run(&url, "enterprise import -", &file);
    assert!(done, "{complaint}");
    assert_eq!((&told["updated"], &told["imported"]), (&2.into(), &2.into()));
    let (_, shown, _) = run(&url, &format!("enterprise show {one}"), "");
    assert_eq!(shown["customs_code"], "1101919102");
    // One of them is refused, and with it what counted on it.
    let file = [
        header,
        &line(1_101_919_101, one),
        &line(1_101_919_103, other),
        &line(1_101_919_104, one),
    ]
    .concat();
    let (done, told, complaint) = run(&url, "enterprise import - --skip-bad", &file);
    assert!(done, "{complaint}");
    assert_eq!(
        (&told["bad"], &told["imported"]),
        (&3.into(), &0.into()),
        "{complaint}"
    );
}
