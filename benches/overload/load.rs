//! Callers that behave, more or less.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures_util::future::join_all;
use greenlane::service::status::Refusal;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    ENTERPRISES,
    support::{
        connection::{Connection, Event, framed},
        server::request,
    },
};

/// Declarations that a client has ready; each is sent with another number whenever it is sent.
const READY: usize = 4096;
/// Where the last nine digits of the number stand: behind gRPC's head, the field's key and its length, and the first nine.
const DIGITS: std::ops::Range<usize> = 16..25;

/// Several callers on one connection.
pub(crate) struct Client {
    connection: Connection,
    declarations: Vec<BytesMut>,
    next: usize,
}

/// How calls follow one another.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// So many callers, each with one call at a time; who is refused waits as it is told if it is patient.
    Closed { callers: usize, is_patient: bool },
    /// So many calls a second, whether they are answered or not; what is late counts from when it was due.
    Open(f64),
}

/// What became of calls.
#[derive(Debug, Default)]
pub(crate) struct Load {
    seconds: f64,
    /// Seconds until each answer.
    pub(crate) answers: Vec<f64>,
    /// Seconds until each refusal.
    pub(crate) refusals: Vec<f64>,
    /// Seconds by which the callers themselves were late, again and again.
    pub(crate) lags: Vec<f64>,
}

impl Load {
    pub(crate) fn goodput(&self) -> f64 {
        self.answers.len() as f64 / self.seconds
    }

    pub(crate) fn percentile(&self, share: f64) -> f64 {
        percentile(&mut self.answers.clone(), share)
    }
}

/// 0 of none.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(0.0)
}

/// Connections, from that address.
pub(crate) async fn clients(address: SocketAddr, connections: usize, from: Option<IpAddr>) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut random = StdRng::from_rng(&mut rand::rng());
        clients.push(Client {
            connection: Connection::open(address, None, from).await,
            declarations: (0..READY)
                .map(|_| BytesMut::from(framed(&request(&mut random, ENTERPRISES))))
                .collect(),
            // Nobody else begins there.
            next: random.random_range(0..1_000_000_000),
        });
    }
    clients
}

impl Client {
    /// Begins a call, and gives its stream.
    fn begin(&mut self) -> u32 {
        self.next = (self.next + 1) % 1_000_000_000;
        let declaration = &mut self.declarations[self.next % READY];
        let digits = &mut declaration[DIGITS];
        let mut rest = self.next;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
        let stream = self.connection.begin("Decide");
        self.connection.send(stream, declaration, true);
        stream
    }

    /// Calls for so long, and takes what is answered until the last.
    async fn call(&mut self, pace: Pace, seconds: f64) -> io::Result<Load> {
        let begun = Instant::now();
        let until = begun + Duration::from_secs_f64(seconds);
        let wait = Refusal::Overloaded.retry_after().unwrap_or_default();
        let mut due: VecDeque<_> = match pace {
            Pace::Closed { callers, .. } => std::iter::repeat_n(begun, callers).collect(),
            Pace::Open(rate) => {
                let calls = (rate * seconds) as usize;
                let at = |call: usize| begun + Duration::from_secs_f64(call as f64 / rate);
                (0..calls).map(at).collect()
            }
        };
        // When it was due, and whether there is an answer.
        let mut open: HashMap<u32, (Instant, bool)> = HashMap::new();
        let mut load = Load::default();
        loop {
            while let Some(next) = due.pop_front_if(|due| *due <= Instant::now()) {
                open.insert(self.begin(), (next, false));
            }
            self.connection.write().await?;
            match due.front() {
                None if open.is_empty() => break,
                None => self.connection.read().await?,
                Some(next) => tokio::select! {
                    read = self.connection.read() => read?,
                    () = tokio::time::sleep_until((*next).into()) => {}
                },
            }
            let now = Instant::now();
            while let Some(event) = self.connection.event()? {
                match event {
                    Event::Data(stream, _) => {
                        if let Some((_, is_answered)) = open.get_mut(&stream) {
                            *is_answered = true;
                        }
                    }
                    Event::Ended(stream) => {
                        let Some((since, is_answered)) = open.remove(&stream) else {
                            continue;
                        };
                        let took = (now - since).as_secs_f64();
                        if is_answered {
                            load.answers.push(took);
                        } else {
                            load.refusals.push(took);
                        }
                        let Pace::Closed { is_patient, .. } = pace else {
                            continue;
                        };
                        let wait = if is_patient && !is_answered {
                            wait
                        } else {
                            Duration::ZERO
                        };
                        if now + wait < until {
                            // Those that wait do so for equally long.
                            if wait.is_zero() {
                                due.push_front(now);
                            } else {
                                due.push_back(now + wait);
                            }
                        }
                    }
                }
            }
        }
        load.seconds = begun.elapsed().as_secs_f64();
        Ok(load)
    }
}

async fn all(clients: &mut [Client], seconds: f64, pace: impl Fn(usize) -> Pace) -> Load {
    let calls = clients.iter_mut().enumerate();
    let calls = join_all(calls.map(|(index, client)| client.call(pace(index), seconds)));
    let mut all = Load::default();
    let loads = tokio::select! {
        loads = calls => loads,
        never = lag(&mut all.lags) => match never {},
    };
    for load in loads {
        let load = load.expect("answered or refused");
        all.seconds = load.seconds.max(all.seconds);
        all.answers.extend(load.answers);
        all.refusals.extend(load.refusals);
    }
    all
}

/// How much later than it should this thread comes to what it has to do.
async fn lag(lags: &mut Vec<f64>) -> Infallible {
    loop {
        let due = Instant::now() + Duration::from_millis(2);
        tokio::time::sleep_until(due.into()).await;
        lags.push(due.elapsed().as_secs_f64());
    }
}

/// So many callers, each with one call at a time; who is refused waits as it is told if it `is_patient`.
pub(crate) async fn closed(clients: &mut [Client], callers: usize, seconds: f64, is_patient: bool) -> Load {
    let connections = clients.len();
    let of = |index: usize| Pace::Closed {
        callers: callers / connections + usize::from(index < callers % connections),
        is_patient,
    };
    all(clients, seconds, of).await
}

/// So many calls a second, whether they are answered or not; what is late counts from when it was due.
pub(crate) async fn open(clients: &mut [Client], rate: f64, seconds: f64) -> Load {
    let each = rate / clients.len() as f64;
    all(clients, seconds, |_| Pace::Open(each)).await
}

/// Asks as fast as it can, on several connections, from an address of its own; for ever.
pub(crate) fn flood(address: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let from = "127.0.0.2".parse().expect("an address");
        loop {
            let mut own = clients(address, 4, Some(from)).await;
            closed(&mut own, 1_000, 3600.0, false).await;
        }
    });
}
