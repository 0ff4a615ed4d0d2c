//! How people sign in: a browser asks them for a name and a password, and the password is their token.

use http::{HeaderMap, HeaderValue, header};

use super::response::Answer;
use crate::access::token;

/// Puts a token that came as a password where tokens stand otherwise. What cannot be read stays, for it is no token either.
pub(super) fn read(headers: &mut HeaderMap) {
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    // Of two, none is taken.
    if let (Some(own), None) = (authorizations.next(), authorizations.next())
        && let Some(token) = own.to_str().ok().and_then(token::password)
        && let Ok(mut bearer) = HeaderValue::try_from(format!("Bearer {token}"))
    {
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
}

/// Has a browser ask for it.
pub(super) fn offer(answer: &mut Answer) {
    let asks = HeaderValue::from_static("Basic realm=\"greenlane\", charset=\"UTF-8\"");
    answer.headers_mut().append(header::WWW_AUTHENTICATE, asks);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of somebody with the password `a.b.c`.
    const GOOD: &str = "Basic bWU6YS5iLmM=";
    /// Of somebody with a password that has a line's end in it.
    const ODD: &str = "Basic bWU6YQpi";

    /// What is read of authorizations.
    fn read_of(authorizations: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for authorization in authorizations {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(authorization));
        }
        read(&mut headers);
        let all = headers.get_all(header::AUTHORIZATION).iter();
        all.map(|own| own.to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn a_password_becomes_the_token_and_anything_else_stays_as_it_came() {
        assert_eq!(read_of(&[GOOD]), ["Bearer a.b.c"]);
        for own in [&["Bearer a.b.c"][..], &[ODD], &["Basic ???"], &[GOOD, GOOD], &[]] {
            assert_eq!(read_of(own), own);
        }
    }
}
