use super::*;
use crate::upstream::columns::columns_of_json;

fn text(text: &str) -> Column<'_> {
    Column::Text(text.into())
}

fn enterprise<'a>(tier: &'a str, from: &'a str, suspended: Column<'a>) -> Change {
    put(
        Entity::Enterprise,
        &[
            text("1101919107"),
            Column::Null,
            text("Trader"),
            text(tier),
            text(from),
            Column::Null,
            suspended,
        ],
    )
}

#[test]
fn an_enterprise_that_cannot_be_read_stands_as_suspended() {
    let good = enterprise("CERTIFIED", "2020-01-01", Column::Integer(0));
    assert_eq!(good.unreadable, None);
    for bad in [
        enterprise("GOLD", "2020-01-01", Column::Integer(0)),
        enterprise("CERTIFIED", "soon", Column::Integer(0)),
        enterprise("CERTIFIED", "2020-01-01", text("no")),
    ] {
        let Keyed::Enterprise(enterprise) = &bad.row else {
            panic!("{bad:?}")
        };
        assert!(enterprise.credit.suspended && bad.unreadable.is_some(), "{bad:?}");
    }
    let strict = enterprise("DISCREDITED", "soon", Column::Integer(0));
    let Keyed::Enterprise(enterprise) = strict.row else {
        panic!("an enterprise")
    };
    assert_eq!(
        enterprise.credit.credit_tier,
        CreditTier::Discredited,
        "strictness that can be read stays"
    );
}

#[test]
fn an_order_that_cannot_be_read_holds_what_its_readable_selectors_match() {
    let json = |kind: &str, prefix: &str, office: &str| {
        let row = format!(
            r#"{{"id":"O-1","kind":"{kind}","basis":"TARGETED","hs_prefix":{prefix},"customs_office":{office},
                "valid_from":"2026-01-01T00:00:00Z","legal_basis":"L","public_reason":"R"}}"#
        );
        put(
            Entity::ControlOrder,
            &columns_of_json(Entity::ControlOrder, &row).expect("an object"),
        )
    };
    let order = |change: &Change| {
        let Keyed::Order(order) = &change.row else {
            panic!("{change:?}")
        };
        Arc::clone(order)
    };
    let good = json("INSPECT", "\"8471\"", "null");
    assert_eq!(
        (good.unreadable.is_none(), order(&good).kind),
        (true, OrderKind::Inspect)
    );
    let bad_kind = json("LOOK", "\"8471\"", "null");
    assert_eq!(
        (bad_kind.unreadable.is_some(), order(&bad_kind).kind),
        (true, OrderKind::Hold)
    );
    let bad_selector = json("INSPECT", "\"goods\"", "\"2225\"");
    assert_eq!(order(&bad_selector).kind, OrderKind::Hold);
    assert_eq!(order(&bad_selector).selectors.hs_prefix, None);
    let nothing_left = json("INSPECT", "\"goods\"", "null");
    assert!(matches!(nothing_left.row, Keyed::OrderGone) && nothing_left.unreadable.is_some());
}

#[test]
fn keys_are_the_change_logs() {
    let change = put(
        Entity::ScheduledTier,
        &[text("1101919107"), text("REGULAR"), text("2027-01-01")],
    );
    assert_eq!(change.key, "1101919107|2027-01-01");
    assert!(matches!(
        gone(Entity::ScheduledTier, &change.key).row,
        Keyed::ScheduledGone(_, Some(_))
    ));
}
