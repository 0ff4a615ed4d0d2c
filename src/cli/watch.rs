//! `greenlane watch`

mod follow;
mod lines;
mod live;
mod screen;
mod yard;

use std::{
    io::{self, IsTerminal as _},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use self::{
    follow::{Follower, Word},
    lines::Lines,
    live::Live,
};
use super::{Context, client, keys::Keys, output};
use crate::app;

/// Words that wait to be shown; when they are so many, the server is not read any further.
const WAITING: usize = 256;
/// Between two looks at whether the table must be drawn again.
const TICK: Duration = Duration::from_millis(100);

/// Watch the lane and priority of shipments as they change
///
/// On a terminal a table in the order of the yard, with what changed marked; elsewhere, or with --output json, one line an
/// event. A server that is lost, or silent for three heartbeats, is asked again for ever, from where it was; meanwhile
/// nothing is to be let out. Ends with Ctrl-C.
#[derive(Debug, clap::Args)]
pub(super) struct Watch {
    #[command(flatten)]
    keys: Keys,
}

impl Watch {
    /// Runs the command.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let keys = self.keys.read()?;
        let address = context.settings().server.grpc_addr.to_string();
        let mut shown = match context.output {
            output::Format::Table if io::stdout().is_terminal() => {
                Shown::Live(Box::new(Live::new(address, &keys)))
            }
            format @ (output::Format::Table | output::Format::Json) => {
                Shown::Lines(Lines::new(address, format))
            }
        };
        client::block_on(show(context, &keys, &mut shown))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// How a watch is shown.
enum Shown {
    Live(Box<Live>),
    Lines(Lines),
}

impl Shown {
    fn word(&mut self, word: Word) -> anyhow::Result<()> {
        match self {
            Self::Live(live) => live.word(word),
            Self::Lines(lines) => lines.word(word),
        }
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Live(live) => Ok(live.tick()?),
            Self::Lines(_) => Ok(()),
        }
    }
}

/// Shows what the server says until it is told to stop, or nobody reads any more.
async fn show(context: &Context, keys: &[String], shown: &mut Shown) -> anyhow::Result<()> {
    let (told, mut words) = mpsc::channel(WAITING);
    let mut following = pin!(Follower::new(keys, told).run(context));
    let mut stop = pin!(app::stop_signal()?);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            () = &mut stop => return Ok(()),
            Some(word) = words.recv() => shown.word(word),
            _ = ticks.tick() => shown.tick(),
            refused = &mut following => return Err(refused),
        };
        match done {
            Err(error) if reader_has_gone(&error) => return Ok(()),
            done => done?,
        }
    }
}

fn reader_has_gone(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
