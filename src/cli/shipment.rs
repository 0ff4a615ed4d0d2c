//! A shipment as the yard looks at it.

use super::output;
use crate::wire::pb;

/// A shipment as it must be taken: a lane that this program does not know, or none, is MANUAL and holds.
pub(super) fn strict(mut shipment: pb::Shipment) -> pb::Shipment {
    let known = pb::Lane::try_from(shipment.lane).is_ok_and(|lane| lane != pb::Lane::Unspecified);
    if !known {
        shipment.lane = pb::Lane::Manual.into();
        shipment.hold = true;
    }
    shipment
}

/// Its place in the yard, lowest first. What may leave comes first: it can be moved out now, and makes room. Then by rank,
/// for held goods too, because inspections keep to it; then who has waited longer.
pub(super) fn place(shipment: &pb::Shipment) -> (bool, u32, i64, i32) {
    // None at all is last.
    let rank = shipment.priority.map_or(u32::MAX, |priority| priority.rank);
    let decided_at = shipment.decided_at.unwrap_or_default();
    (shipment.hold, rank, decided_at.seconds, decided_at.nanos)
}

/// Whether the gate may open.
pub(super) const fn gate(shipment: &pb::Shipment) -> &'static str {
    match (shipment.hold, shipment.revoked) {
        (true, true) => "HOLD REVOKED",
        (true, false) => "HOLD",
        (false, true) => "open, revoked",
        (false, false) => "open",
    }
}

/// The lane's name.
pub(super) fn lane(shipment: &pb::Shipment) -> String {
    output::term(shipment.lane().as_str_name(), "LANE_")
}

/// The priority class's name; empty where there is none.
pub(super) fn class(shipment: &pb::Shipment) -> String {
    match shipment.priority {
        None => String::new(),
        Some(priority) => output::term(priority.priority_class().as_str_name(), "PRIORITY_CLASS_"),
    }
}

/// The rank; empty where there is none.
pub(super) fn rank(shipment: &pb::Shipment) -> String {
    shipment
        .priority
        .map_or_else(String::new, |priority| priority.rank.to_string())
}

/// A wire instant to the minute, in UTC; empty where there is none.
pub(super) fn minute(at: Option<&prost_types::Timestamp>) -> String {
    at.and_then(|at| jiff::Timestamp::new(at.seconds, at.nanos).ok())
        .map_or_else(String::new, |at| at.strftime("%m-%d %H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_that_is_not_known_is_manual_and_holds() {
        for lane in [0, 6, 99, -1] {
            let told = pb::Shipment {
                lane,
                ..pb::Shipment::default()
            };
            let taken = strict(told);
            assert_eq!(taken.lane(), pb::Lane::Manual);
            assert!(taken.hold, "{lane}");
        }
        let green = pb::Shipment {
            lane: pb::Lane::Green.into(),
            ..pb::Shipment::default()
        };
        assert_eq!(strict(green.clone()), green);
    }

    #[test]
    fn the_yard_moves_what_may_leave_first_then_by_rank_then_by_age() {
        let shipment = |hold, rank, seconds| pb::Shipment {
            hold,
            priority: Some(pb::Priority {
                rank,
                ..pb::Priority::default()
            }),
            decided_at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            ..pb::Shipment::default()
        };
        let unranked = pb::Shipment {
            hold: true,
            ..pb::Shipment::default()
        };
        let yard = [
            shipment(false, 100, 5),
            shipment(false, 300, 1),
            shipment(false, 300, 2),
            shipment(true, 90, 9),
            shipment(true, 400, 1),
            unranked,
        ];
        assert!(yard.is_sorted_by_key(place));
    }
}
