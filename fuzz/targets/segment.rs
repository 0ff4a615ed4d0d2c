//! Files of an audit log, of which one is not as it was written. What is verified is what was signed.
//!
//! The first byte says which file the rest is: 0 the sealed segment, 1 the one that is written, 2 the index of the first, 3 a proof
//! by itself. With 4 added, a writer goes on with the log.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use greenlane::{
    audit::{
        frame::{self, Hash},
        group::NewGroup,
        head::SignedHead,
        index::{Key, SegmentIndex},
        prove::{Proof, prove},
        read::{LogReader, SegmentReader},
        seal::seal,
        segment::{self, ReplicaName},
        signing::SigningKey,
        verify::{HeadText, verify},
        writer::{FullSegment, Head, WriteError, Writer, WriterSettings},
    },
    wire::{convert, pb},
};
use prost::Message as _;

use super::{Seed, replay};
use crate::world::{DECISION_ID, now};

const REPLICA: &str = "kh-1-0f0f0f0f";
/// When groups were written, in nanoseconds since 1970.
const WRITTEN_AT: i64 = 1_795_399_200_000_000_000;
/// No group fits behind another one.
const FULL_AT_ONCE: u64 = 1;
const GOES_ON: u8 = 4;

/// A log of two segments, the first of them sealed, as it was written.
struct Genuine {
    directory: PathBuf,
    public_key: Hash,
    /// Every file of it.
    files: Vec<(PathBuf, Vec<u8>)>,
    segments: Vec<Kept>,
    head: (String, Vec<u8>),
    opening: Vec<Vec<u8>>,
}

/// One segment of it.
struct Kept {
    path: PathBuf,
    leaves: Vec<Hash>,
}

static LOG: LazyLock<Genuine> = LazyLock::new(Genuine::new);

pub(crate) fn run(data: &[u8]) -> bool {
    let Some((&kind, bytes)) = data.split_first() else {
        return false;
    };
    match kind % GOES_ON {
        2 => LOG.indexed(bytes),
        3 => LOG.proven(bytes),
        at => LOG.replaced(at.into(), bytes, kind & GOES_ON != 0),
    }
}

impl Genuine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let key = signing_key(&folder.join("signing.key"));
        let directory = folder.join("audit");
        let full = Arc::new(Mutex::new(Vec::new()));
        let opening = opening(&key);
        let mut log = writer(&directory, &opening, 1 << 20, Arc::clone(&full));
        let decisions: Vec<_> = replay::records()
            .into_iter()
            .map(|(_, record)| record)
            .take(4)
            .collect();
        for group in decisions.chunks(2) {
            append(&mut log, group).expect("written");
        }
        drop(log);
        let mut writer = writer(&directory, &opening, FULL_AT_ONCE, Arc::clone(&full));
        append(&mut writer, &others()).expect("written");
        let Head {
            sequence,
            chain,
            segment,
            ..
        } = writer.head();
        drop(writer);
        let full = full.lock().expect("nobody panics");
        let [first] = full.as_slice() else {
            panic!("{} full segments, head {sequence} in {segment}", full.len());
        };
        seal(first, Hash::default(), &key, now()).expect("sealed");
        let head = SignedHead {
            replica: REPLICA.to_owned(),
            sequence,
            chain,
            at: now(),
            public_key: key.public_key(),
        };
        let (text, signature) = head.sign(&key);
        let kept = |first| {
            let path = segment::path(&directory, first);
            Kept {
                leaves: leaves(&path),
                path,
            }
        };
        Self {
            public_key: key.public_key(),
            files: files(&directory),
            segments: vec![kept(first.header.first_sequence), kept(segment)],
            head: (text, signature.to_vec()),
            directory,
            opening,
        }
    }

    /// Verifies and reads the log with other bytes in place of one segment.
    fn replaced(&self, at: usize, bytes: &[u8], goes_on: bool) -> bool {
        let Kept {
            path,
            leaves: genuine,
        } = &self.segments[at];
        fs::write(path, bytes).expect("written");
        let (text, signature) = &self.head;
        let head = HeadText {
            text: text.as_bytes(),
            signature,
        };
        let report =
            verify(&self.directory, &[self.public_key], Some(head), &|_| {}).expect("readable files");
        if report.is_good() {
            // Behind the head others may have been written since.
            let found = leaves(path);
            assert_eq!(found.get(..genuine.len()), Some(genuine.as_slice()));
            assert!(at == 1 || found.len() == genuine.len());
        }
        if goes_on {
            self.read();
            self.go_on();
            self.restore();
        } else {
            index(path);
            let _may_not_be_there = fs::remove_file(path.with_extension("index"));
            let (_, bytes) = self.files.iter().find(|(own, _)| own == path).expect("a segment");
            fs::write(path, bytes).expect("written");
        }
        report.is_good()
    }

    /// Reads what can be read.
    fn read(&self) {
        let groups = LogReader::open(&self.directory, 0).expect("a directory");
        for group in groups.map_while(Result::ok) {
            assert!(group.records().count() >= group.decoded().count());
            assert!(group.leaves().len() <= group.payload.len());
        }
    }

    /// A writer cuts what is torn and goes on; what it writes can be read.
    fn go_on(&self) {
        let Ok(mut writer) = Writer::open(settings(&self.directory, FULL_AT_ONCE), Box::new(drop)) else {
            return;
        };
        writer.set_opening(self.opening.clone());
        let before = writer.head();
        let record = pb::AuditRecord::default().encode_to_vec();
        if append(&mut writer, std::slice::from_ref(&record)).is_err() {
            return;
        }
        let head = writer.head();
        assert!(head.sequence > before.sequence, "{before:?} {head:?}");
        let read = leaves(&segment::path(&self.directory, head.segment));
        assert_eq!(read.last(), Some(&frame::leaf(&record)));
    }

    /// An index is only a guide: whatever it says, what is found by it is looked at.
    fn indexed(&self, bytes: &[u8]) -> bool {
        let Kept { path, leaves } = &self.segments[0];
        let place = path.with_extension("index");
        fs::write(&place, bytes).expect("written");
        let taken = SegmentIndex::open(&place).is_ok_and(|index| look_up(&index));
        if let Ok(proof) = prove(&self.directory, DECISION_ID) {
            let proven = proof.check(&[self.public_key]).expect("its own proof");
            let leaf = frame::leaf(&hex::decode(&proof.record).expect("hex"));
            assert!(leaves.contains(&leaf), "{proven:?}");
        }
        fs::remove_file(&place).expect("it was there");
        taken
    }

    /// A proof proves nothing but what was sealed.
    fn proven(&self, text: &[u8]) -> bool {
        let Ok(proof) = serde_json::from_slice::<Proof>(text) else {
            return false;
        };
        if proof.check(&[self.public_key]).is_err() {
            return false;
        }
        let leaf = frame::leaf(&hex::decode(&proof.record).expect("hex"));
        let at = usize::try_from(proof.leaf_index).expect("small");
        assert_eq!(self.segments[0].leaves.get(at), Some(&leaf));
        true
    }

    /// The log as it was written.
    fn restore(&self) {
        for entry in fs::read_dir(&self.directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if !self.files.iter().any(|(own, _)| *own == path) {
                fs::remove_file(path).expect("removed");
            }
        }
        for (path, bytes) in &self.files {
            fs::write(path, bytes).expect("written");
        }
    }
}

fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(path).expect("readable")))
        .collect()
}

fn settings(directory: &Path, segment_bytes: u64) -> WriterSettings {
    WriterSettings {
        directory: directory.to_owned(),
        replica: ReplicaName::from(REPLICA).expect("short enough"),
        segment_bytes,
        sync: false,
    }
}

fn writer(
    directory: &Path,
    opening: &[Vec<u8>],
    segment_bytes: u64,
    full: Arc<Mutex<Vec<FullSegment>>>,
) -> Writer {
    let take = move |segment| full.lock().expect("nobody panics").push(segment);
    let mut writer = Writer::open(settings(directory, segment_bytes), Box::new(take)).expect("a log");
    writer.set_opening(opening.to_vec());
    writer
}

fn append(writer: &mut Writer, records: &[Vec<u8>]) -> Result<u64, WriteError> {
    writer.append(&mut NewGroup::of(records), WRITTEN_AT)
}

/// Records of which none is a decision.
fn others() -> Vec<Vec<u8>> {
    use pb::audit_record::Entry;
    let at = Some(convert::instant(now()));
    let inspection = pb::InspectionEntry {
        decision_id: DECISION_ID.to_owned(),
        declaration_number: "222520261000000001".to_owned(),
        inspected_at: at,
        discrepancy_found: true,
        ..pb::InspectionEntry::default()
    };
    let unlogged = pb::UnloggedDecisions {
        decisions: 7,
        from: at,
        to: at,
    };
    let entries = [Entry::Inspection(inspection), Entry::Unlogged(unlogged)];
    entries.map(|entry| encoded(at, entry)).into()
}

fn encoded(recorded_at: Option<prost_types::Timestamp>, entry: pb::audit_record::Entry) -> Vec<u8> {
    let record = pb::AuditRecord {
        recorded_at,
        entry: Some(entry),
    };
    record.encode_to_vec()
}

/// The records with which segments begin.
fn opening(key: &SigningKey) -> Vec<Vec<u8>> {
    use pb::audit_record::Entry;
    let opened = pb::LogOpened {
        replica: REPLICA.to_owned(),
        public_key: key.public_key().to_vec(),
        ..pb::LogOpened::default()
    };
    let entries = [
        Entry::Opened(opened),
        Entry::Activation(pb::PolicyActivation::default()),
    ];
    entries.map(|entry| encoded(None, entry)).into()
}

/// A key that signs nothing but the log here: PKCS#8 (RFC 8410) with 32 bytes that everybody knows.
fn signing_key(path: &Path) -> SigningKey {
    let mut key = hex::decode("302e020100300506032b657004220420").expect("hex");
    key.extend([7; 32]);
    let label = "PRIVATE KEY";
    let text = format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(key)
    );
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("written");
    SigningKey::load(path).expect("a key")
}

/// The leaf hashes of a segment, as far as it can be read.
fn leaves(path: &Path) -> Vec<Hash> {
    let Ok(mut reader) = SegmentReader::open(path) else {
        return Vec::new();
    };
    let groups = std::iter::from_fn(|| reader.next_group().ok().flatten());
    groups.flat_map(|group| group.leaves()).collect()
}

/// Makes the index of a segment, and looks things up in it.
fn index(segment: &Path) {
    if let Ok(index) = SegmentIndex::build(segment) {
        assert!(look_up(&index), "an index that was just made");
    }
}

fn look_up(index: &SegmentIndex) -> bool {
    let keys = [
        Key::Decision(DECISION_ID),
        Key::Declaration("222520261000000001"),
        Key::Enterprise("1101919103"),
    ];
    let mut whole = true;
    for key in keys {
        match index.find(key) {
            Ok(numbers) => {
                let mut numbers = numbers.into_iter();
                whole &= numbers.all(|number| matches!(index.record(number), Ok(Some(_))));
            }
            Err(_) => whole = false,
        }
    }
    let mut count = 0;
    let each = index.each_record(|number, _| {
        assert_eq!(number, count);
        count += 1;
    });
    whole && each.is_ok() && count as usize == index.len()
}

pub(crate) fn seeds() -> Vec<Seed> {
    let of = |kind: u8, bytes: &[u8]| [&[kind][..], bytes].concat();
    let [first, second] = LOG.segments.as_slice() else {
        return Vec::new();
    };
    let (sealed, open) = (
        fs::read(&first.path).expect("readable"),
        fs::read(&second.path).expect("readable"),
    );
    SegmentIndex::build(&first.path).expect("an index");
    let index = fs::read(first.path.with_extension("index")).expect("readable");
    let proof = prove(&LOG.directory, DECISION_ID).expect("a proof");
    LOG.restore();
    vec![
        ("sealed".to_owned(), of(0, &sealed)),
        ("open".to_owned(), of(1, &open)),
        ("open-goes-on".to_owned(), of(1 + GOES_ON, &open)),
        ("open-torn".to_owned(), of(1 + GOES_ON, &open[..open.len() - 100])),
        (
            "sealed-torn".to_owned(),
            of(GOES_ON, &sealed[..sealed.len() - 100]),
        ),
        ("index".to_owned(), of(2, &index)),
        (
            "proof".to_owned(),
            of(3, &serde_json::to_vec(&proof).expect("JSON")),
        ),
    ]
}
