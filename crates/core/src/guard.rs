//! Deletion budgets, and the policy for a replaced source.

use alloc::string::String;
use core::{fmt, str};

use crate::job::HoldReason;

/// The deletion budget, `maxDelete`: the most deletions without an operator's consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxDelete {
    /// This percentage of the entries on the target, at most 100. Fewer than
    /// [`SHARE_THRESHOLD`](Self::SHARE_THRESHOLD) deletions are always allowed.
    Share(u8),
    /// This number of deletions.
    Count(u64),
    /// Any number of deletions.
    Unlimited,
}

/// Half of the entries on the target.
impl Default for MaxDelete {
    fn default() -> Self {
        Self::Share(50)
    }
}

impl MaxDelete {
    /// The number of deletions from which on a [`Share`](Self::Share) applies: small trees are
    /// emptied every day.
    pub const SHARE_THRESHOLD: u64 = 10;

    /// Parses a setting: `50%`, `100` or `false`. `None` if it is none of these.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?.trim();
        if text == "false" {
            return Some(Self::Unlimited);
        }
        // `parse` accepts a sign, too.
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        match text.strip_suffix('%') {
            Some(percent) => {
                percent.trim_end().parse().ok().filter(|percent| *percent <= 100).map(Self::Share)
            }
            None => text.parse().ok().map(Self::Count),
        }
    }

    /// Returns true if `count` deletions may be carried out on a target that holds `total` entries
    /// before the first of them. If `total` is not known, a share allows only a few.
    #[must_use]
    pub fn allows(self, count: u64, total: Option<u64>) -> bool {
        match self {
            Self::Share(_) if count < Self::SHARE_THRESHOLD => true,
            Self::Share(percent) => total.is_some_and(|total| {
                u128::from(count) * 100 <= u128::from(total) * u128::from(percent)
            }),
            Self::Count(most) => count <= most,
            Self::Unlimited => true,
        }
    }
}

/// Formats the value as in a configuration file, without quotes.
impl fmt::Display for MaxDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(percent) => write!(f, "{percent}%"),
            Self::Count(most) => write!(f, "{most}"),
            Self::Unlimited => f.write_str("false"),
        }
    }
}

/// Numbers of deletions that an operator has accepted as they were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptedDeletions {
    /// Of those that were observed at the source.
    pub observed: u64,
    /// Of those that were not, also while the source is empty.
    pub unobserved: u64,
}

impl AcceptedDeletions {
    /// Adds `count` deletions that were held for this reason. Observed ones may be found by a job
    /// that has not observed them, and are accepted there, too.
    pub const fn add(&mut self, reason: HoldReason, count: u64) {
        if matches!(reason, HoldReason::Observed) {
            self.observed = self.observed.saturating_add(count);
        }
        self.unobserved = self.unobserved.saturating_add(count);
    }
}

/// The budgets that have to allow some deletions, each with the reason to hold what exceeds it.
#[derive(Clone, Copy, Debug)]
pub struct DeletionTerms {
    budget: MaxDelete,
    reason: HoldReason,
    /// The budget for observed deletions, if these may be among them.
    observed: MaxDelete,
    accepted: AcceptedDeletions,
}

impl DeletionTerms {
    /// Terms for unobserved deletions while the source is empty: none is made.
    pub const EMPTY_SOURCE: Self = Self::new(MaxDelete::Count(0), HoldReason::EmptySource);

    const fn new(budget: MaxDelete, reason: HoldReason) -> Self {
        let accepted = AcceptedDeletions { observed: 0, unobserved: 0 };
        Self { budget, reason, observed: MaxDelete::Unlimited, accepted }
    }

    /// Terms for observed deletions: `maxDeleteSeen`.
    #[must_use]
    pub const fn observed(budget: MaxDelete) -> Self {
        Self::new(budget, HoldReason::Observed)
    }

    /// Terms for unobserved deletions: `maxDelete`.
    #[must_use]
    pub const fn unobserved(budget: MaxDelete) -> Self {
        Self::new(budget, HoldReason::Unobserved)
    }

    /// These terms for deletions among which may be observed ones that are held: `budget`, the one
    /// for observed deletions, has to allow them as well.
    #[must_use]
    pub const fn with_observed(self, budget: MaxDelete) -> Self {
        Self { observed: budget, ..self }
    }

    /// These terms after an operator has accepted some deletions.
    #[must_use]
    pub const fn accepting(self, accepted: AcceptedDeletions) -> Self {
        Self { accepted, ..self }
    }

    /// The reason to hold deletions that exceed the first budget.
    #[must_use]
    pub const fn reason(&self) -> HoldReason {
        self.reason
    }

    /// Returns true if there is no limit.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        [self.budget, self.observed] == [MaxDelete::Unlimited; 2]
    }

    /// Returns true if a limit depends on the number of entries on the target.
    #[must_use]
    pub const fn needs_total(&self) -> bool {
        matches!(self.budget, MaxDelete::Share(_)) || matches!(self.observed, MaxDelete::Share(_))
    }

    /// The reason to hold `count` deletions on a target that holds `total` entries before the first
    /// of them. `None` if they are allowed.
    ///
    /// If both budgets refuse them, they stay observed: as unobserved ones they would be made as
    /// soon as the share of a larger target allows them.
    #[must_use]
    pub fn reason_to_hold(&self, count: u64, total: Option<u64>) -> Option<HoldReason> {
        let AcceptedDeletions { observed, unobserved } = self.accepted;
        if count > observed && !self.observed.allows(count, total) {
            return Some(HoldReason::Observed);
        }
        let accepted = if self.reason == HoldReason::Observed { observed } else { unobserved };
        let is_held = count > accepted && !self.budget.allows(count, total);
        is_held.then_some(self.reason)
    }

    /// Returns true if `count` deletions may be made on a target that holds `total` entries before
    /// the first of them.
    #[must_use]
    pub fn allows(&self, count: u64, total: Option<u64>) -> bool {
        self.reason_to_hold(count, total).is_none()
    }
}

/// Policy for a source that was replaced by another file system: `replacedSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReplacedSource {
    /// The sync waits until the original is back or an operator accepts the replacement.
    #[default]
    Wait,
    /// The next `SIGHUP` after this was set accepts the replacement.
    Accept,
    /// The replacement is accepted at once; its missing names are deletions under the ordinary
    /// budget.
    Budget,
}

impl ReplacedSource {
    /// The names of all policies in a configuration file.
    pub const NAMES: &[&str] = &["wait", "accept", "budget"];

    /// The policy of this name.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"wait" => Self::Wait,
            b"accept" => Self::Accept,
            b"budget" => Self::Budget,
            _ => return None,
        })
    }

    /// Its name in a configuration file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Accept => "accept",
            Self::Budget => "budget",
        }
    }
}

/// Returns the error message for a text that is no [`MaxDelete`], as a sentence without a full
/// stop.
#[must_use]
pub fn invalid_max_delete(name: &str, given: &str) -> String {
    alloc::format!("{name} must be a share such as \"50%\", a number, or false, not {given}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_share_applies_from_ten_deletions_on() {
        let half = MaxDelete::default();
        for (count, total, allowed) in [
            (0, Some(0), true),
            (9, Some(9), true),
            (9, None, true),
            (10, None, false),
            (10, Some(10), false),
            (10, Some(19), false),
            (10, Some(20), true),
            (11, Some(21), false),
            (u64::MAX, Some(u64::MAX), false),
            (u64::MAX / 2, Some(u64::MAX), true),
        ] {
            assert_eq!(half.allows(count, total), allowed, "{count} of {total:?}");
        }
        assert!(!MaxDelete::Share(0).allows(10, Some(1_000_000)));
        assert!(MaxDelete::Share(100).allows(10, Some(10)));
    }

    #[test]
    fn a_count_is_an_upper_limit_and_unlimited_is_none() {
        for (most, count, allowed) in [(0, 0, true), (0, 1, false), (10, 10, true), (10, 11, false)]
        {
            for total in [None, Some(1), Some(1000)] {
                assert_eq!(MaxDelete::Count(most).allows(count, total), allowed);
            }
        }
        assert!(MaxDelete::Unlimited.allows(u64::MAX, None));
    }

    #[test]
    fn terms_with_held_observed_deletions_need_both_budgets() {
        let terms = DeletionTerms::unobserved(MaxDelete::Count(20));
        assert!(terms.allows(20, None) && !terms.allows(21, None) && !terms.needs_total());
        let both = terms.with_observed(MaxDelete::default());
        assert!(both.needs_total() && !both.is_unlimited());
        for (count, total, reason) in [
            (10, Some(20), None),
            (10, Some(19), Some(HoldReason::Observed)),
            (10, None, Some(HoldReason::Observed)),
            (21, Some(100), Some(HoldReason::Unobserved)),
            // Both refuse them.
            (21, Some(40), Some(HoldReason::Observed)),
        ] {
            assert_eq!(both.reason_to_hold(count, total), reason, "{count} of {total:?}");
        }
        let unlimited = DeletionTerms::unobserved(MaxDelete::Unlimited);
        assert!(unlimited.is_unlimited());
        assert!(!unlimited.with_observed(MaxDelete::Count(0)).is_unlimited());
    }

    #[test]
    fn accepted_deletions_are_allowed_up_to_their_number() {
        let accepted = AcceptedDeletions { observed: 3, unobserved: 5 };
        for (terms, most) in [
            (DeletionTerms::EMPTY_SOURCE, 5),
            (DeletionTerms::unobserved(MaxDelete::Count(0)), 5),
            (DeletionTerms::observed(MaxDelete::Count(0)), 3),
            (DeletionTerms::unobserved(MaxDelete::Count(9)).with_observed(MaxDelete::Count(0)), 3),
        ] {
            let terms = terms.accepting(accepted);
            assert!(
                terms.allows(most, Some(100)) && !terms.allows(most + 1, Some(100)),
                "{terms:?}"
            );
        }
    }

    #[test]
    fn observed_deletions_that_were_accepted_are_allowed_to_a_job_that_did_not_observe_them() {
        let mut accepted = AcceptedDeletions::default();
        accepted.add(HoldReason::Observed, 3);
        accepted.add(HoldReason::Unobserved, 5);
        assert_eq!(accepted, AcceptedDeletions { observed: 3, unobserved: 8 });
        let both =
            DeletionTerms::unobserved(MaxDelete::Count(0)).with_observed(MaxDelete::Count(0));
        let mut accepted = AcceptedDeletions::default();
        accepted.add(HoldReason::Observed, 3);
        assert!(
            both.accepting(accepted).allows(3, None) && !both.accepting(accepted).allows(4, None)
        );
    }

    #[test]
    fn a_budget_parses_as_it_is_displayed() {
        for (text, budget) in [
            ("50%", MaxDelete::Share(50)),
            ("0%", MaxDelete::Share(0)),
            ("100%", MaxDelete::Share(100)),
            ("0", MaxDelete::Count(0)),
            ("18446744073709551615", MaxDelete::Count(u64::MAX)),
            ("false", MaxDelete::Unlimited),
        ] {
            assert_eq!(MaxDelete::parse(text.as_bytes()), Some(budget), "{text}");
            assert_eq!(budget.to_string(), text);
        }
        assert_eq!(MaxDelete::parse(b" 50 % "), Some(MaxDelete::Share(50)));
        for text in ["", "%", "101%", "-1", "+1", "1.5", "true", "x", "5%%", "50 %x"] {
            assert_eq!(MaxDelete::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(MaxDelete::parse(b"\xff%"), None);
    }

    #[test]
    fn the_message_about_an_invalid_budget_names_setting_and_value() {
        let message = invalid_max_delete("maxDelete", "many");
        assert!(message.starts_with("maxDelete must be ") && message.ends_with("not many"));
    }

    #[test]
    fn each_replaced_source_policy_has_a_name() {
        for name in ReplacedSource::NAMES {
            assert_eq!(ReplacedSource::named(name.as_bytes()).unwrap().name(), *name);
        }
        assert_eq!(ReplacedSource::named(b"Wait"), None);
    }
}
