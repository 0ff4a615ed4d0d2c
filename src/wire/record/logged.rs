//! A logged decision: what was given, ready to be decided again, beside what was decided.

use prost::Message as _;

use super::{BadRecord, Entry, LoggedFacts, LoggedOutcome};
use crate::{
    domain::decision::InspectionBasis,
    facilitation::Outcome,
    policy::{Facts, Parameters, Policy, decide},
    wire::{encode, pb},
};

/// A logged decision, its answer still bytes.
#[derive(Debug, Clone)]
pub struct LoggedDecision<'a> {
    /// The request as it was received.
    pub request: pb::DecideRequest,
    /// The same, encoded.
    pub request_bytes: &'a [u8],
    /// The answer as it was given: an encoded `Decision`.
    pub decision: &'a [u8],
    /// What of the answer was not decided, but given.
    pub given: LoggedOutcome,
    /// What it was made of.
    pub facts: Box<LoggedFacts>,
}

impl<'a> LoggedDecision<'a> {
    /// Reads an encoded `DecisionEntry`.
    pub fn read(entry: &'a [u8]) -> Result<Self, BadRecord> {
        let Entry {
            request,
            decision,
            facts,
        } = Entry::read(entry)?;
        let undecodable = |field| move |error: prost::DecodeError| BadRecord::new(field, error.to_string());
        let request_bytes = request;
        let request = pb::DecideRequest::decode(request).map_err(undecodable("request"))?;
        let facts = pb::DecisionFacts::decode(facts).map_err(undecodable("facts"))?;
        let given = LoggedOutcome::decode(decision).map_err(undecodable("decision"))?;
        let facts = LoggedFacts::read(&request, facts, given.decided_at.as_ref())?;
        Ok(Self {
            request,
            request_bytes,
            decision,
            given,
            facts,
        })
    }

    /// Decides again. `facts` are those of [`LoggedFacts::facts`].
    pub fn decide<'f, 'l: 'f>(
        &'l self,
        facts: &'f Facts<'l>,
        policy: &'l Policy,
        parameters: &'l Parameters,
    ) -> Outcome<'f> {
        let LoggedFacts {
            drawn, age, limits, ..
        } = &*self.facts;
        let decision = decide(policy, parameters, facts, drawn.map(|drawn| drawn.draw));
        let random = decision.inspection.basis == InspectionBasis::Random;
        let version = self.given.registry_version.as_ref();
        Outcome {
            decision,
            policy,
            parameters,
            epoch: version.map_or("", |version| &version.epoch),
            sequence: version.map_or(0, |version| version.sequence),
            age: *age,
            freshness: facts.freshness,
            decided_at: facts.decided_at,
            drawn: drawn.filter(|_| random),
            first: None,
            accepted_at: self.facts.accepted_at,
            limits: *limits,
            parties: &facts.parties,
            arrangements: &facts.arrangements,
            orders: &facts.orders,
            repeated: false,
            former_lane: None,
            limit: None,
        }
    }

    /// Appends the answer that such an outcome would have been: an encoded `Decision`.
    pub fn encode(&self, outcome: &Outcome<'_>, buffer: &mut Vec<u8>) {
        encode::decision(buffer, &self.given.decision_id, &self.request, outcome);
    }
}
