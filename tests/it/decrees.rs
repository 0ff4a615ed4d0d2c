use std::time::Duration;

use greenlane::{
    app::settings::Span,
    facilitation::Moment,
    wire::{
        pb::{
            self, CreditTier as Tier, Direction, Measure, PriorityClass, ReasonCode, TradeMode,
            facilitation_service_client::FacilitationServiceClient,
        },
        validate::{self, Window},
    },
};
use jiff::{SignedDuration, Timestamp};
use tonic::{Code, transport::Channel};

use crate::support::{
    app::TestApp,
    replica::Replica,
    requests::{fields, import, instant, what_if},
    store::{EACH_TIER, REGULAR},
};

use Measure::{
    Coordinator, DepositAccountWaiver, ForeignRegistrationRecommendation as ForeignRegistration,
    FullGuaranteeProcessingTrade as FullGuarantee, GuaranteeExemptionOnApplication as GuaranteeExemption,
    GuaranteeReduction, HeightenedInspection, IncreasedAuditFrequency as MoreAudits,
    InspectionCostNotWaived as InspectionCost, IntensifiedDocumentReview as IntensifiedReview,
    JointIncentives, JointPunishment, MutualRecognition, NoConsolidatedTaxation as NoConsolidation,
    NoSampleAndImageRelease as NoSampleRelease, PostDisruptionPriority as PostDisruption,
    PreArrivalExportDeclaration as PreArrival, PriorityClearance, ReducedAuditFrequency as FewerAudits,
    ReducedInspection, ReducedOriginSurveySampling as OriginSampling,
    ReleaseBeforeDetermination as EarlyRelease, SimplifiedDocumentReview as SimplifiedReview,
};

/// What a decree gives an enterprise of one tier, written from its text at the shipped baseline of 24400 ppm.
struct Row {
    stands_as: Tier,
    rate_ppm: u32,
    class: PriorityClass,
    green: bool,
    /// On every shipment.
    shipment: &'static [Measure],
    /// On exports only, and in processing trade only.
    export: &'static [Measure],
    processing: &'static [Measure],
    enterprise: &'static [Measure],
}

struct Decree {
    id: &'static str,
    /// The first instant of its first day in UTC+8, and the last second before.
    begins: &'static str,
    eve: &'static str,
    provisional: bool,
    /// For each tier, best first.
    rows: [Row; 5],
}

const REGULAR_ROW: Row = Row {
    stands_as: Tier::Regular,
    rate_ppm: 24_400,
    class: PriorityClass::Normal,
    green: false,
    shipment: &[],
    export: &[],
    processing: &[],
    enterprise: &[],
};

const fn advanced(
    rate_ppm: u32,
    shipment: &'static [Measure],
    export: &'static [Measure],
    enterprise: &'static [Measure],
) -> Row {
    Row {
        stands_as: Tier::AdvancedCertified,
        rate_ppm,
        class: PriorityClass::Expedited,
        green: true,
        shipment,
        export,
        processing: &[],
        enterprise,
    }
}

const fn certified(enterprise: &'static [Measure]) -> Row {
    Row {
        stands_as: Tier::Certified,
        rate_ppm: 12_200,
        class: PriorityClass::Priority,
        green: true,
        shipment: &[ReducedInspection, SimplifiedReview, PriorityClearance],
        export: &[],
        processing: &[],
        enterprise,
    }
}

const fn discredited(
    stands_as: Tier,
    shipment: &'static [Measure],
    processing: &'static [Measure],
    enterprise: &'static [Measure],
) -> Row {
    Row {
        stands_as,
        rate_ppm: 800_000,
        class: PriorityClass::Deferred,
        green: false,
        shipment,
        export: &[],
        processing,
        enterprise,
    }
}

const DISCREDITED_225: Row = discredited(
    Tier::Discredited,
    &[HeightenedInspection, IntensifiedReview],
    &[],
    &[],
);
const DISCREDITED_237: Row = discredited(
    Tier::Discredited,
    &[
        HeightenedInspection,
        IntensifiedReview,
        NoSampleRelease,
        InspectionCost,
    ],
    &[FullGuarantee],
    &[MoreAudits, NoConsolidation, JointPunishment],
);
const DISCREDITED_251: Row = discredited(
    Tier::Discredited,
    &[HeightenedInspection, IntensifiedReview],
    &[FullGuarantee],
    &[MoreAudits],
);
const ADVANCED_251: Row = advanced(
    // Strictly below 20 % of 24400, which is 4880.
    4_879,
    &[
        ReducedInspection,
        SimplifiedReview,
        PriorityClearance,
        PostDisruption,
    ],
    &[PreArrival, OriginSampling],
    &[
        GuaranteeExemption,
        Coordinator,
        FewerAudits,
        ForeignRegistration,
        MutualRecognition,
        JointIncentives,
    ],
);

const DECREES: [Decree; 4] = [
    Decree {
        id: "CN-GACC-225",
        begins: "2014-12-01T00:00:00+08:00",
        eve: "2014-11-30T23:59:59+08:00",
        provisional: true,
        rows: [
            advanced(
                4_880,
                &[
                    ReducedInspection,
                    SimplifiedReview,
                    PriorityClearance,
                    EarlyRelease,
                ],
                &[],
                &[DepositAccountWaiver, Coordinator, MutualRecognition],
            ),
            certified(&[]),
            REGULAR_ROW,
            DISCREDITED_225,
            DISCREDITED_225,
        ],
    },
    Decree {
        id: "CN-GACC-237",
        begins: "2018-05-01T00:00:00+08:00",
        eve: "2018-04-30T23:59:59+08:00",
        provisional: false,
        rows: [
            advanced(
                // At most 20 %: 4880 is allowed.
                4_880,
                &[
                    ReducedInspection,
                    SimplifiedReview,
                    PriorityClearance,
                    PostDisruption,
                ],
                &[PreArrival],
                &[
                    GuaranteeReduction,
                    GuaranteeExemption,
                    Coordinator,
                    FewerAudits,
                    MutualRecognition,
                    JointIncentives,
                ],
            ),
            certified(&[GuaranteeReduction]),
            REGULAR_ROW,
            DISCREDITED_237,
            DISCREDITED_237,
        ],
    },
    Decree {
        id: "CN-GACC-251",
        begins: "2021-11-01T00:00:00+08:00",
        eve: "2021-10-31T23:59:59+08:00",
        provisional: false,
        rows: [
            ADVANCED_251,
            // The decree does not know the tier.
            REGULAR_ROW,
            REGULAR_ROW,
            DISCREDITED_251,
            DISCREDITED_251,
        ],
    },
    Decree {
        id: "CN-GACC-282",
        begins: "2026-04-01T00:00:00+08:00",
        eve: "2026-03-31T23:59:59+08:00",
        provisional: true,
        rows: [
            ADVANCED_251,
            certified(&[MutualRecognition]),
            REGULAR_ROW,
            DISCREDITED_251,
            discredited(
                Tier::SeriouslyDiscredited,
                &[HeightenedInspection, IntensifiedReview],
                &[FullGuarantee],
                &[MoreAudits, JointPunishment],
            ),
        ],
    },
];

async fn simulate(
    client: &mut FacilitationServiceClient<Channel>,
    request: pb::DecideRequest,
    as_of: prost_types::Timestamp,
) -> pb::Decision {
    let answered = client.simulate(what_if(request, as_of)).await.unwrap();
    answered.into_inner().decision.unwrap()
}

#[tokio::test]
async fn each_decree_decides_from_its_first_instant_on_and_not_a_second_earlier() {
    let app = TestApp::ready().await;
    let mut client = app.facilitation();
    for (place, decree) in DECREES.iter().enumerate() {
        hold(&mut client, decree, decree.begins).await;
        if let Some(former) = place.checked_sub(1) {
            hold(&mut client, &DECREES[former], decree.eve).await;
        }
    }
}

/// At that instant every tier is treated as the decree says, on imports and on exports, processed or not.
async fn hold(client: &mut FacilitationServiceClient<Channel>, decree: &Decree, at: &str) {
    for (row, (customs_code, tier)) in decree.rows.iter().zip(EACH_TIER) {
        for export in [false, true] {
            for processing in [false, true] {
                let case = format!(
                    "{} at {at}: {tier}, export {export}, processing {processing}",
                    decree.id
                );
                let mut request = import(1, customs_code);
                if export {
                    request.declaration_number = "222520260000000001".to_owned();
                    request.direction = Direction::Export.into();
                }
                if processing {
                    request.trade_mode = TradeMode::Processing.into();
                }
                let decision = simulate(client, request, instant(at)).await;

                let policy = decision.policy.unwrap();
                assert_eq!(
                    (policy.id.as_str(), policy.provisional),
                    (decree.id, decree.provisional),
                    "{case}"
                );
                assert_eq!(decision.credit_tier, i32::from(row.stands_as), "{case}");
                assert_eq!(decision.inspection.unwrap().rate_ppm, row.rate_ppm, "{case}");
                assert_eq!(
                    decision.priority.unwrap().priority_class,
                    i32::from(row.class),
                    "{case}"
                );
                assert_eq!(decision.green_channel.unwrap().eligible, row.green, "{case}");
                let mut shipment = row.shipment.to_vec();
                if export {
                    shipment.extend(row.export);
                }
                if processing {
                    shipment.extend(row.processing);
                }
                assert_eq!(decision.measures, ascending(&shipment), "{case}");
                assert_eq!(
                    decision.parties[0].enterprise_measures,
                    ascending(row.enterprise),
                    "{case}"
                );
                let provisional = i32::from(ReasonCode::PolicyProvisional);
                assert_eq!(
                    decision.reasons.iter().any(|reason| reason.code == provisional),
                    decree.provisional,
                    "{case}"
                );
                assert_eq!(decision.decided_at, Some(instant(at)), "{case}");
            }
        }
    }
}

fn ascending(measures: &[Measure]) -> Vec<i32> {
    let mut numbers: Vec<_> = measures.iter().map(|&measure| i32::from(measure)).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn before_the_first_decree_a_simulation_is_refused_where_the_date_came_from() {
    let app = TestApp::ready().await;
    let mut client = app.facilitation();
    let eve = instant(DECREES[0].eve);
    let refused = client
        .simulate(what_if(import(1, REGULAR), eve))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::InvalidArgument, vec!["as_of".to_owned()])
    );

    // The acceptance date chooses, not the decision time.
    let accepted = pb::DecideRequest {
        accepted_at: Some(eve),
        ..import(1, REGULAR)
    };
    let today = instant(DECREES[3].begins);
    let refused = client
        .simulate(what_if(accepted.clone(), today))
        .await
        .unwrap_err();
    assert_eq!(fields(&refused), ["request.accepted_at"]);
    let first = pb::DecideRequest {
        accepted_at: Some(instant(DECREES[0].begins)),
        ..accepted
    };
    assert_eq!(
        simulate(&mut client, first, today).await.policy.unwrap().id,
        "CN-GACC-225"
    );

    // A policy that is named needs no date.
    let named = pb::SimulateRequest {
        policy_id: "CN-GACC-251".to_owned(),
        ..what_if(import(1, REGULAR), eve)
    };
    let decision = client
        .simulate(named)
        .await
        .unwrap()
        .into_inner()
        .decision
        .unwrap();
    assert_eq!(decision.policy.unwrap().id, "CN-GACC-251");
}

#[test]
fn the_acceptance_window_takes_its_own_ends() {
    let now = "2026-11-20T04:00:00Z";
    let moment: Moment = Replica::moment(now);
    let window = Window {
        now: moment.timestamp,
        ahead: Duration::from_mins(5),
        behind: Duration::from_hours(168),
        first_policy: "2014-12-01".parse().unwrap(),
    };
    let at = |offset: SignedDuration| {
        let accepted_at: Timestamp = moment.timestamp + offset;
        let request = pb::DecideRequest {
            accepted_at: Some(greenlane::wire::convert::instant(accepted_at)),
            ..import(1, REGULAR)
        };
        match validate::request(&request, &window) {
            Ok(valid) => {
                assert_eq!(valid.accepted_at, accepted_at);
                true
            }
            Err(violations) => {
                let fields: Vec<_> = violations.0.iter().map(|(field, _)| field.as_str()).collect();
                assert_eq!(fields, ["accepted_at"]);
                false
            }
        }
    };
    let (ahead, behind) = (SignedDuration::from_mins(5), SignedDuration::from_hours(7 * 24));
    let nanosecond = SignedDuration::from_nanos(1);
    assert!(at(ahead) && at(-behind) && at(SignedDuration::ZERO));
    assert!(!at(ahead + nanosecond) && !at(-behind - nanosecond));
    let default = validate::request(&import(1, REGULAR), &window).unwrap();
    assert_eq!(default.accepted_at, moment.timestamp, "now where nothing is sent");
}

#[tokio::test]
async fn a_server_holds_its_own_clock_against_the_acceptance_time() {
    let app = TestApp::ready().await;
    let mut client = app.facilitation();
    let mut decide = async |offset: SignedDuration| {
        let accepted_at = greenlane::wire::convert::instant(Timestamp::now() + offset);
        let request = pb::DecideRequest {
            accepted_at: Some(accepted_at),
            ..import(1, REGULAR)
        };
        client.decide(request).await.map_err(|status| fields(&status))
    };
    // Half a minute is more than any test needs to be answered.
    let slack = SignedDuration::from_secs(30);
    let (ahead, behind) = (SignedDuration::from_mins(5), SignedDuration::from_hours(7 * 24));
    assert!(decide(ahead - slack).await.is_ok());
    assert!(decide(slack - behind).await.is_ok());
    assert_eq!(decide(ahead + slack).await.unwrap_err(), ["accepted_at"]);
    assert_eq!(decide(-behind - slack).await.unwrap_err(), ["accepted_at"]);
}

#[tokio::test]
async fn a_window_that_reaches_back_decides_under_each_decree_and_ends_before_the_first() {
    let app = TestApp::ready_with(|settings| {
        settings.server.acceptance_max_behind = Span::new(Duration::from_hours(876_000));
    })
    .await;
    let mut client = app.facilitation();
    let mut decide = async |at: &str| {
        let request = pb::DecideRequest {
            accepted_at: Some(instant(at)),
            ..import(1, REGULAR)
        };
        match client.decide(request).await {
            Ok(answered) => answered.into_inner().decision.unwrap().policy.unwrap().id,
            Err(status) => fields(&status).join(", "),
        }
    };
    assert_eq!(decide(DECREES[0].eve).await, "accepted_at");
    for (place, decree) in DECREES.iter().enumerate() {
        assert_eq!(decide(decree.begins).await, decree.id);
        if let Some(former) = place.checked_sub(1) {
            assert_eq!(decide(decree.eve).await, DECREES[former].id);
        }
    }
}
