//! Seals segments as they become full, beside the writer and never in its way. What else is made of a sealed segment has a
//! thread of its own: it takes longer, may come later, and must not keep the next seal waiting.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::{
    frame::Hash,
    index::notes::SegmentNotes,
    read::{ReadError, SegmentReader},
    seal::{SEAL, SealError, SealedSegment, SignedSeal, seal},
    segment,
    signing::SigningKey,
    writer::{FullSegment, TakeFull},
};
use crate::background;

/// Segments that may wait with their leaves; those of others are read again.
const WAITING: usize = 4;
/// How far behind the serving threads what is made of sealed segments comes where they share a processor. Seals do not:
/// they take milliseconds, and niceness kept them waiting for all that other busy programs took.
const BEHIND: i32 = 10;
/// How long a seal gives way to calls: a replica shall not be seen with full segments that have none.
const SEAL_PATIENCE: Duration = Duration::from_millis(100);
/// So many sealed segments may wait for what is made of them before that gives way no more: a log that grows faster for
/// ever would never be caught up with.
const SEALED_WAITING: usize = 32;
/// How long it gives way else: for as long as it takes.
const SEALED_PATIENCE: Duration = Duration::from_hours(1);
/// Time after which a seal that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Sealed segments that may wait with their notes, some 5 MiB each; the others are read.
const NOTES_WAITING: usize = 2;

/// Is told of every segment that has a seal: once after it was sealed, and at start of those that were; with the notes of it,
/// where there are any. What others put beside a segment they put there, unless it is there already. Runs on a thread of its
/// own, in order, and may [give way](background::give_way).
pub type OnSealed = Box<dyn Fn(&SealedSegment, Option<SegmentNotes>) + Send>;

/// A sealed segment on its way to be told of, and its notes. What goes with them lives as long as they do.
type Told = (SealedSegment, Option<(SegmentNotes, Arc<()>)>);

/// The threads that seal the segments of one log.
#[derive(Debug)]
pub struct Sealer {
    orders: SyncSender<Order>,
    /// Segments whose first sequence is below it are full.
    full_below: Arc<AtomicU64>,
    /// The one that seals, and the one that tells of what is sealed.
    threads: [JoinHandle<()>; 2],
}

#[derive(Debug)]
enum Order {
    Full(Box<FullSegment>),
    /// Look again at what is full.
    Look,
    End,
}

impl Sealer {
    /// Starts the threads. They seal nothing before they are told what is full.
    pub fn spawn(directory: PathBuf, key: Arc<SigningKey>, on_sealed: OnSealed) -> io::Result<Self> {
        let (orders, receiver) = mpsc::sync_channel(WAITING);
        let full_below = Arc::new(AtomicU64::new(0));
        let (sealed, told) = mpsc::channel();
        let sealing = Sealing {
            directory,
            key,
            sealed,
            full_below: Arc::clone(&full_below),
            leaves: HashMap::new(),
            noted: Arc::default(),
            passed: HashSet::new(),
        };
        let start = |name: &str| thread::Builder::new().name(name.to_owned());
        let threads = [
            start("sealer").spawn(move || sealing.run(&receiver))?,
            start("sealed").spawn(move || {
                background::be_nice(BEHIND);
                tell(&told, &on_sealed);
            })?,
        ];
        Ok(Self {
            orders,
            full_below,
            threads,
        })
    }

    /// What a writer hands full segments to. Never waits: one that finds the queue full is read from its file.
    pub fn take_full(&self) -> TakeFull {
        let (orders, full_below) = (self.orders.clone(), Arc::clone(&self.full_below));
        Box::new(move |full| {
            full_below.fetch_max(full.header.first_sequence.saturating_add(1), Ordering::Release);
            // With a full queue the thread looks again anyway; without a thread the next start finds the segment.
            let _handed_on = orders.try_send(Order::Full(Box::new(full)));
        })
    }

    /// Seals what earlier runs left: every segment before the one that is being written, which begins with `active`.
    pub fn catch_up(&self, active: u64) {
        self.full_below.fetch_max(active, Ordering::Release);
        let _handed_on = self.orders.try_send(Order::Look);
    }

    /// Whether the threads live.
    pub fn is_running(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Seals what is full, tells of it and ends the threads. What cannot be sealed now is sealed at the next start.
    pub fn end(self) {
        // Fails only where the thread has ended.
        let _handed_on = self.orders.send(Order::End);
        for thread in self.threads {
            if thread.join().is_err() {
                error!("a sealing thread panicked");
            }
        }
    }
}

/// Tells of what is sealed, until nothing is sealed any more.
fn tell(sealed: &Receiver<Told>, on_sealed: &OnSealed) {
    let mut waiting = VecDeque::new();
    while let Some((next, notes)) = waiting.pop_front().or_else(|| sealed.recv().ok()) {
        waiting.extend(sealed.try_iter());
        let many = waiting.len() >= SEALED_WAITING;
        background::begin(if many { Duration::ZERO } else { SEALED_PATIENCE });
        let (notes, waiting_notes) = notes.unzip();
        on_sealed(&next, notes);
        drop(waiting_notes);
    }
}

/// What the thread works with.
struct Sealing {
    directory: PathBuf,
    key: Arc<SigningKey>,
    /// Told of what has a seal.
    sealed: Sender<Told>,
    full_below: Arc<AtomicU64>,
    /// Full segments that came with their leaves, by first sequence.
    leaves: HashMap<u64, FullSegment>,
    /// Held by all notes that wait, too.
    noted: Arc<()>,
    /// Segments that are done, or damaged.
    passed: HashSet<u64>,
}

impl Sealing {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut pending = false;
        loop {
            let order = if pending {
                orders.recv_timeout(RETRY)
            } else {
                orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let mut end = match order {
                Ok(order) => self.take(order),
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            loop {
                let full_below = self.full_below.load(Ordering::Acquire);
                // What is full by then has been handed on: whatever lies there, with its leaves, need not be read.
                for order in orders.try_iter() {
                    end |= self.take(order);
                }
                let sealed = self.seal_all(full_below);
                if let Err(problem) = &sealed
                    && !pending
                {
                    warn!(%problem, "an audit segment could not be sealed; trying again");
                }
                pending = sealed.is_err();
                if pending || self.full_below.load(Ordering::Acquire) == full_below {
                    break;
                }
            }
            if end {
                return;
            }
        }
    }

    /// Whether it is the last order.
    fn take(&mut self, order: Order) -> bool {
        if let Order::Full(full) = order {
            let first = full.header.first_sequence;
            if self.leaves.len() < WAITING && !self.passed.contains(&first) {
                self.leaves.insert(first, *full);
            }
            return false;
        }
        matches!(order, Order::End)
    }

    /// Seals in order, so that each can name the one before; stops at the first that cannot be written now.
    fn seal_all(&mut self, full_below: u64) -> Result<(), SealError> {
        let directory = self.directory.clone();
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| SealError::Io { path, error }
        };
        let segments = segment::list(&directory).map_err(at(&directory))?;
        let full = segments.partition_point(|(first, _)| *first < full_below);
        let new = segments.iter().take(full);
        for (first, path) in new
            .filter(|(first, _)| !self.passed.contains(first))
            .collect::<Vec<_>>()
        {
            let sealed = match SignedSeal::read(path).map_err(at(path))? {
                Some(signed) => signed.unverified().map(|seal| SealedSegment {
                    path: path.clone(),
                    seal,
                }),
                None => self.seal_one(*first, path)?,
            };
            let notes = self.leaves.remove(first).and_then(|full| full.notes);
            if let Some(sealed) = sealed {
                let notes = notes.filter(|_| Arc::strong_count(&self.noted) <= NOTES_WAITING);
                let notes = notes.map(|notes| (notes, Arc::clone(&self.noted)));
                // Nobody listens only where that thread has ended, which the service is told of.
                let _told = self.sealed.send((sealed, notes));
            }
            self.passed.insert(*first);
        }
        Ok(())
    }

    /// `None` where the segment is damaged: what cannot be vouched for gets no seal, and `audit verify` tells of it.
    fn seal_one(&self, first: u64, path: &Path) -> Result<Option<SealedSegment>, SealError> {
        let read;
        let full = match self.leaves.get(&first) {
            Some(full) => full,
            None => match read_full(path) {
                Ok(full) => {
                    read = full;
                    &read
                }
                Err(problem @ ReadError::Io { .. }) => return Err(problem.into()),
                Err(problem) => {
                    error!(%problem, "an audit segment is damaged and stays without a seal");
                    return Ok(None);
                }
            },
        };
        let previous = self.digest_before(first).map_err(|error| SealError::Io {
            path: path.to_owned(),
            error,
        })?;
        background::begin(SEAL_PATIENCE);
        let sealed = seal(full, previous, &self.key, Timestamp::now())?;
        info!(
            segment = first,
            records = sealed.seal.records,
            bytes = sealed.seal.bytes,
            "audit segment sealed"
        );
        Ok(Some(sealed))
    }

    /// Digest of the last seal before a segment. Segments may be gone by then, seals are not.
    fn digest_before(&self, first: u64) -> io::Result<Hash> {
        let seals = segment::list_files(&self.directory, SEAL)?;
        let before = seals.iter().rev().find(|(sequence, _)| *sequence < first);
        let signed = before.map(|(_, path)| SignedSeal::read(path)).transpose()?;
        Ok(signed.flatten().map_or(Hash::default(), |signed| signed.digest()))
    }
}

/// Reads a segment that is full, to its end, and checks that it belongs together: nothing else gets a seal.
///
/// What a failed write left behind the last group is no part of it, if the next segment goes on where that group ends.
pub fn read_full(path: &Path) -> Result<FullSegment, ReadError> {
    let mut reader = SegmentReader::open(path)?.reading_ahead();
    let header = reader.header;
    let (mut chain, mut leaves, mut length) = (header.chain_before, Vec::new(), reader.place().0);
    loop {
        match reader.next_group() {
            Ok(None) => break,
            Ok(Some(group)) => {
                let own = group.leaves();
                if own.len() as u64 != u64::from(group.header.records)
                    || group.header.chain_after(&chain, &own) != group.header.chain
                {
                    return Err(ReadError::Damaged {
                        path: path.to_owned(),
                        offset: group.offset,
                        sequence: group.header.first_sequence,
                        what: "its chain is another",
                    });
                }
                chain = group.header.chain;
                length = group.end();
                leaves.extend(own);
            }
            Err(damage @ ReadError::Damaged { .. }) => {
                let (_, next_sequence) = reader.place();
                let next = SegmentReader::open(&path.with_file_name(segment::name(next_sequence)));
                // Where nothing was read yet, that is this segment itself.
                if !leaves.is_empty() && next.is_ok_and(|next| next.header.chain_before == chain) {
                    break;
                }
                return Err(damage);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(FullSegment {
        path: path.to_owned(),
        header,
        length,
        leaves,
        chain,
        notes: None,
    })
}
