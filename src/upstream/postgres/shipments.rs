//! Shipments: to come.

use jiff::Timestamp;

use super::{
    super::{
        UpstreamError,
        shipments::{Put, StoredShipment},
    },
    Settings,
};

/// To come.
#[derive(Debug)]
pub struct Shipments;

/// To come.
#[derive(Debug)]
pub struct ShipmentFeed;

fn to_come() -> UpstreamError {
    UpstreamError::Unavailable("shipments: not in this kind of store yet".to_owned())
}

#[expect(clippy::unused_async, reason = "to come")]
impl Shipments {
    /// To come.
    pub fn new(_settings: Settings) -> Result<Self, UpstreamError> {
        Ok(Self)
    }
    /// To come.
    pub async fn put(&mut self, _puts: &[Put]) -> Result<Vec<StoredShipment>, UpstreamError> {
        Err(to_come())
    }
    /// To come.
    pub async fn declarations(&mut self, _numbers: &[&str]) -> Result<Vec<StoredShipment>, UpstreamError> {
        Err(to_come())
    }
    /// To come.
    pub async fn containers(&mut self, _numbers: &[&str]) -> Result<Vec<StoredShipment>, UpstreamError> {
        Err(to_come())
    }
    /// To come.
    pub async fn progress(&mut self, _replica: &str) -> Result<Option<u64>, UpstreamError> {
        Err(to_come())
    }
    /// To come.
    pub async fn put_progress(&mut self, _replica: &str, _sequence: u64) -> Result<(), UpstreamError> {
        Err(to_come())
    }
    /// To come.
    pub async fn trim(&mut self, _before: Timestamp) -> Result<u64, UpstreamError> {
        Err(to_come())
    }
}

#[expect(clippy::unused_async, reason = "to come")]
impl ShipmentFeed {
    /// To come.
    pub fn new(_settings: Settings, _recent: u64) -> Result<Self, UpstreamError> {
        Ok(Self)
    }
    /// To come.
    pub async fn look(&mut self) -> Result<Vec<StoredShipment>, UpstreamError> {
        Err(to_come())
    }
    /// To come.
    pub async fn changed(&mut self) {}
}
