//! `ListRealizedRates`: how often declarations were selected, against what the policy demands.

use std::{collections::BTreeMap, sync::Arc};

use tonic::Status;

use crate::{
    audit::rates::{self, Cell, Counts, RateTable, Ratio, Scope},
    domain::{CreditTier, identifier::CustomsOffice},
    policy::draw::Epoch,
    service::status::Refusal,
    wire::{pb, violations::Violations},
};

/// Filters that keep every rule.
#[derive(Debug, Clone, Copy, Default)]
struct Filters {
    month: Option<Epoch>,
    customs_office: Option<CustomsOffice>,
}

impl Filters {
    fn of(request: &pb::ListRealizedRatesRequest) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let mut filters = Self::default();
        if !request.month.is_empty() {
            match request.month.parse() {
                Ok(month) => filters.month = Some(month),
                Err(_) => violations.add("month", "must be a month such as 2026-11"),
            }
        }
        if !request.customs_office.is_empty() {
            match request.customs_office.parse() {
                Ok(office) => filters.customs_office = Some(office),
                Err(error) => violations.add("customs_office", format!("{error}")),
            }
        }
        if violations.is_empty() {
            Ok(filters)
        } else {
            Err(violations)
        }
    }
}

/// Answers the request.
pub(super) async fn list(
    table: &Arc<RateTable>,
    request: &pb::ListRealizedRatesRequest,
) -> Result<pb::ListRealizedRatesResponse, Status> {
    let filters = Filters::of(request).map_err(Refusal::Invalid)?;
    let table = Arc::clone(table);
    // Some 20 microseconds a row, and there may be thousands: not on a thread that decides.
    tokio::task::spawn_blocking(move || response(&table, filters))
        .await
        .map_err(|error| {
            tracing::error!(%error, "realized rates could not be told");
            Status::internal("realized rates could not be told")
        })
}

fn response(table: &RateTable, filters: Filters) -> pb::ListRealizedRatesResponse {
    let mut cells = table.cells();
    cells.retain(|cell, _| filters.month.is_none_or(|month| cell.month == month));
    let all_offices = all_offices(&cells);
    cells.retain(|cell, _| {
        filters
            .customs_office
            .is_none_or(|office| cell.customs_office == office)
    });
    let at_office = |(cell, counts): (&Cell, &Counts)| pb::RealizedRate {
        customs_office: cell.customs_office.to_string(),
        ..row(cell.month, cell.credit_tier, counts, Scope::Office)
    };
    pb::ListRealizedRatesResponse {
        rates: cells.iter().map(at_office).collect(),
        all_offices,
    }
}

fn all_offices(cells: &BTreeMap<Cell, Counts>) -> Vec<pb::RealizedRate> {
    let all = rates::over_all_offices(cells);
    let row = |(&(month, tier), counts): (&(Epoch, CreditTier), &Counts)| {
        let row = row(month, tier, counts, Scope::AllOffices);
        if row.limit_ppm == 0 || tier > CreditTier::Regular {
            return row;
        }
        let regular = all.get(&(month, CreditTier::Regular));
        let Ratio {
            realized_ppm,
            lower_ppm,
            upper_ppm,
        } = rates::ratio_to_regular(counts, &regular.copied().unwrap_or_default());
        pb::RealizedRate {
            ratio_to_regular_ppm: realized_ppm,
            ratio_lower_bound_ppm: Some(lower_ppm),
            ratio_upper_bound_ppm: upper_ppm,
            ..row
        }
    };
    all.iter().map(row).collect()
}

fn row(month: Epoch, tier: CreditTier, counts: &Counts, scope: Scope) -> pb::RealizedRate {
    let report = rates::report(tier, counts, scope);
    let Counts {
        decided,
        selected_random,
        selected_mandated,
        selected_targeted,
        inspected,
        drawn,
        drawn_selected,
        demanded_ppm: _,
        limits_ppm: _,
    } = *counts;
    pb::RealizedRate {
        credit_tier: tier.into(),
        customs_office: String::new(),
        month: month.name().to_string(),
        decided,
        selected_random,
        selected_mandated,
        selected_targeted,
        inspected,
        realized_ppm: report.realized.0,
        lower_bound_ppm: report.bounds.lower_ppm,
        upper_bound_ppm: report.bounds.upper_ppm,
        limit_ppm: report.limit.map_or(0, |limit| limit.0),
        breached: report.breached,
        drawn,
        drawn_selected,
        demanded_ppm: report.demanded.0,
        ratio_to_regular_ppm: None,
        ratio_lower_bound_ppm: None,
        ratio_upper_bound_ppm: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::rates::Observation,
        domain::{Ppm, decision::InspectionBasis},
    };

    fn table() -> Arc<RateTable> {
        let table = RateTable::default();
        for (month, office, tier, rate, limit) in [
            ("2026-10", "2225", CreditTier::Regular, 24_400, None),
            (
                "2026-11",
                "2225",
                CreditTier::AdvancedCertified,
                4_879,
                Some(Ppm(4_879)),
            ),
            ("2026-11", "2225", CreditTier::Regular, 24_400, None),
            (
                "2026-11",
                "5301",
                CreditTier::AdvancedCertified,
                5_999,
                Some(Ppm(5_999)),
            ),
            (
                "2026-11",
                "5301",
                CreditTier::Discredited,
                800_000,
                Some(Ppm(800_000)),
            ),
        ] {
            let cell = Cell {
                month: month.parse().expect("a month"),
                customs_office: office.parse().expect("an office"),
                credit_tier: tier,
            };
            table.count(&Observation {
                cell,
                basis: InspectionBasis::Random,
                selected: tier >= CreditTier::Regular,
                rate: Ppm(rate),
                limit,
                consignment: None,
            });
        }
        Arc::new(table)
    }

    fn told(filters: Filters) -> (Vec<String>, Vec<String>) {
        let response = response(&table(), filters);
        let place =
            |row: &pb::RealizedRate| format!("{} {} {}", row.month, row.customs_office, row.credit_tier);
        let places = |rows: &[pb::RealizedRate]| rows.iter().map(place).collect();
        (places(&response.rates), places(&response.all_offices))
    }

    #[test]
    fn rows_come_by_month_office_and_tier_and_filters_leave_the_others_out() {
        let (rates, all_offices) = told(Filters::default());
        assert_eq!(
            rates,
            [
                "2026-10 2225 3",
                "2026-11 2225 1",
                "2026-11 2225 3",
                "2026-11 5301 1",
                "2026-11 5301 4"
            ]
        );
        assert_eq!(
            all_offices,
            ["2026-10  3", "2026-11  1", "2026-11  3", "2026-11  4"]
        );
        let (rates, all_offices) = told(Filters {
            month: "2026-11".parse().ok(),
            customs_office: "5301".parse().ok(),
        });
        assert_eq!(rates, ["2026-11 5301 1", "2026-11 5301 4"]);
        assert_eq!(all_offices, ["2026-11  1", "2026-11  3", "2026-11  4"]);
    }

    #[test]
    fn a_ratio_is_told_over_all_offices_of_tiers_whose_limit_is_a_share() {
        let response = response(&table(), Filters::default());
        assert!(
            response
                .rates
                .iter()
                .all(|row| row.ratio_lower_bound_ppm.is_none())
        );
        let with_ratio = response
            .all_offices
            .iter()
            .filter(|row| row.ratio_lower_bound_ppm.is_some());
        let with_ratio: Vec<_> = with_ratio.collect();
        assert_eq!(with_ratio.len(), 1);
        assert_eq!(with_ratio[0].credit_tier(), pb::CreditTier::AdvancedCertified);
        assert_eq!(with_ratio[0].limit_ppm, 5_439, "the mean of both offices");
        assert_eq!(with_ratio[0].ratio_to_regular_ppm, Some(0));
        assert_eq!(
            with_ratio[0].ratio_upper_bound_ppm, None,
            "one draw of REGULAR bounds nothing"
        );
    }

    #[test]
    fn filters_that_break_a_rule_are_named_all_at_once() {
        let request = |month: &str, office: &str| pb::ListRealizedRatesRequest {
            month: month.to_owned(),
            customs_office: office.to_owned(),
        };
        for month in ["2026-13", "2026-1", "11-2026", "2026-11-01", "0000-01"] {
            let violations = Filters::of(&request(month, "222")).expect_err("refused");
            let fields: Vec<_> = violations.0.iter().map(|(field, _)| field.as_str()).collect();
            assert_eq!(fields, ["month", "customs_office"], "{month}");
        }
        assert!(Filters::of(&request("", "")).is_ok());
    }
}
