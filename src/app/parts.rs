//! The parts of a running service: each has a name, and none may end by itself.

use anyhow::Context as _;
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
use tracing::error;

use super::feed::on_own_thread;

type Ended = Result<(&'static str, anyhow::Result<()>), JoinError>;

/// The parts that run.
#[derive(Debug)]
pub(super) struct Parts {
    running: JoinSet<(&'static str, anyhow::Result<()>)>,
    stop: watch::Receiver<bool>,
}

impl Parts {
    /// None yet; `stop` tells them to end.
    pub(super) fn new(stop: watch::Receiver<bool>) -> Self {
        Self {
            running: JoinSet::new(),
            stop,
        }
    }

    /// What tells a part to end.
    pub(super) fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }

    /// Runs a part on this runtime.
    pub(super) fn add(
        &mut self,
        name: &'static str,
        run: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.running.spawn(async move { (name, run.await) });
    }

    /// Runs a part that cannot fail.
    pub(super) fn add_endless(&mut self, name: &'static str, run: impl Future<Output = ()> + Send + 'static) {
        self.add(name, async move {
            run.await;
            Ok(())
        });
    }

    /// Runs a part on a thread of its own, because it blocks or works long.
    pub(super) fn add_thread<W: Future<Output = ()> + 'static>(
        &mut self,
        name: &'static str,
        begin: impl FnOnce(watch::Receiver<bool>) -> W + Send + 'static,
    ) -> anyhow::Result<()> {
        let stop = self.stop();
        let running = on_own_thread(name, move || begin(stop))?;
        self.add(name, running);
        Ok(())
    }

    /// Waits until a part ends, which none may unasked.
    pub(super) async fn first_end(&mut self) -> anyhow::Result<()> {
        match self.running.join_next().await {
            Some(ended) => outcome(ended, true),
            None => std::future::pending().await,
        }
    }

    /// Waits until every part has ended; `at_first` is called when the first has. Gives what went wrong first.
    pub(super) async fn every_end(&mut self, at_first: impl Fn()) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.running.join_next().await {
            result = result.and(outcome(ended, false));
            at_first();
        }
        result
    }
}

/// What the end of a part means.
fn outcome(ended: Ended, unasked: bool) -> anyhow::Result<()> {
    let (name, result) = ended.context("a part of the service panicked")?;
    if let Err(problem) = &result {
        error!(part = name, %problem, "a part of the service failed");
    }
    result.with_context(|| name)?;
    anyhow::ensure!(!unasked, "{name} ended by itself");
    Ok(())
}
