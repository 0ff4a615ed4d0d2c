//! Commitments to the keys of the draw, and the draw of one decision recomputed.

use tonic::Status;

use super::AuditRpc;
use crate::{
    audit::draw::{check::Check, commitment::Commitment},
    upstream::UpstreamError,
    wire::pb,
};

impl AuditRpc {
    /// Every commitment in the store.
    pub(super) async fn commitments(&self) -> Result<Vec<Commitment>, Status> {
        let stored = self.commitments.list().await.map_err(|error| unread(&error))?;
        let read = stored.into_iter().map(Commitment::read);
        // What is of no month is told by whoever looks after them.
        Ok(read.filter_map(Result::ok).collect())
    }

    /// Recomputes the selection of a logged decision, with this replica's key.
    pub(super) async fn draw_of(&self, entry: &pb::DecisionEntry) -> Result<pb::VerifyDrawResponse, Status> {
        let draws = self.facilitation.draws();
        let check = Check::of(entry, |epoch| Some(draws.key(epoch)));
        let Some(epoch) = check.drawn.map(|drawn| drawn.epoch) else {
            return Ok(check.answer(None, None));
        };
        let commitments = self.commitments().await?;
        let commitment = commitments.iter().find(|own| own.epoch == epoch);
        Ok(check.answer(commitment, Some(&draws.key(epoch))))
    }
}

fn unread(error: &UpstreamError) -> Status {
    tracing::warn!(%error, "draw commitments could not be read");
    Status::unavailable("the store's draw commitments cannot be read now")
}
