//! From the bytes of a snapshot file to a generation, on as many threads as help.

use std::{
    io::Read,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
};

use super::{
    Info, Loaded,
    codec::Unreadable,
    error::FileError,
    frame::{Decoder, Kind, Packed},
    parts::{Header, Trailer, decode_tables},
};
use crate::registry::{
    Generation,
    image::{BadImage, Loading},
};

/// More threads than this only wait for the one that reads.
const MAX_THREADS: usize = 4;
/// Blocks that are read ahead, for each thread.
const READ_AHEAD: usize = 2;
/// The most bytes of all tables but the enterprises.
const MAX_TABLES: usize = 1 << 30;
/// The fewest bytes that an enterprise takes in a file, about: room is made for no more than the file can hold.
const MIN_ROW: u64 = 8;

/// Reads a generation, from a file or any other source of its bytes; `length` is how many these are.
///
/// # Errors
///
/// Whatever is wrong with the file, as [`FileError`] says it: nothing is taken of a file that is not whole and sound.
pub fn decode(input: impl Read, length: u64) -> Result<Loaded, FileError> {
    let mut decoder = Decoder::new(input)?;
    let mut buffer = Vec::new();
    let header = read_header(&mut decoder, &mut buffer)?;
    let room = usize::try_from(header.enterprises.min(length / MIN_ROW)).unwrap_or_default();
    let mut loading = Loading::new(&header.epoch, room);

    let rest = read_enterprises(&mut decoder, &loading)?;
    let mut tables = Vec::new();
    let mut next = rest;
    while next.kind != Kind::Trailer {
        let bytes = next.unpack(&mut buffer)?;
        if next.kind == Kind::Changed {
            loading
                .changed(bytes)
                .map_err(|bad| FileError::in_block(next.number, bad))?;
        } else if tables.len() + bytes.len() > MAX_TABLES {
            return Err(FileError::inconsistent(
                format!("block {}", next.number),
                "the tables are too large",
            ));
        } else {
            tables.extend_from_slice(bytes);
        }
        next = decoder.next()?;
    }
    let trailer = read_trailer(&next, &header, &mut buffer)?;
    let (bytes, hash) = decoder.finish()?;

    let generation = loading
        .finish(decode_tables(&tables, &trailer)?)
        .map_err(|BadImage(problem)| FileError::inconsistent("the whole", problem))?;
    Ok(Loaded {
        generation: generation.into(),
        info: Info::new(trailer, bytes, hash),
    })
}

/// Reads what a file says of itself, and checks the checksums and the hash, but makes no rows of it.
///
/// # Errors
///
/// As [`decode`], as far as it is read.
pub fn inspect(input: impl Read) -> Result<Info, FileError> {
    let mut decoder = Decoder::new(input)?;
    let mut buffer = Vec::new();
    let header = read_header(&mut decoder, &mut buffer)?;
    let last = loop {
        let next = decoder.next()?;
        if next.kind == Kind::Trailer {
            break next;
        }
    };
    let trailer = read_trailer(&last, &header, &mut buffer)?;
    let (bytes, hash) = decoder.finish()?;
    Ok(Info::new(trailer, bytes, hash))
}

/// Counts and hashes every row afresh.
pub(super) fn check(generation: &Generation) -> Result<(), FileError> {
    let recount = generation.recount();
    let problem = if recount.tiers != generation.tier_counts() {
        "the enterprises of a tier are not as many as it says".to_owned()
    } else if recount.digest != generation.digest() {
        format!(
            "the rows have the digest {}, not {}",
            recount.digest,
            generation.digest()
        )
    } else if recount.astray > 0 {
        format!("{} codes lead astray", recount.astray)
    } else {
        return Ok(());
    };
    Err(FileError::inconsistent("the rows", problem))
}

fn read_header(decoder: &mut Decoder<impl Read>, buffer: &mut Vec<u8>) -> Result<Header, FileError> {
    let block = decoder.next()?;
    Header::decode(block.unpack(buffer)?)
        .map_err(|Unreadable| FileError::inconsistent("block 0", "the header cannot be read"))
}

fn read_trailer(block: &Packed, header: &Header, buffer: &mut Vec<u8>) -> Result<Trailer, FileError> {
    let bad = |problem| FileError::inconsistent(format!("block {}", block.number), problem);
    let trailer =
        Trailer::decode(block.unpack(buffer)?).map_err(|Unreadable| bad("the trailer cannot be read"))?;
    if trailer.blocks != block.number {
        return Err(bad("there are not as many blocks as it says"));
    }
    if *trailer.place.position.epoch != *header.epoch {
        return Err(bad("header and trailer are of two stores"));
    }
    Ok(trailer)
}

/// Hands the blocks of enterprises to threads; gives the first block that is none, once all of them are in.
fn read_enterprises(decoder: &mut Decoder<impl Read>, loading: &Loading) -> Result<Packed, FileError> {
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_THREADS);
    let (give, take) = mpsc::sync_channel::<Packed>(threads * READ_AHEAD);
    let take = Mutex::new(take);
    thread::scope(|scope| {
        let mut workers = Vec::with_capacity(threads);
        for _ in 0..threads {
            let worker = thread::Builder::new()
                .name("snapshot-load".to_owned())
                .spawn_scoped(scope, || load_blocks(&take, loading))
                .map_err(FileError::io("starting a thread"));
            workers.push(worker?);
        }
        let next = loop {
            match decoder.next() {
                // It is taken while a thread lives, and all of them live until this end is dropped.
                Ok(block) if block.kind == Kind::Enterprises => drop(give.send(block)),
                next => break next,
            }
        };
        drop(give);
        for worker in workers {
            worker.join().unwrap_or_else(|_| {
                Err(FileError::inconsistent(
                    "the whole",
                    "a thread that read it panicked",
                ))
            })?;
        }
        next
    })
}

fn load_blocks(blocks: &Mutex<Receiver<Packed>>, loading: &Loading) -> Result<(), FileError> {
    let mut buffer = Vec::new();
    let mut loaded = Ok(());
    loop {
        let Ok(block) = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv() else {
            return loaded;
        };
        // After an error the rest is taken all the same: the reader must not wait for us.
        if loaded.is_ok() {
            loaded = block.unpack(&mut buffer).and_then(|bytes| {
                loading
                    .enterprises(bytes)
                    .map_err(|bad| FileError::in_block(block.number, bad))
            });
        }
    }
}
