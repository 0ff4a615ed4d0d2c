//! Who keeps a connection without using it: looked at now and then, for a timer of its own would cost every call something.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::ConnectionLimits;
use crate::service::admission::Conduct;

/// Looks within the time that a connection may be idle or stuck.
const LOOKS: u32 = 4;

/// What is wrong with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// It has not said that it speaks HTTP/2.
    Silent,
    /// It takes nothing of what is written.
    Stuck,
    /// It has had no call for long.
    Idle,
}

/// Watches over one connection.
#[derive(Debug)]
pub(super) struct Vigil {
    conduct: Arc<Conduct>,
    preface: Duration,
    stall: Duration,
    idle: Duration,
    /// When it was last known to have a call.
    used: Instant,
    /// Calls that had begun by then.
    begun: u32,
    /// When to look again; `None`: never.
    next: Option<Instant>,
}

impl Vigil {
    /// From now on.
    pub(super) fn new(conduct: Arc<Conduct>, limits: &ConnectionLimits) -> Self {
        let mut vigil = Self {
            conduct,
            preface: limits.preface,
            stall: limits.stall,
            idle: limits.idle,
            used: Instant::now(),
            begun: 0,
            next: None,
        };
        vigil.next = if vigil.preface.is_zero() {
            vigil.after(vigil.used)
        } else {
            Some(vigil.used + vigil.preface)
        };
        vigil
    }

    /// Completes when there is something wrong.
    pub(super) async fn finds(&mut self) -> Finding {
        while let Some(next) = self.next {
            sleep_until(next).await;
            let now = Instant::now();
            if let Some(finding) = self.look(now) {
                return finding;
            }
            self.next = self.after(now);
        }
        std::future::pending().await
    }

    fn look(&mut self, now: Instant) -> Option<Finding> {
        let conduct = &self.conduct;
        if !self.preface.is_zero() && !conduct.is_greeted() {
            return Some(Finding::Silent);
        }
        if !self.stall.is_zero() && conduct.unwritten_for(now.into_std()) >= self.stall {
            return Some(Finding::Stuck);
        }
        let begun = conduct.begun_calls();
        if conduct.open_calls() > 0 || begun != self.begun {
            (self.used, self.begun) = (now, begun);
        }
        (!self.idle.is_zero() && now - self.used >= self.idle).then_some(Finding::Idle)
    }

    fn after(&self, now: Instant) -> Option<Instant> {
        let bounds = [self.stall, self.idle]
            .into_iter()
            .filter(|bound| !bound.is_zero());
        bounds.min().map(|least| now + least / LOOKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::settings::Settings;

    const SECOND: Duration = Duration::from_secs(1);

    fn vigil(preface: u32, stall: u32, idle: u32) -> (Arc<Conduct>, Vigil) {
        let mut limits = ConnectionLimits::from(&Settings::default());
        (limits.preface, limits.stall, limits.idle) = (SECOND * preface, SECOND * stall, SECOND * idle);
        let conduct = Arc::new(Conduct::new(Arc::default(), 1));
        (Arc::clone(&conduct), Vigil::new(conduct, &limits))
    }

    #[test]
    fn who_says_nothing_is_found_at_the_end_of_its_time() {
        let (conduct, mut vigil) = vigil(5, 30, 60);
        let end = vigil.used + 5 * SECOND;
        assert_eq!(vigil.next, Some(end));
        assert_eq!(vigil.look(end), Some(Finding::Silent));
        conduct.greet();
        assert_eq!(vigil.look(end), None);
    }

    #[test]
    fn a_connection_with_a_call_is_not_idle_and_one_without_is_in_time() {
        let (conduct, mut vigil) = vigil(0, 0, 60);
        let begun = vigil.used;
        let at = |seconds: u32| begun + SECOND * seconds;
        assert_eq!(vigil.after(begun), Some(at(15)));
        let call = conduct.open();
        assert_eq!(vigil.look(at(90)), None);
        drop(call);
        assert_eq!(vigil.look(at(149)), None);
        // One that came and went between two looks.
        drop(conduct.open());
        assert_eq!(vigil.look(at(150)), None);
        assert_eq!(vigil.look(at(209)), None);
        assert_eq!(vigil.look(at(210)), Some(Finding::Idle));
    }

    #[test]
    fn a_socket_that_takes_nothing_is_found_and_none_where_there_is_no_bound() {
        let (conduct, mut vigil) = vigil(0, 30, 0);
        conduct.writes(false);
        assert_eq!(vigil.look(vigil.used + 29 * SECOND), None);
        assert_eq!(vigil.look(vigil.used + 31 * SECOND), Some(Finding::Stuck));
        let (conduct, mut vigil) = self::vigil(0, 0, 0);
        conduct.writes(false);
        assert_eq!((vigil.next, vigil.look(vigil.used + 3600 * SECOND)), (None, None));
    }
}
