//! Identifiers packed exactly into fixed-width keys: no collision is possible.

use crate::domain::identifier::{CustomsCode, SocialCreditCode, social_credit_value};

/// A customs code in base 36: 10 characters need 52 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CustomsKey(u64);

/// A social credit code in base 31: two halves of 9 characters need 45 bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SocialCreditKey(u128);

impl From<CustomsCode> for CustomsKey {
    fn from(code: CustomsCode) -> Self {
        Self(code.as_bytes().iter().fold(0, |sum, &byte| {
            let value = if byte.is_ascii_digit() {
                byte - b'0'
            } else {
                byte - b'A' + 10
            };
            sum * 36 + u64::from(value)
        }))
    }
}

impl CustomsKey {
    /// The code as one number in base 36.
    pub(super) const fn packed(self) -> u64 {
        self.0
    }

    /// The key of such a number; `None` where it is no code's.
    pub(super) fn from_packed(packed: u64) -> Option<Self> {
        (packed < 36_u64.pow(10)).then_some(Self(packed))
    }

    /// The key of a number that a key gave.
    pub(super) const fn again(packed: u64) -> Self {
        Self(packed)
    }

    /// The code again.
    pub(super) fn code(self) -> Option<CustomsCode> {
        let mut rest = self.0;
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
const HALF_MASK: u128 = (1 << HALF) - 1;

impl From<SocialCreditCode> for SocialCreditKey {
    fn from(code: SocialCreditCode) -> Self {
        let value = |byte| u64::from(social_credit_value(byte).unwrap_or_default());
        let half = |bytes: &[u8]| bytes.iter().fold(0, |sum, &byte| sum * 31 + value(byte));
        let (front, back) = code.as_bytes().split_at(9);
        Self(u128::from(half(front)) << HALF | u128::from(half(back)))
    }
}

impl SocialCreditKey {
    /// Bits of a key.
    pub(super) const BITS: u32 = 2 * HALF;
    /// A value that no code packs to.
    pub(super) const NONE: Self = Self((1 << Self::BITS) - 1);
    /// The words of [`Self::NONE`] in an image.
    const NO_WORDS: [u32; 3] = [u32::MAX; 3];

    /// The key of a code, or [`Self::NONE`].
    pub(super) fn of(code: Option<SocialCreditCode>) -> Self {
        code.map_or(Self::NONE, Self::from)
    }

    /// The code as one number of [`Self::BITS`].
    pub(super) const fn packed(self) -> u128 {
        self.0
    }

    /// The key of a number that a key gave.
    pub(super) const fn again(packed: u128) -> Self {
        Self(packed)
    }

    /// The words that an image has of it.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "splitting into words is what truncates"
    )]
    pub(super) fn words(self) -> [u32; 3] {
        if self == Self::NONE {
            return Self::NO_WORDS;
        }
        [self.0 as u32, (self.0 >> 32) as u32, (self.0 >> 64) as u32]
    }

    /// The key of these words; `None` where they are not those of any.
    pub(super) fn from_words(words: [u32; 3]) -> Option<Self> {
        if words == Self::NO_WORDS {
            return Some(Self::NONE);
        }
        let [low, middle, high] = words.map(u128::from);
        let key = Self(low | middle << 32 | high << 64);
        let [front, back] = key.halves()?;
        let is_code = front < 31_u64.pow(9) && back < 31_u64.pow(9);
        is_code.then_some(key)
    }

    /// Front and back as numbers in base 31; `None` where there are more bits than these have.
    fn halves(self) -> Option<[u64; 2]> {
        let front = u64::try_from(self.0 >> HALF).ok()?;
        let back = u64::try_from(self.0 & HALF_MASK).ok()?;
        Some([front, back])
    }

    /// The code again; `None` for [`Self::NONE`].
    pub(super) fn code(self) -> Option<SocialCreditCode> {
        const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
        if self == Self::NONE {
            return None;
        }
        let mut bytes = [0; 18];
        for (bytes, mut rest) in bytes.chunks_exact_mut(9).zip(self.halves()?) {
            for byte in bytes.iter_mut().rev() {
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
            prop_assert_eq!(SocialCreditKey::from_words(key.words()), Some(key));
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
            SocialCreditKey::from_words(SocialCreditKey::NONE.words()),
            Some(SocialCreditKey::NONE)
        );
        let none = SocialCreditKey::NONE.packed();
        for number in [31_u128.pow(9), 31_u128.pow(9) << HALF, 1 << (2 * HALF), none] {
            let words =
                [0, 32, 64].map(|shift| u32::try_from(number >> shift & 0xffff_ffff).expect("32 bits"));
            assert_eq!(SocialCreditKey::from_words(words), None);
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
