//! What came in force, told to whoever hangs on it.

use std::fmt;

use super::Follower;
use crate::registry::Change;

/// What came in force.
#[derive(Debug, Clone, Copy)]
pub enum InForce<'a> {
    /// The changes of one commit.
    Commit(&'a [Change]),
    /// A whole generation.
    Everything,
}

/// Told of everything that came in force, in order; on the follower's thread, so that it must not take long.
pub struct ChangeListener(pub Box<dyn Fn(InForce<'_>) + Send>);

impl fmt::Debug for ChangeListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangeListener(..)")
    }
}

impl Follower {
    /// Tells of what comes in force from now on.
    #[must_use]
    pub fn telling_changes(mut self, listener: ChangeListener) -> Self {
        self.changes = Some(listener);
        self
    }

    /// Tells of what came in force.
    pub(super) fn tell_changes(&self, came: InForce<'_>) {
        if let Some(listener) = &self.changes {
            (listener.0)(came);
        }
    }
}
