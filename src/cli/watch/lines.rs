//! A watch as lines: one an event.

use std::{
    collections::HashMap,
    io::{self, Write as _},
};

use jiff::Timestamp;

use super::follow::Word;
use crate::{
    cli::{output, shipment},
    wire::{
        json,
        pb::{self, watch_priorities_response::Event},
    },
};

/// Prints words as they come: as JSON every event, for people the shipments.
pub(super) struct Lines {
    address: String,
    format: output::Format,
    revisions: HashMap<String, u64>,
}

impl Lines {
    /// Lines about what that server says.
    pub(super) fn new(address: String, format: output::Format) -> Self {
        Self {
            address,
            format,
            revisions: HashMap::new(),
        }
    }

    /// Prints a word; what concerns the server goes to the error output.
    pub(super) fn word(&mut self, word: Word) -> anyhow::Result<()> {
        match word {
            Word::Lost { why, again_in, .. } => {
                eprintln!(
                    "greenlane: {}: {why}; again in {} ms",
                    self.address,
                    again_in.as_millis()
                );
                Ok(())
            }
            Word::Response(response) => self.response(response),
        }
    }

    fn response(&mut self, mut response: pb::WatchPrioritiesResponse) -> anyhow::Result<()> {
        if let Some(Event::Shipment(told)) = response.event.take() {
            let told = shipment::strict(told);
            let held = self.revisions.entry(told.declaration_number.clone()).or_default();
            if told.revision < *held {
                return Ok(());
            }
            *held = told.revision;
            if self.format == output::Format::Table {
                return Ok(print(&text(&told))?);
            }
            response.event = Some(Event::Shipment(told));
        } else if self.format == output::Format::Table {
            return Ok(());
        } else {
            response.event = Some(Event::Heartbeat(pb::Heartbeat {}));
        }
        let value = json::to_whole_value("WatchPrioritiesResponse", &response)?;
        Ok(print(&value.to_string())?)
    }
}

fn text(told: &pb::Shipment) -> String {
    let containers = match told.container_numbers.as_slice() {
        [] => String::new(),
        containers => format!(" containers {}", containers.join(",")),
    };
    format!(
        "{} {} {} lane {} class {} rank {} revision {} valid to {}{containers}",
        Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        told.declaration_number,
        shipment::gate(told),
        shipment::lane(told),
        shipment::class(told),
        shipment::rank(told),
        told.revision,
        told.valid_until.as_ref().map(output::instant).unwrap_or_default(),
    )
}

/// Unlike `output::line` it tells when nobody reads any more: a watch would go on for ever.
fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
