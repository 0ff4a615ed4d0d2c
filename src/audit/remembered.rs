//! The draws of the latest decisions, for a replica that was stopped: a declaration keeps its first epoch and subject.

use std::path::Path;

use super::{
    decision,
    read::{ReadError, SegmentReader, segments},
};
use crate::{
    domain::identifier::DeclarationNumber,
    policy::draw::{Draw, Drawn, Subject},
    wire::pb,
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
            let decisions = records.filter_map(|record| decision::of_record(&record));
            for (number, drawn) in decisions.filter_map(|entry| drawn(&entry)) {
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

fn drawn(entry: &pb::DecisionEntry) -> Option<(DeclarationNumber, Drawn)> {
    let number = entry.request.as_ref()?.declaration_number.parse().ok()?;
    let logged = entry.facts.as_ref()?.draw.as_ref()?;
    let drawn = Drawn {
        epoch: logged.epoch.parse().ok()?,
        subject: Subject::new(&logged.subject_kind, &logged.subject)?,
        draw: Draw(logged.value),
    };
    Some((number, drawn))
}
