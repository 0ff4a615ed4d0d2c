//! The loops that are measured, each under a name.

use std::{hint::black_box, time::Duration};

use greenlane::{
    audit::rates::{Observation, RateTable},
    domain::{Date, Freshness, Ppm, decision::InspectionBasis, identifier::EnterpriseId},
    facilitation::{Facilitation, Moment, Outcome, Simulation, identifiers},
    metrics::Metrics,
    policy::{
        Facts, Policy, decide,
        draw::{Draw, Drawn, Epoch, Subject},
    },
    registry::{Age, FreshnessLimits},
    wire::{
        convert, encode, pb,
        record::{self, DecisionRecord},
        usual, validate,
    },
};
use prost::Message as _;

use super::world::{Orders, SHAPES, Second, World, draws, number_text};

/// Runs an iteration that many times.
pub(crate) type Loop = Box<dyn FnMut(&mut World, usize)>;

/// One thing to measure.
pub(crate) struct Case {
    /// Its name.
    pub(crate) name: &'static str,
    /// What an iteration does.
    pub(crate) about: &'static str,
    /// The case that does what is not meant of an iteration: to be taken off.
    pub(crate) control: Option<&'static str>,
    /// The control orders in force.
    pub(crate) orders: Orders,
    /// Makes everything that is not to be measured, then gives the loop.
    pub(crate) prepare: fn(&mut World) -> Loop,
}

const fn case(
    name: &'static str,
    about: &'static str,
    control: Option<&'static str>,
    orders: Orders,
    prepare: fn(&mut World) -> Loop,
) -> Case {
    Case {
        name,
        about,
        control,
        orders,
        prepare,
    }
}

/// A decision's identifier: making one is the service's, not part of the conversion.
const DECISION_ID: &str = "019ab0f0-7c00-7000-8000-000000000000";

use Orders::{Matching, Missing, None as NoOrders};
use Second::{Foreign, Registered};

const DECLARE: Option<&str> = Some("declare");
const CLONE: Option<&str> = Some("clone-request");

/// Every case, parts first.
#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    case("declare", "control: make the next declaration", None, NoOrders, declare),
    case("clone-request", "control: clone and drop a request", None, NoOrders, clone_request),

    case("clocks", "read the clocks", None, NoOrders, |_| {
        Box::new(|_, count| for _ in 0..count { black_box(Moment::now()); })
    }),
    case("lookup-customs", "look up one enterprise by customs code", None, NoOrders, |_| lookup(0)),
    case("lookup-social", "by social credit code (an index of its own)", None, NoOrders, |_| lookup(1)),
    case("lookup-unknown", "by a customs code that is not registered", None, NoOrders, |_| lookup(2)),
    case("lookup-foreign", "one recognised operator by AEO code", None, NoOrders, |_| lookup(3)),
    case("orders-none", "match control orders: none in force", None, NoOrders, orders),
    case("orders-missing", "100 in force, none matches", None, Missing, orders),
    case("orders-matching", "100 in force, one matches", None, Matching, orders),
    case("draw-hmac", "draw: the keyed hash alone", DECLARE, NoOrders, draw_hmac),
    case("draw-first", "draw with memory: a new declaration", DECLARE, NoOrders, |_| draw_remembered(false)),
    case("draw-again", "draw with memory: a remembered one", DECLARE, NoOrders, |_| draw_remembered(true)),
    case("core", "policy::decide on given facts", None, NoOrders, |world| core(world, Registered)),
    case("core-foreign", "with a recognised operator", None, NoOrders, |world| core(world, Foreign)),
    case("core-order", "with an order that matches", None, Matching, |world| core(world, Registered)),

    case("decide-undrawn", "look-up + facts + core, no draw", DECLARE, NoOrders, |world| decide_undrawn(world, Registered)),
    case("decide-undrawn-foreign", "with a recognised operator", DECLARE, NoOrders, |world| decide_undrawn(world, Foreign)),
    case("decide-undrawn-missing", "100 orders in force, none matches", DECLARE, Missing, |world| decide_undrawn(world, Registered)),
    case("decide-undrawn-matching", "100 orders in force, one matches", DECLARE, Matching, |world| decide_undrawn(world, Registered)),
    case("decide", "Facilitation::decide, a new declaration", DECLARE, NoOrders, |world| decide_drawn(world, Registered, false)),
    case("decide-again", "Facilitation::decide, a remembered one", DECLARE, NoOrders, |world| decide_drawn(world, Registered, true)),
    case("decide-foreign", "new, with a recognised operator", DECLARE, NoOrders, |world| decide_drawn(world, Foreign, false)),
    case("decide-matching", "new, 100 orders in force, one matches", DECLARE, Matching, |world| decide_drawn(world, Registered, false)),

    case("decode", "decode a DecideRequest", None, NoOrders, decode),
    case("validate", "every rule of the contract", None, NoOrders, validate),
    case("usual", "read a usual request from its bytes and hold it against every rule", None, NoOrders, usual),
    case("answered", "outcome to the answer's bytes", None, NoOrders, answered),
    case("appended", "outcome and both messages' bytes to a record in the log's group, without its hash", None, NoOrders, appended),
    case("convert", "outcome to message, and drop it", CLONE, NoOrders, convert),
    case("encode", "encode a DecideResponse", None, NoOrders, encode),
    case("count", "count a logged decision: realized rates and metrics", None, NoOrders, |world| count(world, false)),
    case("count-document", "drawn on a transport document of its own", None, NoOrders, |world| count(world, true)),
    case("answer", "bytes to bytes: all of these, a new declaration", None, NoOrders, answer),
];

fn declare(_: &mut World) -> Loop {
    Box::new(|world, count| {
        for _ in 0..count {
            black_box(world.traffic[0].declare());
        }
    })
}

fn clone_request(_: &mut World) -> Loop {
    Box::new(|world, count| {
        for at in 0..count {
            black_box(world.requests[at % SHAPES].clone());
        }
    })
}

fn lookup(by: usize) -> Loop {
    let mut next = 0;
    Box::new(move |world, count| {
        let ids = &world.ids[by];
        for _ in 0..count {
            let id = &ids[next % ids.len()];
            next += 1;
            if let EnterpriseId::Foreign(code) = id {
                black_box(world.generation.read(|view| view.operator(code)));
            } else {
                black_box(world.generation.read(|view| view.enterprise(id)));
            }
        }
    })
}

fn orders(world: &mut World) -> Loop {
    let facts = world.facts(Registered);
    let rules = world.rules();
    Box::new(move |world, count| {
        for at in 0..count {
            let facts = black_box(&facts[at % SHAPES]);
            let parties = || identifiers(facts.declaration, &facts.parties);
            black_box(rules.matching(facts.declaration, parties, world.moment.timestamp));
        }
    })
}

fn draw_hmac(_: &mut World) -> Loop {
    Box::new(|world, count| {
        for _ in 0..count {
            black_box(world.key.draw(&Subject::of(world.traffic[0].declare())));
        }
    })
}

fn draw_remembered(again: bool) -> Loop {
    let draws = draws();
    Box::new(move |world, count| {
        let accepted_on = Date::of(world.moment.timestamp);
        let traffic = &mut world.traffic[0];
        for _ in 0..count {
            let declaration = if again {
                traffic.declare_again()
            } else {
                traffic.declare()
            };
            black_box(draws.draw(declaration, accepted_on));
        }
    })
}

fn policy(world: &World) -> &'static Policy {
    world
        .book
        .on(Date::of(world.moment.timestamp))
        .expect("a policy applies")
}

fn core(world: &mut World, second: Second) -> Loop {
    let facts = world.facts(second);
    let policy = policy(world);
    let mut draw = 0_u64;
    Box::new(move |world, count| {
        for at in 0..count {
            draw = draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
            black_box(decide(
                black_box(policy),
                &world.book.parameters,
                black_box(&facts[at % SHAPES]),
                Some(Draw(draw)),
            ));
        }
    })
}

fn decide_undrawn(world: &mut World, second: Second) -> Loop {
    let facilitation = world.facilitation();
    let simulation = Simulation::default();
    Box::new(move |world, count| {
        let now = world.moment.timestamp;
        for _ in 0..count {
            let declaration = world.traffic[second as usize].declare();
            let dropped = facilitation.simulate(
                declaration,
                (now, now),
                &simulation,
                &world.clock,
                &world.moment,
                |outcome| drop(black_box(outcome)),
            );
            dropped.expect("a decision");
        }
    })
}

fn decide_drawn(world: &mut World, second: Second, again: bool) -> Loop {
    let facilitation = world.facilitation();
    Box::new(move |world, count| {
        let now = world.moment.timestamp;
        let traffic = &mut world.traffic[second as usize];
        for _ in 0..count {
            let declaration = if again {
                traffic.declare_again()
            } else {
                traffic.declare()
            };
            let dropped = facilitation.decide(declaration, now, &world.clock, &world.moment, |outcome| {
                drop(black_box(outcome));
            });
            dropped.expect("a decision");
        }
    })
}

fn decode(_: &mut World) -> Loop {
    Box::new(|world, count| {
        for at in 0..count {
            let bytes = &world.bytes[at % SHAPES][..];
            black_box(pb::DecideRequest::decode(bytes).expect("a request"));
        }
    })
}

fn validate(_: &mut World) -> Loop {
    Box::new(|world, count| {
        for at in 0..count {
            let request = black_box(&world.requests[at % SHAPES]);
            black_box(validate::request(request, &world.window)).expect("valid");
        }
    })
}

fn usual(_: &mut World) -> Loop {
    Box::new(|world, count| {
        for at in 0..count {
            let bytes = black_box(&world.bytes[at % SHAPES]);
            black_box(usual::request(bytes, &world.window)).expect("a usual one");
        }
    })
}

fn answered(world: &mut World) -> Loop {
    let outcomes = outcomes(world);
    let mut buffer = Vec::with_capacity(4096);
    Box::new(move |world, count| {
        for at in 0..count {
            buffer.clear();
            let (request, outcome) = (&world.requests[at % SHAPES], &outcomes[at % SHAPES]);
            encode::decision(&mut buffer, DECISION_ID, black_box(request), black_box(outcome));
            black_box(&buffer);
        }
    })
}

fn appended(world: &mut World) -> Loop {
    /// Records of a group under load.
    const GROUP: usize = 32;
    let outcomes = outcomes(world);
    let answers = outcomes.iter().zip(&world.requests).map(|(outcome, request)| {
        let mut answer = Vec::new();
        encode::decision(&mut answer, DECISION_ID, request, outcome);
        answer
    });
    let answers: Vec<_> = answers.collect();
    let mut group = Vec::new();
    Box::new(move |world, count| {
        for at in 0..count {
            if at % GROUP == 0 {
                group.clear();
            }
            let record = DecisionRecord {
                recorded_at: world.moment.timestamp,
                request: black_box(&world.bytes[at % SHAPES]),
                decision: &answers[at % SHAPES],
                outcome: &outcomes[at % SHAPES],
                caller: "anonymous",
            };
            record::decision(&mut group, &record);
            black_box(&group);
        }
    })
}

/// One outcome for each shape.
fn outcomes(world: &mut World) -> Vec<Outcome<'static>> {
    let policy = policy(world);
    let (parameters, decided_at) = (&world.book.parameters, world.moment.timestamp);
    let facts: &'static [Facts<'static>] = world.facts(Registered).leak();
    let outcomes = facts.iter().zip(1_u64..).map(|(facts, number)| {
        let draw = Draw(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let decision = decide(policy, parameters, facts, Some(draw));
        let random = decision.inspection.basis == InspectionBasis::Random;
        Outcome {
            decision,
            policy,
            parameters,
            epoch: "0d8cb6de-3c38-4b2f-a8b3-6a2c4f1e9b77",
            sequence: 1_234_567,
            age: Age(Duration::from_millis(120)),
            freshness: Freshness::Fresh,
            decided_at,
            drawn: random.then(|| Drawn {
                epoch: Epoch::of(facts.accepted_on),
                subject: Subject::of(facts.declaration),
                draw,
            }),
            accepted_at: decided_at,
            limits: FreshnessLimits {
                relief_max_age: Duration::from_mins(5),
                decision_max_age: Duration::from_hours(24),
            },
            parties: &facts.parties,
            arrangements: &facts.arrangements,
            orders: &facts.orders,
            first: None,
            former_lane: None,
            repeated: false,
            limit: random.then_some(Ppm(4_879)),
        }
    });
    outcomes.collect()
}

fn convert(world: &mut World) -> Loop {
    let outcomes = outcomes(world);
    Box::new(move |world, count| {
        for at in 0..count {
            let request = world.requests[at % SHAPES].clone();
            let outcome = black_box(&outcomes[at % SHAPES]);
            black_box(convert::decision(DECISION_ID.to_owned(), request, outcome));
        }
    })
}

/// One answer for each shape.
pub(crate) fn answers(world: &mut World) -> Vec<pb::DecideResponse> {
    let outcomes = outcomes(world);
    let answers = outcomes
        .iter()
        .zip(&world.requests)
        .map(|(outcome, request)| pb::DecideResponse {
            decision: Some(convert::decision(
                DECISION_ID.to_owned(),
                request.clone(),
                outcome,
            )),
        });
    answers.collect()
}

fn encode(world: &mut World) -> Loop {
    let answers = answers(world);
    let mut buffer = Vec::with_capacity(4096);
    Box::new(move |_, count| {
        for at in 0..count {
            buffer.clear();
            black_box(&answers[at % SHAPES])
                .encode(&mut buffer)
                .expect("room enough");
            black_box(&buffer);
        }
    })
}

fn count(world: &mut World, on_documents: bool) -> Loop {
    const AFTER: Duration = Duration::from_micros(12);
    let facts = world.facts(Registered);
    let outcomes = outcomes(world).into_iter().zip(&facts).map(|(outcome, facts)| {
        let observation = Observation::made(&outcome, facts.declaration.customs_office);
        (observation, outcome.decision.lane)
    });
    let outcomes: Vec<_> = outcomes.collect();
    let (table, metrics) = (RateTable::default(), Metrics::default());
    let mut draw = 0_u64;
    Box::new(move |_, count| {
        for at in 0..count {
            let (mut observation, lane) = black_box(outcomes[at % SHAPES]);
            if on_documents {
                draw = draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
                observation.consignment = Some(draw);
            }
            let tier = observation.cell.credit_tier;
            metrics.decided(tier, lane, observation.basis, observation.selected, AFTER);
            table.count(&observation);
        }
    })
}

fn answer(world: &mut World) -> Loop {
    let facilitation = world.facilitation();
    let mut buffer = Vec::with_capacity(4096);
    let mut number = 0;
    Box::new(move |world, count| {
        for _ in 0..count {
            number += 1;
            let at = number % world.bytes.len();
            answer_one(world, &facilitation, at, number, &mut buffer);
            black_box(&buffer);
        }
    })
}

fn answer_one(
    world: &mut World,
    facilitation: &Facilitation,
    at: usize,
    number: usize,
    buffer: &mut Vec<u8>,
) {
    let request = &mut world.bytes[at][..];
    // The declaration number is the first field: its direction stays, the rest is new.
    let direction = request[10];
    request[2..20].copy_from_slice(&number_text(number, direction));
    let request = pb::DecideRequest::decode(black_box(&*request)).expect("a request");
    let valid = validate::request(&request, &world.window).expect("valid");
    let answer = facilitation.decide(
        &valid.declaration,
        valid.accepted_at,
        &world.clock,
        &world.moment,
        |outcome| convert::decision(DECISION_ID.to_owned(), request, &outcome),
    );
    buffer.clear();
    let answer = pb::DecideResponse {
        decision: Some(answer.expect("a decision")),
    };
    answer.encode(buffer).expect("room enough");
}
