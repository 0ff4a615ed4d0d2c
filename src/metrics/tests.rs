//! What is told, read as the text that Prometheus reads.

use super::*;

#[test]
fn what_happened_is_told_by_name_and_label() {
    let metrics = Metrics::default();
    let begun = metrics.openmetrics().expect("text");
    for line in [
        "greenlane_tls_certificate_expiry_seconds +Inf",
        "greenlane_tls_reloads_total{outcome=\"taken\"} 0",
        "greenlane_upstream_changes_total{entity=\"control_order\"} 0",
        "greenlane_upstream_errors_total{kind=\"unavailable\"} 0",
        "greenlane_upstream_resyncs_total{cause=\"fork\"} 0",
        "greenlane_upstream_refusals_total{cause=\"drift\"} 0",
        "greenlane_draw_commitment_errors_total{kind=\"corrupt\"} 0",
    ] {
        assert!(begun.lines().any(|own| own == line), "{line}\n{begun}");
    }
    metrics.changed("enterprise", 3);
    metrics.propagated(Duration::from_millis(7));
    metrics.refused("drift");
    metrics.compared(false);
    metrics.read_registry(&RegistryReading {
        enterprises: [1, 2, 3, 4, 5],
        sequence: 9,
        age: Duration::from_millis(1500),
        state: "stale",
        quarantined: 0,
    });
    metrics.decided(
        CreditTier::Certified,
        Lane::Red,
        InspectionBasis::Random,
        true,
        Duration::from_micros(12),
    );
    let calls = metrics.calls([("greenlane.v1.FacilitationService", "Decide")]);
    calls.ended(0, 3, Duration::from_millis(3));
    metrics.shed(Shed::SlowWatches, 2);
    metrics.connections.opened();
    metrics.connections.opened();
    metrics.connections.closed();
    let mut rates = [RateReading::default(); CreditTier::COUNT];
    rates[0] = RateReading {
        realized_ppm: 6_343,
        lower_bound_ppm: 5_100,
        upper_bound_ppm: 7_700,
        limit_ppm: 4_879,
        breached: true,
        breached_offices: 2,
    };
    metrics.read_rates(&rates);
    metrics.tls.shaken(TlsHandshake::NotTls);
    metrics.tls.refused();
    metrics.tls.read(&TlsReading {
        certificate: -1.5,
        client_ca: Some(60.0),
        client_crl: None,
        is_refused: true,
    });
    let text = metrics.openmetrics().expect("text");
    for line in [
        "greenlane_tls_certificate_expiry_seconds -1.5",
        "greenlane_tls_client_trust_expiry_seconds{file=\"client_ca\"} 60.0",
        "greenlane_tls_client_trust_expiry_seconds{file=\"client_crl\"} +Inf",
        "greenlane_tls_handshakes_total{outcome=\"not_tls\"} 1",
        "greenlane_tls_handshakes_total{outcome=\"done\"} 0",
        "greenlane_tls_reloads_total{outcome=\"refused\"} 1",
        "greenlane_tls_files_refused 1",
        "greenlane_upstream_changes_total{entity=\"enterprise\"} 3",
        "greenlane_upstream_propagation_seconds_bucket{le=\"0.01\"} 1",
        "greenlane_upstream_refusals_total{cause=\"drift\"} 1",
        "greenlane_upstream_digest_mismatches_total 1",
        "greenlane_registry_enterprises{credit_tier=\"DISCREDITED\"} 4",
        "greenlane_registry_sequence 9",
        "greenlane_registry_age_seconds 1.5",
        "greenlane_registry_state{state=\"stale\"} 1",
        "greenlane_registry_state{state=\"live\"} 0",
        "greenlane_decisions_total{lane=\"RED\",credit_tier=\"CERTIFIED\"} 1",
        "greenlane_decisions_total{lane=\"GREEN\",credit_tier=\"CERTIFIED\"} 0",
        "greenlane_inspections_total{credit_tier=\"CERTIFIED\",basis=\"RANDOM\",selected=\"true\"} 1",
        "greenlane_inspections_total{credit_tier=\"CERTIFIED\",basis=\"NOT_DRAWN\",selected=\"false\"} 0",
        "greenlane_decision_duration_seconds_bucket{le=\"0.00001\"} 0",
        "greenlane_decision_duration_seconds_bucket{le=\"0.000015\"} 1",
        "greenlane_decision_duration_seconds_bucket{le=\"+Inf\"} 1",
        "greenlane_decision_duration_seconds_count 1",
        "greenlane_decision_duration_seconds_sum 0.000012",
        "greenlane_grpc_requests_total{service=\"greenlane.v1.FacilitationService\",method=\"Decide\",code=\"INVALID_ARGUMENT\"} 1",
        "greenlane_grpc_requests_total{service=\"greenlane.v1.FacilitationService\",method=\"Decide\",code=\"OK\"} 0",
        "greenlane_grpc_request_duration_seconds_bucket{le=\"0.005\",service=\"greenlane.v1.FacilitationService\",method=\"Decide\"} 1",
        "greenlane_connections 1",
        "greenlane_requests_shed_total{cause=\"slow_watch\"} 2",
        "greenlane_requests_shed_total{cause=\"max_connections\"} 0",
        "greenlane_realized_rate_ppm{credit_tier=\"ADVANCED_CERTIFIED\"} 6343",
        "greenlane_realized_rate_lower_bound_ppm{credit_tier=\"ADVANCED_CERTIFIED\"} 5100",
        "greenlane_realized_rate_upper_bound_ppm{credit_tier=\"ADVANCED_CERTIFIED\"} 7700",
        "greenlane_realized_rate_limit_ppm{credit_tier=\"ADVANCED_CERTIFIED\"} 4879",
        "greenlane_realized_rate_breached{credit_tier=\"ADVANCED_CERTIFIED\"} 1",
        "greenlane_realized_rate_breached_offices{credit_tier=\"ADVANCED_CERTIFIED\"} 2",
        "greenlane_realized_rate_breached{credit_tier=\"REGULAR\"} 0",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
}

#[test]
fn of_a_policy_that_is_no_longer_in_force_nothing_is_told() {
    let metrics = Metrics::default();
    let told = |digest: &str, next_in| {
        metrics.read_policy(PolicyReading {
            in_force: Some(PolicyInForce {
                id: "CN-GACC-282".to_owned(),
                digest: digest.to_owned(),
                provisional: true,
            }),
            next_in,
        });
        metrics.prometheus_text().expect("text")
    };
    let text = told("aa", Some(Duration::from_secs(90)));
    let info = |digest| {
        format!("greenlane_policy_info{{id=\"CN-GACC-282\",digest=\"{digest}\",provisional=\"true\"}} 1\n")
    };
    assert!(text.contains(&info("aa")), "{text}");
    assert!(
        text.contains("greenlane_policy_next_activation_seconds 90.0\n"),
        "{text}"
    );
    let text = told("bb", None);
    assert!(text.contains(&info("bb")) && !text.contains("\"aa\""), "{text}");
    assert!(
        text.contains("greenlane_policy_next_activation_seconds +Inf\n"),
        "{text}"
    );
}
