//! A snapshot file: what is taken of one can be written and taken again.

use std::time::{Duration, SystemTime};

use greenlane::{
    registry::Generation,
    upstream::file::{self, About},
};

use super::Seed;
use crate::world;

pub(crate) fn run(data: &[u8]) -> bool {
    let length = data.len() as u64;
    let loaded = match file::decode(data, length) {
        Ok(loaded) => loaded,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            // What is looked at less closely may be taken for good.
            drop(file::inspect(data));
            return false;
        }
    };
    let info = file::inspect(data).expect("a file that was read");
    assert_eq!(info, loaded.info);
    same_again(&loaded.generation, &info.store);
    // Its digest is as somebody wrote it; this is what finds that out.
    drop(loaded.check());
    true
}

/// Writes a generation and reads it: every row is the same.
pub(crate) fn same_again(generation: &Generation, store: &str) {
    let bytes = written(generation, store);
    let again = file::decode(bytes.as_slice(), bytes.len() as u64).expect("what was written is read");
    let again = again.generation;
    // Where two enterprises have one social credit code, which no store lets them, either of them may be the one it leads to.
    let (counted, expected) = (again.recount(), generation.recount());
    assert_eq!((counted.tiers, counted.digest), (expected.tiers, expected.digest));
    assert_eq!(again.place(), generation.place());
    assert_eq!(again.digest(), generation.digest());
    assert_eq!(again.tier_counts(), generation.tier_counts());
    assert_eq!(again.orders(), generation.orders());
    assert_eq!(again.quarantined(), generation.quarantined());
    assert_eq!(again.operator_count(), generation.operator_count());
}

fn written(generation: &Generation, store: &str) -> Vec<u8> {
    let about = About {
        store,
        policy_digest: "policies",
        confirmed_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_399_200_123),
    };
    let (bytes, _) = file::encode(generation, &about, Vec::new()).expect("memory takes everything");
    bytes
}

pub(crate) fn seeds() -> Vec<Seed> {
    let empty = Generation::new(world::EPOCH, 0);
    vec![
        ("country".to_owned(), written(&world::generation(), "nats")),
        ("empty".to_owned(), written(&empty, "sqlite")),
    ]
}
