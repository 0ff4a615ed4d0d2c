//! Identifiers of enterprises, declarations, places and containers: parsed once, fixed width, `Copy`.

use std::{fmt, str::FromStr};

use arrayvec::ArrayString;
use thiserror::Error;

/// An identifier that does not have the form its kind demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct BadIdentifier(pub &'static str);

/// Declares an identifier of exactly `$width` ASCII characters that satisfy `$valid`.
macro_rules! fixed_identifier {
    ($(#[$meta:meta])* $name:ident[$width:literal], $form:literal, $valid:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $width]);

        impl $name {
            /// The characters, all ASCII.
            pub fn as_str(&self) -> &str {
                // Every constructor admits ASCII only, so the empty fallback is never taken.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }

            /// The characters as bytes.
            pub const fn as_bytes(&self) -> &[u8; $width] { &self.0 }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = BadIdentifier;

            fn try_from(bytes: &[u8]) -> Result<Self, BadIdentifier> {
                let bytes: [u8; $width] = bytes.try_into().map_err(|_| BadIdentifier($form))?;
                let valid: fn(&[u8; $width]) -> bool = $valid;
                if valid(&bytes) { Ok(Self(bytes)) } else { Err(BadIdentifier($form)) }
            }
        }

        impl FromStr for $name {
            type Err = BadIdentifier;

            fn from_str(text: &str) -> Result<Self, BadIdentifier> { text.as_bytes().try_into() }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.as_str()) }
        }
    };
}

fn upper_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_digit() || byte.is_ascii_uppercase()
}

fixed_identifier! {
    /// Customs registration code: 10 characters, digits and capital letters, no check digit.
    CustomsCode[10], "must be 10 characters 0-9 A-Z", |bytes| bytes.iter().copied().all(upper_alphanumeric)
}

fixed_identifier! {
    /// Unified social credit code (GB 32100-2015): 18 characters of an alphabet of 31.
    ///
    /// The check character may be wrong: legal codes exist that fail it (see [`SocialCreditCode::check_holds`]).
    SocialCreditCode[18], "must be 18 characters of the GB 32100 alphabet (0-9 A-Z without I O S V Z)",
    |bytes| bytes.iter().all(|&byte| social_credit_value(byte).is_some())
}

fixed_identifier! {
    /// Declaration number: accepting office and year (8 digits), direction (0 1 I E), sequence (9 digits).
    DeclarationNumber[18], "must match [0-9]{8}[01IE][0-9]{9}", |bytes| {
        bytes.iter().enumerate().all(|(at, byte)| match at {
            8 => matches!(byte, b'0' | b'1' | b'I' | b'E'),
            _ => byte.is_ascii_digit(),
        })
    }
}

fixed_identifier! {
    /// Customs office: 4 digits.
    CustomsOffice[4], "must be 4 digits", |bytes| bytes.iter().all(u8::is_ascii_digit)
}

fixed_identifier! {
    /// ISO 3166-1 alpha-2 code of a country or region.
    Country[2], "must be 2 capital letters", |bytes| bytes.iter().all(u8::is_ascii_uppercase)
}

fixed_identifier! {
    /// Container number (ISO 6346), the check digit verified.
    ContainerNumber[11], "must be an ISO 6346 container number with the right check digit", |bytes| {
        container_form(bytes) && container_check_digit(bytes) == bytes[10] - b'0'
    }
}

impl DeclarationNumber {
    /// The ninth character: `0` or `E` for exports, `1` or `I` for imports.
    pub const fn direction_character(&self) -> u8 {
        self.0[8]
    }
}

/// Whether the text has the form of a container number, whatever its check digit.
pub fn is_container_form(text: &str) -> bool {
    text.as_bytes().try_into().is_ok_and(container_form)
}

fn container_form(bytes: &[u8; 11]) -> bool {
    bytes[..3].iter().all(u8::is_ascii_uppercase)
        && matches!(bytes[3], b'U' | b'J' | b'Z')
        && bytes[4..].iter().all(u8::is_ascii_digit)
}

/// ISO 6346: letters count 10 to 38 without 11, 22 and 33; position i weighs 2^i; remainder 10 counts as 0.
fn container_check_digit(bytes: &[u8; 11]) -> u8 {
    let sum: u32 = bytes[..10]
        .iter()
        .enumerate()
        .map(|(at, &byte)| {
            let value = if byte.is_ascii_digit() {
                u32::from(byte - b'0')
            } else {
                let ordinal = u32::from(byte - b'A') + 10;
                // The values divisible by 11 are skipped: A=10, B=12 ... K=21, L=23 ... U=32, V=34.
                ordinal + (ordinal - 1) / 10
            };
            value << at
        })
        .sum();
    // A remainder is below 11, so the digit is below 10.
    u8::try_from(sum % 11 % 10).unwrap_or_default()
}

/// Value of a character in the GB 32100 alphabet (no I O S V Z): its index, 0 to 30.
pub fn social_credit_value(byte: u8) -> Option<u8> {
    const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
    const VALUES: [u8; 256] = {
        let mut values = [u8::MAX; 256];
        let mut value = 0;
        while value < 31 {
            values[ALPHABET[value as usize] as usize] = value;
            value += 1;
        }
        values
    };
    match VALUES[usize::from(byte)] {
        u8::MAX => None,
        value => Some(value),
    }
}

impl SocialCreditCode {
    /// Whether the eighteenth character is the one that GB 32100-2015 computes.
    ///
    /// A failure is a warning, never a refusal: lookup by exact match decides.
    pub fn check_holds(&self) -> bool {
        let value = |at: usize| u32::from(social_credit_value(self.0[at]).unwrap_or_default());
        let mut weight = 1;
        let mut sum = 0;
        for at in 0..17 {
            sum += value(at) * weight;
            weight = weight * 3 % 31;
        }
        // The outer remainder matters: without it a sum divisible by 31 asks for a 32nd character.
        (31 - sum % 31) % 31 == value(17)
    }
}

/// A foreign AEO code in normalised form: country, then 1 to 30 characters 0-9 A-Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AeoCode(ArrayString<32>);

impl AeoCode {
    /// The normalised characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an AEO code as written on a declaration stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParsedAeoCode {
    /// `CN` and 10 characters: that Chinese enterprise's customs code.
    Chinese(CustomsCode),
    /// An operator of a partner's programme.
    Foreign(AeoCode),
}

impl FromStr for ParsedAeoCode {
    type Err = BadIdentifier;

    /// Normalises (upper case; spaces, `<` and `>` dropped; a leading `AEO` dropped when two letters follow) and parses.
    fn from_str(text: &str) -> Result<Self, BadIdentifier> {
        const FORM: BadIdentifier = BadIdentifier(
            "must be an AEO code: 2 letters of the country, then 1-30 characters 0-9 A-Z (CN: 10)",
        );
        let mut normalised = ArrayString::<35>::new();
        for character in text
            .chars()
            .filter(|character| !matches!(character, ' ' | '<' | '>'))
        {
            normalised
                .try_push(character.to_ascii_uppercase())
                .map_err(|_| FORM)?;
        }
        let bytes = normalised.as_bytes();
        let prefixed =
            bytes.starts_with(b"AEO") && bytes.len() >= 5 && bytes[3..5].iter().all(u8::is_ascii_uppercase);
        let code = if prefixed {
            &normalised[3..]
        } else {
            &normalised[..]
        };
        let bytes = code.as_bytes();
        let well_formed = (3..=32).contains(&bytes.len())
            && bytes[..2].iter().all(u8::is_ascii_uppercase)
            && bytes[2..].iter().copied().all(upper_alphanumeric);
        if !well_formed {
            return Err(FORM);
        }
        match code.strip_prefix("CN") {
            Some(rest) => rest.parse().map(Self::Chinese).map_err(|_| FORM),
            None => ArrayString::from(code)
                .map(|code| Self::Foreign(AeoCode(code)))
                .map_err(|_| FORM),
        }
    }
}

/// How a party is named on a declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnterpriseId {
    /// By customs code, or by the `CN` form of an AEO code.
    Customs(CustomsCode),
    /// By social credit code.
    SocialCredit(SocialCreditCode),
    /// By a foreign AEO code.
    Foreign(AeoCode),
}

impl EnterpriseId {
    /// The normalised identifier.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Customs(code) => code.as_str(),
            Self::SocialCredit(code) => code.as_str(),
            Self::Foreign(code) => code.as_str(),
        }
    }
}

/// A commodity code: 6 to 13 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HsCode(ArrayString<13>);

impl HsCode {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HsCode {
    type Err = BadIdentifier;

    fn from_str(text: &str) -> Result<Self, BadIdentifier> {
        const FORM: BadIdentifier = BadIdentifier("must be 6 to 13 digits");
        if !(6..=13).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(FORM);
        }
        ArrayString::from(text).map(Self).map_err(|_| FORM)
    }
}

/// The beginning of commodity codes: 1 to 13 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HsPrefix(ArrayString<13>);

impl HsPrefix {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether that commodity code begins with this.
    pub fn covers(&self, code: &HsCode) -> bool {
        code.as_str().starts_with(self.as_str())
    }
}

impl FromStr for HsPrefix {
    type Err = BadIdentifier;

    fn from_str(text: &str) -> Result<Self, BadIdentifier> {
        const FORM: BadIdentifier = BadIdentifier("must be 1 to 13 digits");
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(FORM);
        }
        ArrayString::from(text).map(Self).map_err(|_| FORM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn social_credit_codes_are_checked_as_gb_32100_says() {
        for (code, holds) in [
            ("91110000600037341L", true),
            ("91310110666007217T", true),
            // Legal codes that fail their check.
            ("91350100M0001TGQXM", false),
            ("91350211M0000XUF46", false),
            ("91350203M0001FUE2P", false),
        ] {
            let code: SocialCreditCode = code.parse().expect("the alphabet holds");
            assert_eq!(code.check_holds(), holds, "{code}");
        }
        assert!(
            "9111000060003734IL".parse::<SocialCreditCode>().is_err(),
            "I is not in the alphabet"
        );
    }

    #[test]
    fn container_check_digits_follow_iso_6346() {
        assert!("CSQU3054383".parse::<ContainerNumber>().is_ok());
        assert!(
            "CSQU0000070".parse::<ContainerNumber>().is_ok(),
            "remainder 10 counts as 0"
        );
        assert!("MSCU6639870".parse::<ContainerNumber>().is_ok());
        for bad in [
            "MSCU6639871",
            "CSQR3054383",
            "csqu3054383",
            "CSQU305438",
            "CSQU30543833",
        ] {
            assert!(bad.parse::<ContainerNumber>().is_err(), "{bad}");
        }
    }

    #[test]
    fn aeo_codes_are_normalised() {
        let foreign = |text: &str| match text.parse() {
            Ok(ParsedAeoCode::Foreign(code)) => code.as_str().to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(foreign("aeo<nz 1234>"), "NZ1234");
        assert_eq!(foreign("SG201234567890"), "SG201234567890");
        assert_eq!(
            foreign("AEO12"),
            "AEO12",
            "no two letters follow: an operator of AE"
        );
        assert_eq!(
            foreign(&format!("AEOSG{}", "1".repeat(30))),
            format!("SG{}", "1".repeat(30))
        );
        let chinese: CustomsCode = "123456789A".parse().expect("a customs code");
        for text in ["CN123456789A", "aeocn123456789a", "AEO<CN 123456789A>"] {
            assert_eq!(text.parse(), Ok(ParsedAeoCode::Chinese(chinese)), "{text}");
        }
        for bad in [
            "",
            "CN",
            "CN123",
            "CN12345678901",
            "S1",
            "SG",
            "SG-1",
            "SGé",
            &format!("SG{}", "1".repeat(31)),
        ] {
            assert!(bad.parse::<ParsedAeoCode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn declaration_numbers_have_a_direction_character() {
        assert!(
            "020220082525641690".parse::<DeclarationNumber>().is_err(),
            "2 is no direction"
        );
        let number: DeclarationNumber = "020220080525641690".parse().expect("well formed");
        assert_eq!(number.direction_character(), b'0');
        for bad in [
            "02202008152564169",
            "0220200815256416900",
            "02202008A525641690",
            "0220200８1525641690",
        ] {
            assert!(bad.parse::<DeclarationNumber>().is_err(), "{bad}");
        }
    }
}
