//! Control orders.

use arrayvec::ArrayString;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, named_params};

use super::{EditError, Editor, rows};
use crate::{
    domain::{
        Direction,
        identifier::{Country, CustomsOffice, HsPrefix},
        order::{ControlOrder, Selectors},
    },
    registry::row::Entity,
    upstream::edit::{Ending, StoredOrder, instant},
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
        let added = self.0.execute(
            "INSERT INTO control_order (id, kind, basis, enterprise_id, hs_prefix, origin_country, customs_office,
                                        container_number, direction, valid_from, valid_to, legal_basis,
                                        public_reason, confidential_reason)
             VALUES (:id, :kind, :basis, :enterprise_id, :hs_prefix, :origin_country, :customs_office,
                     :container_number, :direction, :valid_from, :valid_to, :legal_basis,
                     :public_reason, :confidential_reason)
             ON CONFLICT (id) DO NOTHING",
            named_params! {
                ":id": id,
                ":kind": kind.name(),
                ":basis": basis.name(),
                ":enterprise_id": enterprise_id.as_ref().map(ArrayString::as_str),
                ":hs_prefix": hs_prefix.as_ref().map(HsPrefix::as_str),
                ":origin_country": origin_country.as_ref().map(Country::as_str),
                ":customs_office": customs_office.as_ref().map(CustomsOffice::as_str),
                ":container_number": container_number.as_ref().map(ArrayString::as_str),
                ":direction": direction.map(Direction::name),
                ":valid_from": instant(*valid_from),
                ":valid_to": valid_to.map(instant),
                ":legal_basis": legal_basis,
                ":public_reason": public_reason,
                ":confidential_reason": confidential_reason,
            },
        )?;
        if added == 0 {
            return Err(EditError::OrderExists(id.clone()));
        }
        Ok(())
    }

    /// Every order, by its beginning.
    pub fn orders(&self) -> Result<Vec<StoredOrder>, EditError> {
        let columns = Entity::ControlOrder.columns().join(", ");
        let sql = format!("SELECT {columns} FROM control_order ORDER BY valid_from, id");
        Ok(rows(&self.0, &sql, [])?
            .into_iter()
            .map(StoredOrder::read)
            .collect())
    }

    /// Ends an order at an instant; one that has ended by then keeps its end.
    pub fn end_order(&mut self, id: &str, at: Timestamp) -> Result<Ending, EditError> {
        let transaction = self.transaction()?;
        let end: Option<Option<String>> = transaction
            .query_row("SELECT valid_to FROM control_order WHERE id = ?1", [id], |row| {
                row.get(0)
            })
            .optional()?;
        let Some(end) = end else {
            return Ok(Ending::Unknown);
        };
        let end = end.and_then(|end| end.parse::<Timestamp>().ok());
        if let Some(end) = end.filter(|&end| end <= at) {
            return Ok(Ending::Before(end));
        }
        transaction.execute(
            "UPDATE control_order SET valid_to = ?2 WHERE id = ?1",
            [id, &instant(at)],
        )?;
        transaction.commit()?;
        Ok(Ending::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{column, editor, one},
        *,
    };
    use crate::domain::order::{OrderBasis, OrderKind};

    fn order(id: &str, from: &str, to: Option<&str>) -> ControlOrder {
        ControlOrder {
            id: id.to_owned(),
            kind: OrderKind::Inspect,
            basis: OrderBasis::Targeted,
            selectors: Selectors {
                hs_prefix: "8471".parse().ok(),
                origin_country: "KR".parse().ok(),
                ..Selectors::default()
            },
            valid_from: at(from),
            valid_to: to.map(at),
            legal_basis: "Customs Law Art 6".to_owned(),
            public_reason: "Recall".to_owned(),
            confidential_reason: None,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[test]
    fn an_order_comes_back_as_it_was_given_and_is_given_once() {
        let (_folder, mut editor) = editor();
        let given = order("A", "2026-01-01T00:00:00+08:00", Some("2026-02-01T00:00:00Z"));
        editor.add_order(&given).expect("added");
        let error = editor.add_order(&given).expect_err("refused");
        assert!(
            matches!(&error, EditError::OrderExists(id) if id == "A"),
            "{error}"
        );
        let orders = editor.orders().expect("the store answers");
        assert_eq!(orders.len(), 1);
        assert_eq!(orders[0].unreadable, None);
        assert_eq!(orders[0].order.as_deref(), Some(&given));
        assert_eq!(column(&orders[0].row, "valid_from"), "2025-12-31T16:00:00.000Z");
        assert!(orders[0].in_force(at("2026-01-31T23:59:59Z")));
        assert!(
            !orders[0].in_force(at("2026-02-01T00:00:00Z")),
            "the end is exclusive"
        );
    }

    #[test]
    fn an_order_ends_once() {
        let (_folder, mut editor) = editor();
        editor
            .add_order(&order("A", "2026-01-01T00:00:00Z", None))
            .expect("added");
        let (early, late) = (at("2026-02-01T00:00:00Z"), at("2026-03-01T00:00:00Z"));
        assert_eq!(editor.end_order("B", early).expect("asked"), Ending::Unknown);
        assert_eq!(editor.end_order("A", late).expect("asked"), Ending::Ended);
        assert_eq!(
            editor.end_order("A", early).expect("asked"),
            Ending::Ended,
            "an end is brought forward"
        );
        assert_eq!(
            editor.end_order("A", late).expect("asked"),
            Ending::Before(early),
            "and not put off"
        );
        let end: String = one(&editor.0, "SELECT valid_to FROM control_order");
        assert_eq!(end, "2026-02-01T00:00:00.000Z");
    }

    #[test]
    fn an_order_that_others_wrote_badly_is_told() {
        let (_folder, mut editor) = editor();
        editor
            .add_order(&order("A", "2026-01-01T00:00:00Z", None))
            .expect("added");
        editor
            .0
            .execute("UPDATE control_order SET kind = 'SEIZE', valid_to = 'soon'", [])
            .expect("plain SQL");
        let orders = editor.orders().expect("the store answers");
        let problem = orders[0].unreadable.clone().unwrap_or_default();
        assert!(
            problem.contains("SEIZE") && problem.contains("valid_to"),
            "{problem}"
        );
        assert!(orders[0].in_force(at("2030-01-01T00:00:00Z")), "it holds");
        assert_eq!(
            editor.end_order("A", at("2026-02-01T00:00:00Z")).expect("asked"),
            Ending::Ended
        );
    }
}
