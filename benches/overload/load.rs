//! Callers that behave, more or less.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use greenlane::wire::pb::facilitation_service_client::FacilitationServiceClient;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::task::{JoinSet, LocalSet};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::{
    ENTERPRISES,
    support::server::{connect, request},
};

pub(crate) type Client = FacilitationServiceClient<Channel>;

/// What became of calls.
#[derive(Debug, Default)]
pub(crate) struct Load {
    seconds: f64,
    /// Seconds until each answer.
    pub(crate) answers: Vec<f64>,
    /// Seconds until each refusal.
    pub(crate) refusals: Vec<f64>,
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
    connect(address).await;
    let mut clients = Vec::new();
    for _ in 0..connections {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.local_address(from).connect().await.expect("connected");
        clients.push(FacilitationServiceClient::new(channel));
    }
    clients
}

async fn ask(mut client: Client, random: &mut StdRng) -> (f64, Result<(), Duration>) {
    let request = request(random, ENTERPRISES);
    let begun = Instant::now();
    let answered = client.decide(request).await;
    let took = begun.elapsed().as_secs_f64();
    match answered {
        Ok(_) => (took, Ok(())),
        Err(status) => {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            let told = status.get_details_retry_info().and_then(|info| info.retry_delay);
            (took, Err(told.expect("when to try again")))
        }
    }
}

/// So many callers, each with one call at a time; who is refused waits as it is told if it is `patient`.
pub(crate) async fn closed(clients: &[Client], callers: usize, seconds: f64, patient: bool) -> Load {
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(seconds);
    let mut running = JoinSet::new();
    for caller in 0..callers {
        let client = clients[caller % clients.len()].clone();
        running.spawn(async move {
            let mut random = StdRng::seed_from_u64(caller as u64);
            let mut load = Load::default();
            while Instant::now() < until {
                match ask(client.clone(), &mut random).await {
                    (took, Ok(())) => load.answers.push(took),
                    (took, Err(wait)) => {
                        load.refusals.push(took);
                        if patient {
                            tokio::time::sleep(wait).await;
                        }
                    }
                }
            }
            load
        });
    }
    let mut all = Load::default();
    while let Some(load) = running.join_next().await {
        let load = load.expect("no panic");
        all.answers.extend(load.answers);
        all.refusals.extend(load.refusals);
    }
    all.seconds = begun.elapsed().as_secs_f64();
    all
}

/// So many calls a second, whether they are answered or not; what is late counts from when it was due.
pub(crate) async fn open(clients: &[Client], rate: f64, seconds: f64) -> Load {
    let clients: Rc<[Client]> = clients.into();
    let calls = (rate * seconds) as usize;
    let local = LocalSet::new();
    let begun = Instant::now();
    local
        .run_until(async {
            let mut running = JoinSet::new();
            for call in 0..calls {
                let due = begun + Duration::from_secs_f64(call as f64 / rate);
                if due > Instant::now() {
                    tokio::time::sleep_until(due.into()).await;
                }
                let client = clients[call % clients.len()].clone();
                running.spawn_local(async move {
                    let mut random = StdRng::seed_from_u64(call as u64);
                    let (_, answered) = ask(client, &mut random).await;
                    (due.elapsed().as_secs_f64(), answered.is_ok())
                });
            }
            let mut all = Load::default();
            while let Some(ended) = running.join_next().await {
                match ended.expect("no panic") {
                    (took, true) => all.answers.push(took),
                    (took, false) => all.refusals.push(took),
                }
            }
            all.seconds = begun.elapsed().as_secs_f64();
            all
        })
        .await
}

/// Asks as fast as it can, on several connections, from an address of its own; for ever.
pub(crate) fn flood(address: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let own = clients(address, 4, Some("127.0.0.2".parse().expect("an address"))).await;
        loop {
            closed(&own, 1_000, 3600.0, false).await;
        }
    });
}
