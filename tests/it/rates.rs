#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::similar_names,
    reason = "counts of a simulation, far below 2^53; a draw is drawn"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
};

use greenlane::{
    audit::rates::{
        Cell, Counts, Scope, breached, over_all_offices,
        sequence::{Confidence, bounds},
    },
    domain::{CreditTier, Ppm, identifier::CustomsOffice},
    wire::pb::{self, audit_service_client::AuditServiceClient},
};
use tonic::transport::Channel;

use crate::support::{
    app::TestApp,
    requests::{fields, import, instant},
    store::EACH_TIER,
};

/// Hours of a month at most.
const HOURS: u64 = 31 * 24;

/// `SplitMix64` (Steele, Lea, Flood 2014): the same quarters on every machine.
struct Random(u64);

impl Random {
    /// Evenly spread over (0, 1].
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((mixed ^ (mixed >> 31)) >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// A run of independent draws that jumps from one outcome of the rarer kind to the next.
struct Draws {
    rate: f64,
    /// Draws before the next rare outcome.
    until: f64,
}

impl Draws {
    fn new(rate: f64, random: &mut Random) -> Self {
        let mut draws = Self { rate, until: 0.0 };
        draws.until = draws.gap(random);
        draws
    }

    fn rarer(&self) -> f64 {
        self.rate.min(1.0 - self.rate)
    }

    /// Geometric: draws of the usual kind between two rare ones.
    fn gap(&self, random: &mut Random) -> f64 {
        (random.unit().ln() / (-self.rarer()).ln_1p()).floor()
    }

    /// How many of the next draws select.
    fn selected(&mut self, draws: u64, random: &mut Random) -> u64 {
        let (mut left, mut rare) = (draws as f64, 0);
        while self.until < left {
            rare += 1;
            left -= self.until + 1.0;
            self.until = self.gap(random);
        }
        self.until -= left;
        if self.rate <= 0.5 { rare } else { draws - rare }
    }
}

/// Counts of draws that were all made at one limit.
fn counts(drawn: u64, drawn_selected: u64, limit: Ppm) -> Counts {
    Counts {
        decided: drawn,
        selected_random: drawn_selected,
        drawn,
        drawn_selected,
        demanded_ppm: drawn * u64::from(limit.0),
        limits_ppm: drawn * u64::from(limit.0),
        ..Counts::default()
    }
}

fn add(counts: &mut Counts, drawn: u64, drawn_selected: u64, limit: Ppm) {
    counts.drawn += drawn;
    counts.drawn_selected += drawn_selected;
    counts.limits_ppm += drawn * u64::from(limit.0);
}

/// Draws an hour at each office, and the baselines of the offices: the tiers of Decree 282 at the rate that the law allows.
const OFFICES: usize = 12;

fn traffic(office: usize) -> [(CreditTier, u64, Ppm); 4] {
    let baseline = Ppm([24_400, 30_000, 10_000][office % 3]);
    let share = |ppm| baseline.times(Ppm(ppm));
    [
        (
            CreditTier::AdvancedCertified,
            40,
            baseline.strictly_below(Ppm(200_000)),
        ),
        (CreditTier::Certified, 15, share(500_000)),
        (CreditTier::Discredited, 2, Ppm(800_000)),
        (CreditTier::SeriouslyDiscredited, 1, Ppm(800_000)),
    ]
}

/// Whether anything is alarmed in a month of draws at exactly the legal rates, looked at every hour: each tier at each
/// office, and over all of them.
fn month_alarms(random: &mut Random) -> bool {
    let month = "2026-11".parse().unwrap();
    let mut cells = Vec::new();
    for office in 0..OFFICES {
        let customs_office: CustomsOffice = format!("22{office:02}").parse().unwrap();
        for (credit_tier, hourly, limit) in traffic(office) {
            let draws = Draws::new(f64::from(limit.0) / 1e6, random);
            let cell = Cell {
                month,
                customs_office,
                credit_tier,
            };
            cells.push((cell, hourly, limit, draws));
        }
    }
    let mut at_offices: BTreeMap<Cell, Counts> = BTreeMap::new();
    for _ in 0..HOURS {
        let mut moved = [false; CreditTier::COUNT];
        for (cell, hourly, limit, draws) in &mut cells {
            let selected = draws.selected(*hourly, random);
            let counts = at_offices.entry(*cell).or_default();
            add(counts, *hourly, selected, *limit);
            // Only a selection, or of strict tiers a draw that did not select, speaks for a breach.
            let relief = cell.credit_tier < CreditTier::Regular;
            if if relief { selected > 0 } else { selected < *hourly } {
                moved[cell.credit_tier.index()] = true;
                if breached(cell.credit_tier, counts, Scope::Office) {
                    return true;
                }
            }
        }
        let all = over_all_offices(&at_offices);
        let alarmed = |(&(_, tier), counts): (&(_, CreditTier), &Counts)| {
            moved[tier.index()] && breached(tier, counts, Scope::AllOffices)
        };
        if all.iter().any(alarmed) {
            return true;
        }
    }
    false
}

fn quarters() -> u64 {
    let asked = std::env::var("GREENLANE_QUARTERS").ok();
    asked.map_or(200, |asked| asked.parse().unwrap())
}

#[test]
fn at_exactly_the_legal_rate_at_most_one_quarter_in_twenty_ever_alarms() {
    let quarters = quarters();
    let half = |first: u64| {
        (first..quarters).step_by(2).filter(|&quarter| {
            let mut random = Random(0x2026_1124 + quarter);
            (0..3).any(|_| month_alarms(&mut random))
        })
    };
    let alarmed = thread::scope(|scope| {
        let other = scope.spawn(|| half(1).count());
        half(0).count() + other.join().unwrap()
    });
    println!("{alarmed} of {quarters} quarters alarmed");
    assert!(
        alarmed as u64 * 20 <= quarters,
        "{alarmed} of {quarters} quarters alarmed"
    );
}

/// The usual 95 % interval: Wilson's, or Wald's.
fn naive(selected: u64, drawn: u64, wilson: bool) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    let (s, n) = (selected as f64, drawn as f64);
    let p = s / n;
    if wilson {
        let middle = (s + Z * Z / 2.0) / (n + Z * Z);
        let reach = Z / (n + Z * Z) * (p * (1.0 - p) * n + Z * Z / 4.0).sqrt();
        (middle - reach, middle + reach)
    } else {
        let reach = Z * (p * (1.0 - p) / n).sqrt();
        (p - reach, p + reach)
    }
}

#[test]
fn intervals_that_are_made_for_one_look_cry_wolf_when_looked_at_hourly() {
    const RUNS: u64 = 400;
    let limit = Ppm(4_879);
    let rate = f64::from(limit.0) / 1e6;
    let once = Confidence::failing_at_most(0.025);
    let (mut wald, mut wilson, mut ours) = (0, 0, 0);
    for run in 0..RUNS {
        let mut random = Random(0xa1a2_0000 + run);
        let mut draws = Draws::new(rate, &mut random);
        let (mut drawn, mut selected, mut cried) = (0, 0, [false; 3]);
        for _ in 0..90 * 24 {
            drawn += 500;
            let more = draws.selected(500, &mut random);
            selected += more;
            let outside = |(low, high): (f64, f64)| rate < low || high < rate;
            // An interval from a few selections is not fit to be used at all, and nobody would.
            if selected >= 10 {
                cried[0] |= outside(naive(selected, drawn, false));
                cried[1] |= outside(naive(selected, drawn, true));
            }
            let bounds = bounds(selected, drawn, once);
            cried[2] |= limit.0 < bounds.lower_ppm || bounds.upper_ppm < limit.0;
        }
        wald += u64::from(cried[0]);
        wilson += u64::from(cried[1]);
        ours += u64::from(cried[2]);
    }
    println!("of {RUNS} runs at the legal rate: Wald {wald}, Wilson {wilson}, confidence sequence {ours}");
    assert!(
        wald * 10 > RUNS * 4 && wilson * 10 > RUNS * 4,
        "over 40 %: {wald}, {wilson} of {RUNS}"
    );
    assert!(ours * 20 <= RUNS, "at most 5 %: {ours} of {RUNS}");
}

/// Draws until a breach is shown, in `runs` runs at a rate, ascending.
fn until_shown(tier: CreditTier, limit: Ppm, rate: f64, scope: Scope, runs: u64) -> Vec<u64> {
    let run = |run: u64| {
        let mut random = Random(0xde7e_c700 + run);
        let mut draws = Draws::new(rate, &mut random);
        let (mut drawn, mut selected) = (0, 0);
        loop {
            // To the next rare outcome: in between, evidence only fades.
            let next = draws.until as u64 + 1;
            drawn += next;
            selected += draws.selected(next, &mut random);
            if breached(tier, &counts(drawn, selected, limit), scope) {
                return drawn;
            }
        }
    };
    let mut shown: Vec<u64> = (0..runs).map(run).collect();
    shown.sort_unstable();
    shown
}

/// A rate beyond the limit is shown within so many draws: in half of all cases, and in 95 of 100.
#[test]
fn a_rate_thirty_percent_beyond_the_limit_is_shown_within_the_draws_that_are_stated() {
    const RUNS: u64 = 400;
    let cases = [
        (
            CreditTier::AdvancedCertified,
            4_879,
            0.004_879 * 1.3,
            [40_000, 85_000],
            [90_000, 155_000],
        ),
        (
            CreditTier::Certified,
            12_200,
            0.0122 * 1.3,
            [16_000, 34_000],
            [36_000, 61_000],
        ),
        // 30 % fewer than the law wants, and 30 % more that are not selected.
        (CreditTier::Discredited, 800_000, 0.56, [70, 130], [140, 220]),
        (
            CreditTier::Discredited,
            800_000,
            0.74,
            [850, 1_600],
            [1_850, 3_000],
        ),
    ];
    let mut beyond = Vec::new();
    for (tier, limit, rate, all_offices, office) in cases {
        for (scope, stated) in [(Scope::AllOffices, all_offices), (Scope::Office, office)] {
            let shown = until_shown(tier, Ppm(limit), rate, scope, RUNS);
            let found = [shown.len() / 2, shown.len() * 95 / 100].map(|at| shown[at]);
            let case =
                format!("{tier} at {rate}, limit {limit}, {scope:?}: {found:?} draws, stated {stated:?}");
            println!("{case}");
            if found[0] > stated[0] || found[1] > stated[1] {
                beyond.push(case);
            }
        }
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
}

async fn audit(app: &TestApp) -> AuditServiceClient<Channel> {
    AuditServiceClient::connect(format!("http://{}", app.address()))
        .await
        .unwrap()
}

fn filters(month: &str, office: &str) -> pb::ListRealizedRatesRequest {
    pb::ListRealizedRatesRequest {
        month: month.to_owned(),
        customs_office: office.to_owned(),
    }
}

/// What a decision must move: it is told by the decisions themselves.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    decided: u64,
    drawn: u64,
    selected_random: u64,
    selected_targeted: u64,
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story")]
async fn realized_rates_are_those_of_the_answers_each_declaration_once() {
    let app = TestApp::ready().await;
    app.sql()
        .execute(
            "INSERT INTO control_order (id, kind, basis, hs_prefix, valid_from, legal_basis, public_reason)
             VALUES ('T1', 'INSPECT', 'TARGETED', '2402', '2020-01-01T00:00:00Z', 'Customs Law Art 6', 'Campaign')",
            [],
        )
        .unwrap();
    app.until_caught_up().await;
    let (mut facilitation, mut expected) = (app.facilitation(), BTreeMap::<(i32, String), Told>::new());
    let (mut answers, mut months) = (0_u64, BTreeSet::new());
    for (sequence, (code, _)) in (0_u32..).zip(EACH_TIER.iter().cycle().take(300)) {
        let mut request = import(sequence, code);
        if sequence % 3 == 0 {
            request.customs_office = "5301".to_owned();
        }
        if sequence % 50 == 0 {
            request.goods[0].hs_code = "240220".to_owned();
        }
        if sequence % 10 >= 8 {
            // Two declarations of one consignment.
            request.transport_document_number = format!("BL{}", sequence / 10);
        }
        let mut ask = async || {
            let answer = facilitation.decide(request.clone()).await.unwrap();
            answers += 1;
            answer.into_inner().decision.unwrap()
        };
        let decision = ask().await;
        if sequence % 7 == 0 {
            assert_eq!(
                ask().await.inspection,
                decision.inspection,
                "a retry draws the same"
            );
        }
        let inspection = decision.inspection.unwrap();
        let random = inspection.basis() == pb::InspectionBasis::Random;
        if random {
            months.insert(inspection.draw_epoch.clone());
        }
        let told = expected
            .entry((decision.credit_tier, request.customs_office))
            .or_default();
        told.decided += 1;
        told.selected_random += u64::from(random && inspection.selected);
        told.selected_targeted += u64::from(inspection.basis() == pb::InspectionBasis::Targeted);
        told.drawn += u64::from(random && sequence % 10 != 9);
    }

    let mut audit = audit(&app).await;
    let told = audit
        .list_realized_rates(filters("", ""))
        .await
        .unwrap()
        .into_inner();
    if months.len() > 1 {
        return; // The month ended in UTC+8 while this ran.
    }
    let month = months.pop_first().unwrap();
    assert!(told.rates.iter().all(|rate| rate.month == month));
    let rates = told.rates.iter().map(|rate| {
        let pb::RealizedRate {
            decided,
            drawn,
            selected_random,
            selected_targeted,
            ..
        } = *rate;
        let told = Told {
            decided,
            drawn,
            selected_random,
            selected_targeted,
        };
        ((rate.credit_tier, rate.customs_office.clone()), told)
    });
    assert_eq!(rates.collect::<BTreeMap<_, _>>(), expected);
    // What Decree 282's table demands of the shipped baseline, and no more.
    let limits = told.all_offices.iter().map(|rate| rate.limit_ppm);
    assert_eq!(limits.collect::<Vec<_>>(), [4_879, 12_200, 0, 800_000, 800_000]);
    let demanded = told.all_offices.iter().map(|rate| rate.demanded_ppm);
    assert_eq!(
        demanded.collect::<Vec<_>>(),
        [4_879, 12_200, 24_400, 800_000, 800_000]
    );
    assert!(told.all_offices.iter().all(|rate| !rate.breached));

    let one = audit
        .list_realized_rates(filters(&month, "5301"))
        .await
        .unwrap()
        .into_inner();
    assert!(one.rates.len() == 5 && one.rates.iter().all(|rate| rate.customs_office == "5301"));
    assert_eq!(one.all_offices, told.all_offices);
    let none = audit
        .list_realized_rates(filters("2014-12", ""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(none, pb::ListRealizedRatesResponse::default());

    let metrics = app.metrics().await;
    let sum = |name: &str| -> u64 {
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    };
    assert_eq!(
        sum("greenlane_decisions_total{"),
        answers,
        "every answer, repeated or not"
    );
    assert_eq!(sum("greenlane_inspections_total{"), answers);
    assert_eq!(
        sum("greenlane_realized_rate_limit_ppm{"),
        4_879 + 12_200 + 2 * 800_000
    );
    assert_eq!(sum("greenlane_realized_rate_breached{"), 0);
}

#[tokio::test]
async fn an_inspection_counts_once_where_its_declaration_was_decided() {
    let app = TestApp::ready().await;
    let (mut facilitation, mut audit) = (app.facilitation(), audit(&app).await);
    for (sequence, (code, _)) in (0..).zip(EACH_TIER) {
        facilitation.decide(import(sequence, code)).await.unwrap();
    }
    let inspection = |sequence: u32, discrepancy_found| pb::RecordInspectionRequest {
        declaration_number: import(sequence, "").declaration_number,
        discrepancy_found,
        ..pb::RecordInspectionRequest::default()
    };
    // A record that is corrected is still of one inspection.
    for (sequence, discrepancy_found) in [(0, false), (2, true), (2, false)] {
        audit
            .record_inspection(inspection(sequence, discrepancy_found))
            .await
            .unwrap();
    }
    let never_decided = audit.record_inspection(inspection(9, false)).await.unwrap_err();
    assert_eq!(never_decided.code(), tonic::Code::NotFound, "{never_decided:?}");

    let told = audit
        .list_realized_rates(filters("", ""))
        .await
        .unwrap()
        .into_inner();
    for (rate, inspected) in told.all_offices.iter().zip([1, 0, 1, 0, 0]) {
        assert_eq!((rate.decided, rate.inspected), (1, inspected), "{rate:?}");
    }
}

#[tokio::test]
async fn what_breaks_a_rule_is_named() {
    let app = TestApp::ready().await;
    let mut audit = audit(&app).await;
    let refused = audit
        .list_realized_rates(filters("november", "x"))
        .await
        .unwrap_err();
    assert_eq!(fields(&refused), ["month", "customs_office"]);
    let inspection = pb::RecordInspectionRequest {
        declaration_number: "22252026X000000001".to_owned(),
        inspected_at: Some(instant("2999-01-01T00:00:00Z")),
        ..pb::RecordInspectionRequest::default()
    };
    let refused = audit.record_inspection(inspection).await.unwrap_err();
    assert_eq!(fields(&refused), ["declaration_number", "inspected_at"]);
}
