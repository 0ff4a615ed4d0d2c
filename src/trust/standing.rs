//! How a client stands whose certificate was trusted once.

use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use rustls::pki_types::CertificateDer;
use tokio::time::sleep;
use tracing::debug;

use super::{
    ServerTrust,
    certificate::{Facts, has_ended, now},
};

/// Of a certificate: it is good through its last one.
const SECOND: Duration = Duration::from_secs(1);
/// The wall clock may be set: it is looked at this often.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Tells when a client's certificate is trusted no longer; nothing of a client that has shown none.
#[derive(Debug)]
pub struct Standing(Option<Trusted>);

#[derive(Debug)]
struct Trusted {
    trust: Arc<ServerTrust>,
    /// Its own first.
    chain: Vec<CertificateDer<'static>>,
    /// By which it was trusted.
    generation: u64,
}

impl Standing {
    /// Of a client that has shown no certificate.
    pub const fn of_nobody() -> Self {
        Self(None)
    }

    pub(super) fn of(trust: Arc<ServerTrust>, chain: Vec<CertificateDer<'static>>, generation: u64) -> Self {
        Self(Some(Trusted {
            trust,
            chain,
            generation,
        }))
    }

    /// Completes when the certificate is trusted no longer: it, or one that it hangs on, has expired or was revoked, or its
    /// authority is gone.
    pub async fn lost(self) {
        match self.0 {
            Some(trusted) => trusted.lost().await,
            None => std::future::pending().await,
        }
    }
}

impl Trusted {
    async fn lost(self) {
        let Self {
            trust,
            chain,
            generation,
        } = self;
        let facts = chain
            .iter()
            .filter_map(|certificate| Facts::read(certificate).ok());
        let ends: Vec<_> = facts.map(|facts| facts.not_after).collect();
        let mut generations = trust.generations();
        // What it was trusted by: authorities, and certificates that had not expired.
        let mut trusted_by = (generation, 0);
        loop {
            let now = now();
            let by = (
                *generations.borrow_and_update(),
                ends.iter().filter(|end| has_ended(**end, now)).count(),
            );
            if by != trusted_by {
                if !trust.vouches_for(&chain) {
                    debug!("a client's certificate is trusted no longer");
                    return;
                }
                trusted_by = by;
            }
            tokio::select! {
                // The sender lives in `trust`.
                _ = generations.changed() => {
                    // Not every connection at one instant: calls wait for a verification.
                    let part = rand::rng().random_range(0.0..1.0);
                    sleep(trust.spread().mul_f64(part)).await;
                }
                () = sleep(until_next(&ends, now)) => {}
            }
        }
    }
}

/// Until the next of these has ended, or until the clock is to be looked at again.
fn until_next(ends: &[Duration], now: Duration) -> Duration {
    let left = ends
        .iter()
        .filter_map(|end| (Duration::from_secs(end.as_secs()) + SECOND).checked_sub(now))
        .filter(|left| !left.is_zero());
    left.min().map_or(LONGEST_WAIT, |left| left.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_due_when_the_next_certificate_has_ended_and_now_and_then() {
        let seconds = Duration::from_secs_f64;
        let ends = [seconds(100.0), seconds(200.0), seconds(10_000.0)];
        for (now, wait) in [
            (0.0, 101.0),
            (100.0, 1.0),
            (100.75, 0.25),
            (101.0, 100.0),
            (200.5, 0.5),
            (201.0, LONGEST_WAIT.as_secs_f64()),
            (10_001.0, LONGEST_WAIT.as_secs_f64()),
        ] {
            assert_eq!(until_next(&ends, seconds(now)), seconds(wait), "at {now}");
            // What is waited for has come then.
            let then = seconds(now + wait);
            let ended = |now| ends.iter().filter(|end| has_ended(**end, now)).count();
            assert!(wait > 250.0 || ended(then) > ended(seconds(now)), "at {now}");
        }
    }
}
