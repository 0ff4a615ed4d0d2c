//! `greenlane status`

mod rates;

use std::process::ExitCode;

use super::{Context, client, output};
use crate::wire::{
    json,
    pb::{self, registry_service_client::RegistryServiceClient},
};

/// Runs the command; a registry that is not LIVE gives exit code 1.
pub(super) fn run(context: &Context) -> anyhow::Result<ExitCode> {
    let (status, policies, rates) = client::block_on(async {
        let channel = client::connect(context).await?;
        let mut registry = RegistryServiceClient::new(channel.clone());
        let refusal = |status| client::refusal(&status);
        let status = registry
            .get_registry_status(pb::GetRegistryStatusRequest {})
            .await
            .map_err(refusal)?;
        let policies = registry
            .list_policies(pb::ListPoliciesRequest {})
            .await
            .map_err(refusal)?;
        let rates = rates::this_month(channel).await?;
        Ok((status.into_inner(), policies.into_inner(), rates))
    })?;
    let live = status.state() == pb::RegistryState::Live;
    match context.output {
        output::Format::Table => {
            print(context, &status, &policies)?;
            rates::print(&rates)?;
        }
        output::Format::Json => output::json(&serde_json::json!({
            "registry": json::to_value("GetRegistryStatusResponse", &status)?,
            "policies": json::to_value("ListPoliciesResponse", &policies)?["policies"],
            "rates": rates::to_json(&rates)?,
        }))?,
    }
    Ok(if live {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(
    context: &Context,
    status: &pb::GetRegistryStatusResponse,
    policies: &pb::ListPoliciesResponse,
) -> anyhow::Result<()> {
    let version = status.registry_version.clone().unwrap_or_default();
    let age = status.data_age.unwrap_or_default();
    let mut rows = vec![
        [
            "server".to_owned(),
            context.settings().server.grpc_addr.to_string(),
        ],
        [
            "state".to_owned(),
            output::term(status.state().as_str_name(), "REGISTRY_STATE_"),
        ],
        [
            "since".to_owned(),
            status
                .state_since
                .as_ref()
                .map(output::instant)
                .unwrap_or_default(),
        ],
        [
            "data age".to_owned(),
            format!("{}.{:03} s", age.seconds, age.nanos / 1_000_000),
        ],
        ["source".to_owned(), status.source.clone()],
        [
            "version".to_owned(),
            format!("{} {}", version.epoch, version.sequence),
        ],
    ];
    for count in &status.tiers {
        rows.push([
            output::term(count.credit_tier().as_str_name(), "CREDIT_TIER_"),
            count.enterprises.to_string(),
        ]);
    }
    rows.extend([
        ["control orders".to_owned(), status.control_orders.to_string()],
        [
            "recognised operators".to_owned(),
            status.recognised_operators.to_string(),
        ],
        ["quarantined rows".to_owned(), status.quarantined_rows.to_string()],
        ["digest".to_owned(), status.digest.clone()],
    ]);
    if !status.last_error.is_empty() {
        rows.push(["last error".to_owned(), status.last_error.clone()]);
    }
    output::table(&["registry", ""], rows)?;
    if !status.quarantine.is_empty() {
        let row = |row: &pb::QuarantinedRow| [row.entity.clone(), row.key.clone(), row.reason.clone()];
        output::table(
            &["quarantined", "key", "reason"],
            status.quarantine.iter().map(row),
        )?;
    }
    let policy = |summary: &pb::PolicySummary| {
        let policy = summary.policy.clone().unwrap_or_default();
        let state = if summary.in_force { "in force" } else { "" };
        let provisional = if policy.provisional { "provisional" } else { "" };
        [
            policy.id,
            summary.effective_from.clone(),
            state.to_owned(),
            provisional.to_owned(),
            policy.digest,
        ]
    };
    output::table(
        &["policy", "from", "today", "", "digest"],
        policies.policies.iter().map(policy),
    )?;
    Ok(())
}
