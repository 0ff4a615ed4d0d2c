//! Rates in parts per million.

use serde::{Deserialize, Serialize};

/// A rate in parts per million: 1000000 is always.
///
/// Multipliers use the same unit and may exceed 1000000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ppm(pub u32);

impl Ppm {
    /// Every shipment.
    pub const ALWAYS: Self = Self(1_000_000);

    /// `self x multiplier`, rounded down, at most [`u32::MAX`]; 64 bits hold any product of two rates.
    #[must_use]
    pub fn times(self, multiplier: Self) -> Self {
        Self(u32::try_from(self.product(multiplier) / 1_000_000).unwrap_or(u32::MAX))
    }

    /// The largest rate strictly below `self x share`, not under 0 (Decree 251 Art 30(1): "below 20 %").
    #[must_use]
    pub fn strictly_below(self, share: Self) -> Self {
        let product = self.product(share);
        // The largest n with n x 1000000 < product.
        Self(u32::try_from(product.saturating_sub(1) / 1_000_000).unwrap_or(u32::MAX))
    }

    fn product(self, other: Self) -> u64 {
        u64::from(self.0) * u64::from(other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strictly_below_is_the_largest_integer_under_the_product() {
        assert_eq!(
            Ppm(24_400).strictly_below(Ppm(200_000)),
            Ppm(4_879),
            "4880 exactly is not below 4880"
        );
        assert_eq!(
            Ppm(24_403).strictly_below(Ppm(200_000)),
            Ppm(4_880),
            "4880.6: 4880 is below"
        );
        assert_eq!(Ppm(0).strictly_below(Ppm(200_000)), Ppm(0));
        assert_eq!(Ppm(1).strictly_below(Ppm(200_000)), Ppm(0));
    }

    #[test]
    fn times_rounds_down_and_saturates() {
        assert_eq!(Ppm(24_400).times(Ppm(200_000)), Ppm(4_880));
        assert_eq!(Ppm(24_403).times(Ppm(200_000)), Ppm(4_880));
        assert_eq!(Ppm(u32::MAX).times(Ppm(u32::MAX)), Ppm(u32::MAX));
    }
}
