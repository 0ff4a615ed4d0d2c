//! A caller that is known.

use std::sync::{Arc, LazyLock};

use super::{Role, Roles};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name, which the audit log tells.
    pub name: Arc<str>,
    /// What it is to the service.
    pub roles: Roles,
    /// What it may take, where that is not what everybody may.
    pub quota: Quota,
}

/// What a caller may take. `None`: what everybody may; 0: any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Decisions a second.
    pub rate: Option<u32>,
    /// Calls open at once.
    pub calls: Option<u32>,
}

impl Caller {
    /// Whoever calls where no authentication is configured: it has every role.
    pub fn anonymous() -> &'static Arc<Self> {
        static ANONYMOUS: LazyLock<Arc<Caller>> = LazyLock::new(|| {
            Arc::new(Caller {
                name: Arc::from("anonymous"),
                roles: Roles::ALL,
                quota: Quota::default(),
            })
        });
        &ANONYMOUS
    }

    /// Whether it may read the confidential reasons of control orders.
    pub const fn sees_confidential(&self) -> bool {
        self.roles.has_any(Roles::of(&[Role::Officer, Role::Auditor]))
    }
}
