//! Why a call is not known to be of a caller, or not taken from it.

use std::fmt;

/// Why a call is turned away for who sent it. What it says is told to whoever asks: it tells nothing of keys or callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// There is neither a token nor a certificate.
    Missing,
    /// The credential is no bearer token that can be read.
    Malformed,
    /// The token is of an algorithm, or asks for a treatment, that is not taken.
    Algorithm,
    /// The token is of no key that is held.
    UnknownKey,
    /// The token's signature does not hold.
    Signature,
    /// The token was good once.
    Expired,
    /// The token is not good yet, or issued in the future.
    NotYetValid,
    /// The token is of another issuer.
    Issuer,
    /// The token is for another service.
    Audience,
    /// The credential holds, but is of no caller in the callers file.
    UnknownCaller,
    /// The caller of a stream is no longer what it was when the stream began.
    Changed,
    /// The caller is known, and lacks the role.
    Permission,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 12] = [
        Self::Missing,
        Self::Malformed,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Signature,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::UnknownCaller,
        Self::Changed,
        Self::Permission,
    ];

    /// As metrics name it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::UnknownCaller => "unknown_caller",
            Self::Changed => "changed",
            Self::Permission => "permission",
        }
    }

    /// As programs are told it: the reason of a `google.rpc.ErrorInfo`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "CREDENTIAL_MISSING",
            Self::Malformed => "CREDENTIAL_MALFORMED",
            Self::Algorithm => "TOKEN_ALGORITHM",
            Self::UnknownKey => "TOKEN_KEY_UNKNOWN",
            Self::Signature => "TOKEN_SIGNATURE",
            Self::Expired => "TOKEN_EXPIRED",
            Self::NotYetValid => "TOKEN_NOT_YET_VALID",
            Self::Issuer => "TOKEN_ISSUER",
            Self::Audience => "TOKEN_AUDIENCE",
            Self::UnknownCaller => "CALLER_UNKNOWN",
            Self::Changed => "CALLER_CHANGED",
            Self::Permission => "ROLE_MISSING",
        }
    }
}

/// As people are told it.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "a client certificate or a bearer token is required",
            Self::Malformed => "the authorization is no bearer token that can be read",
            Self::Algorithm => "the token's algorithm or form is not taken",
            Self::UnknownKey => "the token is of an unknown key",
            Self::Signature => "the token's signature does not hold",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Issuer => "the token is of an unknown issuer",
            Self::Audience => "the token is for another audience",
            Self::UnknownCaller => "the credential is of no known caller",
            Self::Changed => "what the caller may do has changed: begin anew",
            Self::Permission => "the caller lacks the role",
        })
    }
}
