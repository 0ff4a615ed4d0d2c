//! The closed sets of terms that a declaration, a registry row and a policy share.

named_enum! {
    /// Credit tier of an enterprise, from best to worst: one order for every decree (Decrees 225, 237, 251, 282).
    ///
    /// The derived order follows: a *greater* tier is a *worse* one.
    CreditTier {
        /// Advanced certified; an AEO in the sense of the WCO SAFE Framework.
        AdvancedCertified = 1, "ADVANCED_CERTIFIED";
        /// General certified (2014 to 2021), certified (from 2026).
        Certified = 2, "CERTIFIED";
        /// General-credit, standard measures, regular: the baseline.
        Regular = 3, "REGULAR";
        /// Discredited: strict control.
        Discredited = 4, "DISCREDITED";
        /// Seriously discredited (from 2026).
        SeriouslyDiscredited = 5, "SERIOUSLY_DISCREDITED";
    }
}

impl CreditTier {
    /// How many tiers there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Position from best (0) to worst, for tables with one row a tier.
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// This tier, or REGULAR where this one is better: how relief is taken away without adding strictness.
    #[must_use]
    pub fn at_best_regular(self) -> Self {
        self.max(Self::Regular)
    }

    /// Whether strict control applies.
    pub fn is_discredited(self) -> bool {
        self > Self::Regular
    }
}

named_enum! {
    /// Which way the goods cross the border.
    Direction {
        /// Into the customs territory.
        Import = 1, "IMPORT";
        /// Out of it.
        Export = 2, "EXPORT";
        /// Through it.
        Transit = 3, "TRANSIT";
    }
}

named_enum! {
    /// Means of transport at the border.
    TransportMode {
        /// By sea.
        Sea = 1, "SEA";
        /// By air.
        Air = 2, "AIR";
        /// By rail.
        Rail = 3, "RAIL";
        /// By road.
        Road = 4, "ROAD";
        /// By post.
        Mail = 5, "MAIL";
        /// Anything else.
        Other = 6, "OTHER";
    }
}

named_enum! {
    /// The customs regime, as far as measures depend on it.
    TradeMode {
        /// General trade.
        General = 1, "GENERAL";
        /// Processing trade.
        Processing = 2, "PROCESSING";
        /// Cross-border electronic commerce.
        ECommerce = 3, "E_COMMERCE";
        /// Anything else.
        Other = 4, "OTHER";
    }
}

named_enum! {
    /// What an enterprise does on a declaration.
    PartyRole {
        /// Files the declaration: a customs broker or the trader itself.
        Declarant = 1, "DECLARANT";
        /// Receives the goods.
        Consignee = 2, "CONSIGNEE";
        /// Sends the goods.
        Consignor = 3, "CONSIGNOR";
        /// Made the goods.
        Producer = 4, "PRODUCER";
        /// Will use the goods.
        EndUser = 5, "END_USER";
        /// The party abroad; the only role a foreign AEO code may have.
        ForeignParty = 6, "FOREIGN_PARTY";
    }
}

named_enum! {
    /// How far the registry data can be relied on. Greater is older.
    Freshness {
        /// Relief may be granted.
        Fresh = 1, "FRESH";
        /// Older than `freshness.relief_max_age`: no relief.
        Stale = 2, "STALE";
        /// Older than `freshness.decision_max_age`: an officer decides.
        Expired = 3, "EXPIRED";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worse_tier_is_greater() {
        assert!(CreditTier::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(CreditTier::Certified.at_best_regular(), CreditTier::Regular);
        assert_eq!(CreditTier::Discredited.at_best_regular(), CreditTier::Discredited);
    }

    #[test]
    fn names_and_numbers_go_both_ways() {
        for &tier in CreditTier::ALL {
            assert_eq!(tier.name().parse(), Ok(tier));
            assert_eq!(CreditTier::from_number(i32::from(tier.number())), Some(tier));
        }
        assert!("advanced".parse::<CreditTier>().is_err());
        assert_eq!(CreditTier::from_number(0), None);
    }
}
