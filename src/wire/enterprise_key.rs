//! Enterprises as people write them.

use crate::domain::identifier::{BadIdentifier, CustomsCode, EnterpriseId, ParsedAeoCode, SocialCreditCode};

/// The enterprise that a text names: 10 characters are a customs code, 18 a social credit code if they can be one, and
/// anything else is an AEO code. One of 10 characters is told from a customs code by `AEO` before it.
pub fn written(text: &str) -> Result<EnterpriseId, BadIdentifier> {
    if let Ok(code) = text.parse::<CustomsCode>() {
        return Ok(EnterpriseId::Customs(code));
    }
    if let Ok(code) = text.parse::<SocialCreditCode>() {
        return Ok(EnterpriseId::SocialCredit(code));
    }
    text.parse::<ParsedAeoCode>().map(EnterpriseId::from).map_err(|_| {
        BadIdentifier(
            "must be a customs code (10 characters 0-9 A-Z), a social credit code (18) or an AEO code (a country's two \
             letters and up to 30 characters 0-9 A-Z; for China its customs code)",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_its_length_says_and_aeo_before_it_decides() {
        let kinds = [
            ("1101919107", "customs 1101919107"),
            ("CN1101919107", "customs 1101919107"),
            ("AEO CN 1101919107", "customs 1101919107"),
            ("91110000710931820T", "credit 91110000710931820T"),
            ("SG12345678", "customs SG12345678"),
            ("AEOSG12345678", "foreign SG12345678"),
            ("kr1234567", "foreign KR1234567"),
        ];
        for (text, kind) in kinds {
            let found = match written(text).unwrap() {
                EnterpriseId::Customs(code) => format!("customs {code}"),
                EnterpriseId::SocialCredit(code) => format!("credit {code}"),
                EnterpriseId::Foreign(code) => format!("foreign {}", code.as_str()),
            };
            assert_eq!(found, kind, "{text}");
        }
        for bad in ["", "CN110191910", "110191910-", "é", "K1"] {
            assert!(written(bad).is_err(), "{bad}");
        }
    }
}
