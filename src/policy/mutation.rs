//! Whether the shipped cases hold the law in place: every cell of every table is changed, one at a time, and at least
//! one case must notice.

use std::{sync::Arc, thread};

use super::{
    Policy, PolicyBook,
    cases::{self, Case},
    decree::{
        Document, MeasureDocument, Only, Provenance, RateDocument, RateRuleKind, Scope, TakenAs, TierDocument,
    },
};
use crate::domain::{
    CreditTier, Date, Ppm,
    decision::{DocumentReview, PriorityClass},
    measure::Measure,
};

/// A changed table, and in words what was changed.
struct Mutant {
    change: String,
    document: Document,
}

/// The mutants of one table.
struct Mutants<'d> {
    original: &'d Document,
    made: Vec<Mutant>,
}

impl<'d> Mutants<'d> {
    fn of(original: &'d Document) -> Vec<Mutant> {
        let mut mutants = Self {
            original,
            made: Vec::new(),
        };
        mutants.whole_policy();
        for (index, row) in original.tier.iter().enumerate() {
            match &row.taken_as {
                Some(taken_as) => mutants.mapping(index, row.tier, taken_as),
                None => mutants.cells(index, row),
            }
        }
        mutants.made
    }

    fn change(&mut self, what: &str, change: impl FnOnce(&mut Document)) {
        let mut document = self.original.clone();
        change(&mut document);
        let change = format!("{}: {what}", document.id);
        self.made.push(Mutant { change, document });
    }

    fn change_row(&mut self, index: usize, what: &str, change: impl FnOnce(&mut TierDocument)) {
        let tier = self.original.tier[index].tier;
        self.change(&format!("{tier}: {what}"), |document| {
            change(&mut document.tier[index]);
        });
    }

    fn whole_policy(&mut self) {
        for days in [-1, 1] {
            self.change(&format!("effective_from {days:+} day"), |document| {
                document.effective_from = document.effective_from.plus_days(days);
            });
        }
        self.change("provisional", |document| {
            document.provisional = !document.provisional;
        });
        for (index, role) in self.original.counted_roles.iter().enumerate() {
            self.change(&format!("{role} is not counted"), |document| {
                document.counted_roles.remove(index);
            });
        }
    }

    fn mapping(&mut self, index: usize, tier: CreditTier, taken_as: &TakenAs) {
        for other in rows_with_cells(self.original).filter(|row| row.tier != taken_as.tier) {
            self.change_row(index, &format!("taken as {}", other.tier), |row| {
                if let Some(taken_as) = &mut row.taken_as {
                    taken_as.tier = other.tier;
                }
            });
        }
        // The same cells, but its own.
        let target = rows_with_cells(self.original).find(|row| row.tier == taken_as.tier);
        let target = target.expect("a tier is taken for one that has cells").clone();
        self.change_row(index, "has a row of its own", |row| {
            *row = TierDocument { tier, ..target };
        });
    }

    fn cells(&mut self, index: usize, row: &TierDocument) {
        self.rate(index, row);
        for &review in DocumentReview::ALL {
            if row
                .document_review
                .as_ref()
                .is_some_and(|cell| cell.value != review)
            {
                self.change_row(index, &format!("document_review {review}"), |row| {
                    row.document_review.as_mut().expect("it has one").value = review;
                });
            }
        }
        for &class in PriorityClass::ALL {
            if row
                .priority_class
                .as_ref()
                .is_some_and(|cell| cell.value != class)
            {
                self.change_row(index, &format!("priority_class {class}"), |row| {
                    row.priority_class.as_mut().expect("it has one").value = class;
                });
            }
        }
        self.change_row(index, "green_channel", |row| {
            let cell = row.green_channel.as_mut().expect("it has one");
            cell.value = !cell.value;
        });
        for place in 0..row.measure.len() {
            self.listed_measure(index, place, row);
        }
        for &measure in Measure::ALL {
            self.absent_measure(index, measure, row);
        }
    }

    fn rate(&mut self, index: usize, row: &TierDocument) {
        use RateRuleKind::{AtLeast, AtMost, Baseline, StrictlyBelow};

        let written = row.rate.as_ref().expect("it has one");
        let other_rules = match (written.rule, written.ppm) {
            // AT_MOST 1000000 and AT_LEAST 0 are the baseline itself: their neighbours are what must be noticed.
            (Baseline, _) => vec![
                (AtMost, Some(999_999)),
                (StrictlyBelow, Some(1_000_000)),
                (AtLeast, Some(1)),
            ],
            (rule, Some(Ppm(ppm))) => {
                let kinds = [AtMost, StrictlyBelow, AtLeast]
                    .into_iter()
                    .filter(|&kind| kind != rule);
                kinds
                    .map(|kind| (kind, Some(ppm)))
                    .chain([(Baseline, None), (rule, Some(ppm - 1)), (rule, Some(ppm + 1))])
                    .collect()
            }
            (_, None) => unreachable!("it was compiled"),
        };
        for (rule, ppm) in other_rules {
            self.change_row(index, &format!("rate {rule:?} {ppm:?}"), |row| {
                row.rate = Some(RateDocument {
                    rule,
                    ppm: ppm.map(Ppm),
                    ..written.clone()
                });
            });
        }
    }

    fn listed_measure(&mut self, index: usize, place: usize, row: &TierDocument) {
        let entry = &row.measure[place];
        let measure = entry.measure;
        self.change_row(index, &format!("{measure} is not listed"), |row| {
            row.measure.remove(place);
        });
        let places = [
            (Scope::Shipment, None),
            (Scope::Shipment, Some(Only::Export)),
            (Scope::Shipment, Some(Only::Processing)),
            (Scope::Enterprise, None),
        ];
        for (scope, only) in places {
            let taken = row
                .measure
                .iter()
                .any(|other| (other.measure, other.scope, other.only) == (measure, scope, only));
            if !taken {
                self.change_row(
                    index,
                    &format!("{measure} is listed as {scope:?} {only:?}"),
                    |row| {
                        row.measure[place].scope = scope;
                        row.measure[place].only = only;
                    },
                );
            }
        }
    }

    fn absent_measure(&mut self, index: usize, measure: Measure, row: &TierDocument) {
        for scope in [Scope::Shipment, Scope::Enterprise] {
            if row
                .measure
                .iter()
                .any(|entry| (entry.measure, entry.scope) == (measure, scope))
            {
                continue;
            }
            let conditions: &[_] = match scope {
                Scope::Shipment => &[None, Some(Only::Export), Some(Only::Processing)],
                Scope::Enterprise => &[None],
            };
            for &only in conditions {
                self.change_row(
                    index,
                    &format!("{measure} is added as {scope:?} {only:?}"),
                    |row| {
                        row.measure.push(MeasureDocument {
                            measure,
                            scope,
                            only,
                            article: String::new(),
                            provenance: Provenance::Assumed,
                        });
                    },
                );
            }
        }
    }
}

fn rows_with_cells(document: &Document) -> impl Iterator<Item = &TierDocument> {
    document.tier.iter().filter(|row| row.taken_as.is_none())
}

/// Whether anything tells the mutant from the law: the lack of a policy before the first one, or a case.
fn is_noticed(mutant: &Mutant, book: &PolicyBook, ours: &[&Case], others: &[&Case]) -> bool {
    let policy = Policy::compile(mutant.document.clone()).expect("a mutant can be compiled");
    let rest = book.policies().iter().filter(|other| other.id() != policy.id());
    let policies = rest.cloned().chain([Arc::new(policy.clone())]).collect();
    let book = PolicyBook::unproven(policies, Arc::clone(&book.parameters)).expect("no contradiction");
    let last_day_without: Date = "2014-11-30".parse().expect("a date");
    book.on(last_day_without).is_some()
        || ours
            .iter()
            .chain(others)
            .any(|case| !matches!(case.run(&book), Ok(differences) if differences.is_empty()))
}

fn survivors(policy: &Policy, book: &PolicyBook, cases: &[Case]) -> (usize, Vec<String>) {
    // The cases of the same policy notice most changes, so they go first.
    let (ours, others): (Vec<_>, Vec<_>) = cases
        .iter()
        .partition(|case| case.policy(book).is_ok_and(|own| own.id() == policy.id()));
    let mutants = Mutants::of(&policy.document);
    let unnoticed = mutants
        .iter()
        .filter(|mutant| !is_noticed(mutant, book, &ours, &others));
    let unnoticed = unnoticed.map(|mutant| mutant.change.clone()).collect();
    (mutants.len(), unnoticed)
}

fn shipped() -> (PolicyBook, Vec<Case>) {
    let book = PolicyBook::embedded().expect("the shipped policies are good");
    let cases = cases::shipped().expect("the shipped cases are good");
    (book, cases.into_iter().map(|(_, case)| case).collect())
}

#[test]
fn every_shipped_case_holds() {
    let (book, cases) = shipped();
    assert!(cases.len() >= 60);
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| match case.run(&book) {
            Ok(differences) if differences.is_empty() => None,
            Ok(differences) => Some(format!("{}: {}", case.name, differences.join("; "))),
            Err(error) => Some(error.to_string()),
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn changing_any_one_cell_of_any_table_fails_a_case() {
    let (book, cases) = shipped();
    let examined: Vec<_> = thread::scope(|scope| {
        let policies = book.policies().iter();
        let running: Vec<_> = policies
            .map(|policy| scope.spawn(|| survivors(policy, &book, &cases)))
            .collect();
        running
            .into_iter()
            .map(|policy| policy.join().expect("no panic"))
            .collect()
    });
    let mutants: usize = examined.iter().map(|(mutants, _)| mutants).sum();
    assert!(mutants > 1_000, "only {mutants} changes were tried");
    let survivors: Vec<_> = examined
        .into_iter()
        .flat_map(|(_, survivors)| survivors)
        .collect();
    assert!(survivors.is_empty(), "no case notices:\n{}", survivors.join("\n"));
}
