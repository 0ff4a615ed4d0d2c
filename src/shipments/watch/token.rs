//! What a caller resumes a watch with.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;

/// Everything up to a count of changes of one life of one replica. To others, and for other keys, it stands for nothing,
/// and everything is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The life.
    pub instance: u64,
    /// Over the keys, in whatever order.
    pub keys: u64,
    /// The count.
    pub count: u64,
    /// When it was given.
    pub at: Timestamp,
}

const VERSION: u8 = 1;
const BYTES: usize = 1 + 4 * 8;

impl Token {
    /// As it is given.
    pub fn text(&self) -> String {
        let mut bytes = [VERSION; BYTES];
        let parts = [
            self.instance.to_be_bytes(),
            self.keys.to_be_bytes(),
            self.count.to_be_bytes(),
            self.at.as_millisecond().to_be_bytes(),
        ];
        bytes[1..].copy_from_slice(parts.as_flattened());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// One that was given; `None` for what none is.
    pub fn read(text: &str) -> Option<Self> {
        let bytes: [u8; BYTES] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (&version, parts) = bytes.split_first()?;
        let (parts, _) = parts.as_chunks::<8>();
        let &[instance, keys, count, at] = parts else {
            return None;
        };
        (version == VERSION).then_some(())?;
        Some(Self {
            instance: u64::from_be_bytes(instance),
            keys: u64::from_be_bytes(keys),
            count: u64::from_be_bytes(count),
            at: Timestamp::from_millisecond(i64::from_be_bytes(at)).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_given_and_nothing_else_is_one() {
        let token = Token {
            instance: u64::MAX,
            keys: 7,
            count: 123,
            at: Timestamp::from_millisecond(1_795_000_000_123).expect("an instant"),
        };
        assert_eq!(Token::read(&token.text()), Some(token));
        for none in [
            "",
            "AAAA",
            "not base64!",
            &token.text()[1..],
            &format!("{}A", token.text()),
        ] {
            assert_eq!(Token::read(none), None, "{none:?}");
        }
    }
}
