//! The four layers together, as a process sees them; the file is given as text unless it is the point.

use super::super::catalogue::Form;
use super::*;

const FILE: &str = "/etc/greenlane.toml";
const SECRET: &str = "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2";

fn load_text(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded, SettingsError> {
    lay(
        Ok(Some((FILE.into(), file.to_owned()))),
        owned(environment),
        owned(flags),
    )
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Gives the lines of an error, without its heading.
fn problems(result: Result<Loaded, SettingsError>) -> Vec<String> {
    let text = result.expect_err("the configuration was taken").to_string();
    text.lines().skip(1).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn each_layer_stands_above_the_one_before() {
    let file = "[log]\nlevel = 'file'\n[server]\nworkers = 1\n[drain]\ndeadline = '1s'";
    let environment = [
        ("GREENLANE_SERVER__WORKERS", "2"),
        ("GREENLANE_DRAIN__DEADLINE", "2s"),
    ];
    let flags = [("drain.deadline", "3s")];

    let loaded = load_text(file, &environment, &flags).unwrap();

    let settings = &loaded.settings;
    assert_eq!(settings.drain.propagation.to_string(), "5s");
    assert_eq!(settings.log.level, "file");
    assert_eq!(settings.server.workers, 2);
    assert_eq!(settings.drain.deadline.to_string(), "3s");
    assert_eq!(loaded.sources["drain.propagation"], Source::Default);
    assert_eq!(loaded.sources["log.level"], Source::File(FILE.into()));
    assert_eq!(
        loaded.sources["server.workers"],
        Source::Environment("GREENLANE_SERVER__WORKERS".to_owned())
    );
    assert_eq!(loaded.sources["drain.deadline"], Source::Flag);
}

#[test]
fn empty_file_gives_the_defaults() {
    let loaded = load_text("", &[], &[]).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.rows().iter().all(|(_, _, source)| source == "default"));
    assert_eq!(loaded.sources.len(), loaded.rows().len());
}

#[test]
fn last_of_two_equal_flags_stands() {
    let loaded = load_text("", &[], &[("server.workers", "1"), ("server.workers", "2")]).unwrap();
    assert_eq!(loaded.settings.server.workers, 2);
}

#[test]
fn every_key_can_be_set_and_moves_its_own_row_only() {
    // The store's address follows the data directory unless it is set.
    let base = [("upstream.url", "nats://broker")];
    // What some keys need beside them.
    let file = "[auth]\ncallers_file = \"callers.toml\"\nissuer = \"i\"\naudience = \"a\"\n";
    let before = load_text(file, &[], &base).unwrap().rows();

    for (row, entry) in Settings::default().entries().iter().enumerate() {
        let value = match entry.form {
            _ if entry.key == "auth.jwks_url" => "https://elsewhere",
            _ if entry.key == "auth.clock_skew" => "4m",
            Form::Address => "127.0.0.1:9",
            Form::Duration => "5h",
            Form::Number { .. } => "77",
            Form::Switch if entry.shown == "true" => "false",
            Form::Switch => "true",
            Form::Text | Form::Path => "elsewhere",
            Form::Choice(names) => names.last().unwrap(),
            Form::StoreUrl => "postgres://db",
            Form::Secret => SECRET,
        };
        let through_flag = load_text(file, &[], &[base[0], (entry.key, value)]).unwrap();
        let through_variable = load_text(file, &[(&variable(entry.key), value)], &[]).unwrap();
        assert_eq!(through_variable.rows()[row].1, through_flag.rows()[row].1);

        let after = through_flag.rows();
        let moved: Vec<_> = (0..after.len()).filter(|&i| after[i].1 != before[i].1).collect();
        assert_eq!(moved, [row], "{} moved other rows", entry.key);
        assert_eq!(after[row].2, "flag");
    }
}

#[test]
fn every_name_of_a_choice_is_taken_and_shown_as_written() {
    for (row, entry) in Settings::default().entries().iter().enumerate() {
        if let Form::Choice(names) = entry.form {
            for name in names {
                assert_eq!(
                    load_text("", &[], &[(entry.key, name)]).unwrap().rows()[row].1,
                    *name
                );
            }
        }
    }
}

#[test]
fn unknown_key_suggests_the_nearest_in_each_layer() {
    let found = problems(load_text(
        "grpc_addr = 'x'\n[server]\ngprc_addr = 'x'\n[srever]\nworkers = 1",
        &[("GREENLANE_SERVER__GRPC_ADR", "x")],
        &[("drain.dedline", "x")],
    ));
    assert_eq!(
        found,
        [
            "unknown key \"grpc_addr\" (file /etc/greenlane.toml); did you mean \"server.grpc_addr\"?",
            "unknown key \"server.gprc_addr\" (file /etc/greenlane.toml); did you mean \"server.grpc_addr\"?",
            "unknown section \"srever\" (file /etc/greenlane.toml); did you mean \"server\"?",
            "unknown key \"server.grpc_adr\" (environment variable GREENLANE_SERVER__GRPC_ADR); \
             did you mean \"GREENLANE_SERVER__GRPC_ADDR\"?",
            "unknown key \"drain.dedline\" (flag); did you mean \"drain.deadline\"?",
        ]
    );
}

#[test]
fn unknown_key_that_resembles_nothing_comes_without_a_suggestion() {
    let found = problems(load_text(
        "[server]\ncolour = 1",
        &[("GREENLANE_PAINT__COLOUR", "x")],
        &[("", "x")],
    ));
    assert_eq!(found.len(), 3);
    assert!(
        found
            .iter()
            .all(|line| line.starts_with("unknown key") && !line.contains("did you mean")),
        "{found:?}"
    );
}

#[test]
fn variables_without_a_double_underscore_are_left_alone() {
    let others = [
        ("GREENLANE_BIN", "x"),
        ("GREENLANE_SERVICE_PORT_GRPC", "1"),
        ("PATH", "x"),
        ("MY__KEY", "x"),
    ];
    assert!(load_text("", &others, &[]).is_ok());
}

#[test]
fn variable_that_is_not_written_as_documented_is_unknown() {
    for name in [
        "GREENLANE_server__workers",
        "GREENLANE__WORKERS",
        "GREENLANE__SERVER__WORKERS",
        "GREENLANE_SERVER.WORKERS__",
    ] {
        let found = problems(load_text("", &[(name, "1")], &[]));
        assert!(
            found.len() == 1 && found[0].contains("unknown key") && found[0].contains(name),
            "{found:?}"
        );
    }
    let found = problems(load_text("", &[("GREENLANE_server__workers", "1")], &[]));
    assert!(
        found[0].ends_with("did you mean \"GREENLANE_SERVER__WORKERS\"?"),
        "{found:?}"
    );
}

#[test]
fn wrong_value_names_its_key_its_source_and_a_right_example() {
    let found = problems(load_text(
        "[limits]\nmax_connections = 'many'\nmax_header_bytes = 4294967296\n[log]\nlevel = 7",
        &[
            ("GREENLANE_SERVER__GRPC_ADDR", "localhost"),
            ("GREENLANE_SERVER__WORKERS", "-1"),
        ],
        &[
            ("freshness.relief_max_age", "5 minits"),
            ("log.format", "xml"),
            ("server.allow_anonymous_remote", "yes"),
        ],
    ));
    assert_eq!(
        found,
        [
            "limits.max_connections = \"many\" (file /etc/greenlane.toml): \
             expected a whole number from 0 to 9223372036854775807 such as 10000",
            "limits.max_header_bytes = 4294967296 (file /etc/greenlane.toml): \
             expected a whole number from 0 to 4294967295 such as 16384",
            "log.level = 7 (file /etc/greenlane.toml): expected a text such as \"info\"",
            "server.grpc_addr = \"localhost\" (environment variable GREENLANE_SERVER__GRPC_ADDR): \
             expected an address and port such as \"127.0.0.1:50051\"",
            "server.workers = -1 (environment variable GREENLANE_SERVER__WORKERS): \
             expected a whole number from 0 to 9223372036854775807 such as 0",
            "freshness.relief_max_age = \"5 minits\" (flag): expected a duration of at most 36500d such as \"5m\"",
            "log.format = \"xml\" (flag): expected one of \"text\", \"json\"",
            "server.allow_anonymous_remote = \"yes\" (flag): expected true or false",
        ]
    );
}

#[test]
fn wrong_value_is_reported_even_when_a_stronger_layer_replaces_it() {
    let found = problems(load_text(
        "[server]\nworkers = 'x'",
        &[],
        &[("server.workers", "2")],
    ));
    assert_eq!(found.len(), 1);
}

#[test]
fn durations_down_to_zero_are_taken_in_each_layer() {
    let file = "[freshness]\nrelief_max_age = '0s'\ndecision_max_age = '0'";
    let loaded = load_text(
        file,
        &[("GREENLANE_UPSTREAM__POLL_INTERVAL", "0")],
        &[("drain.deadline", "1ns")],
    )
    .unwrap();
    assert!(loaded.settings.freshness.decision_max_age.get().is_zero());
    assert!(loaded.settings.upstream.poll_interval.get().is_zero());
    assert_eq!(loaded.settings.drain.deadline.get().as_nanos(), 1);
}

#[test]
fn section_given_as_a_value_and_key_given_as_a_section_are_refused() {
    let found = problems(load_text(
        "server = 'x'\n[log.level]\nx = 1\ny = '''a\nb'''",
        &[],
        &[],
    ));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("log.level = {"), "{found:?}");
    assert_eq!(
        found[1],
        "\"server\" is a section, not a key (file /etc/greenlane.toml): write [server]"
    );
}

#[test]
fn refusal_of_the_whole_names_values_and_sources() {
    let file = "[freshness]\ndecision_max_age = '1m'";
    let found = problems(load_text(file, &[], &[("freshness.relief_max_age", "2m")]));
    let start =
        "freshness.relief_max_age = 2m (flag), freshness.decision_max_age = 1m (file /etc/greenlane.toml): ";
    assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
}

#[test]
fn refusal_is_held_back_when_one_of_its_values_could_not_be_read() {
    let file = "[freshness]\ndecision_max_age = '1m'\nrelief_max_age = '30 sacs'";
    let found = problems(load_text(file, &[], &[("limits.max_connections", "0")]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("freshness.relief_max_age = \"30 sacs\""));
    assert!(found[1].starts_with("limits.max_connections = 0 (flag)"));
}

#[test]
fn secret_is_shown_as_set_and_stands_nowhere() {
    let environment = [(
        "GREENLANE_UPSTREAM__URL",
        "postgres://greenlane:hunter2@db/customs",
    )];
    let loaded = load_text(&format!("[draw]\nmaster_secret = '{SECRET}'"), &environment, &[]).unwrap();

    assert_eq!(loaded.settings.draw.master_secret.expose(), Some(SECRET));
    assert_eq!(loaded.settings.upstream_url(), environment[0].1);
    let printed = format!("{loaded:?} {loaded:#?} {:?}", loaded.rows());
    assert!(
        !printed.contains("5ec2e7") && !printed.contains("hunter2"),
        "{printed}"
    );
    assert!(
        loaded
            .rows()
            .iter()
            .any(|row| row.0 == "draw.master_secret" && row.1 == "(set)")
    );
}

#[test]
fn secret_stands_in_no_error() {
    let files = [
        format!("[draw]\nmaster_secret = '{SECRET}zz'"),
        format!("[draw]\nmaster_secret = ['{SECRET}']"),
        format!("[draw.master_secret]\nhex = '{SECRET}'"),
        format!("[draw]\nmaster_secert = '{SECRET}'"),
        format!("[draw]\nmaster_secret = '{SECRET}"),
        format!("[draw]\nmaster_secret = \"{SECRET}\\q\""),
        format!("[draw]\nmaster_secret = {SECRET}"),
        format!("[draw]\nmaster_secret = a{SECRET}"),
        format!("[draw]\nmaster_secret = 0x{SECRET}"),
        format!("[draw]\nmaster_secret = '{SECRET}' '{SECRET}'"),
        format!("[draw]\nmaster_secret = '{SECRET}'\nmaster_secret = '{SECRET}'"),
        format!("draw = '{SECRET}'"),
        format!("master_secret = '{SECRET}'"),
        format!("[drow]\nmaster_secret = '{SECRET}'"),
        format!("[upstream]\nurl = ['{SECRET}']"),
    ];
    for file in files {
        let error = load_text(&file, &[], &[]).expect_err(&file);
        let printed = format!("{error} {error:?}");
        assert!(!printed.contains("5ec2e7"), "{printed}");
    }
    let error = load_text(
        "",
        &[("GREENLANE_DRAW__MASTER_SECRET", "5ec2e7")],
        &[("draw.master_secret", "5ec2e7")],
    );
    let found = problems(error);
    assert_eq!(found.len(), 2);
    assert!(
        found
            .iter()
            .all(|line| line.starts_with("draw.master_secret (") && !line.contains("5ec2e7")),
        "{found:?}"
    );
}

#[test]
fn mistake_in_the_file_is_told_with_its_line_and_the_other_layers_are_still_read() {
    let found = problems(load_text(
        "[server]\nworkers = = 1",
        &[("GREENLANE_LOG__FORMAT", "xml")],
        &[],
    ));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("file /etc/greenlane.toml, line 2, column 11: "),
        "{found:?}"
    );
    assert!(found[1].starts_with("log.format = \"xml\""), "{found:?}");
}

#[test]
fn named_file_is_read_and_must_exist() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("site.toml");
    let found = problems(load(Some(&path), [], []));
    assert!(
        found[0].starts_with(&format!("cannot read file {}: ", path.display())),
        "{found:?}"
    );

    std::fs::write(&path, "[server]\nworkers = 3").unwrap();
    let loaded = load(Some(&path), [], []).unwrap();
    assert_eq!(loaded.settings.server.workers, 3);
    assert_eq!(loaded.sources["server.workers"], Source::File(path));
}

#[test]
fn default_file_is_read_when_it_is_there_and_need_not_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("greenlane.toml");
    assert!(read_file(None, &path).unwrap().is_none());

    std::fs::write(&path, "[log]").unwrap();
    assert_eq!(read_file(None, &path).unwrap(), Some((path, "[log]".to_owned())));
}

#[test]
fn default_file_that_cannot_be_read_is_a_problem() {
    let directory = tempfile::tempdir().unwrap();
    assert!(read_file(None, directory.path()).is_err());
}
