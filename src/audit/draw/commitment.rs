//! Commitments to the keys of the draw: signed, dated, and worth something only when they stood before their epoch began.

use std::fmt;

use jiff::Timestamp;
use thiserror::Error;

use super::super::signing::{self, SigningKey};
use crate::{
    policy::draw::{Epoch, EpochKey},
    upstream::commitments::StoredCommitment,
    wire::pb,
};

/// What a record of the store says, read; and what that is worth.
#[derive(Debug, Clone)]
pub struct Commitment {
    /// The month.
    pub epoch: Epoch,
    /// As it is stored.
    pub stored: StoredCommitment,
    /// When it was put, by the clock of who put it; `None` where that cannot be read.
    pub published_at: Option<Timestamp>,
    /// Whether the key that it names signed what it says.
    pub signed: bool,
}

/// What a commitment is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// It was put before its epoch began, and is signed: the key could not be chosen by what it selects.
    Ahead,
    /// It was put after its epoch had begun, at that instant.
    Late(Timestamp),
    /// Its signature or its date is none.
    Unsigned,
}

/// A record is of no month.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a draw commitment of {0:?}, which is no month")]
pub struct NoEpoch(pub String);

/// The text that is signed.
pub fn statement(stored: &StoredCommitment) -> String {
    let StoredCommitment {
        epoch,
        commitment,
        published_at,
        replica,
        public_key,
        signature: _,
        revealed_key: _,
        revealed_at: _,
    } = stored;
    format!(
        "greenlane-draw-commitment-v1\nepoch: {epoch}\ncommitment: {commitment}\npublished-at: {published_at}\n\
         replica: {replica}\npublic-key: {public_key}\n"
    )
}

/// The one form of an instant in a record: RFC 3339 in UTC, to the millisecond.
pub fn instant(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// Makes the record that commits to a key.
pub fn commit(
    epoch: Epoch,
    key: &EpochKey,
    now: Timestamp,
    replica: &str,
    signing: &SigningKey,
) -> StoredCommitment {
    let mut record = StoredCommitment {
        epoch: epoch.to_string(),
        commitment: key.commitment.clone(),
        published_at: instant(now),
        replica: replica.to_owned(),
        public_key: hex::encode(signing.public_key()),
        signature: String::new(),
        revealed_key: None,
        revealed_at: None,
    };
    record.signature = hex::encode(signing.sign(statement(&record).as_bytes()));
    record
}

impl Commitment {
    /// Reads a record.
    pub fn read(stored: StoredCommitment) -> Result<Self, NoEpoch> {
        let epoch = stored.epoch.parse();
        let signed = hex::decode(&stored.public_key)
            .ok()
            .zip(hex::decode(&stored.signature).ok())
            .is_some_and(|(key, signature)| signing::verify(&key, statement(&stored).as_bytes(), &signature));
        Ok(Self {
            epoch: epoch.map_err(|_| NoEpoch(stored.epoch.clone()))?,
            published_at: stored.published_at.parse().ok(),
            signed,
            stored,
        })
    }

    /// What it is worth.
    pub fn worth(&self) -> Worth {
        match self.published_at {
            Some(at) if self.signed && at < self.epoch.begins() => Worth::Ahead,
            Some(at) if self.signed => Worth::Late(at),
            _ => Worth::Unsigned,
        }
    }

    /// Whether it is the commitment to that key.
    pub fn is_of(&self, key: &EpochKey) -> bool {
        self.stored.commitment == key.commitment
    }

    /// The key that was revealed, where it is one, and the one committed to.
    pub fn revealed(&self) -> Option<EpochKey> {
        let key = EpochKey::from_hex(self.stored.revealed_key.as_deref()?)?;
        self.is_of(&key).then_some(key)
    }

    /// The message of the contract.
    pub fn message(&self) -> pb::DrawCommitment {
        let StoredCommitment {
            epoch,
            commitment,
            published_at: _,
            replica,
            public_key,
            signature,
            revealed_key,
            revealed_at: _,
        } = self.stored.clone();
        pb::DrawCommitment {
            epoch,
            commitment,
            revealed_key: revealed_key.unwrap_or_default(),
            published_at: self.published_at.map(crate::wire::convert::instant),
            replica,
            public_key,
            signature,
            counts: self.worth() == Worth::Ahead,
            worth: self.worth().to_string(),
        }
    }

    /// The entry of the audit log for one that was put.
    pub fn entry(&self) -> pb::DrawCommitmentEntry {
        pb::DrawCommitmentEntry {
            epoch: self.stored.epoch.clone(),
            commitment: self.stored.commitment.clone(),
            published_at: self.published_at.map(crate::wire::convert::instant),
        }
    }
}

impl fmt::Display for Worth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead => f.write_str("published ahead"),
            Self::Late(at) => write!(
                f,
                "published late: at {}, after the epoch had begun",
                instant(*at)
            ),
            Self::Unsigned => f.write_str("not signed by the key that it names, or without a date"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(published_at: &str) -> StoredCommitment {
        let folder = tempfile::tempdir().unwrap();
        let signing = SigningKey::load_or_make(&folder.path().join("signing.key")).unwrap();
        let key = EpochKey::new([7; 32]);
        let now = published_at.parse().unwrap();
        commit("2026-12".parse().unwrap(), &key, now, "replica-a", &signing)
    }

    #[test]
    fn a_commitment_counts_only_when_it_was_put_before_midnight_in_china() {
        let worth = |at: &str| Commitment::read(record(at)).unwrap().worth();
        assert_eq!(worth("2026-11-30T15:59:59.999Z"), Worth::Ahead);
        let late = "2026-11-30T16:00:00Z";
        assert_eq!(worth(late), Worth::Late(late.parse().unwrap()));
    }

    #[test]
    fn a_record_in_which_anything_was_altered_is_unsigned() {
        let record = record("2026-11-01T00:00:00Z");
        assert_eq!(Commitment::read(record.clone()).unwrap().worth(), Worth::Ahead);
        let alterations: [fn(&mut StoredCommitment); 7] = [
            |record| record.epoch = "2027-01".to_owned(),
            |record| record.commitment = "ab".repeat(32),
            |record| record.published_at = "2026-10-01T00:00:00.000Z".to_owned(),
            |record| record.published_at = "yesterday".to_owned(),
            |record| record.replica.push('x'),
            |record| record.public_key = "ab".repeat(32),
            |record| record.signature = "ab".repeat(64),
        ];
        for alter in alterations {
            let mut other = record.clone();
            alter(&mut other);
            assert_eq!(
                Commitment::read(other.clone()).unwrap().worth(),
                Worth::Unsigned,
                "{other:?}"
            );
        }
        let of_no_month = StoredCommitment {
            epoch: "soon".to_owned(),
            ..record
        };
        assert!(Commitment::read(of_no_month).is_err());
    }

    #[test]
    fn only_the_key_that_was_committed_to_counts_as_revealed() {
        let mut record = record("2026-11-01T00:00:00Z");
        let revealed = |record: &StoredCommitment| Commitment::read(record.clone()).unwrap().revealed();
        assert!(revealed(&record).is_none());
        record.revealed_key = Some(EpochKey::new([8; 32]).reveal());
        assert!(revealed(&record).is_none());
        record.revealed_key = Some(EpochKey::new([7; 32]).reveal());
        assert!(revealed(&record).is_some());
    }

    #[test]
    fn what_is_signed_can_be_checked_with_openssl() {
        use std::{fs, process::Command};
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let signing = SigningKey::load_or_make(&path("signing.key")).unwrap();
        let now = "2026-11-24T12:00:00.123456Z".parse().unwrap();
        let record = commit(
            "2026-12".parse().unwrap(),
            &EpochKey::new([7; 32]),
            now,
            "a",
            &signing,
        );
        assert!(statement(&record).contains("\npublished-at: 2026-11-24T12:00:00.123Z\n"));
        fs::write(path("statement"), statement(&record)).unwrap();
        fs::write(path("signature"), hex::decode(&record.signature).unwrap()).unwrap();
        let arguments = "pkeyutl -verify -pubin -inkey signing.pub -rawin -in statement -sigfile signature";
        let mut openssl = Command::new("openssl");
        let openssl = openssl.current_dir(folder.path()).args(arguments.split(' '));
        assert!(openssl.output().unwrap().status.success());
    }
}
