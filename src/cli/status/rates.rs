//! The realized rates of the current month, as `greenlane status` shows them.

use jiff::Timestamp;
use tonic::{Code, transport::Channel};

use super::{client, output};
use crate::{
    domain::Date,
    policy::draw::Epoch,
    wire::{
        json::{self, JsonError},
        pb::{self, audit_service_client::AuditServiceClient},
    },
};

/// The realized rates of this month; none where the server does not serve them, or not to who asks.
pub(super) async fn this_month(channel: Channel) -> anyhow::Result<pb::ListRealizedRatesResponse> {
    let month = Epoch::of(Date::of(Timestamp::now()));
    let request = pb::ListRealizedRatesRequest {
        month: month.name().to_string(),
        customs_office: String::new(),
    };
    match AuditServiceClient::new(channel)
        .max_decoding_message_size(client::MAX_MESSAGE)
        .list_realized_rates(request)
        .await
    {
        Ok(response) => Ok(response.into_inner()),
        Err(status) if matches!(status.code(), Code::Unimplemented | Code::PermissionDenied) => {
            Ok(pb::ListRealizedRatesResponse::default())
        }
        Err(status) => Err(client::refusal(&status)),
    }
}

/// The rows over all offices as JSON.
pub(super) fn to_json(response: &pb::ListRealizedRatesResponse) -> Result<Vec<serde_json::Value>, JsonError> {
    let rows = response.all_offices.iter();
    rows.map(|row| json::to_value("RealizedRate", row)).collect()
}

/// Prints a row a tier, over all offices.
pub(super) fn print(response: &pb::ListRealizedRatesResponse) -> anyhow::Result<()> {
    if response.all_offices.is_empty() {
        return Ok(());
    }
    let headings = [
        "tier", "decided", "drawn", "realized", "bounds", "limit", "verdict",
    ];
    output::table(&headings, response.all_offices.iter().map(row))?;
    Ok(())
}

fn row(rate: &pb::RealizedRate) -> [String; 7] {
    let strict = rate.credit_tier() > pb::CreditTier::Regular;
    let limit = match (rate.limit_ppm, strict) {
        (0, _) => String::new(),
        (limit, false) => format!("<= {}", percent(limit)),
        (limit, true) => format!(">= {}", percent(limit)),
    };
    let verdict = match (rate.limit_ppm, rate.breached) {
        (0, _) => "",
        (_, false) => "compliant",
        (_, true) => "BREACHED",
    };
    let (realized, bounds) = if rate.drawn > 0 {
        let bounds = format!(
            "{} - {}",
            percent(rate.lower_bound_ppm),
            percent(rate.upper_bound_ppm)
        );
        (percent(rate.realized_ppm), bounds)
    } else {
        (String::new(), String::new())
    };
    [
        output::term(rate.credit_tier().as_str_name(), "CREDIT_TIER_"),
        rate.decided.to_string(),
        rate.drawn.to_string(),
        realized,
        bounds,
        limit,
        verdict.to_owned(),
    ]
}

/// Exact: a percent has 10,000 ppm.
fn percent(ppm: u32) -> String {
    format!("{}.{:04} %", ppm / 10_000, ppm % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_is_demanded_and_whether_it_is_kept() {
        let rate = pb::RealizedRate {
            credit_tier: 1,
            decided: 200_200,
            drawn: 200_000,
            realized_ppm: 6_343,
            lower_bound_ppm: 5_421,
            upper_bound_ppm: 7_411,
            limit_ppm: 4_879,
            breached: true,
            ..pb::RealizedRate::default()
        };
        assert_eq!(
            row(&rate),
            [
                "ADVANCED_CERTIFIED",
                "200200",
                "200000",
                "0.6343 %",
                "0.5421 % - 0.7411 %",
                "<= 0.4879 %",
                "BREACHED"
            ]
        );
        let regular = pb::RealizedRate {
            credit_tier: 3,
            decided: 1,
            ..pb::RealizedRate::default()
        };
        assert_eq!(row(&regular), ["REGULAR", "1", "0", "", "", "", ""]);
        let strict = pb::RealizedRate {
            credit_tier: 4,
            limit_ppm: 800_000,
            ..regular
        };
        assert_eq!(row(&strict)[5..], [">= 80.0000 %", "compliant"]);
    }
}
