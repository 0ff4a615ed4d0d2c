use super::*;

const FILE: &str = r#"
[[caller]]
name = "port-of-yantian"
identity = "spiffe://customs.example/terminal/*"
roles = ["terminal"]

[[caller]]
name = "single-window"
identity = "spiffe://customs.example/single-window"
subject = "single-window"
roles = ["clearance", "officer"]

[[caller]]
name = "audit-office"
subject = "auditor"
issuer = "https://a"
roles = ["auditor"]

[[caller]]
name = "other-audit-office"
subject = "auditor"
issuer = "https://b"
roles = ["auditor"]
"#;

fn callers() -> Callers {
    Callers::read(FILE).expect("a good file")
}

fn refused(text: &str) -> (usize, String) {
    let CallersError { line, problem } = Callers::read(text).expect_err("refused");
    (line, problem)
}

fn certificate(uris: &[&str]) -> PeerCertificate {
    PeerCertificate {
        uris: uris.iter().map(ToString::to_string).collect(),
    }
}

fn by_certificate(uris: &[&str]) -> Result<String, Cause> {
    let callers = callers();
    let found = callers.of_certificate(&certificate(uris));
    found.map(|caller| caller.name.to_string())
}

#[test]
fn a_certificate_is_its_callers() {
    assert_eq!(
        by_certificate(&["spiffe://customs.example/terminal/7"]),
        Ok("port-of-yantian".to_owned())
    );
    assert_eq!(
        by_certificate(&["https://elsewhere/", "spiffe://customs.example/single-window"]),
        Ok("single-window".to_owned())
    );
    assert_eq!(
        by_certificate(&[
            "spiffe://customs.example/terminal/7",
            "spiffe://customs.example/terminal/8"
        ]),
        Ok("port-of-yantian".to_owned()),
        "both are of one caller"
    );
}

#[test]
fn a_certificate_of_nobody_or_of_several_is_nobodys() {
    for uris in [
        &[][..],
        &["spiffe://customs.example/terminal/"],
        &["spiffe://customs.example/terminal/7/8"],
        &["spiffe://customs.example/officer/7"],
        &[
            "spiffe://customs.example/terminal/7",
            "spiffe://customs.example/single-window",
        ],
    ] {
        assert_eq!(by_certificate(uris), Err(Cause::UnknownCaller), "{uris:?}");
    }
}

#[test]
fn a_token_is_its_callers_by_subject_and_by_issuer_where_that_is_told() {
    let callers = callers();
    let by_token = |issuer: &str, subject: &str| {
        let found = callers.of_token(issuer, subject);
        found.map(|caller| (&*caller.name, caller.roles))
    };
    let single_window = Roles::of(&[Role::Clearance, Role::Officer]);
    assert_eq!(
        by_token("https://any", "single-window"),
        Ok(("single-window", single_window))
    );
    let auditor = Roles::of(&[Role::Auditor]);
    assert_eq!(by_token("https://a", "auditor"), Ok(("audit-office", auditor)));
    assert_eq!(
        by_token("https://b", "auditor"),
        Ok(("other-audit-office", auditor))
    );
    assert_eq!(by_token("https://c", "auditor"), Err(Cause::UnknownCaller));
    assert_eq!(by_token("https://a", "Single-Window"), Err(Cause::UnknownCaller));
    assert_eq!(by_token("https://a", ""), Err(Cause::UnknownCaller));
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let (line, problem) = refused("# nobody\n");
    assert_eq!((line, problem.contains("no [[caller]]")), (1, true), "{problem}");

    let (line, problem) =
        refused("[[caller]]\nname = \"a\"\nsubject = \"a\"\nroles = [\"officer\",\n  \"chief\"]\n");
    assert_eq!(line, 5);
    assert_eq!(
        problem,
        "there is no role \"chief\"; there are clearance, terminal, officer, auditor, operator"
    );

    let (line, problem) = refused("[[caller]]\nname = \"a\"\nsubject = \"a\"\nrole = [\"officer\"]\n");
    assert_eq!(line, 4, "{problem}");
    assert!(problem.contains("unknown field `role`"), "{problem}");

    let (line, problem) = refused("callers = []\n");
    assert_eq!(
        (line, problem.contains("unknown field `callers`")),
        (1, true),
        "{problem}"
    );

    let (line, problem) = refused("[[caller]]\nname = \"a\"\nroles = [\"officer\"]\n");
    assert_eq!(
        (line, problem.as_str()),
        (2, "a needs an identity or a subject to be known by")
    );

    let (line, problem) = refused("[[caller]]\nname = \"a\"\nsubject = \"a\"\nroles = []\n");
    assert_eq!((line, problem.as_str()), (4, "a caller needs a role"));

    let (line, problem) =
        refused("[[caller]]\nname = \"a\"\nidentity = \"spiffe://*\"\nroles = [\"officer\"]\n");
    assert_eq!(line, 3);
    assert!(problem.starts_with("identity a star must be"), "{problem}");

    let (line, _) = refused(
        "[[caller]]\nname = \"a\"\nidentity = \"spiffe://a/b\"\nissuer = \"c\"\nroles = [\"officer\"]\n",
    );
    assert_eq!(line, 4);

    let (line, _) = refused("[[caller]]\nname = \"a\nroles = []\n");
    assert_eq!(line, 2, "a text without its end");
}

#[test]
fn names_are_short_plain_and_not_anonymous() {
    for name in ["", "a b", "a\\n", "é", "anonymous", &"a".repeat(129)] {
        let text = format!("[[caller]]\nname = \"{name}\"\nsubject = \"a\"\nroles = [\"officer\"]\n");
        assert_eq!(refused(&text).0, 2, "{name}");
    }
}

#[test]
fn callers_that_overlap_are_refused() {
    let overlapping = |first: &str, second: &str| {
        let caller = |name: &str, known: &str| {
            format!("[[caller]]\nname = \"{name}\"\n{known}\nroles = [\"officer\"]\n")
        };
        Callers::read(&(caller("a", first) + &caller("b", second))).err()
    };
    for (first, second) in [
        ("identity = \"spiffe://c/t/*\"", "identity = \"spiffe://c/t/7\""),
        ("identity = \"spiffe://c/t/7\"", "identity = \"spiffe://c/t/*\""),
        ("identity = \"spiffe://c/t/7\"", "identity = \"spiffe://c/t/7\""),
        ("subject = \"s\"", "subject = \"s\""),
        ("subject = \"s\"", "subject = \"s\"\nissuer = \"i\""),
        ("subject = \"s\"\nissuer = \"i\"", "subject = \"s\""),
        (
            "subject = \"s\"\nissuer = \"i\"",
            "subject = \"s\"\nissuer = \"i\"",
        ),
    ] {
        let error = overlapping(first, second).unwrap_or_else(|| panic!("{first} and {second}"));
        assert!(error.problem.contains("of a"), "{error}");
        assert!(error.line > 4, "{error}");
    }
    for (first, second) in [
        ("identity = \"spiffe://c/t/*\"", "identity = \"spiffe://c/*\""),
        (
            "subject = \"s\"\nissuer = \"i\"",
            "subject = \"s\"\nissuer = \"j\"",
        ),
        ("subject = \"s\"", "subject = \"S\""),
    ] {
        assert_eq!(overlapping(first, second), None, "{first} and {second}");
    }
    let twice = "[[caller]]\nname = \"a\"\nsubject = \"a\"\nroles = [\"officer\"]\n[[caller]]\nname = \"a\"\nsubject = \"b\"\nroles = [\"officer\"]\n";
    assert_eq!(refused(twice), (6, "another caller is called a".to_owned()));
}

#[test]
fn a_caller_may_have_a_quota_of_its_own() {
    let text = "[[caller]]\nname = 'a'\nsubject = 'a'\nroles = ['clearance']\nmax_rate = 5\n";
    let callers = Callers::read(text).unwrap();
    let quota = callers.of_token("issuer", "a").unwrap().quota;
    assert_eq!((quota.rate, quota.calls), (Some(5), None));
    let refused = Callers::read(&text.replace('5', "-5")).unwrap_err();
    assert_eq!(refused.line, 5);
}
