//! The frame of a snapshot file: blocks with checksums, and a hash over all of it. Knows nothing of what is in them.
//!
//! ```text
//! file    magic 16 bytes | version u32 | block ... block | SHA-256 over all before it, 32 bytes
//! block   kind u8 | plain length u32 | packed length u32 | CRC-32 of the packed bytes | CRC-32 of the 13 bytes before
//!         | packed bytes (LZ4)
//! ```
//!
//! Numbers are little-endian. Every length is checked, and held against its bound, before anything is allocated for it.

use std::io::{Read, Write};

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use super::error::FileError;

const MAGIC: &[u8; 16] = b"greenlane image\n";
/// The version of the format: of the frame and of what is in it.
pub(super) const VERSION: u32 = 1;
/// The most bytes of a block.
pub(super) const MAX_PLAIN: usize = 2 << 20;
const HEAD: usize = 17;

/// What a block holds. A file has them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Whose image it is.
    Header = 1,
    /// Enterprises.
    Enterprises = 2,
    /// Enterprises that changed while the image was made.
    Changed = 3,
    /// A piece of everything else.
    Tables = 4,
    /// Where the image stands.
    Trailer = 5,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Header,
        Self::Enterprises,
        Self::Changed,
        Self::Tables,
        Self::Trailer,
    ];
}

// === writing ===

/// Writes blocks, and the hash at the end.
pub(super) struct Encoder<W> {
    output: W,
    hash: Context,
    packed: Vec<u8>,
    /// Blocks so far.
    pub(super) blocks: u64,
    bytes: u64,
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(output: W) -> Result<Self, FileError> {
        let mut encoder = Self {
            output,
            hash: Context::new(&SHA256),
            packed: vec![0; get_maximum_output_size(MAX_PLAIN)],
            blocks: 0,
            bytes: 0,
        };
        encoder.write(MAGIC)?;
        encoder.write(&VERSION.to_le_bytes())?;
        Ok(encoder)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.output
            .write_all(bytes)
            .map_err(FileError::io(format!("writing at byte {}", self.bytes)))
    }

    pub(super) fn block(&mut self, kind: Kind, plain: &[u8]) -> Result<(), FileError> {
        let too_long = || FileError::inconsistent(format!("block {}", self.blocks), "it is too long");
        let length = u32::try_from(plain.len()).map_err(|_| too_long())?;
        if plain.len() > MAX_PLAIN {
            return Err(too_long());
        }
        let packed = compress_into(plain, &mut self.packed).map_err(|_| too_long())?;
        let packed_length = u32::try_from(packed).map_err(|_| too_long())?;
        let mut head = [0; HEAD];
        head[0] = kind as u8;
        head[1..5].copy_from_slice(&length.to_le_bytes());
        head[5..9].copy_from_slice(&packed_length.to_le_bytes());
        head[9..13].copy_from_slice(&crc32fast::hash(&self.packed[..packed]).to_le_bytes());
        let check = crc32fast::hash(&head[..13]);
        head[13..].copy_from_slice(&check.to_le_bytes());
        self.write(&head)?;
        let packed_bytes = std::mem::take(&mut self.packed);
        let written = self.write(&packed_bytes[..packed]);
        self.packed = packed_bytes;
        self.blocks += 1;
        written
    }

    /// Writes the hash; gives the output, all the bytes that went into it, and the hash.
    pub(super) fn finish(self) -> Result<(W, u64, String), FileError> {
        let (mut output, hash) = (self.output, self.hash.finish());
        output
            .write_all(hash.as_ref())
            .and_then(|()| output.flush())
            .map_err(FileError::io(format!("writing at byte {}", self.bytes)))?;
        let bytes = self.bytes + SHA256_OUTPUT_LEN as u64;
        Ok((output, bytes, hex::encode(hash)))
    }
}

// === reading ===

/// Reads blocks and checks each.
pub(super) struct Decoder<R> {
    input: R,
    hash: Context,
    at: u64,
    blocks: u64,
    last: Kind,
}

/// A block as it stands in the file; its checksum holds.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) kind: Kind,
    pub(super) number: u64,
    plain: usize,
    bytes: Vec<u8>,
}

impl Packed {
    /// The bytes that were put in, in a buffer that is used again and again.
    pub(super) fn unpack<'b>(&self, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], FileError> {
        buffer.resize(self.plain, 0);
        match decompress_into(&self.bytes, buffer) {
            Ok(length) if length == self.plain => Ok(buffer),
            Ok(_) | Err(_) => Err(FileError::inconsistent(
                format!("block {}", self.number),
                "it does not unpack to the length that it says",
            )),
        }
    }
}

impl<R: Read> Decoder<R> {
    pub(super) fn new(input: R) -> Result<Self, FileError> {
        let mut decoder = Self {
            input,
            hash: Context::new(&SHA256),
            at: 0,
            blocks: 0,
            last: Kind::Header,
        };
        let mut magic = [0; MAGIC.len()];
        let begun = decoder.fill(&mut magic)?;
        if !MAGIC.starts_with(&magic[..begun]) {
            return Err(FileError::NotOurs);
        }
        let mut version = [0; 4];
        if begun < magic.len() || decoder.fill(&mut version)? < version.len() {
            return Err(decoder.torn("within its first 20 bytes"));
        }
        match u32::from_le_bytes(version) {
            VERSION => Ok(decoder),
            found => Err(FileError::Version { found }),
        }
    }

    /// The next block; none is asked for after the trailer.
    pub(super) fn next(&mut self) -> Result<Packed, FileError> {
        let (number, at) = (self.blocks, self.at);
        let damaged = || FileError::Checksum { block: number, at };
        let mut head = [0; HEAD];
        if self.fill(&mut head)? < HEAD {
            return Err(self.torn(&format!("within the head of block {number}")));
        }
        let word = |from: usize| {
            head.get(from..)
                .and_then(<[u8]>::first_chunk)
                .map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        if !cfg!(fuzzing) && word(13) != crc32fast::hash(&head[..13]) {
            return Err(damaged());
        }
        // From here on the head is as somebody wrote it.
        let inconsistent = |problem| FileError::inconsistent(format!("block {number}"), problem);
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == head[0]);
        let kind = kind.ok_or_else(|| inconsistent("it is of an unknown kind"))?;
        if (number == 0) != (kind == Kind::Header) || kind < self.last {
            return Err(inconsistent("it is of a kind that does not belong there"));
        }
        let length = |word, most| usize::try_from(word).ok().filter(|length| *length <= most);
        let (plain, packed) = length(word(1), MAX_PLAIN)
            .zip(length(word(5), get_maximum_output_size(MAX_PLAIN)))
            .ok_or_else(|| inconsistent("it is too long"))?;
        let mut bytes = vec![0; packed];
        if self.fill(&mut bytes)? < packed {
            return Err(self.torn(&format!("within block {number}")));
        }
        if !cfg!(fuzzing) && word(9) != crc32fast::hash(&bytes) {
            return Err(damaged());
        }
        self.blocks += 1;
        self.last = kind;
        Ok(Packed {
            kind,
            number,
            plain,
            bytes,
        })
    }

    /// Reads and compares the hash, after which nothing may come. Gives the file's length and the hash.
    pub(super) fn finish(mut self) -> Result<(u64, String), FileError> {
        let bytes = self.at;
        let expected = self.hash.clone().finish();
        let mut hash = [0; SHA256_OUTPUT_LEN];
        if self.fill(&mut hash)? < hash.len() {
            return Err(self.torn("within the hash at its end"));
        }
        if !cfg!(fuzzing) && expected.as_ref() != hash {
            return Err(FileError::Hash { bytes });
        }
        if self.fill(&mut [0])? != 0 {
            return Err(FileError::inconsistent(
                format!("byte {}", self.at - 1),
                "it goes on after its end",
            ));
        }
        Ok((self.at, hex::encode(hash)))
    }

    fn torn(&self, within: &str) -> FileError {
        FileError::Torn {
            at: self.at,
            within: within.to_owned(),
        }
    }

    /// Reads until the buffer is full or the input ends; gives how many bytes there were.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, FileError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::io(format!("reading at byte {}", self.at))(error)),
            }
        }
        let filled_bytes = &buffer[..filled];
        self.hash.update(filled_bytes);
        self.at += filled as u64;
        Ok(filled)
    }
}
