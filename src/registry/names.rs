//! Enterprise names, end to end in large chunks: officers ask for them, decisions never do.

/// Bytes a chunk; no name is longer.
const CHUNK: usize = 1 << 20;
/// Places count in steps of this many bytes, so that 32 bits reach 16 GiB.
const STEP: usize = 4;
/// Longest name kept, in bytes; longer ones are cut at a character.
pub(super) const MAX_NAME: usize = 4096;

/// An append-only store of names.
///
/// A replaced name stays behind until the next snapshot makes a new generation; names rarely change.
#[derive(Debug, Default)]
pub(super) struct Names {
    chunks: Vec<Vec<u8>>,
}

/// The part of a name that is kept.
pub(super) fn kept(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

impl Names {
    /// Adds a name and gives its place. When 16 GiB of names are full, the empty name's place.
    pub(super) fn add(&mut self, name: &str) -> u32 {
        let name = kept(name);
        let needed = (2 + name.len()).next_multiple_of(STEP);
        if self
            .chunks
            .last()
            .is_none_or(|chunk| chunk.len() + needed > CHUNK)
        {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunks_before = self.chunks.len() - 1;
        let Some(chunk) = self.chunks.last_mut() else {
            return u32::MAX;
        };
        let Ok(place) = u32::try_from((chunks_before * CHUNK + chunk.len()) / STEP) else {
            return u32::MAX;
        };
        // At most MAX_NAME, so two bytes hold the length.
        chunk.extend_from_slice(&u16::try_from(name.len()).unwrap_or_default().to_le_bytes());
        chunk.extend_from_slice(name.as_bytes());
        chunk.resize(chunk.len().next_multiple_of(STEP), 0);
        place
    }

    /// The name at a place.
    pub(super) fn get(&self, place: u32) -> &str {
        let at = place as usize * STEP;
        let name = self.chunks.get(at / CHUNK).and_then(|chunk| {
            let (length, rest) = chunk.get(at % CHUNK..)?.split_first_chunk::<2>()?;
            std::str::from_utf8(rest.get(..usize::from(u16::from_le_bytes(*length)))?).ok()
        });
        name.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_across_chunks() {
        let mut names = Names::default();
        let all: Vec<String> = (0..60_000).map(|n| format!("上海第{n}进出口有限公司")).collect();
        let places: Vec<u32> = all.iter().map(|name| names.add(name)).collect();
        assert!(names.chunks.len() > 1);
        assert!(
            all.iter()
                .zip(places)
                .all(|(name, place)| names.get(place) == name)
        );
        let long = "长".repeat(5_000);
        let place = names.add(&long);
        assert_eq!(names.get(place).len(), MAX_NAME - 1, "cut at a character");
        assert_eq!(names.get(u32::MAX), "");
    }
}
