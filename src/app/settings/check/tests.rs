use super::*;

fn refused(change: impl FnOnce(&mut Settings)) -> String {
    let mut settings = Settings::default();
    change(&mut settings);
    settings
        .validate()
        .expect_err("the settings were taken")
        .to_string()
}

#[test]
fn defaults_are_served() {
    assert!(Settings::default().validate().is_ok());
}

#[test]
fn relief_above_decision_is_refused_naming_both_keys() {
    let text = refused(|settings| settings.freshness.relief_max_age = "25h".parse().unwrap());
    assert!(
        text.contains("freshness.relief_max_age = 25h, freshness.decision_max_age = 24h: "),
        "{text}"
    );
}

#[test]
fn relief_equal_to_decision_is_served() {
    let mut settings = Settings::default();
    settings.freshness.relief_max_age = settings.freshness.decision_max_age;
    assert!(settings.validate().is_ok());
}

#[test]
fn address_that_is_not_loopback_is_refused_for_each_listener() {
    let text = refused(|settings| {
        settings.server.grpc_addr = "0.0.0.0:50051".parse().unwrap();
        settings.server.http_addr = "[::]:8080".parse().unwrap();
    });
    let reason = "without authentication only loopback is served; set";
    assert!(
        text.contains(&format!("{reason} server.grpc_addr to a loopback address")),
        "{text}"
    );
    assert!(
        text.contains(&format!("{reason} server.http_addr to a loopback address")),
        "{text}"
    );
    for key in ["server.grpc_addr = 0.0.0.0:50051", "server.http_addr = [::]:8080"] {
        let refused = format!("{key}: plaintext is served on loopback only; set tls.certificate_file");
        assert!(text.contains(&refused), "{text}");
    }
}

#[test]
fn remote_address_is_served_when_anonymous_callers_are_allowed_and_plaintext_or_tls_is() {
    let mut settings = Settings::default();
    settings.server.grpc_addr = "0.0.0.0:50051".parse().unwrap();
    settings.server.allow_anonymous_remote = true;
    assert!(settings.validate().is_err());
    settings.server.allow_plaintext_remote = true;
    assert!(settings.validate().is_ok());
    settings.server.allow_plaintext_remote = false;
    settings.tls.certificate_file = "tls.crt".into();
    settings.tls.key_file = "tls.key".into();
    assert!(settings.validate().is_ok());
    settings.server.allow_anonymous_remote = false;
    assert!(settings.validate().is_err());
}

#[test]
fn files_of_tls_that_belong_together_are_named_together() {
    for (path, other) in [
        ("tls.certificate_file", "tls.key_file"),
        ("tls.key_file", "tls.certificate_file"),
        ("tls.client_ca_file", "tls.certificate_file"),
        ("tls.client_crl_file", "tls.client_ca_file"),
        ("client.tls_key_file", "client.tls_certificate_file"),
    ] {
        let text = refused(|settings| {
            let file = match path {
                "tls.certificate_file" => &mut settings.tls.certificate_file,
                "tls.key_file" => &mut settings.tls.key_file,
                "tls.client_ca_file" => &mut settings.tls.client_ca_file,
                "tls.client_crl_file" => &mut settings.tls.client_crl_file,
                _ => &mut settings.client.tls_key_file,
            };
            *file = "file.pem".into();
        });
        assert!(
            text.contains(&format!("{path} = file.pem")) && text.contains(other),
            "{text}"
        );
    }
}

#[test]
fn remote_address_is_served_when_callers_are_known() {
    let mut settings = Settings::default();
    settings.server.grpc_addr = "0.0.0.0:50051".parse().unwrap();
    settings.auth.callers_file = "callers.toml".into();
    assert!(settings.validate().is_err(), "plaintext");
    settings.server.allow_plaintext_remote = true;
    assert!(settings.validate().is_ok());
}

#[test]
fn authentication_that_would_not_hold_is_refused() {
    let with = |change: fn(&mut AuthSettings)| {
        refused(|settings| {
            settings.auth.callers_file = "callers.toml".into();
            settings.auth.jwks_file = "keys.json".into();
            settings.auth.issuer = "https://id.customs.example".to_owned();
            settings.auth.audience = "greenlane".to_owned();
            change(&mut settings.auth);
        })
    };
    for (change, reason) in [
        (
            (|auth| auth.callers_file.clear()) as fn(&mut AuthSettings),
            "keys alone ask nobody",
        ),
        (
            |auth| auth.jwks_url = "https://a/keys".to_owned(),
            "keys come from one place",
        ),
        (|auth| auth.issuer.clear(), "of one issuer and for one audience"),
        (|auth| auth.audience.clear(), "of one issuer and for one audience"),
        (|auth| auth.clock_skew = "301s".parse().unwrap(), "at most 5m"),
        (|auth| auth.jwks_url = "http://a/keys".to_owned(), "must be https"),
    ] {
        let text = with(change);
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn loopback_is_known_in_each_of_its_forms() {
    for address in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert!(is_loopback(address.parse().unwrap()), "{address}");
    }
    for address in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "[::ffff:10.0.0.1]:1"] {
        assert!(!is_loopback(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn limit_of_zero_is_refused_for_each_limit() {
    let text = refused(|settings| {
        settings.limits.max_message_bytes = 0;
        settings.limits.max_concurrent_streams = 0;
        settings.limits.max_connections = 0;
        settings.limits.max_header_bytes = 0;
        settings.limits.max_concurrent_calls = 0;
        settings.limits.max_stream_resets = 0;
        settings.limits.max_control_frames = 0;
    });
    assert_eq!(
        text.lines()
            .filter(|line| line.contains(" = 0: a limit of 0"))
            .count(),
        7,
        "{text}"
    );
}

#[test]
fn every_refusal_names_keys_that_exist() {
    let mut settings = Settings::default();
    settings.server.grpc_addr = "0.0.0.0:1".parse().unwrap();
    settings.server.http_addr = "0.0.0.0:1".parse().unwrap();
    settings.freshness.relief_max_age = "25h".parse().unwrap();
    settings.tls.client_ca_file = "ca.crt".into();
    settings.tls.client_crl_file = "crl.pem".into();
    settings.client.tls_key_file = "tls.key".into();
    settings.limits.max_message_bytes = 0;
    settings.limits.max_concurrent_streams = 0;
    settings.limits.max_connections = 0;
    settings.limits.max_header_bytes = 0;

    let known: Vec<_> = settings.entries().into_iter().map(|entry| entry.key).collect();

    for key in settings.refusals().into_iter().flat_map(|refusal| refusal.keys) {
        assert!(known.contains(&key), "{key}");
    }
}
