//! Which role may call what. What stands in no table here is nobody's.

use super::{Role, Roles};

/// The console, and `/metrics` unless they are open.
pub const OPERATORS: Roles = Roles::of(&[Role::Operator]);

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a credential.
    Open,
    /// Callers of one of these roles.
    Of(Roles),
}

/// Who may call the method of a path such as `/greenlane.v1.FacilitationService/Decide`. `None`: nobody, as if it were not
/// there.
pub fn of_method(path: &str) -> Option<Access> {
    const DECIDES: Roles = Roles::of(&[Role::Clearance]);
    const SUPPOSES: Roles = Roles::of(&[Role::Clearance, Role::Officer]);
    const YARD: Roles = Roles::of(&[Role::Terminal]);
    const LOOKS_UP: Roles = Roles::of(&[Role::Officer, Role::Operator]);
    const AUDITS: Roles = Roles::of(&[Role::Auditor]);
    const INSPECTS: Roles = Roles::of(&[Role::Officer]);

    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let roles = match service {
        "greenlane.v1.FacilitationService" => match method {
            "Decide" | "BatchDecide" | "DecideStream" => DECIDES,
            "Simulate" => SUPPOSES,
            _ => return None,
        },
        "greenlane.v1.PriorityService" => match method {
            "GetPriority" | "BatchGetPriority" | "WatchPriorities" => YARD,
            _ => return None,
        },
        "greenlane.v1.RegistryService" => match method {
            "GetEnterprise" | "GetRegistryStatus" | "ListPolicies" => LOOKS_UP,
            _ => return None,
        },
        "greenlane.v1.AuditService" => match method {
            "GetDecision"
            | "ListDecisions"
            | "ReplayDecision"
            | "ListDrawCommitments"
            | "VerifyDraw"
            | "ListRealizedRates" => AUDITS,
            "RecordInspection" => INSPECTS,
            _ => return None,
        },
        "grpc.health.v1.Health" => match method {
            "Check" | "Watch" => return Some(Access::Open),
            _ => return None,
        },
        "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection" => match method {
            "ServerReflectionInfo" => OPERATORS,
            _ => return None,
        },
        _ => return None,
    };
    Some(Access::Of(roles))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_no_table_is_nobodys() {
        for path in [
            "",
            "/",
            "Decide",
            "greenlane.v1.FacilitationService/Decide",
            "/greenlane.v1.FacilitationService",
            "/greenlane.v1.FacilitationService/",
            "/greenlane.v1.FacilitationService/decide",
            "/greenlane.v1.FacilitationService/Decide/",
            "//greenlane.v1.FacilitationService/Decide",
            "/greenlane.v1.AuditService/Decide",
            "/greenlane.v2.FacilitationService/Decide",
            "/grpc.health.v1.Health/Decide",
        ] {
            assert_eq!(of_method(path), None, "{path}");
        }
    }

    #[test]
    fn no_role_may_call_everything() {
        let methods = [
            "/greenlane.v1.FacilitationService/Decide",
            "/greenlane.v1.PriorityService/GetPriority",
            "/greenlane.v1.RegistryService/GetEnterprise",
            "/greenlane.v1.AuditService/GetDecision",
            "/greenlane.v1.AuditService/RecordInspection",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ];
        for role in Role::ALL {
            let may = |path: &&str| matches!(of_method(path), Some(Access::Of(roles)) if roles.has(role));
            let count = methods.iter().filter(|path| may(path)).count();
            assert!((1..=2).contains(&count), "{role:?} may call {count}");
        }
    }
}
