//! Mutual recognition of AEO programmes.

use serde::Deserialize;

use super::{
    Date, Direction, TransportMode,
    identifier::{AeoCode, Country},
};

/// The arrangements that a new store begins with, each with its provenance.
pub const SHIPPED_ARRANGEMENTS: &str = include_str!("mutual_recognition.csv");

/// A row of [`SHIPPED_ARRANGEMENTS`], as text: the columns of the table `mutual_recognition`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ShippedArrangement {
    /// The partner.
    pub country: String,
    /// Its programme.
    pub programme: String,
    /// A direction, or ALL.
    #[serde(default = "all")]
    pub direction: String,
    /// Modes separated by commas, or ALL.
    #[serde(default = "all")]
    pub transport_modes: String,
    /// A date.
    #[serde(alias = "from")]
    pub effective_from: String,
    /// A date, or empty.
    #[serde(default, alias = "to")]
    pub effective_to: String,
}

fn all() -> String {
    "ALL".to_owned()
}

impl ShippedArrangement {
    /// Reads the texts.
    pub fn read(&self) -> Result<Arrangement, BadArrangement> {
        Arrangement::read(
            &self.country,
            &self.programme,
            &self.direction,
            &self.transport_modes,
            &self.effective_from,
            (!self.effective_to.is_empty()).then_some(&self.effective_to),
        )
    }
}

/// Reads [`SHIPPED_ARRANGEMENTS`].
pub fn shipped_arrangements() -> Result<Vec<ShippedArrangement>, csv::Error> {
    csv::Reader::from_reader(SHIPPED_ARRANGEMENTS.as_bytes())
        .deserialize()
        .collect()
}

/// A row of `recognised_operator`: an operator that a partner's programme has certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecognisedOperator {
    /// The key, normalised.
    pub aeo_code: AeoCode,
    /// The partner.
    pub country: Country,
    /// The partner's programme, such as `STP-Plus`.
    pub programme: String,
    /// As the partner writes it.
    pub name: String,
    /// First day (UTC+8).
    pub valid_from: Date,
    /// First day (UTC+8) no longer covered; `None`: no end.
    pub valid_until: Option<Date>,
    /// The partner has suspended it.
    pub suspended: bool,
}

impl RecognisedOperator {
    /// Whether the certification covers that day and is not suspended.
    pub fn in_good_standing(&self, day: Date) -> bool {
        !self.suspended && self.valid_from <= day && self.valid_until.is_none_or(|end| day < end)
    }
}

/// A row of `mutual_recognition`: what one partner's programme is recognised for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrangement {
    /// The partner.
    pub country: Country,
    /// The partner's programme.
    pub programme: String,
    /// `None`: every direction.
    pub direction: Option<Direction>,
    /// The modes it covers.
    pub transport_modes: TransportModes,
    /// First day (UTC+8).
    pub effective_from: Date,
    /// First day (UTC+8) no longer covered; `None`: no end.
    pub effective_to: Option<Date>,
}

/// Why the text of an arrangement cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{column}: {problem}")]
pub struct BadArrangement {
    /// The column.
    pub column: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Arrangement {
    /// Reads an arrangement from the texts that the store and files hold; `ALL` means every direction or mode.
    pub fn read(
        country: &str,
        programme: &str,
        direction: &str,
        transport_modes: &str,
        effective_from: &str,
        effective_to: Option<&str>,
    ) -> Result<Self, BadArrangement> {
        fn column<T, E: ToString>(column: &'static str, result: Result<T, E>) -> Result<T, BadArrangement> {
            result.map_err(|error| BadArrangement {
                column,
                problem: error.to_string(),
            })
        }
        Ok(Self {
            country: column("country", country.parse())?,
            programme: programme.to_owned(),
            direction: if direction == "ALL" {
                None
            } else {
                Some(column("direction", direction.parse())?)
            },
            transport_modes: if transport_modes == "ALL" {
                TransportModes::ALL
            } else {
                let modes = transport_modes
                    .split(',')
                    .map(|mode| mode.trim().parse::<TransportMode>());
                column("transport_modes", modes.collect())?
            },
            effective_from: column("effective_from", effective_from.parse())?,
            effective_to: effective_to
                .map(|end| column("effective_to", end.parse()))
                .transpose()?,
        })
    }
}

/// The transport modes an arrangement covers: a bit a mode number, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransportModes(u8);

impl TransportModes {
    /// Every mode, and declarations that do not say theirs.
    pub const ALL: Self = Self(u8::MAX);

    /// The modes as one number: what [`Self::from_bits`] takes.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The modes of a number that [`Self::bits`] gave.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether a declaration's mode is covered; an unsent one only by [`Self::ALL`].
    pub fn covers(self, mode: Option<TransportMode>) -> bool {
        self == Self::ALL || mode.is_some_and(|mode| self.0 & 1 << mode.number() != 0)
    }
}

impl FromIterator<TransportMode> for TransportModes {
    fn from_iter<I: IntoIterator<Item = TransportMode>>(modes: I) -> Self {
        Self(modes.into_iter().fold(0, |bits, mode| bits | 1 << mode.number()))
    }
}

impl Arrangement {
    /// Whether it is in force on that day for that direction and mode.
    pub fn applies(&self, day: Date, direction: Direction, mode: Option<TransportMode>) -> bool {
        self.direction.is_none_or(|own| own == direction)
            && self.transport_modes.covers(mode)
            && self.effective_from <= day
            && self.effective_to.is_none_or(|end| day < end)
    }
}
