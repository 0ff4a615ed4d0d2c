//! Control orders.

use arrayvec::ArrayString;
use jiff::Timestamp;

use super::{BEGIN, Editor, execute, rows};
use crate::{
    domain::{
        Direction,
        identifier::{Country, CustomsOffice, HsPrefix},
        order::{ControlOrder, Selectors},
    },
    upstream::edit::{EditError, Ending, StoredOrder, instant},
};

impl Editor {
    /// Adds an order that does not exist yet.
    pub fn add_order(&mut self, order: &ControlOrder) -> Result<(), EditError> {
        let ControlOrder {
            id,
            kind,
            basis,
            selectors,
            valid_from,
            valid_to,
            legal_basis,
            public_reason,
            confidential_reason,
        } = order;
        let Selectors {
            enterprise_id,
            hs_prefix,
            origin_country,
            customs_office,
            container_number,
            direction,
        } = selectors;
        let sql = "INSERT INTO control_order (id, kind, basis, enterprise_id, hs_prefix, origin_country, customs_office,
                                              container_number, direction, valid_from, valid_to, legal_basis,
                                              public_reason, confidential_reason)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::timestamptz, $11::timestamptz, $12, $13, $14)
                   ON CONFLICT (id) DO NOTHING";
        let added = self.run(async |client| {
            let added = execute(
                client,
                sql,
                &[
                    id,
                    &kind.name(),
                    &basis.name(),
                    &enterprise_id.as_ref().map(ArrayString::as_str),
                    &hs_prefix.as_ref().map(HsPrefix::as_str),
                    &origin_country.as_ref().map(Country::as_str),
                    &customs_office.as_ref().map(CustomsOffice::as_str),
                    &container_number.as_ref().map(ArrayString::as_str),
                    &direction.map(Direction::name),
                    &instant(*valid_from),
                    &valid_to.map(instant),
                    legal_basis,
                    public_reason,
                    confidential_reason,
                ],
            )
            .await?;
            Ok(added)
        })?;
        if added == 0 {
            return Err(EditError::OrderExists(id.clone()));
        }
        Ok(())
    }

    /// Every order, by its beginning.
    pub fn orders(&self) -> Result<Vec<StoredOrder>, EditError> {
        self.run(async |client| {
            client
                .batch_execute("BEGIN READ ONLY; SET LOCAL timezone = 'UTC'")
                .await?;
            let sql = "SELECT to_jsonb(o)::text FROM control_order o ORDER BY valid_from, id";
            let found = rows(client, sql, &[]).await?;
            client.batch_execute("COMMIT").await?;
            Ok(found.into_iter().map(StoredOrder::read).collect())
        })
    }

    /// Ends an order at an instant; one that has ended by then keeps its end.
    pub fn end_order(&mut self, id: &str, at: Timestamp) -> Result<Ending, EditError> {
        self.run(async |client| {
            client.batch_execute(BEGIN).await?;
            let sql = "SELECT jsonb_build_object('end', valid_to)::text FROM control_order WHERE id = $1";
            let Some(row) = rows(client, sql, &[&id]).await?.pop() else {
                client.batch_execute("ROLLBACK").await?;
                return Ok(Ending::Unknown);
            };
            let end = row.get("end").and_then(serde_json::Value::as_str);
            let end = end.and_then(|end| end.parse::<Timestamp>().ok());
            if let Some(end) = end.filter(|&end| end <= at) {
                client.batch_execute("ROLLBACK").await?;
                return Ok(Ending::Before(end));
            }
            let sql = "UPDATE control_order SET valid_to = $2::timestamptz WHERE id = $1";
            execute(client, sql, &[&id, &instant(at)]).await?;
            client.batch_execute("COMMIT").await?;
            Ok(Ending::Ended)
        })
    }
}
