//! Shipments without a server: replicas on one store, whatever happens in whatever order.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use greenlane::{
    app::{settings::Settings, source_settings},
    domain::{
        CreditTier,
        decision::Lane,
        identifier::DeclarationNumber,
        order::{ControlOrder, OrderBasis, OrderKind, Selectors},
    },
    facilitation::{Facilitation, Moment},
    metrics::Metrics,
    registry::{Change, Keyed},
    shipments::{
        Ended, Event, Keeper, Key, Limits, NewDecision, Saving, Shipments, View, Watch, WatchLimits,
        shipment::Inspected,
    },
    upstream::{
        shipments::{ShipmentFeed, ShipmentStore},
        source::SourceSettings,
        status::FeedStatus,
    },
    wire::{pb, validate, violations::Violations},
};
use jiff::Timestamp;
use proptest::{collection::vec, prelude::*};
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use uuid::Uuid;

use crate::support::{
    app::SECRET,
    cases, eventually,
    replica::{self, enterprise},
    requests::import,
};

/// Three firms, of which the first is the one whose rights change most.
const FIRMS: [&str; 3] = ["4403180001", "4403180002", "4403180003"];
const CONTAINERS: [&str; 2] = ["CSQU3054383", "MSCU6639870"];
const HEARTBEAT: Duration = Duration::from_millis(20);

/// A replica: its own registry, its own memory, a store that others share.
struct Replica {
    shipments: Arc<Shipments>,
    facilitation: Arc<Facilitation>,
    feed: Arc<FeedStatus>,
    keeper: Mutex<Keeper>,
    sequence: Mutex<u64>,
}

impl Replica {
    fn start(store: &SourceSettings, running: &mut JoinSet<()>, stop: &watch::Receiver<bool>) -> Self {
        let tiers = [
            CreditTier::AdvancedCertified,
            CreditTier::Regular,
            CreditTier::Discredited,
        ];
        let rows: Vec<_> = FIRMS
            .iter()
            .zip(tiers)
            .map(|(code, tier)| enterprise(code, tier))
            .collect();
        let facilitation = Arc::new(replica::Replica::new(SECRET, &rows).facilitation);
        let feed = Arc::new(FeedStatus::new("sqlite"));
        feed.clock.confirm(Instant::now(), SystemTime::now());
        let metrics = Arc::new(Metrics::default());
        let limits = Limits {
            max_bytes: 1 << 20,
            max_containers: 100,
            max_unsaved: 1000,
            served: true,
            from_log: false,
            watches: WatchLimits {
                watches: 100,
                stall: Duration::from_mins(1),
                heartbeat: HEARTBEAT,
            },
        };
        let (asks, lookups) = mpsc::channel(16);
        let shipments = Shipments::new(
            Arc::clone(&facilitation),
            Arc::clone(&feed),
            metrics,
            limits,
            asks,
        );
        let saving = Saving {
            shipments: Arc::clone(&shipments),
            store: ShipmentStore::open(store).unwrap(),
            asked: ShipmentStore::open(store).unwrap(),
            feed: ShipmentFeed::open(store, 1000).unwrap(),
            lookups,
            log: None,
            retention: Duration::ZERO,
        };
        let stop = stop.clone();
        running.spawn(async move { drop(Box::pin(saving.run(stop)).await) });
        Self {
            keeper: Mutex::new(Keeper::new(Arc::clone(&shipments))),
            sequence: Mutex::new(FIRMS.len() as u64),
            shipments,
            facilitation,
            feed,
        }
    }

    fn decide(&self, request: &pb::DecideRequest) {
        let bytes = Bytes::from(request.encode_to_vec());
        let declaration = validate::declaration(request, &mut Violations::default()).unwrap();
        let moment = Moment::now();
        let decided = self.facilitation.decide(
            &declaration,
            moment.timestamp,
            &self.feed.clock,
            &moment,
            |outcome| NewDecision::of(&declaration, &bytes, Uuid::from_u128(rand::random()), &outcome),
        );
        self.shipments.decided(decided.unwrap().unwrap());
    }

    fn commit(&self, change: Change) {
        let mut sequence = self.sequence.lock().unwrap();
        *sequence += 1;
        let generation = self.facilitation.registry().current().unwrap();
        generation.commit(std::slice::from_ref(&change), *sequence, None);
        self.shipments.committed(&[change]);
    }

    fn keep(&self) {
        self.keeper.lock().unwrap().step(&Moment::now());
    }

    async fn get(&self, keys: &[Key]) -> Vec<Option<View>> {
        let found = self.shipments.get(keys).await;
        found
            .into_iter()
            .map(|found| found.expect("the store answers"))
            .collect()
    }
}

fn keys() -> Vec<Key> {
    let declarations =
        (0..3).map(|number| Key::Declaration(request(number, 0, 0).declaration_number.parse().unwrap()));
    let containers = CONTAINERS
        .iter()
        .map(|number| Key::Container(number.parse().unwrap()));
    declarations.chain(containers).collect()
}

/// Which containers are on it is a bit each.
fn request(number: u32, firm: usize, containers: usize) -> pb::DecideRequest {
    let on_it = CONTAINERS
        .iter()
        .enumerate()
        .filter(|(bit, _)| containers >> bit & 1 == 1);
    pb::DecideRequest {
        container_numbers: on_it.map(|(_, number)| (*number).to_owned()).collect(),
        ..import(number + 1, FIRMS[firm])
    }
}

fn order(id: usize, kind: OrderKind, selectors: Selectors) -> Change {
    let order = ControlOrder {
        id: format!("order-{id}"),
        kind,
        basis: OrderBasis::Targeted,
        selectors,
        valid_from: "2026-01-01T00:00:00Z".parse().unwrap(),
        valid_to: None,
        legal_basis: String::new(),
        public_reason: String::new(),
        confidential_reason: None,
    };
    Change {
        key: order.id.clone(),
        row: Keyed::Order(Arc::new(order)),
        unreadable: None,
    }
}

/// What may happen.
#[derive(Debug, Clone)]
enum Happening {
    Decide {
        replica: usize,
        number: u32,
        firm: usize,
        containers: usize,
    },
    Tier {
        firm: usize,
        tier: usize,
        suspended: bool,
    },
    Order {
        id: usize,
        kind: usize,
        container: usize,
        by: usize,
    },
    OrderGone {
        id: usize,
    },
    Inspect {
        replica: usize,
        number: u32,
        discrepancy_found: bool,
        documents_only: bool,
    },
    Keep {
        replica: usize,
    },
    Read {
        watcher: usize,
        events: usize,
    },
    Reconnect {
        watcher: usize,
        replica: usize,
        forgets: bool,
    },
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::{Decide, Inspect, Keep, Order, OrderGone, Read, Reconnect, Tier};
    prop_oneof![
        4 => (0..2_usize, 0..3_u32, 0..3_usize, 0..4_usize).prop_map(|(replica, number, firm, containers)|
            Decide { replica, number, firm, containers }),
        3 => (0..3_usize, 0..5_usize, any::<bool>()).prop_map(|(firm, tier, suspended)| Tier { firm, tier, suspended }),
        2 => (0..2_usize, 0..3_usize, 0..2_usize, 0..4_usize).prop_map(|(id, kind, container, by)|
            Order { id, kind, container, by }),
        1 => (0..2_usize).prop_map(|id| OrderGone { id }),
        2 => (0..2_usize, 0..3_u32, any::<bool>(), any::<bool>()).prop_map(
            |(replica, number, discrepancy_found, documents_only)|
            Inspect { replica, number, discrepancy_found, documents_only }),
        2 => (0..2_usize).prop_map(|replica| Keep { replica }),
        4 => (0..2_usize, 0..6_usize).prop_map(|(watcher, events)| Read { watcher, events }),
        2 => (0..2_usize, 0..2_usize, any::<bool>()).prop_map(|(watcher, replica, forgets)|
            Reconnect { watcher, replica, forgets }),
    ]
}

/// Somebody who watches everything, and what they believe.
struct Watcher {
    at: usize,
    watch: Watch,
    token: String,
    believes: BTreeMap<String, View>,
    /// Revisions, since they connected.
    told: BTreeMap<DeclarationNumber, u64>,
}

impl Watcher {
    async fn connect(replicas: &[Replica; 2], at: usize, token: &str) -> Watch {
        replicas[at]
            .shipments
            .watch(keys(), token)
            .await
            .expect("watched")
    }

    /// Gives whether everything was told.
    async fn read(&mut self) -> bool {
        match self.watch.next().await {
            Event::Shipment { view, token } => {
                // Of two replicas, one may not have heard of the other's yet.
                let told = self.told.insert(view.declaration_number, view.revision);
                assert!(told <= Some(view.revision), "a revision fell: {told:?} {view:?}");
                self.believes.insert(view.declaration_number.to_string(), *view);
                self.token = token;
                false
            }
            Event::Heartbeat { token } => {
                self.token = token;
                true
            }
            Event::Ended { why, .. } => panic!("ended: {why:?}"),
        }
    }
}

async fn happen(happening: &Happening, replicas: &[Replica; 2], watchers: &mut [Watcher; 2]) {
    match *happening {
        Happening::Decide {
            replica,
            number,
            firm,
            containers,
        } => {
            replicas[replica].decide(&request(number, firm, containers));
        }
        Happening::Tier {
            firm,
            tier,
            suspended,
        } => {
            let mut change = enterprise(FIRMS[firm], CreditTier::ALL[tier]);
            if let Keyed::Enterprise(row) = &mut change.row {
                row.credit.suspended = suspended;
            }
            for replica in replicas {
                replica.commit(change.clone());
            }
        }
        Happening::Order {
            id,
            kind,
            container,
            by,
        } => {
            let mut selectors = Selectors::default();
            match by {
                0 => selectors.container_number = Some(CONTAINERS[container].parse().unwrap()),
                1 => selectors.enterprise_id = Some(FIRMS[container].parse().unwrap()),
                2 => selectors.customs_office = Some("2225".parse().unwrap()),
                _ => selectors.hs_prefix = Some("8471".parse().unwrap()),
            }
            let change = order(id, OrderKind::ALL[kind], selectors);
            for replica in replicas {
                replica.commit(change.clone());
            }
        }
        Happening::OrderGone { id } => {
            let change = Change {
                key: format!("order-{id}"),
                row: Keyed::OrderGone,
                unreadable: None,
            };
            for replica in replicas {
                replica.commit(change.clone());
            }
        }
        Happening::Inspect {
            replica,
            number,
            discrepancy_found,
            documents_only,
        } => {
            let number = request(number, 0, 0).declaration_number.parse().unwrap();
            let inspected = Inspected {
                inspected_at: Timestamp::now(),
                discrepancy_found,
                documents_only,
            };
            // Whether it was decided before is part of what happens.
            replicas[replica]
                .shipments
                .inspect(number, inspected)
                .await
                .expect("the store answers");
        }
        Happening::Keep { replica } => replicas[replica].keep(),
        Happening::Read { watcher, events } => {
            for _ in 0..events {
                if watchers[watcher].read().await {
                    break;
                }
            }
        }
        Happening::Reconnect {
            watcher,
            replica,
            forgets,
        } => {
            let own = &mut watchers[watcher];
            if forgets {
                own.believes.clear();
                own.token.clear();
            }
            own.watch = Watcher::connect(replicas, replica, &own.token).await;
            own.at = replica;
            own.told.clear();
        }
    }
}

/// What both replicas say once nothing is on its way any more.
async fn settled(replicas: &[Replica; 2]) -> Vec<Option<View>> {
    let keys = keys();
    let all_the_same = async || {
        replicas.iter().for_each(Replica::keep);
        let unsaved: usize = replicas
            .iter()
            .map(|replica| replica.shipments.counts().unsaved)
            .sum();
        let (first, second) = (replicas[0].get(&keys).await, replicas[1].get(&keys).await);
        (unsaved == 0 && first == second).then_some(first)
    };
    eventually(
        "both replicas say the same",
        Duration::from_secs(20),
        all_the_same,
    )
    .await
}

async fn run(happenings: Vec<Happening>) {
    let folder = tempfile::tempdir().unwrap();
    let store = settings(folder.path());
    let (stop, stopping) = watch::channel(false);
    let mut running = JoinSet::new();
    let replicas = [(); 2].map(|()| Replica::start(&store, &mut running, &stopping));
    let mut watchers = [0, 1].map(|at| (at, String::new()));
    let mut watchers = {
        let mut connected = Vec::new();
        for (at, token) in &mut watchers {
            connected.push(Watcher {
                at: *at,
                watch: Watcher::connect(&replicas, *at, token).await,
                token: std::mem::take(token),
                believes: BTreeMap::new(),
                told: BTreeMap::new(),
            });
        }
        <[Watcher; 2]>::try_from(connected).ok().expect("two")
    };
    for happening in &happenings {
        happen(happening, &replicas, &mut watchers).await;
    }
    let truth = settled(&replicas).await;
    for watcher in &mut watchers {
        while !watcher.read().await {}
        // Told after a heartbeat that was already due.
        while !watcher.read().await {}
        for (key, fresh) in keys().iter().zip(&truth) {
            if let (Key::Declaration(number), Some(fresh)) = (key, fresh) {
                assert_eq!(
                    watcher.believes.get(number.as_str()),
                    Some(fresh),
                    "watched at {}",
                    watcher.at
                );
            }
            if let (Key::Container(_), Some(fresh)) = (key, fresh) {
                let believed = watcher.believes.get(fresh.declaration_number.as_str());
                assert_eq!(believed, Some(fresh), "the shipment that governs a container");
            }
        }
    }
    drop(watchers);
    stop.send_replace(true);
    while running.join_next().await.is_some() {}
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn what_a_watcher_was_told_last_is_what_a_fresh_question_is_answered(
        happenings in vec(happening(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(happenings));
    }
}

fn settings(folder: &Path) -> SourceSettings {
    let mut settings = Settings::default();
    settings.server.data_dir = folder.to_owned();
    source_settings(&settings)
}

/// A replica on a store of its own, for as long as `work` takes.
async fn alone<T>(work: impl AsyncFnOnce(&Replica) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let store = settings(folder.path());
    let (stop, stopping) = watch::channel(false);
    let mut running = JoinSet::new();
    let replica = Replica::start(&store, &mut running, &stopping);
    let done = work(&replica).await;
    stop.send_replace(true);
    while running.join_next().await.is_some() {}
    done
}

fn inspected(seconds_ago: i64, discrepancy_found: bool, documents_only: bool) -> Inspected {
    Inspected {
        inspected_at: Timestamp::now() - jiff::SignedDuration::from_secs(seconds_ago),
        discrepancy_found,
        documents_only,
    }
}

#[tokio::test]
async fn an_inspection_clears_what_it_was_of_and_no_more() {
    alone(async |replica| {
        let request = request(0, 1, 1);
        let number = request.declaration_number.parse().unwrap();
        let view = async || {
            replica.keep();
            replica
                .get(&[Key::Declaration(number)])
                .await
                .pop()
                .flatten()
                .expect("decided")
        };
        let on_container = |id, kind| {
            order(
                id,
                kind,
                Selectors {
                    container_number: Some(CONTAINERS[0].parse().unwrap()),
                    ..Selectors::default()
                },
            )
        };
        replica.commit(on_container(1, OrderKind::Inspect));
        replica.decide(&request);
        let red = view().await;
        assert_eq!(
            (red.lane, red.hold, red.revoked, red.revision),
            (Lane::Red, true, false, 1)
        );

        replica
            .shipments
            .inspect(number, inspected(9, false, true))
            .await
            .unwrap();
        assert!(
            view().await.hold,
            "documents do not stand for goods that are to be opened"
        );
        replica
            .shipments
            .inspect(number, inspected(8, true, false))
            .await
            .unwrap();
        assert!(view().await.hold, "something was found");
        replica
            .shipments
            .inspect(number, inspected(7, false, false))
            .await
            .unwrap();
        let cleared = view().await;
        assert_eq!((cleared.lane, cleared.hold), (Lane::Red, false));
        replica
            .shipments
            .inspect(number, inspected(8, true, false))
            .await
            .unwrap();
        assert_eq!(view().await, cleared, "an inspection before the last one is past");

        replica.decide(&request);
        let again = view().await;
        assert!(
            !again.hold,
            "decided again, with the same outcome, it stays cleared"
        );
        assert!(again.revision > cleared.revision);

        replica.commit(on_container(2, OrderKind::Inspect));
        let ordered = view().await;
        assert_eq!(
            (ordered.lane, ordered.hold, ordered.revoked),
            (Lane::Red, true, true),
            "an order that came after"
        );
        replica
            .shipments
            .inspect(number, inspected(5, false, false))
            .await
            .unwrap();
        let cleared = view().await;
        assert_eq!((cleared.hold, cleared.revoked), (false, false));
        replica.commit(on_container(2, OrderKind::Hold));
        let held = view().await;
        assert_eq!((held.lane, held.hold, held.revoked), (Lane::Manual, true, true));
    })
    .await;
}

#[tokio::test]
async fn a_token_of_another_life_or_for_other_keys_tells_everything_and_none_is_taken_for_one() {
    alone(async |replica| {
        replica.decide(&request(0, 0, 0));
        replica.decide(&request(1, 0, 0));
        let told = async |keys: Vec<Key>, token: &str| {
            let mut watch = replica.shipments.watch(keys, token).await.expect("watched");
            let mut told = Vec::new();
            loop {
                match watch.next().await {
                    Event::Shipment { view, .. } => told.push(view.declaration_number.to_string()),
                    Event::Heartbeat { token } => return (told, token),
                    Event::Ended { .. } => panic!("ended"),
                }
            }
        };
        let keys = keys();
        let (all, token) = told(keys.clone(), "").await;
        assert_eq!(all.len(), 2);
        assert_eq!(
            told(keys.clone(), &token).await.0,
            Vec::<String>::new(),
            "nothing changed"
        );
        let mut turned = keys.clone();
        turned.reverse();
        assert_eq!(
            told(turned, &token).await.0.len(),
            0,
            "the same keys in another order"
        );
        assert_eq!(told(keys[..2].to_vec(), &token).await.0.len(), 2, "other keys");
        alone(async |other| {
            other.decide(&request(0, 0, 0));
            let mut watch = other
                .shipments
                .watch(keys.clone(), &token)
                .await
                .expect("watched");
            assert!(
                matches!(watch.next().await, Event::Shipment { .. }),
                "another replica"
            );
        })
        .await;
        for none in ["x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            let refused = replica.shipments.watch(keys.clone(), none).await;
            assert!(refused.is_err(), "{none}");
        }
    })
    .await;
}

#[tokio::test]
async fn watches_end_when_the_replica_stops_and_the_token_still_resumes() {
    alone(async |replica| {
        replica.decide(&request(0, 0, 0));
        let mut watch = replica.shipments.watch(keys(), "").await.expect("watched");
        assert!(matches!(watch.next().await, Event::Shipment { .. }));
        replica.shipments.end_watches();
        let Event::Ended { why, token } = watch.next().await else {
            panic!("it goes on");
        };
        assert_eq!(why, Ended::Draining);
        let mut again = replica
            .shipments
            .watch(keys(), &token)
            .await
            .expect("the token is one");
        assert!(matches!(
            again.next().await,
            Event::Ended {
                why: Ended::Draining,
                ..
            }
        ));
    })
    .await;
}
