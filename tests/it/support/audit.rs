//! Logs written by the library's own writer, taken apart and put together again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use greenlane::{
    audit::{
        frame::{self, GroupHeader, Hash, push_record},
        group::NewGroup,
        head::SignedHead,
        read::SegmentReader,
        sealer::{OnSealed, Sealer},
        segment::{self, ReplicaName, SegmentHeader},
        signing::SigningKey,
        verify::{HeadText, Report, verify},
        writer::{Head, Writer, WriterSettings},
    },
    wire::pb::{self, audit_record::Entry},
};
use prost::Message as _;
use tempfile::TempDir;

pub(crate) const REPLICA: &str = "greenlane-0-5eed5eed";

/// A log in a folder of its own.
pub(crate) struct Log {
    pub(crate) folder: TempDir,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) head: Head,
}

/// The record of the decision of that number.
pub(crate) fn decision(number: u64) -> pb::AuditRecord {
    let declaration = format!("222520261{number:09}");
    pb::AuditRecord {
        recorded_at: Some(prost_types::Timestamp {
            seconds: 1_790_000_000 + i64::try_from(number).unwrap(),
            nanos: 5,
        }),
        entry: Some(Entry::Decision(pb::DecisionEntry {
            request: Some(super::requests::import(
                u32::try_from(number).unwrap(),
                &format!("31{:08}", number % 7),
            )),
            decision: Some(pb::Decision {
                decision_id: decision_id(number),
                declaration_number: declaration,
                lane: i32::try_from(number % 5).unwrap() + 1,
                decided_at: Some(prost_types::Timestamp {
                    seconds: 1_790_000_000 + i64::try_from(number).unwrap(),
                    nanos: 0,
                }),
                ..pb::Decision::default()
            }),

            caller: "anonymous".to_owned(),
            ..pb::DecisionEntry::default()
        })),
    }
}

pub(crate) fn decision_id(number: u64) -> String {
    format!("0190a000-0000-7000-8000-{number:012x}")
}

/// What every segment begins with.
pub(crate) fn opening(public_key: &Hash) -> Vec<Vec<u8>> {
    let entries = [
        Entry::Opened(pb::LogOpened {
            replica: REPLICA.to_owned(),
            program: "1".to_owned(),
            public_key: public_key.to_vec(),
        }),
        Entry::Activation(pb::PolicyActivation::default()),
    ];
    let records = entries.into_iter().map(|entry| pb::AuditRecord {
        recorded_at: Some(prost_types::Timestamp::default()),
        entry: Some(entry),
    });
    records.map(|record| record.encode_to_vec()).collect()
}

/// A group with room for its header, and its leaves.
fn group(records: &[Vec<u8>]) -> (Vec<u8>, Vec<Hash>) {
    let mut group = vec![0; frame::HEADER];
    let leaves = records
        .iter()
        .map(|record| push_record(&mut group, |buffer| buffer.extend(record)))
        .collect();
    (group, leaves)
}

impl Log {
    /// A log of so many decisions, in groups of 1 to 4, with segments of so many bytes; all but the last are sealed.
    pub(crate) fn write(decisions: u64, segment_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = Arc::new(SigningKey::load_or_make(&folder.path().join("signing.key")).unwrap());
        let mut log = Self {
            folder,
            key,
            head: Head {
                sequence: 0,
                chain: Hash::default(),
                segment: 1,
                offset: 0,
            },
        };
        log.append(0..decisions, segment_bytes);
        log
    }

    /// Opens the log and appends more.
    pub(crate) fn append(&mut self, numbers: std::ops::Range<u64>, segment_bytes: u64) {
        self.append_telling(numbers, segment_bytes, Box::new(|_, _| {}));
    }

    /// The same, and tells of what is sealed.
    pub(crate) fn append_telling(
        &mut self,
        numbers: std::ops::Range<u64>,
        segment_bytes: u64,
        on_sealed: OnSealed,
    ) {
        let directory = self.path();
        let sealer = Sealer::spawn(directory.to_owned(), Arc::clone(&self.key), on_sealed).unwrap();
        let settings = WriterSettings {
            directory: directory.to_owned(),
            replica: ReplicaName::from(REPLICA).unwrap(),
            segment_bytes,
            sync: false,
        };
        let mut writer = Writer::open(settings, sealer.take_full()).unwrap();
        writer.set_opening(opening(&self.key.public_key()));
        sealer.catch_up(writer.head().segment);
        let mut numbers = numbers.peekable();
        let mut size = 0;
        while numbers.peek().is_some() {
            size = size % 4 + 1;
            let records: Vec<_> = numbers
                .by_ref()
                .take(size)
                .map(|number| decision(number).encode_to_vec())
                .collect();
            writer
                .append(&mut NewGroup::of(&records), 1_790_000_000_000_000_000)
                .unwrap();
        }
        self.head = writer.head();
        sealer.end();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn segments(&self) -> Vec<(u64, PathBuf)> {
        segment::list(self.path()).unwrap()
    }

    /// The signed head of what was written.
    pub(crate) fn signed_head(&self) -> (String, [u8; 64]) {
        let head = SignedHead {
            replica: REPLICA.to_owned(),
            sequence: self.head.sequence,
            chain: self.head.chain,
            at: "2026-11-24T12:00:00Z".parse().unwrap(),
            public_key: self.key.public_key(),
        };
        head.sign(&self.key)
    }

    pub(crate) fn verify(&self) -> Report {
        verify(self.path(), &[self.key.public_key()], None, &|_| {}).unwrap()
    }

    pub(crate) fn verify_with_head(&self) -> Report {
        let (text, signature) = self.signed_head();
        let head = HeadText {
            text: text.as_bytes(),
            signature: &signature,
        };
        verify(self.path(), &[self.key.public_key()], Some(head), &|_| {}).unwrap()
    }

    /// A copy of the files, so that something can be done to it.
    pub(crate) fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        Self {
            folder,
            key: Arc::clone(&self.key),
            head: self.head,
        }
    }
}

/// A segment taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) header: SegmentHeader,
    pub(crate) groups: Vec<(GroupHeader, Vec<Vec<u8>>)>,
}

impl Parts {
    pub(crate) fn read(path: &Path) -> Self {
        let mut reader = SegmentReader::open(path).unwrap();
        let mut groups = Vec::new();
        while let Some(group) = reader.next_group().unwrap() {
            let records = group
                .records()
                .map(|(_, record)| record.unwrap().to_vec())
                .collect();
            groups.push((group.header, records));
        }
        Self {
            header: reader.header,
            groups,
        }
    }

    /// The file of these groups: lengths and checksums are made anew, and with `chain` the chain too, so that the segment by
    /// itself has nothing wrong.
    pub(crate) fn to_bytes(&self, chain: bool) -> Vec<u8> {
        let mut bytes = self.header.to_bytes().to_vec();
        let mut before = self.header.chain_before;
        let mut sequence = self.header.first_sequence;
        for (header, records) in &self.groups {
            let (group, leaves) = group(records);
            let payload = &group[frame::HEADER..];
            let header = GroupHeader {
                length: u32::try_from(payload.len()).unwrap(),
                records: u32::try_from(records.len()).unwrap(),
                payload_crc: crc32fast::hash(payload),
                first_sequence: if chain { sequence } else { header.first_sequence },
                ..*header
            };
            let header = if chain {
                header.sealed(&before, &leaves)
            } else {
                header
            };
            before = header.chain;
            sequence += records.len() as u64;
            bytes.extend(header.to_bytes());
            bytes.extend(payload);
        }
        bytes
    }

    /// Sequence of each record with the places where its group and it begin, and where it ends.
    pub(crate) fn layout(&self) -> Vec<(u64, usize, usize, usize)> {
        let mut layout = Vec::new();
        let mut at = segment::HEADER;
        for (header, records) in &self.groups {
            let begin = at;
            at += frame::HEADER;
            for (sequence, record) in (header.first_sequence..).zip(records) {
                let end = at + prost::length_delimiter_len(record.len()) + record.len();
                layout.push((sequence, begin, at, end));
                at = end;
            }
        }
        layout
    }
}
