//! Draw keys by epoch, and the epoch and draw that a declaration keeps.

mod recent;
mod secrets;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;

use self::{recent::RecentDraws, secrets::MasterSecrets};
use crate::{
    domain::{Date, decision::Lane, declaration::Declaration, identifier::DeclarationNumber},
    policy::draw::{Drawn, Epoch, EpochKey, Subject},
};

pub use self::{recent::REMEMBERED, secrets::SecretError};

/// What is known of a declaration that was decided before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct First {
    /// Its first draw.
    pub drawn: Drawn,
    /// The lane that it had last; `None` while its first decision is being made.
    pub lane: Option<Lane>,
}

/// A declaration's draw, and whether it is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// The draw, with the epoch and subject that it was first made of.
    pub drawn: Drawn,
    /// The declaration had been drawn before.
    pub repeated: bool,
    /// The lane that it had before.
    pub former_lane: Option<Lane>,
}

/// Tells what others know of a declaration that was decided before.
pub type KnownDraws = Box<dyn Fn(&DeclarationNumber) -> Option<First> + Send + Sync>;

/// The keys to draw with, derived once an epoch.
///
/// A declaration that was decided before keeps its first epoch and subject, as long as this replica or [`KnownDraws`]
/// remember it: a transport document that is sent later does not draw again.
pub struct DrawKeys {
    secrets: MasterSecrets,
    keys: ArcSwap<Vec<(Epoch, EpochKey)>>,
    recent: RecentDraws,
    known: OnceLock<KnownDraws>,
    /// Epochs whose key is not the one that was committed to.
    disputed: ArcSwap<Vec<Epoch>>,
}

impl fmt::Debug for DrawKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrawKeys").finish_non_exhaustive()
    }
}

impl DrawKeys {
    /// Takes a master secret as hexadecimal digits, or several that take over from one another: the first one, then a line
    /// each of the month that it begins with and its digits, `2027-02 51d0...`.
    pub fn from_hex(secrets: &str) -> Result<Self, SecretError> {
        let secrets = MasterSecrets::read(secrets)?;
        Ok(Self {
            secrets,
            keys: ArcSwap::default(),
            recent: RecentDraws::default(),
            known: OnceLock::new(),
            disputed: ArcSwap::default(),
        })
    }

    /// Asks there too, from now on, for what is not remembered here. What is asked first stays.
    pub fn ask_too(&self, known: KnownDraws) {
        let _first_stays = self.known.set(known);
    }

    /// The draw of a declaration, or the first one that it had.
    pub fn draw(&self, declaration: &Declaration, accepted_on: Date) -> Remembered {
        let number = &declaration.number;
        let found = self.recent.get(number);
        let found = found.or_else(|| self.known.get().and_then(|known| known(number)));
        if let Some(First { drawn, lane }) = found {
            return Remembered {
                drawn,
                repeated: true,
                former_lane: lane,
            };
        }
        let (epoch, subject) = (Epoch::of(accepted_on), Subject::of(declaration));
        let draw = self.with_key(epoch, |key| key.draw(&subject));
        let first = First {
            drawn: Drawn { epoch, subject, draw },
            lane: None,
        };
        // Of two first requests at once, one is the first.
        match self.recent.put(number, first) {
            None => Remembered {
                drawn: first.drawn,
                repeated: false,
                former_lane: None,
            },
            Some(First { drawn, lane }) => Remembered {
                drawn,
                repeated: true,
                former_lane: lane,
            },
        }
    }

    /// Remembers the lane that a declaration was given.
    pub fn given(&self, number: &DeclarationNumber, lane: Lane) {
        self.recent.set_lane(number, lane);
    }

    /// Remembers the draw of a declaration that was decided in an earlier run, unless one is remembered already.
    pub fn remember(&self, number: &DeclarationNumber, first: First) {
        let _one_that_is_remembered = self.recent.put(number, first);
    }

    /// Forgets the draw of a declaration whose first decision was not given: the next one will be its first.
    pub fn forget(&self, number: &DeclarationNumber) {
        self.recent.forget(number);
    }

    /// The key of an epoch.
    pub fn key(&self, epoch: Epoch) -> EpochKey {
        self.secrets.key(epoch)
    }

    /// Whether nothing may be drawn in an epoch, because the key that others committed to is another one.
    pub fn is_disputed(&self, epoch: Epoch) -> bool {
        self.disputed.load().contains(&epoch)
    }

    /// From now on nothing is drawn in exactly these epochs.
    pub fn dispute(&self, epochs: Vec<Epoch>) {
        self.disputed.store(Arc::new(epochs));
    }

    fn with_key<T>(&self, epoch: Epoch, draw: impl FnOnce(&EpochKey) -> T) -> T {
        let keys = self.keys.load();
        if let Some((_, key)) = keys.iter().find(|(own, _)| *own == epoch) {
            return draw(key);
        }
        drop(keys);
        let key = self.secrets.key(epoch);
        // A few epochs at most: acceptance dates are days apart.
        self.keys.rcu(|keys| {
            let mut keys = Vec::clone(keys);
            if !keys.iter().any(|(own, _)| *own == epoch) {
                keys.push((epoch, key.clone()));
            }
            Arc::new(keys)
        });
        draw(&key)
    }
}
