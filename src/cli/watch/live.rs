//! A watch as a table on a terminal.

use std::{
    io,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    follow::{SILENCE, Word},
    screen::{Line, Screen, Style},
    yard::Yard,
};
use crate::wire::pb::watch_priorities_response::Event;

/// Drawn again at least so often: it says how long ago it last heard of the server.
const REDRAW: Duration = Duration::from_secs(1);

/// The table, and what is known of the server.
pub(super) struct Live {
    address: String,
    yard: Yard,
    screen: Screen,
    heard: Option<(Instant, Timestamp)>,
    lost: Option<String>,
    stale: bool,
    drawn_at: Option<Instant>,
}

impl Live {
    /// A table of these shipments, as that server tells of them.
    pub(super) fn new(address: String, keys: &[String]) -> Self {
        Self {
            address,
            yard: Yard::new(keys),
            screen: Screen::new(),
            heard: None,
            lost: None,
            stale: true,
            drawn_at: None,
        }
    }

    /// Takes a word in; what concerns the server goes to the error output too.
    pub(super) fn word(&mut self, word: Word) -> anyhow::Result<()> {
        self.stale = true;
        match word {
            Word::Response(response) => {
                let now = Instant::now();
                self.heard = Some((now, Timestamp::now()));
                self.lost = None;
                match response.event {
                    Some(Event::Shipment(told)) => self.yard.take(told, now),
                    // Everything that was known is told by now.
                    Some(Event::Heartbeat(_)) | None => self.yard.settle(),
                }
            }
            Word::Lost { why, anew, again_in } => {
                if anew {
                    self.yard.begin_anew();
                }
                self.screen.erase()?;
                eprintln!(
                    "greenlane: {}: {why}; again in {} ms",
                    self.address,
                    again_in.as_millis()
                );
                self.lost = Some(why);
                self.draw()?;
            }
        }
        Ok(())
    }

    /// Draws the table if it is time to.
    pub(super) fn tick(&mut self) -> io::Result<()> {
        if self.stale || self.drawn_at.is_none_or(|at| at.elapsed() >= REDRAW) {
            self.draw()?;
        }
        Ok(())
    }

    fn draw(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let silent = self.heard.is_none_or(|(at, _)| now - at >= SILENCE);
        let mut lines = vec![self.server(now, silent)];
        lines.extend(
            self.yard
                .lines(now, silent, Screen::size().lines.saturating_sub(2)),
        );
        self.stale = false;
        self.drawn_at = Some(now);
        self.screen.draw(&lines)
    }

    /// The line about the server.
    fn server(&self, now: Instant, silent: bool) -> Line {
        let heard = match self.heard {
            None => format!("nothing heard of {} yet", self.address),
            Some((at, wall)) => format!(
                "last heard of {} at {} UTC, {} s ago",
                self.address,
                wall.strftime("%H:%M:%S"),
                (now - at).as_secs()
            ),
        };
        let (text, style) = match &self.lost {
            Some(why) => (format!("NOT CONNECTED, {heard}: {why}"), Style::Alarm),
            None if silent && self.heard.is_some() => (format!("SILENT, {heard}"), Style::Alarm),
            None => (heard, Style::Plain),
        };
        Line { text, style }
    }
}
