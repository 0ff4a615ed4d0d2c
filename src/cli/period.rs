//! A time from and a time to, as commands about the log take them.

use jiff::Timestamp;

use crate::domain::Date;

/// Which decisions of the log.
#[derive(Debug, clap::Args)]
pub(super) struct Period {
    /// Decided at or after: an instant such as 2026-11-24T08:00:00+08:00, or a date (UTC+8) [default: the log's beginning]
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub(super) from: Option<Timestamp>,

    /// Decided before: an instant or a date (UTC+8) [default: the log's end]
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub(super) to: Option<Timestamp>,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    match text.parse::<Date>() {
        Ok(date) => Ok(date.midnight()),
        Err(_) => text
            .parse()
            .map_err(|_| "must be an instant such as 2026-11-24T08:00:00+08:00, or a date".to_owned()),
    }
}
