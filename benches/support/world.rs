//! A register of the size and mix of China's, and declarations that name its enterprises at random.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::Guard;
use arrayvec::{ArrayString, ArrayVec};
use greenlane::{
    domain::{
        CreditTier, Date, Direction, Freshness, PartyRole, TradeMode, TransportMode,
        declaration::{Declaration, MAX_PARTIES},
        enterprise::{CreditRecord, Enterprise, ScheduledTier},
        identifier::{
            AeoCode, Country, CustomsCode, EnterpriseId, ParsedAeoCode, SocialCreditCode, social_credit_value,
        },
        order::{ControlOrder, OrderBasis, OrderKind, Selectors},
        recognition::{RecognisedOperator, shipped_arrangements},
    },
    facilitation::{DrawKeys, Facilitation, Moment, identifiers},
    policy::{
        Facts, PartyFacts, PolicyBook,
        draw::{Epoch, EpochKey, MasterSecret},
    },
    registry::{Change, FreshnessClock, FreshnessLimits, Generation, Keyed, Registry, Rules, View},
    wire::{
        pb::{self, party::Identifier},
        validate::{self, Window},
    },
};
use jiff::Timestamp;
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Declarations that differ in office, direction, mode, goods and origins. Few enough that a loop over them stays in the
/// second-level cache, as a declaration does that was read from the socket a moment ago; too many to learn by heart.
pub(crate) const SHAPES: usize = 512;
/// Pairs of enterprises: many more than the caches hold, so that a look-up finds its entry as cold as in service.
const MAX_PAIRS: usize = 1 << 18;
/// Partners' operators.
const OPERATORS: usize = 10_000;
/// Control orders, where there are any.
const ORDERS: usize = 100;
/// Rows that are put into the tables at once.
const CHUNK: usize = 10_000;
/// When everything is decided: `CN-GACC-282` is in force.
const NOW: &str = "2026-11-23T02:00:00Z";

/// Which control orders are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Orders {
    /// None.
    None,
    /// A hundred, none of which matches any declaration.
    Missing,
    /// A hundred, one of which matches every declaration.
    Matching,
}

/// What the second party is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Second {
    /// A registered enterprise.
    Registered,
    /// A recognised foreign operator.
    Foreign,
}

/// What the register takes in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Growth of the resident set, by enterprise.
    pub(crate) bytes_each: f64,
    /// Of that, the names, which no decision reads.
    pub(crate) name_bytes_each: f64,
    /// Loading time.
    pub(crate) seconds: f64,
}

/// Everything the loops need.
pub(crate) struct World {
    pub(crate) generation: Arc<Generation>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) book: &'static PolicyBook,
    pub(crate) key: EpochKey,
    pub(crate) clock: FreshnessClock,
    pub(crate) moment: Moment,
    pub(crate) window: Window,
    /// For one look-up each: by customs code, by social credit code, unknown, foreign.
    pub(crate) ids: [Vec<EnterpriseId>; 4],
    pub(crate) requests: Vec<pb::DecideRequest>,
    pub(crate) bytes: Vec<Vec<u8>>,
    /// By second party.
    pub(crate) traffic: [Traffic; 2],
    orders: Orders,
    sequence: u64,
}

/// Declarations, one after the other, each with a number of its own and parties at random.
pub(crate) struct Traffic {
    shapes: Vec<Declaration>,
    pairs: Vec<[EnterpriseId; 2]>,
    next: usize,
    number: usize,
}

impl Traffic {
    /// The next declaration, with a number that was not seen before.
    #[inline]
    pub(crate) fn declare(&mut self) -> &Declaration {
        self.number += 1;
        self.declare_as(self.number)
    }

    /// The next declaration, with a number that a former one had.
    #[inline]
    pub(crate) fn declare_again(&mut self) -> &Declaration {
        let number = self.next % 8_192;
        self.declare_as(number)
    }

    #[inline]
    fn declare_as(&mut self, number: usize) -> &Declaration {
        let declaration = &mut self.shapes[self.next % SHAPES];
        let parties = &self.pairs[self.next % self.pairs.len()];
        self.next += 1;
        let number = number_text(number, declaration.number.direction_character());
        declaration.number = parse(std::str::from_utf8(&number).expect("ASCII"));
        for (party, id) in declaration.parties.iter_mut().zip(parties) {
            party.id = *id;
        }
        declaration
    }
}

/// A declaration number with that direction character; what 9 digits do not hold goes into office and year.
pub(crate) fn number_text(number: usize, direction: u8) -> [u8; 18] {
    let mut text = *b"222500000000000000";
    text[8] = direction;
    let mut rest = number;
    for at in [17, 16, 15, 14, 13, 12, 11, 10, 9, 7, 6, 5, 4] {
        text[at] = b"0123456789"[rest % 10];
        rest /= 10;
    }
    text
}

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("of the right form")
}

/// The enterprise of a number. Its codes are spread over the range of codes.
fn customs_code(number: usize, of: usize) -> CustomsCode {
    parse(&format!("{:010}", 1_100_000_000 + number * (8_000_000_000 / of)))
}

/// One enterprise in ten was registered before the codes came.
fn social_credit_code(number: usize) -> Option<SocialCreditCode> {
    const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
    if number.is_multiple_of(10) {
        return None;
    }
    let mut code = format!("91{:06}MA{number:07}", 110_000 + number % 500_000);
    let (mut weight, mut sum) = (1, 0);
    for character in code.bytes() {
        sum += weight * usize::from(social_credit_value(character)?);
        weight = weight * 3 % 31;
    }
    code.push(ALPHABET[(31 - sum % 31) % 31].into());
    Some(parse(&code))
}

/// About 1 % advanced certified, 2 % certified, 1 % discredited, 0.1 % seriously so.
fn tier(number: usize) -> CreditTier {
    match number * 7_919 % 1_000 {
        0..10 => CreditTier::AdvancedCertified,
        10..30 => CreditTier::Certified,
        30..40 => CreditTier::Discredited,
        40 => CreditTier::SeriouslyDiscredited,
        _ => CreditTier::Regular,
    }
}

/// The enterprise of a number, of so many.
pub(crate) fn enterprise(number: usize, of: usize) -> Enterprise {
    let credit_tier = tier(number);
    let certified = credit_tier < CreditTier::Regular;
    let day = i32::try_from(number % 365).unwrap_or_default();
    Enterprise {
        customs_code: customs_code(number, of),
        social_credit_code: social_credit_code(number),
        name: format!("上海{number}进出口有限公司"),
        credit: CreditRecord {
            credit_tier,
            tier_effective_from: parse::<Date>("2024-01-01").plus_days(day),
            tier_valid_until: certified.then(|| parse::<Date>("2028-01-01").plus_days(day)),
            suspended: number.is_multiple_of(2_000),
        },
    }
}

/// A change that could be read.
pub(crate) fn change(key: String, row: Keyed) -> Change {
    Change {
        key,
        row,
        unreadable: None,
    }
}

fn operator_code(number: usize) -> AeoCode {
    match parse(&format!("SG2012{number:08}")) {
        ParsedAeoCode::Foreign(code) => code,
        ParsedAeoCode::Chinese(_) => unreachable!("a code of Singapore"),
    }
}

/// The resident set of this process in bytes.
pub(crate) fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("a Linux kernel");
    let pages: u64 = parse(statm.split(' ').nth(1).expect("the resident pages"));
    pages * 4096
}

/// A generation with that many enterprises, and what it takes.
pub(crate) fn load(enterprises: usize) -> (Generation, Memory) {
    let before = resident();
    let from = Instant::now();
    let generation = Generation::new("bench", enterprises);
    let mut names = 0;
    for start in (0..enterprises).step_by(CHUNK) {
        let rows = (start..enterprises.min(start + CHUNK)).map(|number| enterprise(number, enterprises));
        let changes = rows.map(|row| {
            names += row.name.len();
            change(row.customs_code.to_string(), Keyed::Enterprise(row))
        });
        generation.load(&changes.collect::<Vec<_>>());
    }
    let scheduled = (0..enterprises).step_by(500).map(|number| {
        let code = customs_code(number, enterprises);
        let tier = ScheduledTier {
            effective_from: parse("2027-01-01"),
            credit_tier: CreditTier::Certified,
        };
        change(format!("{code}|2027-01-01"), Keyed::Scheduled(code, tier))
    });
    generation.load(&scheduled.collect::<Vec<_>>());
    let memory = Memory {
        bytes_each: resident().saturating_sub(before) as f64 / enterprises as f64,
        name_bytes_each: names as f64 / enterprises as f64,
        seconds: from.elapsed().as_secs_f64(),
    };
    generation.load(&partners());
    generation.finish_load(1, None);
    (generation, memory)
}

fn partners() -> Vec<Change> {
    let arrangements = shipped_arrangements().expect("the shipped arrangements are good");
    let programme = arrangements
        .iter()
        .find(|row| row.country == "SG")
        .expect("Singapore is a partner");
    let operators = (0..OPERATORS).map(|number| RecognisedOperator {
        aeo_code: operator_code(number),
        country: parse("SG"),
        programme: programme.programme.clone(),
        name: format!("Operator {number} Pte Ltd"),
        valid_from: parse("2020-01-01"),
        valid_until: None,
        suspended: false,
    });
    let operators = operators.map(|row| change(row.aeo_code.as_str().to_owned(), Keyed::Operator(row)));
    let arrangements = arrangements.iter().enumerate();
    let arrangements = arrangements.map(|(at, row)| {
        change(
            at.to_string(),
            Keyed::Arrangement(row.read().expect("a good row")),
        )
    });
    operators.chain(arrangements).collect()
}

/// Every enterprise must answer to all its identifiers: what cannot be found costs no memory.
fn check_reachable(generation: &Generation, enterprises: usize) {
    for number in 0..enterprises {
        let code = customs_code(number, enterprises);
        let social = social_credit_code(number).map(EnterpriseId::SocialCredit);
        for id in [EnterpriseId::Customs(code)].into_iter().chain(social) {
            let (found, _) = generation.read(|view| view.enterprise(&id));
            assert_eq!(found.map(|found| found.customs_code), Some(code), "{id:?}");
        }
    }
}

/// The orders of a country: most about single enterprises, some about goods, offices, containers and origins.
fn orders(matching: bool) -> Vec<ControlOrder> {
    let order = |number: usize, selectors| ControlOrder {
        id: format!("order-{number:03}"),
        kind: OrderKind::Inspect,
        basis: OrderBasis::Targeted,
        selectors,
        valid_from: parse("2026-01-01T00:00:00Z"),
        valid_to: Some(parse("2027-01-01T00:00:00Z")),
        legal_basis: "Customs Law Art 28".to_owned(),
        public_reason: "Selected for inspection".to_owned(),
        confidential_reason: Some("Undervaluation suspected".to_owned()),
    };
    let mut orders: Vec<_> = (0..ORDERS)
        .map(|number| {
            let mut selectors = Selectors::default();
            match number {
                0..50 => selectors.enterprise_id = ArrayString::from(&format!("99999{number:05}")).ok(),
                50..70 => selectors.hs_prefix = Some(parse(&format!("99{number:02}"))),
                // The goods are declared often, never of that origin.
                70..80 => {
                    selectors.hs_prefix = Some(parse(&HS_CODES[number % HS_CODES.len()][..6]));
                    selectors.origin_country = Some(parse("KP"));
                }
                80..90 => selectors.customs_office = Some(parse(&format!("99{number:02}"))),
                90..95 => selectors.container_number = ArrayString::from(&format!("CSQU00000{number}")).ok(),
                _ => selectors.origin_country = Some(parse::<Country>("IR")),
            }
            order(number, selectors)
        })
        .collect();
    if matching {
        let prefix = Selectors {
            hs_prefix: Some(parse(&HS_CODES[0][..4])),
            ..Selectors::default()
        };
        orders[60] = order(60, prefix);
    }
    orders
}

const OFFICES: [&str; 8] = ["2225", "5301", "0101", "4201", "3104", "5141", "0202", "7901"];
const HS_CODES: [&str; 12] = [
    "8471300000",
    "8517120000",
    "8542310000",
    "3004909000",
    "6204620000",
    "9403600000",
    "870323",
    "2204210000",
    "3926909090",
    "7318159000",
    "0303140000",
    "85177990",
];
const ORIGINS: [&str; 6] = ["CN", "DE", "JP", "KR", "US", "VN"];

fn wire_party(role: PartyRole, id: &EnterpriseId) -> pb::Party {
    let text = id.as_str().to_owned();
    pb::Party {
        role: role.number().into(),
        identifier: Some(match id {
            EnterpriseId::Customs(_) => Identifier::CustomsCode(text),
            EnterpriseId::SocialCredit(_) => Identifier::SocialCreditCode(text),
            EnterpriseId::Foreign(_) => Identifier::AeoCode(text),
        }),
    }
}

fn wire_request(rng: &mut StdRng, number: usize, parties: &[EnterpriseId; 2]) -> pb::DecideRequest {
    let (direction, character) =
        [(Direction::Import, b'1'), (Direction::Export, b'0')][rng.random_range(0..2)];
    let second = match parties[1] {
        EnterpriseId::Foreign(_) => PartyRole::ForeignParty,
        EnterpriseId::Customs(_) | EnterpriseId::SocialCredit(_) => PartyRole::Consignee,
    };
    let first_goods = HS_CODES[0];
    let other_goods = [(); 2].map(|()| HS_CODES[rng.random_range(0..HS_CODES.len())]);
    pb::DecideRequest {
        declaration_number: String::from_utf8(number_text(number, character).to_vec()).expect("ASCII"),
        direction: direction.number().into(),
        parties: vec![
            wire_party(PartyRole::Declarant, &parties[0]),
            wire_party(second, &parties[1]),
        ],
        goods: [first_goods, other_goods[0], other_goods[1]]
            .map(|hs_code| pb::GoodsItem {
                hs_code: hs_code.to_owned(),
                origin_country: ORIGINS[rng.random_range(0..ORIGINS.len())].to_owned(),
            })
            .into(),
        customs_office: OFFICES[rng.random_range(0..OFFICES.len())].to_owned(),
        transport_mode: [TransportMode::Sea, TransportMode::Air][rng.random_range(0..2)]
            .number()
            .into(),
        trade_mode: [TradeMode::General, TradeMode::Processing][rng.random_range(0..2)]
            .number()
            .into(),
        ..pb::DecideRequest::default()
    }
}

/// An identifier of a registered enterprise at random: a social credit code three times in ten.
fn random_id(rng: &mut StdRng, enterprises: usize) -> EnterpriseId {
    let number = rng.random_range(0..enterprises);
    match social_credit_code(number) {
        Some(code) if rng.random_bool(0.3) => EnterpriseId::SocialCredit(code),
        _ => EnterpriseId::Customs(customs_code(number, enterprises)),
    }
}

impl World {
    /// Loads that many enterprises and makes declarations about them.
    pub(crate) fn new(enterprises: usize) -> (Self, Memory) {
        let (generation, memory) = load(enterprises);
        check_reachable(&generation, enterprises);
        let generation = Arc::new(generation);
        let registry = Arc::new(Registry::default());
        registry.replace(Arc::clone(&generation));
        let book: &PolicyBook = Box::leak(Box::new(
            PolicyBook::embedded().expect("the shipped policies are good"),
        ));
        let (monotonic, wall) = (Instant::now(), SystemTime::now());
        let timestamp: Timestamp = parse(NOW);
        let clock = FreshnessClock::default();
        clock.confirm(monotonic, wall);
        let window = Window {
            now: timestamp,
            ahead: Duration::from_mins(5),
            behind: Duration::from_hours(7 * 24),
            first_policy: book.policies()[0].document.effective_from,
        };

        let mut rng = StdRng::seed_from_u64(0x6765_656e);
        let pairs = (enterprises / 4).clamp(SHAPES, MAX_PAIRS);
        let mut pick = |second| {
            let pairs = (0..pairs).map(|_| {
                let second = match second {
                    Second::Registered => random_id(&mut rng, enterprises),
                    Second::Foreign => EnterpriseId::Foreign(operator_code(rng.random_range(0..OPERATORS))),
                };
                [random_id(&mut rng, enterprises), second]
            });
            pairs.collect::<Vec<_>>()
        };
        let (plain, foreign) = (pick(Second::Registered), pick(Second::Foreign));
        let traffic = |rng: &mut StdRng, pairs: Vec<[EnterpriseId; 2]>| {
            let shapes = pairs[..SHAPES].iter().map(|parties| {
                let request = wire_request(rng, 0, parties);
                validate::request(&request, &window).expect("valid").declaration
            });
            Traffic {
                shapes: shapes.collect(),
                pairs,
                next: 0,
                number: 1_000_000,
            }
        };
        let requests = (0..)
            .zip(&plain[..SHAPES])
            .map(|(number, pair)| wire_request(&mut rng, number, pair))
            .collect();
        let bytes = (0..)
            .zip(&plain)
            .map(|(number, pair)| wire_request(&mut rng, number, pair).encode_to_vec())
            .collect();
        let numbers: Vec<_> = (0..pairs).map(|_| rng.random_range(0..enterprises)).collect();
        let ids = [
            numbers
                .iter()
                .map(|&number| EnterpriseId::Customs(customs_code(number, enterprises)))
                .collect(),
            numbers
                .iter()
                .filter_map(|&number| social_credit_code(number))
                .map(EnterpriseId::SocialCredit)
                .collect(),
            numbers
                .iter()
                .map(|&number| EnterpriseId::Customs(parse(&format!("Z{number:09}"))))
                .collect(),
            numbers
                .iter()
                .map(|&number| EnterpriseId::Foreign(operator_code(number % OPERATORS)))
                .collect(),
        ];
        let world = Self {
            registry,
            key: MasterSecret::new(&[7; 32])
                .expect("long enough")
                .epoch_key(Epoch::of(Date::of(timestamp))),
            moment: Moment {
                monotonic,
                wall,
                timestamp,
            },
            traffic: [traffic(&mut rng, plain), traffic(&mut rng, foreign)],
            generation,
            book,
            clock,
            window,
            ids,
            requests,
            bytes,
            orders: Orders::None,
            sequence: 1,
        };
        (world, memory)
    }

    /// Puts other control orders in force, where they differ.
    pub(crate) fn put_orders(&mut self, wanted: Orders) {
        if wanted == self.orders {
            return;
        }
        let put = |order: ControlOrder| change(order.id.clone(), Keyed::Order(Arc::new(order)));
        let take = |order: ControlOrder| change(order.id, Keyed::OrderGone);
        let changes: Vec<_> = match wanted {
            Orders::None => orders(false).into_iter().map(take).collect(),
            Orders::Missing | Orders::Matching => {
                orders(wanted == Orders::Matching).into_iter().map(put).collect()
            }
        };
        self.sequence += 1;
        self.generation.commit(&changes, self.sequence, None);
        self.orders = wanted;
    }

    /// The use case over this register, with a memory of draws of its own.
    pub(crate) fn facilitation(&self) -> Facilitation {
        let freshness = FreshnessLimits {
            relief_max_age: Duration::from_mins(5),
            decision_max_age: Duration::from_hours(24),
        };
        Facilitation::new(Arc::clone(&self.registry), self.book.clone(), freshness, draws())
    }

    /// What is known of a declaration, as a decision under the orders in force would find it. Lives on.
    pub(crate) fn facts(&mut self, second: Second) -> Vec<Facts<'static>> {
        let rules = self.rules();
        (0..SHAPES)
            .map(|_| {
                let declaration: &'static Declaration =
                    Box::leak(Box::new(self.traffic[second as usize].declare().clone()));
                let parties: ArrayVec<PartyFacts, MAX_PARTIES> = declaration
                    .parties
                    .iter()
                    .map(|party| {
                        let (found, _) = self.generation.read(|view| match &party.id {
                            EnterpriseId::Foreign(code) => PartyFacts {
                                enterprise: None,
                                operator: view.operator(code),
                            },
                            id @ (EnterpriseId::Customs(_) | EnterpriseId::SocialCredit(_)) => PartyFacts {
                                enterprise: view.enterprise(id),
                                operator: None,
                            },
                        });
                        found
                    })
                    .collect();
                let operators = parties.iter().filter_map(|party| party.operator.as_ref());
                let arrangements = operators
                    .map(|operator| rules.arrangements(operator.country))
                    .collect();
                Facts {
                    declaration,
                    arrangements,
                    orders: rules.matching(
                        declaration,
                        || identifiers(declaration, &parties),
                        self.moment.timestamp,
                    ),
                    parties,
                    accepted_on: Date::of(self.moment.timestamp),
                    decided_at: self.moment.timestamp,
                    freshness: Freshness::Fresh,
                }
            })
            .collect()
    }

    /// The orders and arrangements in force. They live on.
    pub(crate) fn rules(&self) -> &'static Rules {
        let (rules, _) = self.generation.read(|view: View<'_>| view.rules());
        let rules: &'static Arc<Rules> = Box::leak(Box::new(Guard::into_inner(rules)));
        rules
    }
}

/// Draw keys of a secret that is none, with an empty memory of draws.
pub(crate) fn draws() -> DrawKeys {
    DrawKeys::from_hex(&"07".repeat(32)).expect("long enough")
}
