//! Roles, which callers are given by configuration.

use std::fmt;

/// What a caller is to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A clearance system: asks for decisions, and sees public reasons.
    Clearance,
    /// A port terminal: asks for lanes and holds, and sees no reasons.
    Terminal,
    /// A customs officer: looks enterprises up, simulates, records inspections, and sees confidential reasons.
    Officer,
    /// An auditor: reads and replays what was decided, and sees confidential reasons.
    Auditor,
    /// An operator: reads the state, the metrics and the console; sees public reasons.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [
        Self::Clearance,
        Self::Terminal,
        Self::Officer,
        Self::Auditor,
        Self::Operator,
    ];

    /// As it is written in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clearance => "clearance",
            Self::Terminal => "terminal",
            Self::Officer => "officer",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }
}

/// A set of roles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Roles(u8);

impl Roles {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every one.
    pub const ALL: Self = Self::of(&Role::ALL);

    /// These.
    pub const fn of(roles: &[Role]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < roles.len() {
            bits |= 1 << roles[index] as u8;
            index += 1;
        }
        Self(bits)
    }

    /// Whether one of these is among them.
    pub const fn has_any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// Whether it is among them.
    pub const fn has(self, role: Role) -> bool {
        self.has_any(Self::of(&[role]))
    }

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Their names, in the order of [`Role::ALL`].
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for role in Role::ALL.into_iter().filter(|role| self.has(*role)) {
            write!(f, "{separator}{}", role.as_str())?;
            separator = ", ";
        }
        Ok(())
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles
            .into_iter()
            .fold(Self::NONE, |all, role| all.and(Self::of(&[role])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        let set: Roles = [Role::Officer, Role::Auditor].into_iter().collect();
        for role in Role::ALL {
            assert_eq!(
                set.has(role),
                matches!(role, Role::Officer | Role::Auditor),
                "{role:?}"
            );
            assert!(Roles::ALL.has(role) && !Roles::NONE.has(role));
        }
        assert!(set.has_any(Roles::of(&[Role::Auditor, Role::Terminal])));
        assert!(!set.has_any(Roles::of(&[Role::Terminal])));
    }
}
