//! Enterprises packed column by column: the blocks of an image.
//!
//! ```text
//! rows u32 | customs keys 8 bytes each | social credit keys 12 | credit 8 | lengths of the names 2 | the names
//! ```
//!
//! All numbers are little-endian. Columns, because equal bytes that lie together compress well.

use super::{
    super::{
        key::{CustomsKey, SocialCreditKey},
        names::MAX_NAME,
        record::Record,
    },
    BadImage,
};

/// A block is handed out once it has this many bytes; one row more is the most by which it is larger.
const FULL: usize = 1 << 20;
/// The credit of a row that is gone: no packed credit has these bits.
const GONE: u64 = u64::MAX;
/// Bytes of a row without its name.
const FIXED: usize = 8 + 12 + 8 + 2;
/// The most bytes that a block has.
pub const MAX_BLOCK: usize = 4 + FULL + FIXED + MAX_NAME;

/// Packs rows into blocks.
#[derive(Debug, Default)]
pub(super) struct Packer {
    rows: u32,
    customs: Vec<u8>,
    social: Vec<u8>,
    credit: Vec<u8>,
    lengths: Vec<u8>,
    names: Vec<u8>,
    block: Vec<u8>,
}

impl Packer {
    pub(super) fn put(&mut self, key: CustomsKey, record: &Record, name: &str) {
        self.push(key, record.social_credit, record.image_bits(), name);
    }

    /// A row that is there no more.
    pub(super) fn gone(&mut self, key: CustomsKey) {
        self.push(key, SocialCreditKey::NONE, GONE, "");
    }

    fn push(&mut self, key: CustomsKey, social: SocialCreditKey, credit: u64, name: &str) {
        self.rows += 1;
        self.customs.extend_from_slice(&key.packed().to_le_bytes());
        self.social
            .extend_from_slice(social.words().map(u32::to_le_bytes).as_flattened());
        self.credit.extend_from_slice(&credit.to_le_bytes());
        // No name is longer than `MAX_NAME`.
        let length = u16::try_from(name.len()).unwrap_or_default();
        self.lengths.extend_from_slice(&length.to_le_bytes());
        self.names.extend_from_slice(name.as_bytes());
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows as usize * FIXED + self.names.len() >= FULL
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The rows put so far; the next ones make another block.
    pub(super) fn take(&mut self) -> &[u8] {
        self.block.clear();
        self.block.extend_from_slice(&self.rows.to_le_bytes());
        self.rows = 0;
        for column in [
            &mut self.customs,
            &mut self.social,
            &mut self.credit,
            &mut self.lengths,
            &mut self.names,
        ] {
            self.block.append(column);
        }
        &self.block
    }
}

/// A row of a block.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) key: CustomsKey,
    /// Without the name's place, which is the reader's; `None` where the row is gone.
    pub(super) record: Option<Record>,
    pub(super) name: &'a str,
}

/// Reads a block, whose every value is checked: what does not pack to a row of the registry is no image.
pub(super) fn rows(block: &[u8]) -> Result<impl Iterator<Item = Result<Row<'_>, BadImage>>, BadImage> {
    let torn = BadImage("the columns do not have the length that the number of rows asks for");
    let (count, columns) = block.split_first_chunk().ok_or(torn)?;
    let count = usize::try_from(u32::from_le_bytes(*count)).map_err(|_| torn)?;
    let fixed = count.checked_mul(FIXED).ok_or(torn)?;
    let (fixed, names) = columns.split_at_checked(fixed).ok_or(torn)?;
    let (customs, fixed) = fixed.split_at(count * 8);
    let (social, fixed) = fixed.split_at(count * 12);
    let (credit, lengths) = fixed.split_at(count * 8);
    let (lengths, _) = lengths.as_chunks::<2>();
    let length = |bytes: &[u8; 2]| usize::from(u16::from_le_bytes(*bytes));
    if lengths.iter().map(length).sum::<usize>() != names.len() {
        return Err(torn);
    }
    let mut names = std::str::from_utf8(names).map_err(|_| BadImage("a name is not UTF-8"))?;

    let fixed = customs
        .as_chunks::<8>()
        .0
        .iter()
        .zip(social.as_chunks::<12>().0)
        .zip(credit.as_chunks::<8>().0)
        .zip(lengths);
    Ok(fixed.map(move |(((customs, social), credit), bytes)| {
        let key = CustomsKey::from_packed(u64::from_le_bytes(*customs))
            .ok_or(BadImage("a customs code is out of range"))?;
        let (name, rest) = names
            .split_at_checked(length(bytes))
            .filter(|(name, _)| name.len() <= MAX_NAME)
            .ok_or(BadImage("a name is cut within a character, or too long"))?;
        names = rest;
        let credit = u64::from_le_bytes(*credit);
        let record = if credit == GONE {
            None
        } else {
            let mut words = [0; 3];
            for (word, bytes) in words.iter_mut().zip(social.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            let social =
                SocialCreditKey::from_words(words).ok_or(BadImage("a social credit code is out of range"))?;
            Some(Record::from_image(social, credit).ok_or(BadImage("a tier or a date is out of range"))?)
        };
        Ok(Row { key, record, name })
    }))
}
