//! The end of a connection, as its streams are told of it: they end with a status rather than being cut.

use tokio::{
    pin,
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Status};

use super::{authentication::Standing, status::Refusal};
use crate::access::Cause;

/// Why a connection ends while its peer is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It has reached `limits.max_connection_age`.
    Aged,
    /// The replica stops.
    Draining,
    /// The stream's caller is no longer known, or is no longer what it was. The connection goes on.
    Unauthenticated(Cause),
}

impl From<Why> for Refusal {
    fn from(why: Why) -> Self {
        match why {
            Why::Aged => Self::ConnectionAge,
            Why::Draining => Self::Draining,
            Why::Unauthenticated(cause) => Self::Unauthenticated(cause),
        }
    }
}

/// Why, and by when streams that still have something to do leave off.
type Told = Option<(Why, Instant)>;

/// Tells the streams of one connection that it ends.
#[derive(Debug)]
pub struct EndStreams(watch::Sender<Told>);

impl EndStreams {
    /// From now on; what has been told may be told again.
    pub fn begin(&self, why: Why, by: Instant) {
        self.0.send_replace(Some((why, by)));
    }
}

/// What a stream hears of the end of its connection, and of its caller's standing.
#[derive(Debug, Clone)]
pub struct Ending {
    connection: watch::Receiver<Told>,
    standing: Option<Standing>,
}

/// Both ends, for one connection.
pub fn of_connection() -> (EndStreams, Ending) {
    let (sender, receiver) = watch::channel(None);
    let ending = Ending {
        connection: receiver,
        standing: None,
    };
    (EndStreams(sender), ending)
}

impl Ending {
    /// As a stream hears it whose caller has that standing.
    pub(super) fn with(&self, standing: Option<Standing>) -> Self {
        Self {
            connection: self.connection.clone(),
            standing,
        }
    }

    /// What a call hears; nothing, where its connection is not known.
    pub(super) fn of<T>(request: &Request<T>) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }
}

/// Completes when the connection begins to end, or the caller has lost its standing: why, and by when to leave off, which is
/// at once for who is no longer known. Never, where there is nothing to hear.
pub(super) async fn begun(ending: Option<Ending>) -> (Why, Instant) {
    let Some(Ending {
        mut connection,
        standing,
    }) = ending
    else {
        return std::future::pending().await;
    };
    let ends = async {
        match connection.wait_for(Option::is_some).await.map(|told| *told) {
            Ok(Some(told)) => told,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    };
    let lost = async {
        match standing {
            Some(standing) => standing.lost().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        told = ends => told,
        cause = lost => (Why::Unauthenticated(cause), Instant::now()),
    }
}

/// Completes when whoever still has something to do leaves off.
pub(super) async fn overdue(ending: Option<Ending>) -> Why {
    let (why, by) = begun(ending).await;
    sleep_until(by).await;
    why
}

/// A stream that ends with its connection.
pub(super) fn ending_with<T: Send>(
    stream: impl Stream<Item = Result<T, Status>> + Send,
    ending: Option<Ending>,
) -> impl Stream<Item = Result<T, Status>> + Send {
    async_stream::stream! {
        pin! {
            let stream = stream;
            let ends = begun(ending);
        }
        loop {
            let next = tokio::select! {
                biased;
                next = stream.next() => next,
                (why, _) = &mut ends => Some(Err(Refusal::from(why).into())),
            };
            let Some(next) = next else { return };
            let is_last = next.is_err();
            yield next;
            if is_last {
                return;
            }
        }
    }
}
