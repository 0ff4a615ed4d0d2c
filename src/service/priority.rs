//! `PriorityService`: what port terminals ask. Nothing leaves it but the fields of `Shipment`: no tier, rate, reason or
//! draw, in errors and metadata either.

mod keys;
mod watch;

use std::{pin::Pin, sync::Arc};

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{
    deadline::Deadline, ending::Ending, items::item_error, served::priority_service_server, status::Refusal,
};
use crate::{
    shipments::{Shipments, Unreachable, View},
    wire::{convert, pb, violations::Violations},
};

/// Most keys in a batch.
const MAX_BATCH: usize = 1000;

/// The service.
#[derive(Debug, Clone)]
pub struct PriorityRpc {
    /// What is asked about.
    pub shipments: Arc<Shipments>,
}

/// Whether shipments can be asked about.
pub(super) fn served(shipments: &Shipments) -> Result<(), Refusal> {
    if !shipments.is_served() {
        Err(Refusal::NotServed)
    } else if !shipments.is_ready() {
        Err(Refusal::NoShipments)
    } else {
        Ok(())
    }
}

impl PriorityRpc {
    /// The present state of one shipment.
    pub async fn get(&self, request: &pb::GetPriorityRequest) -> Result<pb::GetPriorityResponse, Refusal> {
        served(&self.shipments)?;
        let key = keys::parse(request.key.as_ref(), || "key".to_owned()).map_err(Refusal::Invalid)?;
        let found = self.shipments.get(&[key]).await.pop();
        let shipment = answer(found.unwrap_or(Err(Unreachable)))?;
        Ok(pb::GetPriorityResponse {
            shipment: Some(shipment),
        })
    }

    async fn batch(&self, keys: &[pb::ShipmentKey]) -> Vec<Result<pb::Shipment, Refusal>> {
        let parsed: Vec<_> = keys
            .iter()
            .map(|key| keys::parse(Some(key), || "key".to_owned()))
            .collect();
        let good: Vec<_> = parsed.iter().flatten().copied().collect();
        let mut found = self.shipments.get(&good).await.into_iter();
        let result = |parsed: Result<_, Violations>| match parsed {
            Ok(_) => answer(found.next().unwrap_or(Err(Unreachable))),
            Err(violations) => Err(Refusal::Invalid(violations)),
        };
        parsed.into_iter().map(result).collect()
    }
}

fn answer(found: Result<Option<View>, Unreachable>) -> Result<pb::Shipment, Refusal> {
    let view = found.map_err(|Unreachable| Refusal::ShipmentsUnreachable)?;
    let view = view.ok_or(Refusal::NotFound("the shipment was never decided".into()))?;
    Ok(shipment(view))
}

fn shipment(view: View) -> pb::Shipment {
    let View {
        declaration_number,
        container_numbers,
        priority_class,
        rank,
        lane,
        hold,
        revision,
        decision_id,
        decided_at,
        valid_until,
        revoked,
    } = view;
    pb::Shipment {
        declaration_number: declaration_number.to_string(),
        container_numbers: container_numbers.iter().map(ToString::to_string).collect(),
        priority: Some(pb::Priority {
            priority_class: priority_class.into(),
            rank,
        }),
        lane: lane.into(),
        hold,
        revision,
        decision_id: decision_id.to_string(),
        decided_at: Some(convert::instant(decided_at)),
        valid_until: Some(convert::instant(valid_until)),
        revoked,
    }
}

#[tonic::async_trait]
impl priority_service_server::PriorityService for PriorityRpc {
    type WatchPrioritiesStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchPrioritiesResponse, Status>> + Send>>;

    async fn get_priority(
        &self,
        request: Request<pb::GetPriorityRequest>,
    ) -> Result<Response<pb::GetPriorityResponse>, Status> {
        let response = self.get(request.get_ref()).await?;
        Ok(Response::new(response))
    }

    async fn batch_get_priority(
        &self,
        request: Request<pb::BatchGetPriorityRequest>,
    ) -> Result<Response<pb::BatchGetPriorityResponse>, Status> {
        let keys = &request.get_ref().keys;
        if keys.len() > MAX_BATCH {
            return Err(Refusal::Invalid(Violations::of("keys", "must be at most 1000")).into());
        }
        let result = |answered: Result<_, Refusal>| pb::BatchGetPriorityResult {
            result: Some(match answered {
                Ok(shipment) => pb::batch_get_priority_result::Result::Shipment(shipment),
                Err(refusal) => pb::batch_get_priority_result::Result::Error(item_error(refusal)),
            }),
        };
        let results = self.batch(keys).await.into_iter().map(result).collect();
        Ok(Response::new(pb::BatchGetPriorityResponse { results }))
    }

    async fn watch_priorities(
        &self,
        request: Request<pb::WatchPrioritiesRequest>,
    ) -> Result<Response<Self::WatchPrioritiesStream>, Status> {
        let deadline = request.extensions().get::<Deadline>().copied();
        let ending = Ending::of(&request);
        let pb::WatchPrioritiesRequest { keys, resume_token } = request.into_inner();
        let keys = keys::watched(&keys).map_err(Refusal::Invalid)?;
        let watch = self.shipments.watch(keys, &resume_token).await;
        let watch = watch.map_err(Refusal::from)?;
        Ok(Response::new(Box::pin(watch::responses(watch, deadline, ending))))
    }
}
