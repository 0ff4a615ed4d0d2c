//! LISTEN on a connection of its own. A notification is a hint that a look is worth while, never more.

use std::{future::poll_fn, time::Duration};

use rand::RngExt as _;
use tokio::{sync::watch, task::JoinSet};
use tokio_postgres::AsyncMessage;
use tracing::{debug, info};

use super::{super::UpstreamError, Settings, connect::Address, within};

/// On which the triggers tell of a commit.
const CHANNEL: &str = "greenlane_change";
/// Between two tests whether notifications arrive, and the longest wait after a failure; jittered.
const RETEST: Duration = Duration::from_mins(1);

/// What was heard so far.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    /// Notifications were seen to arrive.
    listening: bool,
}

/// Hints from the database.
#[derive(Debug)]
pub(super) struct Hints {
    heard: watch::Receiver<Heard>,
    _listener: JoinSet<()>,
}

impl Hints {
    /// Begins to listen.
    pub(super) fn new(address: Address, settings: Settings) -> Self {
        let (tell, heard) = watch::channel(Heard::default());
        let mut listener = JoinSet::new();
        listener.spawn(listen(address, settings, tell));
        Self {
            heard,
            _listener: listener,
        }
    }

    /// Whether notifications are known to arrive.
    pub(super) fn are_heard(&self) -> bool {
        self.heard.borrow().listening
    }

    /// Completes at a notification since the last one, and when listening begins or ends. May be dropped.
    pub(super) async fn next(&mut self) {
        if self.heard.changed().await.is_err() {
            // The listener never ends while it is heard; were it so, there are looks at intervals.
            std::future::pending::<()>().await;
        }
    }
}

async fn listen(address: Address, settings: Settings, tell: watch::Sender<Heard>) {
    let mut failures = 0_u32;
    // One name for all tries: behind a pooler each leaves a connection of the pool listening.
    let probe_channel = format!("greenlane_probe_{:016x}", rand::random::<u64>());
    loop {
        let Err(error) = listen_once(&address, &settings, &probe_channel, &tell, &mut failures).await;
        // From here on there are looks at short intervals, the first one at once.
        tell.send_if_modified(|heard| std::mem::take(&mut heard.listening));
        if failures == 0 {
            info!(%error, "the database's notifications do not arrive: polling");
        } else {
            debug!(%error, failures, "the database's notifications still do not arrive");
        }
        failures = failures.saturating_add(1);
        let ceiling = Duration::from_millis(250).saturating_mul(1 << failures.min(10));
        tokio::time::sleep(jittered(ceiling.min(RETEST))).await;
    }
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Listens until it cannot.
async fn listen_once(
    address: &Address,
    settings: &Settings,
    probe_channel: &str,
    tell: &watch::Sender<Heard>,
    failures: &mut u32,
) -> Result<std::convert::Infallible, UpstreamError> {
    let (client, mut connection) = address.connect(settings).await?;
    let (tell_probe, mut probed) = watch::channel(String::new());
    let mut driver = JoinSet::new();
    let tell_driver = tell.clone();
    driver.spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notification(told)) if told.channel() == CHANNEL => {
                    tell_driver.send_modify(|_| {});
                }
                Ok(AsyncMessage::Notification(told)) => {
                    drop(tell_probe.send_replace(told.payload().to_owned()));
                }
                Ok(_) => {}
                Err(error) => {
                    debug!(%error, "the listening connection ended");
                    return;
                }
            }
        }
    });
    let listen = format!("LISTEN {CHANNEL}; LISTEN {probe_channel}");
    within(settings.timeout, "LISTEN", client.batch_execute(&listen)).await?;
    loop {
        // Behind a transaction pooler LISTEN succeeds and nothing ever arrives: only a notification from another
        // connection proves it.
        let nonce = format!("{:016x}", rand::random::<u64>());
        notify(address, settings, probe_channel, &nonce).await?;
        within(settings.timeout, "a notification", async {
            let heard = probed.wait_for(|heard| *heard == nonce).await;
            heard.map(drop).map_err(|_| ended())
        })
        .await?;
        tell.send_if_modified(|heard| !std::mem::replace(&mut heard.listening, true));
        *failures = 0;
        tokio::select! {
            _ = driver.join_next() => {
                return Err(ended());
            }
            () = tokio::time::sleep(jittered(RETEST)) => {}
        }
    }
}

fn ended() -> UpstreamError {
    UpstreamError::Unavailable("the listening connection ended".to_owned())
}

async fn notify(
    address: &Address,
    settings: &Settings,
    channel: &str,
    payload: &str,
) -> Result<(), UpstreamError> {
    let session = address.any_session(settings).await?;
    let notify = format!("NOTIFY {channel}, '{payload}'");
    within(settings.timeout, "NOTIFY", session.client.batch_execute(&notify)).await
}
