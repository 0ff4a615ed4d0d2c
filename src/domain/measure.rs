//! Measures: facilitations and restrictions that a policy attaches to a tier.

use super::bits;

named_enum! {
    /// A facilitation (numbers 1 to 49) or a restriction (50 and above).
    Measure {
        /// A lower inspection rate.
        ReducedInspection = 1, "REDUCED_INSPECTION";
        /// Simplified review of documents.
        SimplifiedDocumentReview = 2, "SIMPLIFIED_DOCUMENT_REVIEW";
        /// Clearance before others.
        PriorityClearance = 3, "PRIORITY_CLEARANCE";
        /// Release before classification, value or origin are determined.
        ReleaseBeforeDetermination = 4, "RELEASE_BEFORE_DETERMINATION";
        /// Export declaration before arrival in the control zone.
        PreArrivalExportDeclaration = 5, "PRE_ARRIVAL_EXPORT_DECLARATION";
        /// A guarantee below the possible tax.
        GuaranteeReduction = 6, "GUARANTEE_REDUCTION";
        /// Exemption from guarantees, on application.
        GuaranteeExemptionOnApplication = 7, "GUARANTEE_EXEMPTION_ON_APPLICATION";
        /// No bank deposit account for processing trade.
        DepositAccountWaiver = 8, "DEPOSIT_ACCOUNT_WAIVER";
        /// A customs coordinator of its own.
        Coordinator = 9, "COORDINATOR";
        /// Fewer audits and checks.
        ReducedAuditFrequency = 10, "REDUCED_AUDIT_FREQUENCY";
        /// Fewer origin survey samples of exports.
        ReducedOriginSurveySampling = 11, "REDUCED_ORIGIN_SURVEY_SAMPLING";
        /// Recommended first for registration abroad.
        ForeignRegistrationRecommendation = 12, "FOREIGN_REGISTRATION_RECOMMENDATION";
        /// Facilities under mutual recognition arrangements.
        MutualRecognition = 13, "MUTUAL_RECOGNITION";
        /// Joint incentives of other authorities.
        JointIncentives = 14, "JOINT_INCENTIVES";
        /// First again after trade was interrupted.
        PostDisruptionPriority = 15, "POST_DISRUPTION_PRIORITY";
        /// A higher inspection rate.
        HeightenedInspection = 50, "HEIGHTENED_INSPECTION";
        /// Intensified review of documents.
        IntensifiedDocumentReview = 51, "INTENSIFIED_DOCUMENT_REVIEW";
        /// Full guarantee in processing trade.
        FullGuaranteeProcessingTrade = 52, "FULL_GUARANTEE_PROCESSING_TRADE";
        /// More audits and checks.
        IncreasedAuditFrequency = 53, "INCREASED_AUDIT_FREQUENCY";
        /// No consolidated taxation.
        NoConsolidatedTaxation = 54, "NO_CONSOLIDATED_TAXATION";
        /// No release on sample and image.
        NoSampleAndImageRelease = 55, "NO_SAMPLE_AND_IMAGE_RELEASE";
        /// The cost of an inspection that finds nothing is not waived.
        InspectionCostNotWaived = 56, "INSPECTION_COST_NOT_WAIVED";
        /// Joint punishment by other authorities.
        JointPunishment = 57, "JOINT_PUNISHMENT";
    }
}

impl Measure {
    /// Whether this eases the enterprise's way (the contract numbers reliefs below 50).
    pub const fn is_relief(self) -> bool {
        self.number() < 50
    }
}

/// A set of measures; iterates ascending by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeasureSet(u64);

impl MeasureSet {
    /// No measure.
    pub const EMPTY: Self = Self(0);

    const fn bit(measure: Measure) -> u64 {
        // Numbers end at 57, so a 64-bit set holds every measure.
        1 << measure.number()
    }

    /// Adds a measure.
    pub fn insert(&mut self, measure: Measure) {
        self.0 |= Self::bit(measure);
    }

    /// Takes a measure out, if it is in.
    pub fn remove(&mut self, measure: Measure) {
        self.0 &= !Self::bit(measure);
    }

    /// Whether the measure is in.
    pub fn contains(self, measure: Measure) -> bool {
        self.0 & Self::bit(measure) != 0
    }

    /// Both sets together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What of this set is not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The restrictions alone.
    #[must_use]
    pub fn without_relief(self) -> Self {
        Self(self.0 & !0 << 50)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The members, ascending by number.
    pub fn iter(self) -> impl Iterator<Item = Measure> {
        Measure::ALL
            .iter()
            .copied()
            .filter(move |&measure| self.contains(measure))
    }

    /// The numbers of the members, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        bits::numbers(self.0)
    }
}

impl FromIterator<Measure> for MeasureSet {
    fn from_iter<I: IntoIterator<Item = Measure>>(measures: I) -> Self {
        let mut set = Self::EMPTY;
        measures.into_iter().for_each(|measure| set.insert(measure));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relief_is_what_the_contract_numbers_below_fifty() {
        let all: MeasureSet = Measure::ALL.iter().copied().collect();
        assert_eq!(all.len(), Measure::ALL.len());
        assert!(all.without_relief().iter().all(|measure| !measure.is_relief()));
        assert_eq!(all.without_relief().len(), 8);
        assert!(all.iter().map(Measure::number).is_sorted());
        assert!(all.numbers().eq(all.iter().map(Measure::number)));
        assert_eq!(MeasureSet::EMPTY.numbers().next(), None);
    }
}
