//! Writers that hold the registry's lock for long: until they commit, no downgrade of anybody's can be written.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tracing::{debug, warn};

use super::{super::UpstreamError, schema::rows, within};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// A writer that holds the lock for longer is told of.
const LONG: Duration = Duration::from_secs(5);

/// Who of those that have the table open for writing waits for nobody: row locks themselves are not listed.
const HOLDER: &str = "
    SELECT l.virtualtransaction, l.pid, coalesce(a.application_name, ''), coalesce(a.usename, ''),
           coalesce(a.state, '')
      FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
     WHERE l.locktype = 'relation' AND l.relation = to_regclass('registry_meta') AND l.granted
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND l.mode IN ('RowShareLock', 'RowExclusiveLock')
       AND NOT EXISTS (SELECT FROM pg_locks w WHERE w.pid = l.pid AND NOT w.granted)
     LIMIT 1";

/// The writer seen last.
#[derive(Debug, Default)]
pub(super) struct Writers {
    looked: Option<Instant>,
    holder: Option<Holder>,
}

#[derive(Debug)]
struct Holder {
    transaction: String,
    since: Instant,
    told: bool,
}

impl Writers {
    /// Looks, if it is time to, who holds the lock, and warns of each transaction once.
    pub(super) async fn look(&mut self, client: &Client, bound: Duration) -> Result<(), UpstreamError> {
        if self.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let answer = within(bound, "asking for writers", async {
            // Refused is an answer too: this look is a courtesy.
            Ok::<_, UpstreamError>(client.simple_query(HOLDER).await)
        });
        let found = match answer.await? {
            Ok(messages) => rows(messages),
            Err(error) => {
                debug!(%error, "the database does not tell who writes");
                return Ok(());
            }
        };
        let Some(row) = found.first() else {
            self.holder = None;
            return Ok(());
        };
        let text = |index| row.get(index).unwrap_or_default();
        let holder = match &mut self.holder {
            Some(holder) if holder.transaction == text(0) => holder,
            other => other.insert(Holder {
                transaction: text(0).to_owned(),
                since: Instant::now(),
                told: false,
            }),
        };
        if !holder.told && holder.since.elapsed() >= LONG {
            holder.told = true;
            warn!(
                pid = text(1),
                application = text(2),
                user = text(3),
                state = text(4),
                held_seconds = holder.since.elapsed().as_secs(),
                "A WRITER HOLDS THE REGISTRY'S LOCK: nobody else's change can be written until its transaction ends"
            );
        }
        Ok(())
    }
}
