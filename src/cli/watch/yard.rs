//! The yard: what was last heard of each shipment, in the order in which it is handled.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::screen::{Line, Style};
use crate::{cli::shipment, wire::pb};

/// How long a change stays marked.
const MARKED: Duration = Duration::from_mins(1);

/// The shipments that are watched, by the keys they are watched by.
pub(super) struct Yard {
    rows: Vec<Row>,
    places: HashMap<String, usize>,
    /// Declarations that answer, or answered, for a container.
    answering: HashSet<String>,
    settled: bool,
}

struct Row {
    key: String,
    shipment: Option<pb::Shipment>,
    change: Option<(String, Instant)>,
    /// Heard since the watch last began anew.
    confirmed: bool,
}

impl Yard {
    /// A yard of which nothing was heard yet.
    pub(super) fn new(keys: &[String]) -> Self {
        let row = |key: &String| Row {
            key: key.clone(),
            shipment: None,
            change: None,
            confirmed: false,
        };
        let places = keys.iter().enumerate().map(|(place, key)| (key.clone(), place));
        Self {
            rows: keys.iter().map(row).collect(),
            places: places.collect(),
            answering: HashSet::new(),
            settled: false,
        }
    }

    /// From now on, what is heard of a shipment for the first time is news.
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }

    /// What was heard so far counts only once it is heard again.
    pub(super) fn begin_anew(&mut self) {
        self.settled = false;
        for row in &mut self.rows {
            row.confirmed = false;
        }
    }

    /// Takes the new state of a shipment in.
    pub(super) fn take(&mut self, told: pb::Shipment, now: Instant) {
        let told = shipment::strict(told);
        if self.answering.contains(&told.declaration_number) {
            self.leave(&told, now);
        }
        let keys = std::iter::once(&told.declaration_number).chain(&told.container_numbers);
        let concerned: Vec<_> = keys.filter_map(|key| self.places.get(key).copied()).collect();
        let alone = concerned.len() == 1;
        for place in concerned {
            let row = &mut self.rows[place];
            if row.key != told.declaration_number {
                self.answering.insert(told.declaration_number.clone());
            }
            row.take(&told, alone, self.settled, now);
        }
    }

    /// A container that is no longer on a declaration is not answered by it any more.
    fn leave(&mut self, told: &pb::Shipment, now: Instant) {
        for row in &mut self.rows {
            let answered = row.shipment.as_ref().is_some_and(|held| {
                held.declaration_number == told.declaration_number && held.revision <= told.revision
            });
            let on_it = row.key == told.declaration_number || told.container_numbers.contains(&row.key);
            if answered && !on_it {
                row.shipment = None;
                row.change = Some((format!("no longer on {}", told.declaration_number), now));
            }
        }
    }

    /// The table in at most so many lines. With `silent`, the server was not heard of for too long to let anything out.
    pub(super) fn lines(&self, now: Instant, silent: bool, most: usize) -> Vec<Line> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_cached_key(|row| match &row.shipment {
            Some(held) => (false, Some(shipment::place(held))),
            None => (true, None),
        });
        let mut lines = vec![Line::plain(summary(&rows, silent))];
        let revoked: Vec<_> = rows
            .iter()
            .filter(|row| row.is_revoked())
            .map(|row| &*row.key)
            .collect();
        if !revoked.is_empty() {
            lines.push(Line {
                text: format!("REVOKED, do not let out: {}", revoked.join(" ")),
                style: Style::Alarm,
            });
        }
        lines.push(Line::plain(format!(
            "  {:<18} {:<13} {:<6} {:<9} {:>4}  {:<11}  {:<11}  changed",
            "shipment", "gate", "lane", "class", "rank", "decided UTC", "valid UTC"
        )));
        let room = most.saturating_sub(lines.len());
        let shown = if rows.len() > room {
            room.saturating_sub(1)
        } else {
            rows.len()
        };
        lines.extend(rows[..shown].iter().map(|row| row.line(now, silent)));
        if shown < rows.len() {
            lines.push(Line::plain(format!("  and {} more", rows.len() - shown)));
        }
        lines
    }
}

fn summary(rows: &[&Row], silent: bool) -> String {
    let undecided = rows.iter().filter(|row| row.shipment.is_none()).count();
    let open = rows.iter().filter(|row| row.is_open(silent)).count();
    let held = rows.len() - undecided - open;
    format!(
        "{} shipments: {open} open, {held} HOLD, {undecided} not decided",
        rows.len()
    )
}

impl Row {
    fn take(&mut self, told: &pb::Shipment, alone: bool, settled: bool, now: Instant) {
        let change = match &self.shipment {
            None => settled.then(|| "decided".to_owned()),
            Some(held) if held.declaration_number == told.declaration_number => {
                if told.revision < held.revision {
                    return;
                }
                difference(held, told)
            }
            // Another declaration answers for the container, unless this was told for another key: then the one that
            // restricts more does.
            Some(held) => {
                if !alone && !restricts_as_much(told, held) {
                    return;
                }
                let difference = difference(held, told).map(|difference| format!(", {difference}"));
                Some(format!(
                    "now on {}{}",
                    told.declaration_number,
                    difference.unwrap_or_default()
                ))
            }
        };
        self.shipment = Some(told.clone());
        self.confirmed = true;
        if let Some(change) = change {
            self.change = Some((change, now));
        }
    }

    fn is_open(&self, silent: bool) -> bool {
        !silent && self.confirmed && self.shipment.as_ref().is_some_and(|held| !held.hold)
    }

    fn is_revoked(&self) -> bool {
        self.shipment
            .as_ref()
            .is_some_and(|held| held.revoked && held.hold)
    }

    fn line(&self, now: Instant, silent: bool) -> Line {
        let change = self.change.as_ref().filter(|(_, at)| now - *at < MARKED);
        let (mark, changed) = match change {
            Some((what, at)) => ("*", format!("{} s ago: {what}", (now - *at).as_secs())),
            None => (" ", String::new()),
        };
        let Some(held) = &self.shipment else {
            let text = format!(
                "{mark} {:<18} {:<13} {:<47}  {changed}",
                self.key, "HOLD", "not decided"
            );
            return Line::plain(text);
        };
        let gate = match shipment::gate(held) {
            // Silence is no consent.
            _ if !held.hold && !self.is_open(silent) => "HOLD, no word",
            gate => gate,
        };
        let text = format!(
            "{mark} {:<18} {gate:<13} {:<6} {:<9} {:>4}  {:<11}  {:<11}  {changed}",
            self.key,
            shipment::lane(held),
            shipment::class(held),
            shipment::rank(held),
            shipment::minute(held.decided_at.as_ref()),
            shipment::minute(held.valid_until.as_ref()),
        );
        let style = match change {
            _ if self.is_revoked() => Style::Alarm,
            Some(_) => Style::Bold,
            None => Style::Plain,
        };
        Line { text, style }
    }
}

/// Lanes are numbered from free to held; what is past its time restricts nothing.
fn restricts_as_much(told: &pb::Shipment, held: &pb::Shipment) -> bool {
    let until = held.valid_until.unwrap_or_default();
    let past =
        (until.seconds, until.nanos) <= (Timestamp::now().as_second(), Timestamp::now().subsec_nanosecond());
    past || told.lane >= held.lane
}

/// What is different, in a few words; `None` when nothing that is shown is.
fn difference(held: &pb::Shipment, told: &pb::Shipment) -> Option<String> {
    let pairs = [
        (shipment::lane(held), shipment::lane(told)),
        (shipment::class(held), shipment::class(told)),
        (shipment::rank(held), shipment::rank(told)),
    ];
    let mut changes: Vec<_> = pairs
        .into_iter()
        .filter(|(held, told)| held != told)
        .map(|(held, told)| format!("{held} > {told}"))
        .collect();
    let (before, after) = (shipment::gate(held), shipment::gate(told));
    if held.lane == told.lane && before != after {
        changes.insert(0, format!("{before} > {after}"));
    }
    if changes.is_empty() && held.decision_id != told.decision_id {
        changes.push("decided again".to_owned());
    }
    (!changes.is_empty()).then(|| changes.join(", "))
}

#[cfg(test)]
mod tests;
