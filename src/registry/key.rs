//! Identifiers packed exactly into fixed-width keys: no collision is possible.

use crate::domain::identifier::{CustomsCode, SocialCreditCode, social_credit_value};

/// A customs code in base 36: 10 characters need 52 bits. Two words keep the table's entries at 4-byte alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CustomsKey(pub(super) [u32; 2]);

/// A social credit code in base 31: two halves of 9 characters need 45 bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SocialCreditKey(pub(super) [u32; 3]);

impl SocialCreditKey {
    /// A value that no code packs to: 90 bits are used.
    pub(super) const NONE: Self = Self([u32::MAX; 3]);
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "splitting into words is what truncates"
)]
const fn words(packed: u128) -> [u32; 3] {
    [packed as u32, (packed >> 32) as u32, (packed >> 64) as u32]
}

impl From<CustomsCode> for CustomsKey {
    fn from(code: CustomsCode) -> Self {
        let packed: u64 = code.as_bytes().iter().fold(0, |sum, &byte| {
            let value = if byte.is_ascii_digit() {
                byte - b'0'
            } else {
                byte - b'A' + 10
            };
            sum * 36 + u64::from(value)
        });
        let [low, high, _] = words(packed.into());
        Self([low, high])
    }
}

impl CustomsKey {
    /// The code as one number in base 36.
    pub(super) fn packed(self) -> u64 {
        u64::from(self.0[0]) | u64::from(self.0[1]) << 32
    }

    /// The key of such a number; `None` where it is no code's.
    pub(super) fn from_packed(packed: u64) -> Option<Self> {
        let [low, high, _] = words(packed.into());
        (packed < 36_u64.pow(10)).then_some(Self([low, high]))
    }

    /// The code again.
    pub(super) fn code(self) -> Option<CustomsCode> {
        let mut rest = self.packed();
        let mut bytes = [0; 10];
        for byte in bytes.iter_mut().rev() {
            let value = u8::try_from(rest % 36).ok()?;
            *byte = if value < 10 {
                b'0' + value
            } else {
                b'A' + value - 10
            };
            rest /= 36;
        }
        std::str::from_utf8(&bytes).ok()?.parse().ok()
    }
}

/// Bits of nine characters in base 31. Two halves of 64-bit arithmetic come back faster than one of 128 bits.
const HALF: u32 = 45;

impl From<SocialCreditCode> for SocialCreditKey {
    fn from(code: SocialCreditCode) -> Self {
        let value = |byte| u64::from(social_credit_value(byte).unwrap_or_default());
        let half = |bytes: &[u8]| bytes.iter().fold(0, |sum, &byte| sum * 31 + value(byte));
        let (front, back) = code.as_bytes().split_at(9);
        Self(words(u128::from(half(front)) << HALF | u128::from(half(back))))
    }
}

impl SocialCreditKey {
    /// The key of these words; `None` where they are neither a code's nor [`Self::NONE`].
    pub(super) fn from_words(words: [u32; 3]) -> Option<Self> {
        let key = Self(words);
        let [front, back] = key.halves();
        let is_code = front < 31_u64.pow(9) && back < 31_u64.pow(9) && words[2] >> (2 * HALF - 64) == 0;
        (is_code || key == Self::NONE).then_some(key)
    }

    /// Front and back as numbers in base 31.
    fn halves(self) -> [u64; 2] {
        let [low, middle, high] = self.0.map(u64::from);
        let low = low | middle << 32;
        [
            (low >> HALF | high << (64 - HALF)) & ((1 << HALF) - 1),
            low & ((1 << HALF) - 1),
        ]
    }

    /// The code again; `None` for [`Self::NONE`].
    pub(super) fn code(self) -> Option<SocialCreditCode> {
        const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
        if self == Self::NONE {
            return None;
        }
        let [low, middle, high] = self.0.map(u128::from);
        let packed = low | middle << 32 | high << 64;
        let mut bytes = [0; 18];
        let (front, back) = bytes.split_at_mut(9);
        for (half, shift) in [(front, HALF), (back, 0)] {
            let mut rest = u64::try_from(packed >> shift & ((1 << HALF) - 1)).ok()?;
            for byte in half.iter_mut().rev() {
                *byte = ALPHABET[usize::try_from(rest % 31).ok()?];
                rest /= 31;
            }
        }
        std::str::from_utf8(&bytes).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_customs_code_comes_back(text in "[0-9A-Z]{10}") {
            let code: CustomsCode = text.parse().expect("a customs code");
            let key = CustomsKey::from(code);
            prop_assert_eq!(key.code(), Some(code));
            prop_assert_eq!(CustomsKey::from_packed(key.packed()), Some(key));
        }

        #[test]
        fn every_social_credit_code_comes_back(text in "[0-9A-HJ-NPQRTUWXY]{18}") {
            let code: SocialCreditCode = text.parse().expect("a social credit code");
            let key = SocialCreditKey::from(code);
            prop_assert_eq!(key.code(), Some(code));
            prop_assert_eq!(SocialCreditKey::from_words(key.0), Some(key));
        }

        #[test]
        fn a_number_that_is_a_key_is_a_codes(packed: u64, words: [u32; 3]) {
            if let Some(key) = CustomsKey::from_packed(packed) {
                prop_assert_eq!(key.code().map(CustomsKey::from), Some(key));
            }
            // Few numbers of 96 bits are codes; with the upper bits gone more are.
            for words in [words, [words[0], words[1], words[2] >> 7]] {
                if let Some(key) = SocialCreditKey::from_words(words) {
                    prop_assert_eq!(key.code().map(SocialCreditKey::from), Some(key));
                }
            }
        }
    }

    #[test]
    fn a_number_past_the_last_code_is_no_key() {
        assert!(CustomsKey::from_packed(36_u64.pow(10) - 1).is_some());
        assert_eq!(CustomsKey::from_packed(36_u64.pow(10)), None);
        assert_eq!(
            SocialCreditKey::from_words(SocialCreditKey::NONE.0),
            Some(SocialCreditKey::NONE)
        );
        for (half, shift) in [(31_u128.pow(9), 0), (31_u128.pow(9), HALF), (1, 2 * HALF)] {
            assert_eq!(SocialCreditKey::from_words(words(half << shift)), None);
        }
    }

    #[test]
    fn the_extremes_come_back() {
        for text in ["0000000000", "ZZZZZZZZZZ"] {
            let code: CustomsCode = text.parse().expect("a customs code");
            assert_eq!(CustomsKey::from(code).code(), Some(code));
        }
        for text in ["000000000000000000", "YYYYYYYYYYYYYYYYYY"] {
            let code: SocialCreditCode = text.parse().expect("a social credit code");
            assert_eq!(SocialCreditKey::from(code).code(), Some(code));
        }
    }
}
