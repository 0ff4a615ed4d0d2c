//! The start from a snapshot file.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tracing::warn;

use super::{FileStart, Follower, InForce};

/// How long the store may take for its first answer before the snapshot file is put in force.
const FIRST_CONTACT: Duration = Duration::from_secs(1);

impl Follower {
    /// Gives the store a moment to say what has come since the snapshot file; then the file is in force as it is.
    pub(super) async fn first_contact(&mut self) {
        if self.file.is_none() {
            return;
        }
        let contact = async {
            while self.file.is_some() {
                let result = self.step().await;
                let failed = result.is_err();
                let next = self.told(result).await;
                if failed {
                    return;
                }
                self.idle(next).await;
            }
        };
        let answered = tokio::time::timeout(FIRST_CONTACT, contact).await.is_ok();
        // A store that answered may have shown the file to be foreign: then it is gone.
        if let Some(file) = self.file.take() {
            self.serve_from_file(file, answered);
        }
    }

    fn serve_from_file(&mut self, file: FileStart, answered: bool) {
        let (now, now_wall) = (Instant::now(), SystemTime::now());
        let FileStart {
            generation,
            confirmed_at,
        } = file;
        self.status
            .clock
            .restore(confirmed_at, now, now_wall, self.settings.stale_age);
        self.status.tell(|told| told.source = "file");
        let age = self.status.clock.age(now, now_wall);
        warn!(
            answered,
            age_seconds = age.0.as_secs_f64(),
            sequence = generation.position().sequence,
            enterprises = generation.enterprise_count(),
            "upstream did not bring the snapshot file up to date: serving from the file as it is"
        );
        self.candidate = None;
        drop(self.registry.replace(Arc::clone(&generation)));
        self.tell_changes(InForce::Everything);
        // Why the store's own data is not in force stays told.
        let last_error = self.status.told().last_error;
        self.in_force(&generation);
        self.status.tell(|told| {
            if told.last_error.is_empty() {
                told.last_error = last_error;
            }
        });
    }
}
