//! The draws of the latest decisions, for a replica that was stopped: a declaration keeps its first epoch and subject.

use std::path::Path;

use super::{
    outline::Outline,
    read::{ReadError, SegmentReader, segments},
};
use crate::{
    domain::{decision::Lane, identifier::DeclarationNumber},
    facilitation::First,
    policy::draw::{Draw, Drawn, Subject},
};

/// Hands the draws of the latest decisions to `take`, newest segment first, until at least `enough` were handed over.
pub fn draws(
    directory: &Path,
    enough: usize,
    mut take: impl FnMut(DeclarationNumber, First),
) -> Result<(), ReadError> {
    let mut handed = 0;
    for (_, path) in segments(directory)?.iter().rev() {
        let mut reader = SegmentReader::open(path)?.reading_ahead();
        // What is damaged is for `audit verify` to tell of.
        while let Ok(Some(group)) = reader.next_group() {
            let records = group.records().filter_map(|(_, record)| record);
            let outlines = records.filter_map(Outline::of);
            for (number, first) in outlines.filter_map(|record| first(&record)) {
                take(number, first);
                handed += 1;
            }
        }
        if handed >= enough {
            break;
        }
    }
    Ok(())
}

fn first(record: &Outline<'_>) -> Option<(DeclarationNumber, First)> {
    let entry = record.decision.as_ref()?;
    let decision = entry.decision.as_ref()?;
    let number = text(decision.declaration_number)?;
    let logged = entry.facts.as_ref()?.draw.as_ref()?;
    let drawn = Drawn {
        epoch: text(logged.epoch)?.parse().ok()?,
        subject: Subject::new(text(logged.subject_kind)?, text(logged.subject)?)?,
        draw: Draw(logged.value),
    };
    let lane = Lane::from_number(decision.lane);
    Some((number.parse().ok()?, First { drawn, lane }))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
