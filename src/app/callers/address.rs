//! The address of a key set.

use std::{net::IpAddr, str::FromStr};

use http::Uri;
use thiserror::Error;

/// Where keys are fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAddress {
    /// Whether over TLS.
    pub is_https: bool,
    /// A name or an address.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// The host as a request names it.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// Why keys are not fetched from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadAddress {
    /// It is none.
    #[error("must be an address such as https://id.customs.example/keys")]
    Form,
    /// Whoever is on the way could put keys in.
    #[error("must be https, or http on loopback: keys that come in the clear may be anybody's")]
    Plain,
    /// A name or a password would stand in logs.
    #[error("must have no user name")]
    User,
}

impl FromStr for KeyAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let uri: Uri = text.parse().map_err(|_| BadAddress::Form)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(BadAddress::Form);
        };
        if authority.as_str().contains('@') {
            return Err(BadAddress::User);
        }
        // An IPv6 address stands in brackets.
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let is_loopback = host.eq_ignore_ascii_case("localhost")
            || host
                .parse()
                .is_ok_and(|address: IpAddr| address.to_canonical().is_loopback());
        let is_https = match scheme {
            "https" => true,
            "http" if is_loopback => false,
            "http" => return Err(BadAddress::Plain),
            _ => return Err(BadAddress::Form),
        };
        if host.is_empty() {
            return Err(BadAddress::Form);
        }
        Ok(Self {
            is_https,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            authority: authority.to_string(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let address: KeyAddress = "https://id.customs.example:8443/keys?set=1".parse().unwrap();
        let expected = KeyAddress {
            is_https: true,
            host: "id.customs.example".to_owned(),
            port: 8443,
            authority: "id.customs.example:8443".to_owned(),
            path: "/keys?set=1".to_owned(),
        };
        assert_eq!(address, expected);
        let address: KeyAddress = "http://[::1]/".parse().unwrap();
        assert_eq!(
            (address.host.as_str(), address.port, address.is_https),
            ("::1", 80, false)
        );
    }

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for good in [
            "https://a",
            "http://127.0.0.1:9/k",
            "http://localhost/k",
            "http://[::1]:9/k",
        ] {
            assert!(good.parse::<KeyAddress>().is_ok(), "{good}");
        }
        for plain in [
            "http://a/k",
            "http://10.0.0.1/k",
            "http://127.0.0.1.evil.example/k",
            "http://localhost.evil.example/",
        ] {
            assert_eq!(plain.parse::<KeyAddress>(), Err(BadAddress::Plain), "{plain}");
        }
        for bad in [
            "",
            "keys",
            "/keys",
            "file:///keys",
            "ftp://a/keys",
            "https://",
            "https:///keys",
        ] {
            assert_eq!(bad.parse::<KeyAddress>(), Err(BadAddress::Form), "{bad}");
        }
        assert_eq!("https://a:b@c/k".parse::<KeyAddress>(), Err(BadAddress::User));
    }
}
