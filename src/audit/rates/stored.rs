//! Counts as bytes, to stand beside a sealed segment: what its records add.
//!
//! Little-endian: `GLRATES1`, number of cells (u32), number of inspected declarations (u32), the cells, the declarations,
//! CRC-32 of everything before. A cell: year and month (u32, such as 202611), office (4 bytes), tier (u8), eight counts
//! (u64). A declaration: its number (18 bytes) and the cell's first nine bytes. The number of inspections of a cell is that of
//! its declarations, so that one recorded in two segments is counted once.

use thiserror::Error;

use super::{Cell, Counts, RateTable};
use crate::domain::{CreditTier, identifier::DeclarationNumber};

const MAGIC: &[u8; 8] = b"GLRATES1";
const CELL: usize = 9;
const COUNTS: usize = 8;

/// Why bytes are no counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoredError {
    /// Cut, altered, or something else.
    #[error("these are no realized rates, or they are damaged")]
    Damaged,
    /// Whole, but of no month, office, tier or declaration.
    #[error("the realized rates name a month, office, tier or declaration that cannot be")]
    Unknown,
}

impl RateTable {
    /// Everything that is counted, as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let cells = self.cells();
        let mut inspected: Vec<_> = self
            .inspected
            .iter()
            .map(|entry| (*entry.key(), *entry.value()))
            .collect();
        inspected.sort_unstable();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = Vec::from(MAGIC);
        bytes.extend(number(cells.len()));
        bytes.extend(number(inspected.len()));
        for (cell, counts) in &cells {
            bytes.extend(cell_bytes(cell));
            bytes.extend(stored(counts).iter().flat_map(|count| count.to_le_bytes()));
        }
        for (declaration, cell) in &inspected {
            bytes.extend(declaration.as_bytes());
            bytes.extend(cell_bytes(cell));
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    /// Adds what [`Self::to_bytes`] of another table gave; nothing, where there is an error.
    pub fn add_bytes(&self, bytes: &[u8]) -> Result<(), StoredError> {
        let (cells, inspected) = read(bytes)?;
        for (cell, counts) in cells {
            self.cells.entry(cell).or_default().add(&counts);
        }
        for (declaration, cell) in inspected {
            self.inspected(declaration, cell);
        }
        Ok(())
    }
}

type Stored = (Vec<(Cell, Counts)>, Vec<(DeclarationNumber, Cell)>);

fn read(bytes: &[u8]) -> Result<Stored, StoredError> {
    let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(StoredError::Damaged)?;
    if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
        return Err(StoredError::Damaged);
    }
    let mut rest = content.strip_prefix(MAGIC).ok_or(StoredError::Damaged)?;
    let mut number = || -> Result<u32, StoredError> { Ok(u32::from_le_bytes(take(&mut rest)?)) };
    let (cells, inspected) = (number()?, number()?);
    let cells = (0..cells).map(|_| Ok((cell(&mut rest)?, counts(&mut rest)?)));
    let cells = cells.collect::<Result<_, _>>()?;
    let inspected = (0..inspected).map(|_| Ok((declaration(&mut rest)?, cell(&mut rest)?)));
    let inspected = inspected.collect::<Result<_, _>>()?;
    if rest.is_empty() {
        Ok((cells, inspected))
    } else {
        Err(StoredError::Damaged)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], StoredError> {
    let (taken, after) = rest.split_first_chunk().ok_or(StoredError::Damaged)?;
    *rest = after;
    Ok(*taken)
}

fn text<const N: usize, T: std::str::FromStr>(rest: &mut &[u8]) -> Result<T, StoredError> {
    let bytes = take::<N>(rest)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| StoredError::Unknown)?;
    text.parse().map_err(|_| StoredError::Unknown)
}

fn declaration(rest: &mut &[u8]) -> Result<DeclarationNumber, StoredError> {
    text::<18, _>(rest)
}

fn cell_bytes(cell: &Cell) -> [u8; CELL] {
    let mut bytes = [0; CELL];
    bytes[..4].copy_from_slice(&cell.month.number().to_le_bytes());
    bytes[4..8].copy_from_slice(cell.customs_office.as_bytes());
    bytes[8] = cell.credit_tier.number();
    bytes
}

fn cell(rest: &mut &[u8]) -> Result<Cell, StoredError> {
    let month = u32::from_le_bytes(take(rest)?);
    let month = format!("{:04}-{:02}", month / 100, month % 100);
    let customs_office = text::<4, _>(rest)?;
    let [tier] = take(rest)?;
    Ok(Cell {
        month: month.parse().map_err(|_| StoredError::Unknown)?,
        customs_office,
        credit_tier: CreditTier::from_number(tier.into()).ok_or(StoredError::Unknown)?,
    })
}

/// The counts that are stored; inspections follow from the declarations.
fn stored(counts: &Counts) -> [u64; COUNTS] {
    let Counts {
        decided,
        selected_random,
        selected_mandated,
        selected_targeted,
        inspected: _,
        drawn,
        drawn_selected,
        demanded_ppm,
        limits_ppm,
    } = *counts;
    [
        decided,
        selected_random,
        selected_mandated,
        selected_targeted,
        drawn,
        drawn_selected,
        demanded_ppm,
        limits_ppm,
    ]
}

fn counts(rest: &mut &[u8]) -> Result<Counts, StoredError> {
    let mut count = || -> Result<u64, StoredError> { Ok(u64::from_le_bytes(take(rest)?)) };
    Ok(Counts {
        decided: count()?,
        selected_random: count()?,
        selected_mandated: count()?,
        selected_targeted: count()?,
        inspected: 0,
        drawn: count()?,
        drawn_selected: count()?,
        demanded_ppm: count()?,
        limits_ppm: count()?,
    })
}
