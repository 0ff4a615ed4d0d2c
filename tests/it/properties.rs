use std::sync::Arc;

use greenlane::{
    domain::{
        CreditTier, Date, Direction, Freshness, PartyRole, Ppm, TradeMode, TransportMode,
        decision::{Decision, Reason, ReasonCode},
        declaration::{GoodsItem, MAX_PARTIES, Party},
        enterprise::{CreditRecord, RegisteredEnterprise, ScheduledTier},
        identifier::{EnterpriseId, ParsedAeoCode},
        order::{ControlOrder, OrderBasis, OrderKind, Selectors},
        recognition::{Arrangement, RecognisedOperator, TransportModes},
    },
    policy::{
        Parameters, PartyFacts,
        draw::Draw,
        parameters::{BaselineDocument, DisruptionDocument, UpliftDocument},
    },
};
use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, option, prelude::*, sample::Index, strategy::ValueTree as _};

use crate::support::{
    cases,
    facts::{BOOK, World, declaration},
};

// === what holds for all facts ===

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn a_better_tier_never_fares_worse(world in world(), which in any::<Index>(), scheduled in any::<bool>()) {
        let registered: Vec<_> = (0..world.found.len())
            .filter(|&at| world.found[at].enterprise.is_some())
            .collect();
        prop_assume!(!registered.is_empty());
        let at = registered[which.index(registered.len())];
        let worse = world.decide();
        for &tier in CreditTier::ALL {
            let mut promoted = world.clone();
            let enterprise = promoted.found[at].enterprise.as_mut().unwrap();
            let own = match enterprise.schedule.first_mut() {
                Some(change) if scheduled => &mut change.credit_tier,
                _ => &mut enterprise.credit.credit_tier,
            };
            if tier >= *own {
                continue;
            }
            *own = tier;
            no_worse(&promoted.decide(), &worse)?;
        }
    }

    #[test]
    fn another_counted_party_never_improves_a_result(
        world in world(),
        (party, found) in counted_party(),
        place in any::<Index>(),
    ) {
        prop_assume!(world.found.len() < MAX_PARTIES);
        let mut joined = world.clone();
        let place = place.index(world.found.len() + 1);
        joined.declaration.parties.insert(place, party);
        joined.found.insert(place, found);
        let (before, after) = (world.decide(), joined.decide());
        no_worse(&before, &after)?;
        for measure in after.measures.without(before.measures).iter() {
            prop_assert!(!measure.is_relief(), "{measure} came with another party");
        }
        for measure in before.measures.without(after.measures).iter() {
            prop_assert!(measure.is_relief(), "{measure} went with another party");
        }
        prop_assert!(after.valid_until <= before.valid_until);
    }

    #[test]
    fn a_higher_rate_never_unselects(world in world(), draw in any::<u64>(), more in 0..=1_000_000_u32) {
        let mut world = World { draw: Some(Draw(draw)), ..world };
        let before = world.decide().inspection;
        let mut document = world.parameters.document.clone();
        let raised = |rate: Ppm| Ppm(rate.0.saturating_add(more)).min(Ppm::ALWAYS);
        document.default_baseline_ppm = raised(document.default_baseline_ppm);
        for entry in &mut document.baseline {
            entry.rate_ppm = raised(entry.rate_ppm);
        }
        for floor in document.random_floor_ppm.values_mut() {
            *floor = raised(*floor);
        }
        world.parameters = Parameters::compile(document).unwrap();
        let after = world.decide().inspection;
        prop_assert!(after.rate >= before.rate);
        prop_assert!(after.selected >= before.selected);
        prop_assert_eq!(after.basis, before.basis);
        // The same of the draw alone, whatever the rates.
        for lower in [0, before.rate.0, after.rate.0] {
            let selects = Draw(draw).selects(Ppm(lower));
            prop_assert!(Draw(draw).selects(Ppm(lower.saturating_add(more))) >= selects);
        }
    }

    #[test]
    fn the_order_of_parties_and_goods_changes_only_indexes_and_the_order_of_reasons(
        world in world(),
        keys in vec(any::<u16>(), MAX_PARTIES),
        goods_keys in vec(any::<u16>(), 8),
    ) {
        let mut places: Vec<usize> = (0..world.found.len()).collect();
        places.sort_by_key(|&place| keys[place]);
        let mut shuffled = world.clone();
        shuffled.declaration.parties = places.iter().map(|&place| world.declaration.parties[place]).collect();
        shuffled.found = places.iter().map(|&place| world.found[place].clone()).collect();
        let mut goods: Vec<usize> = (0..world.declaration.goods.len()).collect();
        goods.sort_by_key(|&place| goods_keys[place]);
        shuffled.declaration.goods = goods.iter().map(|&place| world.declaration.goods[place]).collect();

        let (before, after) = (world.decide(), shuffled.decide());
        for (now, &was) in places.iter().enumerate() {
            prop_assert_eq!(after.parties[now], before.parties[was]);
        }
        let first = after.parties.iter().position(|party| party.standing == Some(after.credit_tier));
        prop_assert_eq!(Some(usize::from(after.governing_party)), first);
        let moved = |reason: &Reason<'_>| {
            let party = reason.party.map(|party| places[usize::from(party)]);
            (reason.code, party, reason.article.to_owned(), reason.text.to_owned(), reason.confidential_text.to_owned())
        };
        let mut expected: Vec<_> = before
            .reasons
            .iter()
            .map(|reason| {
                let party = reason.party.map(usize::from);
                let confidential = reason.confidential_text.to_owned();
                (reason.code, party, reason.article.to_owned(), reason.text.to_owned(), confidential)
            })
            .collect();
        let mut found: Vec<_> = after.reasons.iter().map(moved).collect();
        expected.sort();
        found.sort();
        prop_assert_eq!(found, expected);
        // All the rest is the same to the letter.
        let rest = |decision: &Decision<'_>| {
            let mut rest = format!(
                "{:?}",
                (decision.credit_tier, decision.inspection, decision.document_review, decision.priority_class)
            );
            rest += &format!(
                "{:?}",
                (decision.rank, decision.blocked_by, decision.lane, decision.measures, decision.valid_until)
            );
            rest
        };
        prop_assert_eq!(rest(&after), rest(&before));
    }

    #[test]
    fn the_same_inputs_give_the_same_decision(world in world()) {
        let again = world.clone();
        prop_assert_eq!(world.decide(), world.decide());
        prop_assert_eq!(world.decide(), again.decide());
        prop_assert_eq!(format!("{:?}", world.decide()), format!("{:?}", again.decide()));
    }

    #[test]
    fn reasons_come_in_the_order_of_their_codes_and_then_of_parties(world in world()) {
        let decision = world.decide();
        let order: Vec<_> = decision.reasons.iter().map(|reason| (reason.code.number(), reason.party)).collect();
        prop_assert!(order.is_sorted(), "{order:?}");
        let party = |code| decision.reasons.iter().any(|reason: &Reason<'_>| reason.code == code);
        for blocked in decision.blocked_by.iter() {
            prop_assert!(party(blocked), "{blocked} blocks without a reason");
        }
    }
}

/// All else equal, one decision is at least as good for the trader as another.
fn no_worse(better: &Decision<'_>, worse: &Decision<'_>) -> Result<(), TestCaseError> {
    prop_assert!(better.credit_tier <= worse.credit_tier);
    prop_assert!(better.inspection.rate <= worse.inspection.rate);
    prop_assert!(better.inspection.selected <= worse.inspection.selected);
    prop_assert!(better.document_review <= worse.document_review);
    prop_assert!(better.priority_class <= worse.priority_class);
    prop_assert!(better.rank <= worse.rank);
    for blocked in better.blocked_by.iter() {
        prop_assert!(
            worse.blocked_by.contains(blocked),
            "{blocked} blocks only the better one"
        );
    }
    prop_assert!(better.lane <= worse.lane);
    Ok(())
}

#[test]
fn generated_facts_reach_every_lane_and_reason() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut lanes = std::collections::BTreeSet::new();
    let mut reasons = std::collections::BTreeSet::new();
    for _ in 0..4_000 {
        let world = world().new_tree(&mut runner).unwrap().current();
        let decision = world.decide();
        lanes.insert(decision.lane);
        reasons.extend(decision.reasons.iter().map(|reason| reason.code));
    }
    assert_eq!(lanes.len(), 5, "{lanes:?}");
    let missing: Vec<_> = ReasonCode::ALL
        .iter()
        .filter(|code| !reasons.contains(code))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

// === generated facts ===

/// Days around the acceptance date, so that what begins and ends does so now and then.
const DAY: i32 = 20_600;

fn day(from: i32, to: i32) -> impl Strategy<Value = Date> + Clone {
    (from..=to).prop_map(|offset| Date::from_days(DAY + offset).unwrap())
}

fn any_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> + Clone {
    proptest::sample::select(all)
}

fn tier() -> impl Strategy<Value = CreditTier> + Clone {
    any_of(CreditTier::ALL)
}

fn flag(share: f64) -> impl Strategy<Value = bool> + Clone {
    proptest::bool::weighted(share)
}

prop_compose! {
    fn enterprise()(
        number in 0..10_u32,
        credit_tier in tier(),
        tier_effective_from in prop_oneof![6 => day(-60, -1), 1 => day(-3, 3)],
        tier_valid_until in prop_oneof![6 => Just(None), 1 => day(-3, 3).prop_map(Some), 1 => day(1, 60).prop_map(Some)],
        suspended in flag(0.1),
        schedule in prop_oneof![3 => Just(Vec::new()), 1 => vec((day(-30, 30), tier()), 1..3)],
    ) -> RegisteredEnterprise {
        let mut schedule: Vec<_> = schedule
            .into_iter()
            .map(|(effective_from, credit_tier)| ScheduledTier { effective_from, credit_tier })
            .collect();
        schedule.sort();
        schedule.dedup_by_key(|change| change.effective_from);
        RegisteredEnterprise {
            customs_code: format!("110191910{number}").parse().unwrap(),
            social_credit_code: None,
            credit: CreditRecord { credit_tier, tier_effective_from, tier_valid_until, suspended },
            schedule: schedule.into_iter().collect(),
        }
    }
}

prop_compose! {
    fn counted_party()(
        role in any_of(&PartyRole::ALL[..5]),
        enterprise in option::weighted(0.9, enterprise()),
        social in flag(0.2),
        right in any::<bool>(),
    ) -> (Party, PartyFacts) {
        let social_credit = if right { "91110000600037341L" } else { "91350100M0001TGQXM" };
        let id = match &enterprise {
            _ if social => EnterpriseId::SocialCredit(social_credit.parse().unwrap()),
            Some(enterprise) => EnterpriseId::Customs(enterprise.customs_code),
            None => EnterpriseId::Customs("9999999999".parse().unwrap()),
        };
        (Party { role, id }, PartyFacts { enterprise, operator: None })
    }
}

prop_compose! {
    fn foreign_party()(
        country in any_of(&["SG", "KR"]),
        programme in any_of(&["AEO", "STP-Plus"]),
        valid_from in prop_oneof![5 => day(-60, -1), 1 => day(-3, 3)],
        valid_until in prop_oneof![5 => Just(None), 1 => day(-3, 30).prop_map(Some)],
        suspended in flag(0.1),
        listed in flag(0.9),
    ) -> (Party, PartyFacts) {
        let Ok(ParsedAeoCode::Foreign(aeo_code)) = format!("{country}123").parse() else {
            panic!("a foreign code");
        };
        let operator = RecognisedOperator {
            aeo_code,
            country: country.parse().unwrap(),
            programme: programme.to_owned(),
            name: "Operator".to_owned(),
            valid_from,
            valid_until,
            suspended,
        };
        let found = PartyFacts { enterprise: None, operator: listed.then(|| Arc::new(operator)) };
        (Party { role: PartyRole::ForeignParty, id: EnterpriseId::Foreign(aeo_code) }, found)
    }
}

/// A party abroad that is named by a Chinese code: known or not, it does not count.
fn uncounted_party() -> impl Strategy<Value = (Party, PartyFacts)> {
    counted_party().prop_map(|(party, found)| {
        let role = PartyRole::ForeignParty;
        (Party { role, ..party }, found)
    })
}

prop_compose! {
    fn order()(
        number in 0..100_u32,
        kind in any_of(OrderKind::ALL),
        basis in any_of(OrderBasis::ALL),
        hours in option::of(-1..10_i64),
        confidential_reason in option::of(Just("an informer".to_owned())),
    ) -> (u32, ControlOrder) {
        let valid_to = hours.map(|hours| noon() + SignedDuration::from_hours(hours));
        let order = ControlOrder {
            id: format!("O-{number:02}"),
            kind,
            basis,
            selectors: Selectors::default(),
            valid_from: Timestamp::MIN,
            valid_to,
            legal_basis: format!("Art {number}"),
            public_reason: format!("Order {number}"),
            confidential_reason,
        };
        (number, order)
    }
}

prop_compose! {
    fn arrangement()(
        country in any_of(&["SG", "KR"]),
        programme in any_of(&["AEO", "STP-Plus"]),
        direction in option::of(any_of(Direction::ALL)),
        modes in option::of(vec(any_of(TransportMode::ALL), 1..3)),
        effective_from in prop_oneof![5 => day(-60, -1), 1 => day(-3, 3)],
        effective_to in prop_oneof![5 => Just(None), 1 => day(-3, 30).prop_map(Some)],
    ) -> Arrangement {
        Arrangement {
            country: country.parse().unwrap(),
            programme: programme.to_owned(),
            direction,
            transport_modes: modes.map_or(TransportModes::ALL, |modes| modes.into_iter().collect()),
            effective_from,
            effective_to,
        }
    }
}

fn goods_item() -> impl Strategy<Value = GoodsItem> {
    (any_of(&["847130", "01061100", "030111"]), any_of(&["KR", "SG"])).prop_map(|(hs_code, origin)| {
        GoodsItem {
            hs_code: hs_code.parse().unwrap(),
            origin_country: origin.parse().unwrap(),
        }
    })
}

fn share() -> impl Strategy<Value = Ppm> + Clone {
    prop_oneof![3 => 0..=100_000_u32, 1 => 0..=1_000_000_u32, 1 => Just(24_400), 1 => Just(0)].prop_map(Ppm)
}

prop_compose! {
    fn parameters()(
        default_baseline_ppm in share(),
        baseline in vec((option::of(any_of(Direction::ALL)), share()), 0..2),
        recognition_multiplier_ppm in prop_oneof![Just(Ppm(800_000)), share()],
        mut floors in vec(share(), 5),
        low in flag(0.7),
        uplifts in vec((option::of(any_of(&["84", "01"])), 1_000_000..6_000_000_u32), 0..3),
        urgent in flag(0.4),
        disrupted in flag(0.4),
    ) -> Parameters {
        let mut document = BOOK.parameters.document.clone();
        document.default_baseline_ppm = default_baseline_ppm;
        document.recognition_multiplier_ppm = recognition_multiplier_ppm;
        document.baseline = baseline
            .into_iter()
            .map(|(direction, rate_ppm)| BaselineDocument {
                direction,
                customs_office: None,
                transport_mode: None,
                rate_ppm,
            })
            .collect();
        if !low {
            floors.sort();
            document.random_floor_ppm = CreditTier::ALL.iter().copied().zip(floors).collect();
        }
        document.risk_uplift = uplifts
            .into_iter()
            .map(|(prefix, multiplier)| UpliftDocument {
                hs_prefix: prefix.map(str::to_owned),
                origin_country: None,
                customs_office: None,
                trade_mode: None,
                direction: None,
                multiplier_ppm: Ppm(multiplier),
            })
            .collect();
        if urgent {
            document.urgent_hs_prefixes = vec!["0106".to_owned()];
        }
        if disrupted {
            document.post_disruption = vec![DisruptionDocument {
                customs_office: "2225".to_owned(),
                from: "2000-01-01T00:00:00Z".to_owned(),
                to: "2100-01-01T00:00:00Z".to_owned(),
            }];
        }
        Parameters::compile(document).unwrap()
    }
}

fn noon() -> Timestamp {
    Date::from_days(DAY).unwrap().midnight() + SignedDuration::from_hours(12)
}

prop_compose! {
    pub(crate) fn world()(
        policy in 0..4_usize,
        parameters in parameters(),
        direction in any_of(Direction::ALL),
        transport_mode in option::of(any_of(TransportMode::ALL)),
        trade_mode in option::of(any_of(TradeMode::ALL)),
        goods in vec(goods_item(), 0..6),
        (first, rest) in (
            counted_party(),
            vec(prop_oneof![4 => counted_party(), 3 => foreign_party(), 1 => uncounted_party()], 0..5),
        ),
        arrangements in vec(arrangement(), 0..5),
        orders in prop_oneof![3 => Just(Vec::new()), 1 => vec(order(), 1..4)],
        freshness in prop_oneof![8 => Just(Freshness::Fresh), 1 => Just(Freshness::Stale), 1 => Just(Freshness::Expired)],
        draw in prop_oneof![
            1 => Just(None),
            4 => any::<u64>().prop_map(|draw| Some(Draw(draw))),
            // Low ones, which rates of a few percent select too.
            4 => (0..u64::MAX / 32).prop_map(|draw| Some(Draw(draw))),
        ],
    ) -> World {
        let mut declaration = declaration("222520261000000001");
        declaration.direction = direction;
        declaration.transport_mode = transport_mode;
        declaration.trade_mode = trade_mode;
        declaration.goods = goods.into_iter().collect();
        let mut orders: Vec<_> = orders;
        orders.sort_by_key(|(number, _)| *number);
        orders.dedup_by_key(|(number, _)| *number);
        let parties: Vec<_> = [first].into_iter().chain(rest).collect();
        declaration.parties = parties.iter().map(|(party, _)| *party).collect();
        World {
            policy: &BOOK.policies()[policy],
            parameters,
            declaration,
            found: parties.into_iter().map(|(_, found)| found).collect(),
            arrangements,
            orders: orders.into_iter().map(|(_, order)| order).collect(),
            accepted_on: Date::from_days(DAY).unwrap(),
            decided_at: noon(),
            freshness,
            draw,
        }
    }
}

// === the lower prevails, by decree and article ===

/// What a decree makes of each tier, best first, at the shipped baseline of 24400 ppm; written from its text.
struct Law {
    policy: &'static str,
    day: &'static str,
    /// Where it says that the lower tier's measures apply, and that a suspended enterprise is managed as regular.
    lower_prevails: &'static str,
    suspension: &'static str,
    stands_as: [CreditTier; 5],
    rate: [u32; 5],
    green: [bool; 5],
}

const LAWS: [Law; 4] = {
    use CreditTier::{AdvancedCertified, Certified, Discredited, Regular, SeriouslyDiscredited};
    [
        Law {
            policy: "CN-GACC-225",
            day: "2018-04-30",
            lower_prevails: "GACC-225 Art 18",
            suspension: "GACC-225 Art 18",
            stands_as: [AdvancedCertified, Certified, Regular, Discredited, Discredited],
            rate: [4_880, 12_200, 24_400, 800_000, 800_000],
            green: [true, true, false, false, false],
        },
        Law {
            policy: "CN-GACC-237",
            day: "2018-05-01",
            lower_prevails: "GACC-237 Art 26",
            suspension: "GACC-237 Art 27",
            stands_as: [AdvancedCertified, Certified, Regular, Discredited, Discredited],
            rate: [4_880, 12_200, 24_400, 800_000, 800_000],
            green: [true, true, false, false, false],
        },
        Law {
            policy: "CN-GACC-251",
            day: "2021-11-01",
            lower_prevails: "GACC-251 Art 32",
            suspension: "GACC-251 Art 34",
            stands_as: [AdvancedCertified, Regular, Regular, Discredited, Discredited],
            // Strictly below 20 %: 4880 would be 20 %.
            rate: [4_879, 24_400, 24_400, 800_000, 800_000],
            green: [true, false, false, false, false],
        },
        Law {
            policy: "CN-GACC-282",
            day: "2026-04-01",
            // The articles' numbers are not known.
            lower_prevails: "",
            suspension: "",
            stands_as: [
                AdvancedCertified,
                Certified,
                Regular,
                Discredited,
                SeriouslyDiscredited,
            ],
            rate: [4_879, 12_200, 24_400, 800_000, 800_000],
            green: [true, true, false, false, false],
        },
    ]
};

#[test]
fn the_lower_tier_prevails_for_every_pair_suspended_or_not_under_every_decree() {
    let mut pairs = 0;
    for law in LAWS {
        for first in 0..5 {
            for second in 0..5 {
                for suspended in [[false, false], [true, false], [false, true], [true, true]] {
                    hold(&law, [first, second], suspended);
                    pairs += 1;
                }
            }
        }
    }
    assert_eq!(pairs, 4 * 25 * 4);
}

fn hold(law: &Law, tiers: [usize; 2], suspended: [bool; 2]) {
    let case = format!("{} {tiers:?} suspended {suspended:?}", law.policy);
    let mut world = World::import(law.day, &tiers.map(|tier| CreditTier::ALL[tier]));
    assert_eq!(world.policy.id(), law.policy);
    for (found, suspended) in world.found.iter_mut().zip(suspended) {
        found.enterprise.as_mut().unwrap().credit.suspended = suspended;
    }
    let decision = world.decide();

    // Suspension makes the two better tiers stand as the third, and nothing worse any better.
    let managed_as = [0, 1].map(|party| {
        if suspended[party] {
            tiers[party].max(2)
        } else {
            tiers[party]
        }
    });
    let standings = managed_as.map(|tier| law.stands_as[tier]);
    let lower = standings[0].max(standings[1]);
    let place = CreditTier::ALL.iter().position(|tier| *tier == lower).unwrap();
    assert_eq!(decision.credit_tier, lower, "{case}");
    assert_eq!(
        decision
            .parties
            .iter()
            .map(|party| party.standing)
            .collect::<Vec<_>>(),
        standings.map(Some),
        "{case}"
    );
    assert_eq!(
        decision.governing_party,
        u8::from(standings[1] > standings[0]),
        "{case}"
    );
    assert_eq!(decision.inspection.rate, Ppm(law.rate[place]), "{case}");
    let eligible = law.green[place] && suspended == [false, false];
    assert_eq!(decision.blocked_by.is_empty(), eligible, "{case}");

    let reasons = |code: ReasonCode| -> Vec<_> {
        let of_code = decision.reasons.iter().filter(|reason| reason.code == code);
        of_code.map(|reason| (reason.party, reason.article)).collect()
    };
    let prevails = if standings[0] == standings[1] {
        vec![]
    } else {
        vec![(None, law.lower_prevails)]
    };
    assert_eq!(reasons(ReasonCode::LowerTierPrevails), prevails, "{case}");
    let told: Vec<_> = [0, 1]
        .into_iter()
        .filter(|&party| suspended[usize::from(party)])
        .map(|party| (Some(party), law.suspension))
        .collect();
    assert_eq!(reasons(ReasonCode::PartySuspended), told, "{case}");
    let mapped: Vec<_> = [0_u8, 1]
        .into_iter()
        .filter(|&party| {
            let managed_as = managed_as[usize::from(party)];
            CreditTier::ALL[managed_as] != law.stands_as[managed_as]
        })
        .map(Some)
        .collect();
    let found: Vec<_> = reasons(ReasonCode::TierMapped)
        .into_iter()
        .map(|(party, _)| party)
        .collect();
    assert_eq!(found, mapped, "{case}");
}
