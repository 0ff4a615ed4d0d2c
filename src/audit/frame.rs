//! A group of records as it lies in a segment: 68 bytes of header, then the records, all numbers little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `GLG1` |
//! | 4..8 | length of the payload |
//! | 8..12 | number of records |
//! | 12..16 | CRC-32 of the payload |
//! | 16..24 | sequence of the first record |
//! | 24..32 | written at, nanoseconds since 1970 |
//! | 32..64 | chain: SHA-256(chain before, bytes 0..32, leaf hash of each record) |
//! | 64..68 | CRC-32 of bytes 0..64 |
//!
//! A record in the payload is its length as a varint and its bytes, an encoded `greenlane.v1.AuditRecord`: protobuf's usual
//! delimited form. The leaf hash of a record is that of RFC 9162: SHA-256(0x00, bytes).

use bytes::Buf as _;
use ring::digest::{Context, SHA256};

/// Bytes of a group's header.
pub const HEADER: usize = 68;
/// Longest payload taken for real, in bytes: a batch of 1000 records of the largest message fits.
pub const MAX_PAYLOAD: u32 = 1 << 30;

const MAGIC: [u8; 4] = *b"GLG1";

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// The hash of one record: a leaf of its segment's Merkle tree.
pub fn leaf(record: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(record);
    finish(context)
}

/// Ends a SHA-256.
pub(super) fn finish(context: Context) -> Hash {
    let mut hash = Hash::default();
    // SHA-256 has 32 bytes.
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// A group's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHeader {
    /// Bytes of the payload.
    pub length: u32,
    /// Records in it.
    pub records: u32,
    /// CRC-32 of the payload.
    pub payload_crc: u32,
    /// Sequence of its first record.
    pub first_sequence: u64,
    /// When it was written, by the replica's clock: nanoseconds since 1970.
    pub written_at: i64,
    /// Binds it to everything before it in the log.
    pub chain: Hash,
}

impl GroupHeader {
    /// The header of a group that follows `before`, with these leaves.
    #[must_use]
    pub fn sealed(mut self, before: &Hash, leaves: &[Hash]) -> Self {
        self.chain = self.chain_after(before, leaves);
        self
    }

    /// The chain that a group of this header and these leaves has when it follows `before`.
    pub fn chain_after(&self, before: &Hash, leaves: &[Hash]) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(before);
        context.update(&self.front());
        for leaf in leaves {
            context.update(leaf);
        }
        finish(context)
    }

    fn front(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.records.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[24..].copy_from_slice(&self.written_at.to_le_bytes());
        bytes
    }

    /// The header as it is written.
    pub fn to_bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..32].copy_from_slice(&self.front());
        bytes[32..64].copy_from_slice(&self.chain);
        let crc = crc32fast::hash(&bytes[..64]);
        bytes[64..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` unless it is whole.
    pub fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let mut rest = &bytes[..];
        let mut magic = [0; 4];
        rest.copy_to_slice(&mut magic);
        let header = Self {
            length: rest.get_u32_le(),
            records: rest.get_u32_le(),
            payload_crc: rest.get_u32_le(),
            first_sequence: rest.get_u64_le(),
            written_at: rest.get_i64_le(),
            chain: {
                let mut chain = Hash::default();
                rest.copy_to_slice(&mut chain);
                chain
            },
        };
        let whole = cfg!(fuzzing) || rest.get_u32_le() == crc32fast::hash(&bytes[..64]);
        // Whoever forges a header can give it its checksum too: sequences that end before the records do are nobody's.
        let counts = header.first_sequence.checked_add(header.records.into()).is_some();
        (magic == MAGIC && whole && counts && header.length <= MAX_PAYLOAD).then_some(header)
    }

    /// Sequence of the record after the group's last.
    pub fn next_sequence(&self) -> u64 {
        self.first_sequence.saturating_add(self.records.into())
    }
}

/// The records of a payload, each as its bytes; `None` where one is cut or does not end where the payload does.
pub fn records(payload: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = prost::decode_length_delimiter(&mut rest);
        let record = length.ok().and_then(|length| rest.split_at_checked(length));
        rest = record.map_or(&[], |(_, rest)| rest);
        Some(record.map(|(record, _)| record))
    })
}

/// Puts a record behind those in a payload: `write` appends its bytes, its length is put before them. Gives its leaf hash.
pub fn push_record(payload: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Hash {
    // Most records have a length of two bytes: those need not be moved.
    const RESERVED: usize = 2;
    let start = payload.len();
    payload.extend([0; RESERVED]);
    write(payload);
    let length = payload.len() - start - RESERVED;
    let width = prost::length_delimiter_len(length);
    let body = start + RESERVED;
    if width > RESERVED {
        payload.extend(std::iter::repeat_n(0, width - RESERVED));
    }
    if width != RESERVED {
        payload.copy_within(body..body + length, start + width);
        payload.truncate(start + width + length);
    }
    let mut prefix = &mut payload[start..start + width];
    // A varint of that width fits where that width was left.
    let encoded = prost::encode_length_delimiter(length, &mut prefix);
    debug_assert!(encoded.is_ok());
    leaf(&payload[start + width..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_any_flipped_bit_is_seen() {
        let header = GroupHeader {
            length: 1234,
            records: 3,
            payload_crc: 0xdead_beef,
            first_sequence: 77,
            written_at: -5,
            chain: Hash::default(),
        };
        let header = header.sealed(&[7; 32], &[[1; 32], [2; 32]]);
        let bytes = header.to_bytes();
        assert_eq!(GroupHeader::read(&bytes), Some(header));
        for bit in 0..HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(GroupHeader::read(&flipped), None, "bit {bit}");
        }
        assert_eq!(GroupHeader::read(&[0; HEADER]), None);
    }

    #[test]
    fn a_header_whose_sequences_would_end_before_its_records_do_is_none() {
        let header = |first_sequence, records| GroupHeader {
            length: 0,
            records,
            payload_crc: 0,
            first_sequence,
            written_at: 0,
            chain: Hash::default(),
        };
        let last = header(u64::MAX - 1, 1);
        assert_eq!(GroupHeader::read(&last.to_bytes()), Some(last));
        for forged in [header(u64::MAX, 1), header(u64::MAX - 1, 2), header(7, u32::MAX)] {
            let read = GroupHeader::read(&forged.to_bytes());
            assert_eq!(read.is_some(), forged.first_sequence == 7, "{forged:?}");
        }
    }

    #[test]
    fn records_of_any_length_come_back_in_order() {
        let lengths = [0, 1, 127, 128, 16_383, 16_384, 70_000];
        let mut payload = Vec::new();
        let mut leaves = Vec::new();
        for length in lengths {
            let record = vec![0xab; length];
            leaves.push(push_record(&mut payload, |buffer| buffer.extend(&record)));
        }
        let read: Vec<&[u8]> = records(&payload).map(|record| record.expect("whole")).collect();
        assert_eq!(
            read.iter().map(|record| record.len()).collect::<Vec<_>>(),
            lengths
        );
        assert_eq!(read.iter().map(|record| leaf(record)).collect::<Vec<_>>(), leaves);
        let cut = &payload[..payload.len() - 1];
        assert_eq!(
            records(cut).last(),
            Some(None),
            "a cut record is told, not passed over"
        );
    }

    #[test]
    fn a_leaf_is_that_of_rfc_9162() {
        // printf '\0abc' | openssl dgst -sha256
        assert_eq!(
            hex::encode(leaf(b"abc")),
            "609f6e36d2405585188d5cfd761f407c7cc46a7d3f314c88270469dde315fcd1"
        );
    }
}
