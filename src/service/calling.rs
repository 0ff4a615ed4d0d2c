//! The caller on its way from where a call is routed to where it is answered: both are in one future, so that nothing need be
//! allocated to hand it on.

use std::sync::Arc;

use super::status::Refusal;
use crate::access::Caller;

tokio::task_local! {
    static CALLER: Option<Arc<Caller>>;
}

/// Has a call answered that is of this caller; `None` where the method is open to anybody.
pub(super) fn of<F: Future>(caller: Option<Arc<Caller>>, answer: F) -> impl Future<Output = F::Output> {
    CALLER.scope(caller, answer)
}

/// The caller of the call that is answered here. Without one, nothing is answered that goes by who calls.
pub(super) fn caller() -> Result<Arc<Caller>, Refusal> {
    let caller = CALLER.try_with(Clone::clone).ok().flatten();
    caller.ok_or(Refusal::Internal)
}
