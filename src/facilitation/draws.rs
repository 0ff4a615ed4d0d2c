//! Draw keys by epoch, and the epoch and draw that a declaration keeps.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use moka::{policy::EvictionPolicy, sync::Cache};
use thiserror::Error;

use crate::{
    domain::{Date, declaration::Declaration, identifier::DeclarationNumber},
    policy::draw::{Drawn, Epoch, EpochKey, MIN_SECRET_BYTES, MasterSecret, Subject},
};

/// Declarations whose first draw is remembered: the latest ones, so the cache evicts by recency and turns no newcomer away.
pub const REMEMBERED: usize = 1 << 18;

/// Why a text is no master secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretError {
    /// Not hexadecimal.
    #[error("the master secret must be hexadecimal digits")]
    NotHex,
    /// Too short.
    #[error("the master secret must have at least {MIN_SECRET_BYTES} bytes, {} hexadecimal digits", 2 * MIN_SECRET_BYTES)]
    TooShort,
}

/// A declaration's draw, and whether it is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// The draw, with the epoch and subject that it was first made of.
    pub drawn: Drawn,
    /// The declaration had been drawn before.
    pub repeated: bool,
}

/// The keys to draw with, derived once an epoch.
///
/// A declaration that was decided before keeps its first epoch and subject, as long as this replica remembers it: a
/// transport document that is sent later does not draw again.
pub struct DrawKeys {
    secret: MasterSecret,
    keys: ArcSwap<Vec<(Epoch, EpochKey)>>,
    first: Cache<u64, Drawn>,
    /// Epochs whose key is not the one that was committed to.
    disputed: ArcSwap<Vec<Epoch>>,
}

impl fmt::Debug for DrawKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrawKeys").finish_non_exhaustive()
    }
}

impl DrawKeys {
    /// Takes a master secret as hexadecimal digits; white space around it does not count.
    pub fn from_hex(secret: &str) -> Result<Self, SecretError> {
        let bytes = hex::decode(secret.trim()).map_err(|_| SecretError::NotHex)?;
        let secret = MasterSecret::new(&bytes).ok_or(SecretError::TooShort)?;
        Ok(Self {
            secret,
            keys: ArcSwap::default(),
            disputed: ArcSwap::default(),
            first: Cache::builder()
                .max_capacity(REMEMBERED as u64)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
        })
    }

    /// The draw of a declaration, or the first one that it had.
    pub fn draw(&self, declaration: &Declaration, accepted_on: Date) -> Remembered {
        let place = packed(&declaration.number);
        if let Some(drawn) = self.first.get(&place) {
            return Remembered {
                drawn,
                repeated: true,
            };
        }
        let (epoch, subject) = (Epoch::of(accepted_on), Subject::of(declaration));
        let draw = self.with_key(epoch, |key| key.draw(&subject));
        let drawn = Drawn { epoch, subject, draw };
        self.first.insert(place, drawn);
        Remembered {
            drawn,
            repeated: false,
        }
    }

    /// Remembers the draw of a declaration that was decided in an earlier run, unless one is remembered already.
    pub fn remember(&self, number: &DeclarationNumber, drawn: Drawn) {
        self.first.entry(packed(number)).or_insert(drawn);
    }

    /// Forgets the draw of a declaration whose first decision was not given: the next one will be its first.
    pub fn forget(&self, number: &DeclarationNumber) {
        self.first.invalidate(&packed(number));
    }

    /// The key of an epoch.
    pub fn key(&self, epoch: Epoch) -> EpochKey {
        self.secret.epoch_key(epoch)
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
        let key = self.secret.epoch_key(epoch);
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

/// A declaration number in 64 bits: 17 digits and one of four direction characters.
fn packed(number: &DeclarationNumber) -> u64 {
    let direction = match number.direction_character() {
        b'0' => 0,
        b'1' => 1,
        b'I' => 2,
        _ => 3,
    };
    let digits = number.as_bytes().iter().enumerate().filter(|&(at, _)| at != 8);
    digits.fold(0, |sum, (_, &digit)| sum * 10 + u64::from(digit - b'0')) * 4 + direction
}
