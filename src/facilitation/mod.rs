//! The use case: look up, draw, decide. Knows no transport.

mod draws;
mod simulate;

pub use draws::{DrawKeys, First, KnownDraws, REMEMBERED, Remembered, SecretError};
pub use simulate::{Override, Simulation};

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::{ArcSwap, Guard};
use arrayvec::ArrayVec;
use jiff::Timestamp;
use smallvec::SmallVec;
use thiserror::Error;

use crate::{
    domain::{
        Date, Freshness, Ppm,
        decision::{Decision, InspectionBasis, Lane},
        declaration::{Declaration, MAX_PARTIES, Party},
        identifier::{Country, EnterpriseId},
        order::ControlOrder,
        recognition::Arrangement,
    },
    policy::{
        Facts, Parameters, PartyFacts, Policy, PolicyBook, decide,
        draw::{Drawn, Epoch},
    },
    registry::{Age, FreshnessClock, FreshnessLimits, PartyIdentifiers, Registry, Rules, View},
};

/// One instant, by every clock that a decision needs.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For ages.
    pub monotonic: Instant,
    /// For ages, where the machine slept.
    pub wall: SystemTime,
    /// For the answer.
    pub timestamp: Timestamp,
}

impl Moment {
    /// Reads the clocks.
    pub fn now() -> Self {
        let wall = SystemTime::now();
        Self {
            monotonic: Instant::now(),
            wall,
            timestamp: Timestamp::try_from(wall).unwrap_or(Timestamp::MAX),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecideError {
    /// No registry data yet.
    #[error("the registry is not loaded yet")]
    NotReady,
    /// The acceptance date is before the first policy.
    #[error("no policy applies to the acceptance date")]
    NoPolicy,
    /// This replica's key of the epoch is not the one that was committed to.
    #[error("this replica does not draw in {0}: its key is not the one that was committed to")]
    DrawDisputed(Epoch),
}

/// A decision with everything the answer says of how it came about. Borrows from the data it was made of.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The decision.
    pub decision: Decision<'a>,
    /// Under which policy.
    pub policy: &'a Policy,
    /// With which parameters.
    pub parameters: &'a Parameters,
    /// On which registry data: the store's epoch.
    pub epoch: &'a str,
    /// On which registry data: the last change in it.
    pub sequence: u64,
    /// How old that was.
    pub age: Age,
    /// What that age means.
    pub freshness: Freshness,
    /// When.
    pub decided_at: Timestamp,
    /// The draw that decided; set when the basis is RANDOM.
    pub drawn: Option<Drawn>,
    /// The draw that the declaration keeps, whether it decided or not; `None` in a simulation or a replay.
    pub first: Option<Drawn>,
    /// The acceptance time that was taken.
    pub accepted_at: Timestamp,
    /// The ages at which data stops being FRESH and STALE here.
    pub limits: FreshnessLimits,
    /// What the registry held of each party.
    pub parties: &'a [PartyFacts],
    /// The arrangements with the countries of the operators found.
    pub arrangements: &'a [&'a [Arrangement]],
    /// The control orders that matched, ascending by id.
    pub orders: &'a [&'a ControlOrder],
    /// The declaration had been decided before, as far as this replica remembers.
    pub repeated: bool,
    /// The lane that it was given then, as far as this replica remembers.
    pub former_lane: Option<Lane>,
    /// What the policy's rate rule demands of the draw; `None` where it demands nothing, and unless the basis is RANDOM.
    pub limit: Option<Ppm>,
}

/// Everything that a decision takes its facts from.
#[derive(Debug)]
pub struct Facilitation {
    registry: Arc<Registry>,
    policies: ArcSwap<PolicyBook>,
    freshness: FreshnessLimits,
    draws: DrawKeys,
}

impl Facilitation {
    /// Puts the parts together.
    pub fn new(
        registry: Arc<Registry>,
        policies: PolicyBook,
        freshness: FreshnessLimits,
        draws: DrawKeys,
    ) -> Self {
        Self {
            registry,
            policies: ArcSwap::from_pointee(policies),
            freshness,
            draws,
        }
    }

    /// What decisions look up.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The policies and parameters in force.
    pub fn policies(&self) -> Guard<Arc<PolicyBook>> {
        self.policies.load()
    }

    /// Puts other policies and parameters in force, whole.
    pub fn replace_policies(&self, policies: PolicyBook) {
        self.policies.store(Arc::new(policies));
    }

    /// The keys to draw with.
    pub fn draws(&self) -> &DrawKeys {
        &self.draws
    }

    /// What an age of the data means.
    pub fn freshness(&self, age: Age) -> Freshness {
        self.freshness.of(age)
    }

    /// The ages at which data stops being FRESH and STALE.
    pub fn freshness_limits(&self) -> FreshnessLimits {
        self.freshness
    }

    /// Has what the registry holds of the parties of these declarations at hand when they are decided next.
    pub fn touch<'d>(&self, declarations: impl Iterator<Item = &'d Declaration>) {
        if let Some(generation) = &*self.registry.borrowed() {
            generation.touch(declarations.flat_map(|own| &own.parties));
        }
    }

    /// Decides a declaration that was accepted at that instant, and hands the outcome to `answer`.
    pub fn decide<T>(
        &self,
        declaration: &Declaration,
        accepted_at: Timestamp,
        clock: &FreshnessClock,
        moment: &Moment,
        answer: impl FnOnce(Outcome<'_>) -> T,
    ) -> Result<T, DecideError> {
        let age = clock.age(moment.monotonic, moment.wall);
        let draw = |accepted_on| self.draws.draw(declaration, accepted_on);
        let instants = (accepted_at, moment.timestamp);
        self.evaluated(
            declaration,
            instants,
            (age, self.freshness.of(age)),
            draw,
            |outcome| {
                // What orders, a hold or old data decide needs no draw.
                if let Some(drawn) = &outcome.drawn
                    && self.draws.is_disputed(drawn.epoch)
                {
                    if !outcome.repeated {
                        self.draws.forget(&declaration.number);
                    }
                    return Err(DecideError::DrawDisputed(drawn.epoch));
                }
                self.draws.given(&declaration.number, outcome.decision.lane);
                Ok(answer(outcome))
            },
        )?
    }

    /// Evaluates a declaration that was decided before on what the registry holds now, as if its data were that fresh. It
    /// keeps its first draw.
    pub fn reevaluate<T>(
        &self,
        declaration: &Declaration,
        (accepted_at, at): (Timestamp, Timestamp),
        first: Drawn,
        freshness: Freshness,
        answer: impl FnOnce(Outcome<'_>) -> T,
    ) -> Result<T, DecideError> {
        let drawn = |_| Remembered {
            drawn: first,
            repeated: true,
            former_lane: None,
        };
        let age = (Age(Duration::ZERO), freshness);
        self.evaluated(declaration, (accepted_at, at), age, drawn, answer)
    }

    fn evaluated<T>(
        &self,
        declaration: &Declaration,
        (accepted_at, decided_at): (Timestamp, Timestamp),
        (age, freshness): (Age, Freshness),
        draw: impl FnOnce(Date) -> Remembered,
        answer: impl FnOnce(Outcome<'_>) -> T,
    ) -> Result<T, DecideError> {
        let generation = self.registry.borrowed();
        let generation = generation.as_ref().ok_or(DecideError::NotReady)?;
        let book = self.policies.load();
        let accepted_on = Date::of(accepted_at);
        let policy = book.on(accepted_on).ok_or(DecideError::NoPolicy)?;
        let mut parties = Parties::new();
        let (rules, sequence) = generation.read(|view| {
            look_up(view, declaration, &mut parties);
            view.rules()
        });
        let facts = facts(declaration, parties, &rules, accepted_on, decided_at, freshness);
        let Remembered {
            drawn: first,
            repeated,
            former_lane,
        } = draw(accepted_on);
        let decision = decide(policy, &book.parameters, &facts, Some(first.draw));
        let drawn = (decision.inspection.basis == InspectionBasis::Random).then_some(first);
        let limit = drawn.and_then(|_| {
            let baseline = book.parameters.baseline(declaration);
            policy.limit(decision.credit_tier, baseline)
        });
        Ok(answer(Outcome {
            decision,
            policy,
            parameters: &book.parameters,
            epoch: generation.epoch(),
            sequence,
            age,
            freshness,
            decided_at,
            drawn,
            first: Some(first),
            accepted_at,
            limits: self.freshness,
            parties: &facts.parties,
            arrangements: &facts.arrangements,
            orders: &facts.orders,
            repeated,
            former_lane,
            limit,
        }))
    }
}

type Parties = ArrayVec<PartyFacts, MAX_PARTIES>;

/// Looks the parties of a declaration up, whatever was found before: it may be asked for more than once.
fn look_up(view: View<'_>, declaration: &Declaration, parties: &mut Parties) {
    let operator = |id: &EnterpriseId| match id {
        EnterpriseId::Foreign(code) => view.operator(code),
        EnterpriseId::Customs(_) | EnterpriseId::SocialCredit(_) => None,
    };
    let sent = &declaration.parties;
    parties.clear();
    parties.extend(
        sent.iter()
            .zip(view.enterprises(sent))
            .map(|(party, enterprise)| PartyFacts {
                enterprise,
                operator: operator(&party.id),
            }),
    );
}

/// By what the parties of a declaration are known, for control orders to name.
pub fn identifiers(
    declaration: &Declaration,
    parties: &[PartyFacts],
) -> ArrayVec<PartyIdentifiers, MAX_PARTIES> {
    let identifiers = |(sent, found): (&Party, &PartyFacts)| PartyIdentifiers {
        sent: sent.id,
        registered: found
            .enterprise
            .as_ref()
            .map(|own| (own.customs_code, own.social_credit_code)),
    };
    declaration.parties.iter().zip(parties).map(identifiers).collect()
}

/// The facts of a declaration, with the orders and arrangements that concern it.
fn facts<'a>(
    declaration: &'a Declaration,
    parties: Parties,
    rules: &'a Rules,
    accepted_on: Date,
    decided_at: Timestamp,
    freshness: Freshness,
) -> Facts<'a> {
    let orders = rules.matching(declaration, || identifiers(declaration, &parties), decided_at);
    let mut countries = SmallVec::<[Country; 2]>::new();
    for operator in parties.iter().filter_map(|party| party.operator.as_ref()) {
        if !countries.contains(&operator.country) {
            countries.push(operator.country);
        }
    }
    let arrangements = countries
        .iter()
        .map(|&country| rules.arrangements(country))
        .collect();
    Facts {
        declaration,
        parties,
        arrangements,
        orders,
        accepted_on,
        decided_at,
        freshness,
    }
}
