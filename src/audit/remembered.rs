//! The draws of the latest decisions, for a replica that was stopped: a declaration keeps its first epoch and subject.

use std::path::Path;

use prost::Message as _;

use super::{
    outline::Outline,
    read::{ReadError, SegmentReader, segments},
};
use crate::{
    domain::identifier::DeclarationNumber,
    policy::draw::{Draw, Drawn, Subject},
};

/// Hands the draws of the latest decisions to `take`, newest segment first, until at least `enough` were handed over.
pub fn draws(
    directory: &Path,
    enough: usize,
    mut take: impl FnMut(DeclarationNumber, Drawn),
) -> Result<(), ReadError> {
    let mut handed = 0;
    for (_, path) in segments(directory)?.iter().rev() {
        let mut reader = SegmentReader::open(path)?;
        // What is damaged is for `audit verify` to tell of.
        while let Ok(Some(group)) = reader.next_group() {
            let records = group.records().filter_map(|(_, record)| record);
            let outlines = records.filter_map(|record| Outline::decode(record).ok());
            for (number, drawn) in outlines.filter_map(|record| drawn(&record)) {
                take(number, drawn);
                handed += 1;
            }
        }
        if handed >= enough {
            break;
        }
    }
    Ok(())
}

fn drawn(record: &Outline) -> Option<(DeclarationNumber, Drawn)> {
    let entry = record.decision.as_ref()?;
    let number = text(&entry.decision.as_ref()?.declaration_number)?;
    let logged = entry.facts.as_ref()?.draw.as_ref()?;
    let drawn = Drawn {
        epoch: text(&logged.epoch)?.parse().ok()?,
        subject: Subject::new(text(&logged.subject_kind)?, text(&logged.subject)?)?,
        draw: Draw(logged.value),
    };
    Some((number.parse().ok()?, drawn))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
