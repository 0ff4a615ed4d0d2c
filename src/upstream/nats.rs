//! NATS `JetStream` as an upstream store: a stream of changes and an object store of snapshots, fed by `greenlane relay`.
//!
//! ```text
//! stream    GREENLANE_REGISTRY   subject greenlane.registry.changes   runs of whole commits, resets
//! bucket    greenlane-registry   snapshot-<epoch>-<sequence>-<digest> the bytes of a snapshot file
//! bucket    greenlane_draw       <month>                              the commitment to the draw key of a month, as JSON
//! bucket    greenlane_shipments  <declaration>, container.<number>.<declaration>, progress.<replica>
//! core NATS greenlane.registry.head    where does the store stand, and when was that so?   answered by relays, not kept
//!           greenlane.registry.permit  may I fetch a snapshot now?                         answered by relays, not kept
//! ```
//!
//! **Invariants:** what a relay answers counts from when it asked the store, by its own clocks; a replica adds that age to
//! its own. A run of the stream is applied only where its first row follows on the last one applied.

mod archive;
mod bucket;
mod commitments;
mod connection;
mod credentials;
mod deliveries;
mod fetch;
pub mod head;
pub mod message;
pub mod object;
mod questions;
mod reader;
mod shipments;
pub mod snapshot_file;
mod stream;

pub use self::{
    archive::{Archive, ArchiveReader},
    commitments::Commitments,
    connection::{NatsSettings, connect},
    reader::Reader,
    shipments::{ShipmentFeed, Shipments, value as shipment_value},
    stream::{Appended, Extent, Last, Stream},
};

use super::UpstreamError;

/// What everything is called, after its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Names that begin so: letters, digits, `-` and `_`.
    pub fn new(prefix: &str) -> Result<Self, UpstreamError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if prefix.is_empty() || prefix.len() > 64 || !prefix.chars().all(allowed) {
            return Err(UpstreamError::Unsupported(format!(
                "upstream.nats_prefix: {prefix:?} must be 1-64 letters, digits, - or _"
            )));
        }
        Ok(Self {
            prefix: prefix.to_owned(),
        })
    }

    /// The stream of changes.
    pub fn stream(&self) -> String {
        format!("{}_REGISTRY", self.prefix.to_ascii_uppercase())
    }

    /// The stream's one subject.
    pub fn changes(&self) -> String {
        format!("{}.registry.changes", self.prefix)
    }

    /// The object store's bucket.
    pub fn bucket(&self) -> String {
        format!("{}-registry", self.prefix)
    }

    /// The stream that `JetStream` keeps the bucket in.
    pub fn bucket_stream(&self) -> String {
        format!("OBJ_{}", self.bucket())
    }

    /// The key-value bucket of draw commitments.
    pub fn draw_bucket(&self) -> String {
        format!("{}_draw", self.prefix)
    }

    /// The key-value bucket of shipments.
    pub fn shipment_bucket(&self) -> String {
        format!("{}_shipments", self.prefix)
    }

    /// Where relays are asked for the head.
    pub fn head(&self) -> String {
        format!("{}.registry.head", self.prefix)
    }

    /// Where relays are asked for permission to fetch a snapshot.
    pub fn permit(&self) -> String {
        format!("{}.registry.permit", self.prefix)
    }

    /// The stream of audit logs and their seals.
    pub fn audit_stream(&self) -> String {
        format!("{}_audit", self.prefix)
    }

    /// The stream of the last signed heads, and of public keys.
    pub fn audit_head_stream(&self) -> String {
        format!("{}_audit_head", self.prefix)
    }

    /// Where a replica's audit log is.
    pub fn audit(&self, replica: &str) -> String {
        format!("{}.audit.{}", self.prefix, token(replica))
    }

    /// Where the seals of a replica's segments are.
    pub fn audit_seal(&self, replica: &str) -> String {
        format!("{}.audit_seal.{}", self.prefix, token(replica))
    }

    /// Where a replica's head is.
    pub fn audit_head(&self, replica: &str) -> String {
        format!("{}.audit_head.{}", self.prefix, token(replica))
    }

    /// Where a replica's public key is.
    pub fn audit_key(&self, replica: &str) -> String {
        format!("{}.audit_key.{}", self.prefix, token(replica))
    }

    /// Where one relay is told that a fetch has ended.
    pub fn permit_back(&self, relay: &str) -> String {
        format!("{}.registry.permit.{relay}", self.prefix)
    }
}

/// A replica's name as one part of a subject; `*` stands for all of them. The part of a name that is drawn at random keeps
/// those apart that are made equal.
fn token(replica: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match replica {
        "*" => replica.to_owned(),
        replica => replica
            .chars()
            .map(|c| if allowed(c) { c } else { '_' })
            .collect(),
    }
}

/// A failure of NATS, in words that name what was tried.
fn unavailable(what: &str, error: impl std::fmt::Display) -> UpstreamError {
    UpstreamError::Unavailable(format!("nats: {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_the_prefix_and_a_wild_one_is_refused() {
        let names = Names::new("greenlane").unwrap();
        assert_eq!(names.stream(), "GREENLANE_REGISTRY");
        assert_eq!(names.changes(), "greenlane.registry.changes");
        assert_eq!(names.bucket(), "greenlane-registry");
        assert_eq!(names.audit_stream(), "greenlane_audit");
        assert_eq!(names.audit("kh-1.example-0f"), "greenlane.audit.kh-1_example-0f");
        for wild in ["", "a.b", "a b", "a>", "*", "ü", &"a".repeat(65)] {
            assert!(Names::new(wild).is_err(), "{wild}");
        }
    }
}
