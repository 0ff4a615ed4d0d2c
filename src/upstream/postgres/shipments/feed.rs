//! Changes of shipments in a database, read again and again: behind a pooler nothing tells of them.

use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

use super::{
    super::{
        super::{
            UpstreamError,
            archive::signed,
            shipments::{PAGE, Page, Place, StoredShipment, sql},
        },
        Settings,
        connect::{Address, Session},
        within,
    },
    read, unsigned,
};

/// Looks for changes in the tables.
#[derive(Debug)]
pub struct ShipmentFeed {
    settings: Settings,
    address: Address,
    session: Option<Session>,
    recent: u64,
    place: Option<Place>,
}

impl ShipmentFeed {
    /// The changes in that database, beginning with the `recent` shipments that were changed last.
    pub fn new(settings: Settings, recent: u64) -> Result<Self, UpstreamError> {
        Ok(Self {
            address: Address::read(&settings)?,
            settings,
            session: None,
            recent,
            place: None,
        })
    }

    /// What has been changed since the last look; nothing where nothing was.
    pub async fn look(&mut self) -> Result<Vec<StoredShipment>, UpstreamError> {
        loop {
            let read = self.read().await;
            if read.is_err() {
                self.session = None;
            }
            let (mut place, page) = read?;
            let found = place.follow(page);
            self.place = found.is_some().then_some(place);
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    async fn read(&mut self) -> Result<(Place, Page), UpstreamError> {
        let session = self.address.reuse(&self.settings, self.session.take()).await?;
        // It stays where it is: a look that is given up leaves no transaction behind.
        let client = &self.session.insert(session).client;
        let (known, recent) = (self.place.clone(), self.recent);
        within(self.settings.timeout, "a look at shipments", async {
            let place = match known {
                Some(place) => place,
                None => begin(client, recent).await?,
            };
            let page = page(client, place.sequence).await?;
            Ok::<_, UpstreamError>((place, page))
        })
        .await
    }
}

async fn begin(client: &Client, recent: u64) -> Result<Place, UpstreamError> {
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&signed(recent), Type::INT8)];
    let found = client.query_typed_opt(sql::BEGIN, &parameters).await?;
    let row = found.ok_or_else(|| UpstreamError::Corrupt("shipment_meta has no row".to_owned()))?;
    Ok(Place::new(row.try_get(0)?, unsigned(&row, 1)?))
}

async fn page(client: &Client, from: u64) -> Result<Page, UpstreamError> {
    let most = i64::try_from(PAGE).unwrap_or(i64::MAX).saturating_add(1);
    let rows = client
        .query_typed(sql::FOLLOW, &[(&signed(from), Type::INT8), (&most, Type::INT8)])
        .await?;
    let mut page = Page::default();
    for row in &rows {
        (page.epoch, page.last) = (row.try_get(0)?, unsigned(row, 1)?);
        if row.try_get::<_, Option<i64>>(2)?.is_some() {
            page.shipments.push((unsigned(row, 2)?, read(row, 3)?));
        }
    }
    Ok(page)
}
