//! Enterprise names, end to end in large chunks: officers ask for them, decisions never do.
//!
//! A name is mostly ideographs, which UTF-8 writes in three bytes. Here they take two: there are as many names as
//! enterprises, and they are the larger part of what each takes.

/// Bytes a chunk; no name is longer.
const CHUNK: usize = 1 << 20;
/// Places count in steps of this many bytes, so that 32 bits reach 8 GiB.
const STEP: usize = 2;
/// Longest name kept, in bytes of UTF-8; longer ones are cut at a character.
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

/// Names packed for [`Names`], which then has only to copy them.
#[derive(Debug, Default)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    /// Where each name ends.
    ends: Vec<usize>,
}

impl Packed {
    /// Packs one more.
    pub(super) fn push(&mut self, name: &str) {
        pack(kept(name), &mut self.bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(STEP), END);
        self.ends.push(self.bytes.len());
    }
}

impl Names {
    /// Adds a name and gives its place. When 8 GiB of names are full, the empty name's place.
    pub(super) fn add(&mut self, name: &str) -> u32 {
        let mut packed = Packed::default();
        packed.push(name);
        self.copy(&packed.bytes)
    }

    /// Adds names; gives the place of each.
    pub(super) fn add_all(&mut self, names: &Packed) -> impl Iterator<Item = u32> {
        let mut from = 0;
        names.ends.iter().map(move |end| {
            let name = &names.bytes[from..*end];
            from = *end;
            self.copy(name)
        })
    }

    fn copy(&mut self, packed: &[u8]) -> u32 {
        if self
            .chunks
            .last()
            .is_none_or(|chunk| chunk.len() + packed.len() > CHUNK)
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
        chunk.extend_from_slice(packed);
        place
    }

    /// The name at a place.
    pub(super) fn get(&self, place: u32) -> String {
        let at = place as usize * STEP;
        let packed = self
            .chunks
            .get(at / CHUNK)
            .and_then(|chunk| chunk.get(at % CHUNK..));
        packed.map(unpack).unwrap_or_default()
    }

    /// Whether that is the name at a place.
    pub(super) fn is(&self, place: u32, name: &str) -> bool {
        self.get(place) == name
    }
}

// === packing ===
//
// A character begins with a byte that tells what it is; the others may be any.
//
//   00-7F   ASCII, itself
//   80-D1   one of the 20,992 ideographs from U+4E00 to U+9FFF: its number among them, in two bytes
//   D2-E2   any other: D2 and its plane, then its place in the plane, in two bytes
//   FF      the end of the name

const IDEOGRAPHS: std::ops::RangeInclusive<u32> = 0x4e00..=0x9fff;
const FIRST_IDEOGRAPH: u32 = 0x4e00;
const IDEOGRAPH: u8 = 0x80;
const PLANE: u8 = 0xd2;
const END: u8 = 0xff;

fn pack(name: &str, packed: &mut Vec<u8>) {
    for character in name.chars() {
        let number = u32::from(character);
        if character.is_ascii() {
            packed.extend_from_slice(&number.to_le_bytes()[..1]);
        } else if IDEOGRAPHS.contains(&number) {
            let [low, high, ..] = (number - FIRST_IDEOGRAPH).to_le_bytes();
            packed.extend_from_slice(&[IDEOGRAPH + high, low]);
        } else {
            let [low, high, plane, _] = number.to_le_bytes();
            packed.extend_from_slice(&[PLANE + plane, high, low]);
        }
    }
    packed.push(END);
}

fn unpack(packed: &[u8]) -> String {
    let mut name = String::new();
    let mut bytes = packed.iter().copied();
    while let Some(kind) = bytes.next().filter(|kind| *kind != END) {
        let mut next = || u32::from(bytes.next().unwrap_or_default());
        let number = match kind {
            0..IDEOGRAPH => kind.into(),
            IDEOGRAPH..PLANE => FIRST_IDEOGRAPH + (u32::from(kind - IDEOGRAPH) << 8 | next()),
            PLANE.. => u32::from(kind - PLANE) << 16 | next() << 8 | next(),
        };
        // Only `pack` writes these bytes, so each is a character.
        name.push(char::from_u32(number).unwrap_or_default());
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn length(name: &str) -> usize {
        let mut packed = Vec::new();
        pack(name, &mut packed);
        packed.len()
    }

    proptest! {
        #[test]
        fn every_name_comes_back(all in prop::collection::vec("\\PC{0,12}|[一-鿿（）]{0,12}|.{0,6}", 1..20)) {
            let mut names = Names::default();
            let mut packed = Packed::default();
            for name in &all {
                packed.push(name);
            }
            let places: Vec<u32> = names.add_all(&packed).collect();
            prop_assert_eq!(places.len(), all.len());
            for (name, place) in all.iter().zip(places) {
                prop_assert_eq!(&names.get(place), name);
            }
        }
    }

    #[test]
    fn every_character_comes_back() {
        for character in (0..=0x0010_ffff).filter_map(char::from_u32) {
            let name = String::from(character);
            let mut packed = Vec::new();
            pack(&name, &mut packed);
            packed.extend_from_slice(b"the next one");
            assert_eq!(unpack(&packed), name);
        }
    }

    #[test]
    fn an_ideograph_takes_two_bytes() {
        assert_eq!(length("上海第7进出口有限公司"), 2 * 10 + 1 + 1);
    }

    #[test]
    fn names_come_back_across_chunks() {
        let mut names = Names::default();
        let all: Vec<String> = (0..60_000).map(|n| format!("上海第{n}进出口有限公司")).collect();
        let places: Vec<u32> = all.iter().map(|name| names.add(name)).collect();
        assert!(names.chunks.len() > 1);
        assert!(all.iter().zip(places).all(|(name, place)| names.is(place, name)));
        let long = "长".repeat(5_000);
        let place = names.add(&long);
        assert_eq!(names.get(place).len(), MAX_NAME - 1, "cut at a character");
        assert_eq!(names.get(u32::MAX), "");
    }
}
