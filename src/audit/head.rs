//! The signed head of a log: how far it goes. Kept elsewhere than the log, it shows a tail that was cut.
//!
//! ```text
//! greenlane-audit-head-v1
//! replica: NAME
//! sequence: 12345
//! chain: <hex>
//! at: 2026-11-24T12:00:00.123Z
//! public-key: <hex 32 bytes>
//! ```

use jiff::Timestamp;

use super::{
    frame::Hash,
    signing::{self, SigningKey},
    statement::{self, Lines, StatementFault},
};

const TITLE: &str = "greenlane-audit-head-v1";

/// What a head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// The replica that writes the log.
    pub replica: String,
    /// Sequence of the last record.
    pub sequence: u64,
    /// Chain of the last group.
    pub chain: Hash,
    /// When it was so, by the replica's clock; whole milliseconds.
    pub at: Timestamp,
    /// The key that signs it.
    pub public_key: Hash,
}

impl SignedHead {
    /// The text that is signed.
    pub fn text(&self) -> String {
        statement::write(
            TITLE,
            &[
                ("replica", &self.replica),
                ("sequence", &self.sequence),
                ("chain", &hex::encode(self.chain)),
                ("at", &format_args!("{:.3}", self.at)),
                ("public-key", &hex::encode(self.public_key)),
            ],
        )
    }

    /// The text and its signature.
    pub fn sign(&self, key: &SigningKey) -> (String, [u8; signing::SIGNATURE_BYTES]) {
        let text = self.text();
        let signature = key.sign(text.as_bytes());
        (text, signature)
    }

    /// Reads a text; `None` unless it is exactly as this program writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = Lines::of(text, TITLE)?;
        let head = Self {
            replica: lines.value("replica")?.to_owned(),
            sequence: lines.parsed("sequence")?,
            chain: lines.hash("chain")?,
            at: lines.parsed("at")?,
            public_key: lines.hash("public-key")?,
        };
        (head.text() == text).then_some(head)
    }

    /// What a head says, once it is known that the owner of the key says so.
    pub fn check(text: &[u8], signature: &[u8], trusted: &[Hash]) -> Result<Self, StatementFault> {
        let parsed = std::str::from_utf8(text).ok().and_then(Self::parse);
        let head = parsed.ok_or(StatementFault::Malformed)?;
        statement::check(text, signature, &head.public_key, trusted)?;
        Ok(head)
    }
}
