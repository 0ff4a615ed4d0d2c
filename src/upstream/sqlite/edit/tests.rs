use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{
    domain::{
        CreditTier,
        enterprise::{CreditRecord, Enterprise},
    },
    upstream::{
        UpstreamError,
        edit::{Imported, OptionalColumns},
    },
};

const SOCIAL: &str = "91110000600037341L";
const TODAY: &str = "2026-06-01";

fn store() -> (TempDir, StorePath) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = StorePath(folder.path().join("greenlane.db"));
    (folder, path)
}

pub(super) fn editor() -> (TempDir, Editor) {
    let (folder, path) = store();
    let editor = Editor::open_or_create(&path).expect("a store");
    (folder, editor)
}

fn date(text: &str) -> Date {
    text.parse().expect("a date")
}

fn code(number: u32) -> CustomsCode {
    format!("11{number:08}").parse().expect("a customs code")
}

fn enterprise(number: u32, tier: CreditTier) -> Enterprise {
    Enterprise {
        customs_code: code(number),
        social_credit_code: None,
        name: format!("Enterprise {number}"),
        credit: CreditRecord {
            credit_tier: tier,
            tier_effective_from: date("2020-01-01"),
            tier_valid_until: None,
            suspended: false,
        },
    }
}

fn change(name: &str, tier: CreditTier) -> EnterpriseChange {
    EnterpriseChange {
        name: Some(name.to_owned()),
        credit_tier: Some(tier),
        ..EnterpriseChange::default()
    }
}

fn set(editor: &mut Editor, number: u32, change: &EnterpriseChange) -> Result<bool, EditError> {
    editor.set_enterprise(code(number), change, date(TODAY))
}

fn show(editor: &Editor, number: u32) -> StoredEnterprise {
    let found = editor.enterprise(&EnterpriseId::Customs(code(number)), 10);
    found.expect("the store answers").expect("it is registered")
}

pub(super) fn column(row: &StoredRow, name: &str) -> String {
    row[name]
        .as_str()
        .map_or_else(|| row[name].to_string(), str::to_owned)
}

pub(super) fn one<T: rusqlite::types::FromSql>(connection: &Connection, sql: &str) -> T {
    connection.query_row(sql, [], |row| row.get(0)).expect(sql)
}

// === enterprises ===

#[test]
fn a_new_enterprise_has_its_tier_from_today_unless_told_otherwise() {
    let (_folder, mut editor) = editor();
    assert!(set(&mut editor, 1, &change("Trader", CreditTier::Certified)).expect("set"));
    assert_eq!(column(&show(&editor, 1).row, "tier_effective_from"), TODAY);
    let dated = EnterpriseChange {
        tier_effective_from: Some(date("2021-01-01")),
        ..change("Trader", CreditTier::Certified)
    };
    assert!(set(&mut editor, 2, &dated).expect("set"));
    assert_eq!(column(&show(&editor, 2).row, "tier_effective_from"), "2021-01-01");
    assert_eq!(column(&show(&editor, 2).row, "suspended"), "0");
}

#[test]
fn a_new_enterprise_without_name_or_tier_is_refused() {
    let (_folder, mut editor) = editor();
    for lacking in [
        EnterpriseChange {
            name: None,
            ..change("", CreditTier::Regular)
        },
        EnterpriseChange {
            credit_tier: None,
            ..change("Trader", CreditTier::Regular)
        },
    ] {
        let error = set(&mut editor, 1, &lacking).expect_err("refused");
        assert!(
            matches!(error, EditError::Incomplete(refused) if refused == code(1)),
            "{error}"
        );
    }
    assert_eq!(one::<i64>(&editor.0, "SELECT count(*) FROM enterprise"), 0);
}

#[test]
fn only_what_is_given_changes() {
    let (_folder, mut editor) = editor();
    let first = EnterpriseChange {
        social_credit_code: Assign::Set(SOCIAL.parse().expect("a code")),
        tier_effective_from: Some(date("2020-01-01")),
        tier_valid_until: Assign::Set(date("2027-01-01")),
        suspended: Some(true),
        ..change("Trader", CreditTier::Certified)
    };
    set(&mut editor, 1, &first).expect("set");
    let renamed = EnterpriseChange {
        name: Some("Merchant".to_owned()),
        ..EnterpriseChange::default()
    };
    assert!(!set(&mut editor, 1, &renamed).expect("set"), "it is not new");
    let row = show(&editor, 1).row;
    for (name, value) in [
        ("name", "Merchant"),
        ("social_credit_code", SOCIAL),
        ("credit_tier", "CERTIFIED"),
        ("tier_effective_from", "2020-01-01"),
        ("tier_valid_until", "2027-01-01"),
        ("suspended", "1"),
    ] {
        assert_eq!(column(&row, name), value);
    }
    let cleared = EnterpriseChange {
        social_credit_code: Assign::Clear,
        tier_valid_until: Assign::Clear,
        suspended: Some(false),
        ..EnterpriseChange::default()
    };
    set(&mut editor, 1, &cleared).expect("set");
    let row = show(&editor, 1).row;
    assert!(row["social_credit_code"].is_null() && row["tier_valid_until"].is_null());
    assert_eq!(column(&row, "suspended"), "0");
}

#[test]
fn a_tier_that_changes_does_so_today_and_one_that_stays_keeps_its_date() {
    let (_folder, mut editor) = editor();
    let first = EnterpriseChange {
        tier_effective_from: Some(date("2020-01-01")),
        ..change("Trader", CreditTier::Certified)
    };
    set(&mut editor, 1, &first).expect("set");
    set(&mut editor, 1, &change("Trader", CreditTier::Certified)).expect("set");
    assert_eq!(column(&show(&editor, 1).row, "tier_effective_from"), "2020-01-01");
    set(&mut editor, 1, &change("Trader", CreditTier::Discredited)).expect("set");
    assert_eq!(column(&show(&editor, 1).row, "tier_effective_from"), TODAY);
}

#[test]
fn a_social_credit_code_is_not_taken_from_its_holder() {
    let (_folder, mut editor) = editor();
    let holder = EnterpriseChange {
        social_credit_code: Assign::Set(SOCIAL.parse().expect("a code")),
        ..change("Holder", CreditTier::Regular)
    };
    set(&mut editor, 1, &holder).expect("set");
    for number in [2, 2] {
        let error = set(&mut editor, number, &holder)
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains(SOCIAL) && error.contains(code(1).as_str()),
            "{error}"
        );
    }
    set(&mut editor, 2, &change("Other", CreditTier::Regular)).expect("set");
    set(&mut editor, 2, &holder).expect_err("nor by an update");
    assert_eq!(column(&show(&editor, 1).row, "social_credit_code"), SOCIAL);
}

#[test]
fn an_enterprise_is_shown_with_schedule_and_history_by_either_code() {
    let (_folder, mut editor) = editor();
    let first = EnterpriseChange {
        social_credit_code: Assign::Set(SOCIAL.parse().expect("a code")),
        ..change("First", CreditTier::Regular)
    };
    set(&mut editor, 1, &first).expect("set");
    set(&mut editor, 1, &change("Second", CreditTier::Regular)).expect("set");
    set(&mut editor, 1, &change("Third", CreditTier::Regular)).expect("set");
    for (from, tier) in [
        ("2027-01-01", CreditTier::Certified),
        ("2026-09-01", CreditTier::Discredited),
    ] {
        let scheduled = ScheduledTier {
            effective_from: date(from),
            credit_tier: tier,
        };
        editor.schedule(code(1), scheduled).expect("scheduled");
    }
    let id = EnterpriseId::SocialCredit(SOCIAL.parse().expect("a code"));
    let found = editor
        .enterprise(&id, 1)
        .expect("the store answers")
        .expect("found");
    assert_eq!(column(&found.row, "name"), "Third");
    let dates: Vec<_> = found
        .scheduled
        .iter()
        .map(|row| column(row, "effective_from"))
        .collect();
    assert_eq!(dates, ["2026-09-01", "2027-01-01"]);
    let names = |shown: &StoredEnterprise| -> Vec<_> {
        shown.history.iter().map(|row| column(row, "name")).collect()
    };
    assert_eq!(names(&found), ["Second"], "no more than asked for");
    assert_eq!(names(&show(&editor, 1)), ["Second", "First"]);
    let nobody = EnterpriseId::Customs(code(9));
    assert_eq!(editor.enterprise(&nobody, 1).expect("the store answers"), None);
}

#[test]
fn a_schedule_is_replaced_by_day_and_taken_back() {
    let (_folder, mut editor) = editor();
    let from = date("2026-09-01");
    for credit_tier in [CreditTier::Certified, CreditTier::Discredited] {
        let scheduled = ScheduledTier {
            effective_from: from,
            credit_tier,
        };
        editor
            .schedule(code(1), scheduled)
            .expect("scheduled, though not registered");
    }
    let tiers: String = one(&editor.0, "SELECT group_concat(credit_tier) FROM scheduled_tier");
    assert_eq!(tiers, "DISCREDITED");
    assert!(editor.unschedule(code(1), from).expect("taken back"));
    assert!(!editor.unschedule(code(1), from).expect("nothing is left"));
}

// === import ===

#[test]
fn an_import_is_in_force_whole_or_not_at_all() {
    let (_folder, mut editor) = editor();
    let mut import = editor.import(OptionalColumns::default()).expect("begun");
    import.put(&enterprise(1, CreditTier::Regular)).expect("put");
    drop(import);
    assert_eq!(
        one::<i64>(&editor.0, "SELECT count(*) FROM change_log"),
        0,
        "nothing was committed"
    );
    let mut import = editor.import(OptionalColumns::default()).expect("begun");
    for number in 1..=3 {
        import.put(&enterprise(number, CreditTier::Regular)).expect("put");
    }
    assert_eq!(
        import.commit().expect("committed"),
        Imported {
            new: 3,
            ..Imported::default()
        }
    );
    let mut import = editor.import(OptionalColumns::default()).expect("begun");
    import
        .put(&enterprise(2, CreditTier::Regular))
        .expect("put as it is");
    for number in 3..=4 {
        import
            .put(&enterprise(number, CreditTier::Certified))
            .expect("put");
    }
    assert_eq!(
        import.commit().expect("committed"),
        Imported {
            new: 1,
            updated: 1,
            unchanged: 1
        }
    );
    assert_eq!(column(&show(&editor, 3).row, "credit_tier"), "CERTIFIED");
    assert_eq!(
        one::<i64>(&editor.0, "SELECT sequence FROM registry_meta"),
        5,
        "each row that is another one is logged"
    );
}

#[test]
fn an_import_leaves_the_columns_that_it_does_not_have() {
    let (_folder, mut editor) = editor();
    let first = EnterpriseChange {
        social_credit_code: Assign::Set(SOCIAL.parse().expect("a code")),
        tier_valid_until: Assign::Set(date("2027-01-01")),
        suspended: Some(true),
        ..change("Trader", CreditTier::Certified)
    };
    set(&mut editor, 1, &first).expect("set");
    let mut put = |columns| {
        let mut import = editor.import(columns).expect("begun");
        import.put(&enterprise(1, CreditTier::Regular)).expect("put");
        import.commit().expect("committed");
        let row = show(&editor, 1).row;
        ["social_credit_code", "tier_valid_until", "suspended"].map(|name| column(&row, name))
    };
    assert_eq!(put(OptionalColumns::default()), [SOCIAL, "2027-01-01", "1"]);
    let all = OptionalColumns {
        social_credit_code: true,
        tier_valid_until: true,
        suspended: true,
    };
    assert_eq!(put(all), ["null", "null", "0"]);
}

#[test]
fn an_import_goes_on_after_a_social_credit_code_that_is_taken() {
    let (_folder, mut editor) = editor();
    let with_code = |number| Enterprise {
        social_credit_code: SOCIAL.parse().ok(),
        ..enterprise(number, CreditTier::Regular)
    };
    let columns = OptionalColumns {
        social_credit_code: true,
        ..OptionalColumns::default()
    };
    let mut import = editor.import(columns).expect("begun");
    import.put(&with_code(1)).expect("put");
    let error = import.put(&with_code(2)).expect_err("taken");
    assert!(
        matches!(&error, EditError::Taken { holder, .. } if holder == code(1).as_str()),
        "{error}"
    );
    import.put(&with_code(1)).expect("its own");
    import.put(&enterprise(3, CreditTier::Regular)).expect("put");
    assert_eq!(import.commit().expect("committed").new, 2);
    assert_eq!(
        one::<String>(&editor.0, "SELECT group_concat(op) FROM change_log"),
        "UPSERT,UPSERT"
    );
}

// === the store ===

#[test]
fn only_a_store_that_exists_is_opened_and_only_one_of_ours() {
    let (_folder, path) = store();
    assert!(Editor::open(&path).is_err());
    assert!(!path.0.exists(), "looking makes no store");
    Connection::open(&path.0)
        .expect("a file")
        .execute_batch("CREATE TABLE other (x)")
        .expect("a table");
    let error = Editor::open(&path).expect_err("refused");
    assert!(
        matches!(error, EditError::Store(UpstreamError::Corrupt(_))),
        "{error}"
    );
}

#[test]
fn who_writes_stands_in_the_log_of_those_writes_alone() {
    let (_folder, path) = store();
    let mut signed = Editor::open_or_create(&path)
        .expect("a store")
        .signed_by("O'Neill")
        .expect("signed");
    let mut other = Editor::open(&path).expect("the store");
    let regular = change("A", CreditTier::Regular);
    for (editor, number) in [(&mut signed, 1), (&mut other, 2)] {
        editor
            .set_enterprise(code(number), &regular, date(TODAY))
            .expect("set");
    }
    assert_eq!(
        one::<String>(
            &other.0,
            "SELECT group_concat(coalesce(author, '-')) FROM change_log"
        ),
        "O'Neill,-"
    );
}
