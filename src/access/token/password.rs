//! A token as the password of HTTP's Basic authentication (RFC 7617), which is what a browser asks people for.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::credentials;

/// What stands before a name and a password.
const SCHEME: &str = "Basic ";

/// The token in an `authorization`; `None` where that is something else.
pub fn password(authorization: &str) -> Option<String> {
    let encoded = credentials(authorization, SCHEME)?;
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    // Whoever has the token is who it says, whatever name they typed.
    let (_, password) = pair.split_once(':')?;
    Some(password.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(scheme: &str, pair: &str) -> Option<String> {
        password(&format!("{scheme} {}", STANDARD.encode(pair)))
    }

    #[test]
    fn a_token_may_come_as_a_password_under_any_name() {
        for (scheme, pair) in [
            ("Basic", "me:a.b.c"),
            ("bASIC", ":a.b.c"),
            ("Basic", "名:a.b.c\n"),
        ] {
            assert_eq!(read(scheme, pair).as_deref(), Some("a.b.c"), "{pair}");
        }
    }

    #[test]
    fn what_is_no_password_is_none() {
        assert_eq!(read("Basic", "without a colon"), None);
        assert_eq!(read("Digest", "me:a.b.c"), None);
        for other in ["", "Basic", "Basic ", "Basic ???", "Basic /w==", "Bearer a.b.c"] {
            assert_eq!(password(other), None, "{other}");
        }
    }
}
