//! The proof that one record is in a log: the record, its path to the Merkle root of its segment, and the signed seal with
//! that root. Checked with the public key alone.

use std::path::Path;

use prost::Message as _;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    decision,
    frame::{self, Hash},
    index::{IndexError, Key, SegmentIndex},
    merkle,
    read::{ReadError, SegmentReader, segments},
    seal::{LEAVES, Seal, SignedSeal},
    sealer::read_full,
    sidecar,
    statement::StatementFault,
};
use crate::wire::pb;

/// What a proof file says it is.
const FORMAT: &str = "greenlane-audit-proof-v1";

/// A proof, as it is written to a JSON file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// `greenlane-audit-proof-v1`.
    pub format: String,
    /// The decision that was asked for; the record's own bytes say it too.
    pub decision_id: String,
    /// Its position in the replica's log.
    pub sequence: u64,
    /// The record's bytes, an encoded `greenlane.v1.AuditRecord`, as hex.
    pub record: String,
    /// Its place among the leaves.
    pub leaf_index: u64,
    /// How many leaves there are.
    pub tree_size: u64,
    /// The nodes from the leaf up to the root, as hex.
    pub path: Vec<String>,
    /// The seal's text, to the byte.
    pub seal: String,
    /// Its signature, as hex.
    pub signature: String,
}

/// Why there is no proof.
#[derive(Debug, Error)]
pub enum ProveError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An index cannot be read or made.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A seal cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Of what.
        path: std::path::PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// It is in no segment.
    #[error("the log does not hold a decision {0}")]
    NotFound(String),
    /// Nothing is signed yet that vouches for it.
    #[error(
        "the decision is record {sequence}, in segment {segment:020}, which has no seal yet: it gets one when it is full \
         ({bytes} bytes so far; audit.segment_bytes says how many make it full)"
    )]
    NotSealed {
        /// The record.
        sequence: u64,
        /// The segment it is in.
        segment: u64,
        /// Bytes of its groups so far.
        bytes: u64,
    },
    /// The segment is not the one that was sealed.
    #[error("segment {0:020} is not what its seal says: run audit verify")]
    Damaged(u64),
}

/// Makes the proof for a decision.
pub fn prove(directory: &Path, decision_id: &str) -> Result<Proof, ProveError> {
    let segments = segments(directory)?;
    // The latest first: who asks, asks of late more often.
    for (first, path) in segments.iter().rev() {
        let signed = SignedSeal::read(path).map_err(|error| ProveError::Io {
            path: path.clone(),
            error,
        })?;
        match signed {
            None => {
                if let Some((sequence, bytes)) = find_unsealed(path, decision_id)? {
                    return Err(ProveError::NotSealed {
                        sequence,
                        segment: *first,
                        bytes,
                    });
                }
            }
            Some(signed) => {
                if let Some((number, record)) = find_sealed(path, decision_id)? {
                    return proof(path, &signed, decision_id, number, &record)
                        .ok_or(ProveError::Damaged(*first));
                }
            }
        }
    }
    Err(ProveError::NotFound(decision_id.to_owned()))
}

/// The number and the bytes of a decision in a sealed segment.
fn find_sealed(path: &Path, decision_id: &str) -> Result<Option<(u32, Vec<u8>)>, ProveError> {
    let index = match SegmentIndex::open_or_build(path) {
        Ok(index) => index,
        // A copy that cannot be written to has no place for one.
        Err(IndexError::Io { .. }) => return find_by_reading(path, decision_id),
        Err(error) => return Err(error.into()),
    };
    for number in index.find(Key::Decision(decision_id))? {
        let Some(place) = index.record(number)? else {
            continue;
        };
        let sequence = index.first_sequence + u64::from(number - place.in_group);
        let mut reader = SegmentReader::open(path)?.at(place.group_offset, sequence);
        let Some(group) = reader.next_group()? else {
            continue;
        };
        let record = group
            .records()
            .nth(place.in_group as usize)
            .and_then(|(_, record)| record);
        if let Some(record) = record.filter(|record| decides(record, decision_id)) {
            return Ok(Some((number, record.to_vec())));
        }
    }
    Ok(None)
}

/// The same without an index.
fn find_by_reading(path: &Path, decision_id: &str) -> Result<Option<(u32, Vec<u8>)>, ProveError> {
    let mut reader = SegmentReader::open(path)?.reading_ahead();
    let mut number = 0;
    while let Some(group) = reader.next_group()? {
        for (_, record) in group.records() {
            if let Some(record) = record.filter(|record| decides(record, decision_id)) {
                return Ok(Some((number, record.to_vec())));
            }
            number += 1;
        }
    }
    Ok(None)
}

/// The sequence of a decision in a segment that is still written, and how large that is.
fn find_unsealed(path: &Path, decision_id: &str) -> Result<Option<(u64, u64)>, ProveError> {
    let mut reader = SegmentReader::open(path)?;
    let mut found = None;
    loop {
        match reader.next_group() {
            Ok(Some(group)) => {
                let own = |(sequence, record): (u64, Option<&[u8]>)| {
                    decides(record?, decision_id).then_some(sequence)
                };
                found = found.or_else(|| group.records().find_map(own));
            }
            // Its end, or what is being written just now.
            Ok(None) | Err(ReadError::Damaged { .. }) => {
                return Ok(found.map(|sequence| (sequence, reader.place().0)));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn decides(record: &[u8], decision_id: &str) -> bool {
    let decision = decision::of_record(record).and_then(|entry| entry.decision);
    decision.is_some_and(|decision| decision.decision_id == decision_id)
}

/// `None` where the segment does not agree with its seal.
fn proof(path: &Path, signed: &SignedSeal, decision_id: &str, number: u32, record: &[u8]) -> Option<Proof> {
    let seal = signed.unverified()?;
    let leaf = frame::leaf(record);
    let number = u64::from(number);
    let agrees = |leaves: &[Hash]| {
        let path = merkle::path(leaves, usize::try_from(number).ok()?)?;
        let size = leaves.len() as u64;
        (size == seal.records && merkle::holds(&leaf, number, size, &path, &seal.merkle_root)).then_some(path)
    };
    let kept = sidecar::read(&sidecar::path(path, LEAVES)).ok().flatten();
    let nodes = kept.and_then(|leaves| agrees(leaves.as_chunks().0));
    let nodes = nodes.or_else(|| agrees(&read_full(path).ok()?.leaves))?;
    Some(Proof {
        format: FORMAT.to_owned(),
        decision_id: decision_id.to_owned(),
        sequence: seal.segment + number,
        record: hex::encode(record),
        leaf_index: number,
        tree_size: seal.records,
        path: nodes.iter().map(hex::encode).collect(),
        seal: String::from_utf8(signed.text.clone()).ok()?,
        signature: hex::encode(&signed.signature),
    })
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProofFault {
    /// It is another kind of file.
    #[error("it is not a proof of the form {FORMAT}")]
    Format,
    /// One of its fields is no hex.
    #[error("its {0} is not in hexadecimal digits")]
    Hex(&'static str),
    /// The seal.
    #[error("its seal does not count: {0}")]
    Seal(#[from] StatementFault),
    /// The path.
    #[error("the path does not lead from the record to the root in the seal")]
    Path,
    /// The number of leaves or the sequence.
    #[error("its {0} is not what the seal says")]
    Differs(&'static str),
    /// The record is something else than is said beside it.
    #[error("the record is not that decision")]
    Decision,
}

/// What a proof proves.
#[derive(Debug, Clone, PartialEq)]
pub struct Proven {
    /// The seal that vouches for it.
    pub seal: Seal,
    /// The record.
    pub record: pb::AuditRecord,
    /// Its position in the replica's log.
    pub sequence: u64,
}

impl Proof {
    /// Checks the proof with nothing but the public keys that are trusted.
    pub fn check(&self, trusted: &[Hash]) -> Result<Proven, ProofFault> {
        if self.format != FORMAT {
            return Err(ProofFault::Format);
        }
        let record = hex::decode(&self.record).map_err(|_| ProofFault::Hex("record"))?;
        let signature = hex::decode(&self.signature).map_err(|_| ProofFault::Hex("signature"))?;
        if self.path.len() > merkle::MAX_PATH {
            return Err(ProofFault::Path);
        }
        let mut path = vec![Hash::default(); self.path.len()];
        for (node, text) in path.iter_mut().zip(&self.path) {
            hex::decode_to_slice(text, node).map_err(|_| ProofFault::Hex("path"))?;
        }
        let signed = SignedSeal {
            text: self.seal.clone().into_bytes(),
            signature,
        };
        let seal = signed.check(trusted)?;
        if self.tree_size != seal.records {
            return Err(ProofFault::Differs("tree_size"));
        }
        if self.leaf_index.checked_add(seal.segment) != Some(self.sequence) {
            return Err(ProofFault::Differs("sequence"));
        }
        let leaf = frame::leaf(&record);
        if !merkle::holds(&leaf, self.leaf_index, self.tree_size, &path, &seal.merkle_root) {
            return Err(ProofFault::Path);
        }
        if !decides(&record, &self.decision_id) {
            return Err(ProofFault::Decision);
        }
        Ok(Proven {
            seal,
            sequence: self.sequence,
            record: pb::AuditRecord::decode(&record[..]).map_err(|_| ProofFault::Decision)?,
        })
    }
}
