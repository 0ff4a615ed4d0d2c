//! What tells a process to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// SIGTERM and SIGINT; none is missed once it is made. Before, and for the first process of a container for ever, a signal does
/// what the system makes of it.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Receives them from now on.
    pub fn receive() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Completes with the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => info!("SIGTERM"),
            _ = self.interrupt.recv() => info!("SIGINT"),
        }
    }
}

/// Completes on SIGTERM or SIGINT, whenever the future is first looked at.
pub fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut signals = StopSignals::receive()?;
    Ok(async move { signals.next().await })
}

/// What completes once, for [`super::App::run_until`].
pub fn once(told: impl Future<Output = ()>) -> impl AsyncFnMut() {
    let mut told = Some(told);
    async move || match told.take() {
        Some(told) => told.await,
        None => std::future::pending().await,
    }
}
