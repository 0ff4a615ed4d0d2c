//! The parts of a running service: each has a name, and none may end by itself.

use std::{
    any::Any,
    collections::HashMap,
    fmt::Display,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use tokio::{
    sync::{oneshot, watch},
    task::{Id, JoinError, JoinSet},
    time::{Instant, timeout_at},
};
use tracing::{error, warn};

/// What a part that was asked to end leaves undone.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotFlushed(String);

impl NotFlushed {
    /// Makes a part's error one of its end.
    pub(super) fn of(problem: impl Display) -> anyhow::Error {
        Self(problem.to_string()).into()
    }
}

/// The parts that run.
#[derive(Debug)]
pub(super) struct Parts {
    running: JoinSet<anyhow::Result<()>>,
    /// Those that are waited for.
    names: HashMap<Id, &'static str>,
    stop: watch::Receiver<bool>,
    /// What went wrong first.
    failed: Option<anyhow::Error>,
    unflushed: Vec<&'static str>,
}

impl Parts {
    /// None yet; `stop` tells them to end.
    pub(super) fn new(stop: watch::Receiver<bool>) -> Self {
        Self {
            running: JoinSet::new(),
            names: HashMap::new(),
            stop,
            failed: None,
            unflushed: Vec::new(),
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
        let part = self.running.spawn(run);
        self.names.insert(part.id(), name);
    }

    /// Runs a part that answers calls, and counts the connections that it had to cut at the end.
    pub(super) fn add_calls(
        &mut self,
        name: &'static str,
        cut: &Arc<AtomicUsize>,
        run: impl Future<Output = io::Result<usize>> + Send + 'static,
    ) {
        let cut = Arc::clone(cut);
        self.add(name, async move {
            cut.fetch_add(run.await?, Ordering::Relaxed);
            Ok(())
        });
    }

    /// Runs a part that cannot fail.
    pub(super) fn add_endless(&mut self, name: &'static str, run: impl Future<Output = ()> + Send + 'static) {
        self.add(name, async move {
            run.await;
            Ok(())
        });
    }

    /// Runs a part on a thread of its own, because it blocks or works long.
    pub(super) fn add_thread<W: Future<Output = anyhow::Result<()>> + 'static>(
        &mut self,
        name: &'static str,
        begin: impl FnOnce(watch::Receiver<bool>) -> W + Send + 'static,
    ) -> anyhow::Result<()> {
        let stop = self.stop();
        let running = on_own_thread(name, move || begin(stop))?;
        self.add(name, async move { running.await? });
        Ok(())
    }

    /// Waits until a part ends, which none may unasked.
    pub(super) async fn first_end(&mut self) {
        match self.next_end().await {
            Some((name, result)) => {
                let result = result.and_then(|()| Err(anyhow!("it ended by itself")));
                self.note(name, result);
            }
            None => std::future::pending().await,
        }
    }

    /// Waits until those parts have ended, for `bound` at most: who has not is named then, and left behind.
    pub(super) async fn ended(&mut self, which: impl Fn(&str) -> bool, bound: Duration) {
        let by = Instant::now() + bound;
        while self.names.values().any(|name| which(name)) {
            match timeout_at(by, self.next_end()).await {
                Ok(Some((name, result))) => self.note(name, result),
                Ok(None) => return,
                Err(_) => {
                    for (_, name) in self.names.extract_if(|_, name| which(name)) {
                        error!(
                            part = name,
                            ?bound,
                            "did not end within its bound and is left behind"
                        );
                        self.unflushed.push(name);
                    }
                }
            }
        }
    }

    /// The parts that left something undone, if none failed.
    pub(super) fn outcome(self) -> anyhow::Result<Vec<&'static str>> {
        match self.failed {
            Some(problem) => Err(problem),
            None => Ok(self.unflushed),
        }
    }

    async fn next_end(&mut self) -> Option<(&'static str, anyhow::Result<()>)> {
        loop {
            let (id, result) = match self.running.join_next_with_id().await? {
                Ok(ended) => ended,
                Err(error) => (error.id(), Err(not_joined(error))),
            };
            // What was left behind is not missed when it ends.
            if let Some(name) = self.names.remove(&id) {
                return Some((name, result));
            }
        }
    }

    fn note(&mut self, name: &'static str, result: anyhow::Result<()>) {
        let Err(problem) = result else { return };
        if problem.is::<NotFlushed>() {
            warn!(part = name, %problem, "not flushed");
            self.unflushed.push(name);
        } else {
            error!(
                part = name,
                problem = format!("{problem:#}"),
                "a part of the service failed"
            );
            let problem = Err::<(), _>(problem).context(name).err();
            self.failed = self.failed.take().or(problem);
        }
    }
}

fn not_joined(error: JoinError) -> anyhow::Error {
    match error.try_into_panic() {
        Ok(payload) => panicked(&*payload),
        Err(error) => error.into(),
    }
}

fn panicked(payload: &(dyn Any + Send)) -> anyhow::Error {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    anyhow!("it panicked: {}", text.unwrap_or("without a word"))
}

/// Runs a future on a thread of its own, which also makes it; what is given back completes when it has ended.
pub(super) fn on_own_thread<B, W>(
    name: &'static str,
    begin: B,
) -> anyhow::Result<impl Future<Output = anyhow::Result<W::Output>> + Send + use<B, W>>
where
    B: FnOnce() -> W + Send + 'static,
    W: Future<Output: Send + 'static>,
{
    let (ended, wait) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let output = runtime.block_on(begin());
        // What still reads a store on another thread is nobody's business any more.
        runtime.shutdown_background();
        // Nobody waits any more only when the process ends.
        let _waiting = ended.send(output);
    })?;
    Ok(async move {
        match (wait.await, thread) {
            (Ok(output), _) => Ok(output),
            (Err(_), thread) => match thread.join() {
                Err(payload) => Err(panicked(&*payload)),
                Ok(()) => Err(anyhow!("its thread ended without a word")),
            },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    type Add = fn(&mut Parts);

    fn parts() -> (watch::Sender<bool>, Parts) {
        let stop = watch::Sender::new(false);
        let parts = Parts::new(stop.subscribe());
        (stop, parts)
    }

    async fn stopped(mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        drop(stop.wait_for(|stop| *stop).await);
        Ok(())
    }

    #[tokio::test]
    async fn a_part_that_panics_or_ends_by_itself_is_named_wherever_it_runs() {
        let endings: [(&str, Add); 4] = [
            ("here: it panicked: out of order", |parts| {
                parts.add("here", async { panic!("out of order") });
            }),
            ("thread: it panicked: out of order 7", |parts| {
                let begin = |_| async { panic!("out of order {}", 7) };
                parts.add_thread("thread", begin).unwrap();
            }),
            ("bored: it ended by itself", |parts| {
                parts.add_endless("bored", async {});
            }),
            ("broken: no luck", |parts| {
                parts.add("broken", async { Err(anyhow!("no luck")) });
            }),
        ];
        for (expected, add) in endings {
            let (stop, mut parts) = parts();
            parts.add("good", stopped(parts.stop()));
            add(&mut parts);
            parts.first_end().await;
            stop.send_replace(true);
            parts.ended(|_| true, BOUND).await;
            let problem = parts.outcome().unwrap_err();
            assert_eq!(format!("{problem:#}"), expected);
        }
    }

    #[tokio::test]
    async fn who_does_not_end_in_time_and_what_is_not_flushed_is_named() {
        let (stop, mut parts) = parts();
        parts.add_thread("good", stopped).unwrap();
        parts.add("hung", std::future::pending());
        let unwritten = |stop| async {
            stopped(stop).await?;
            Err(NotFlushed::of("the disk is full"))
        };
        parts.add_thread("full", unwritten).unwrap();
        stop.send_replace(true);
        parts.ended(|name| name != "hung", BOUND).await;
        parts.ended(|_| true, Duration::from_millis(1)).await;
        assert_eq!(parts.outcome().unwrap(), ["full", "hung"]);
    }
}
