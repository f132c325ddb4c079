//! The compiled rules of one side.

use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use core::num::NonZeroUsize;

use super::{
    Item,
    index::{RuleHit, RuleIndex},
    pattern::{self, EdgeBytes, LookupKey, PatternRoot},
    rule::{FilterRule, RuleAction, TransferSide},
};
use crate::fs_event::EntryKind;

/// Selects the rules of a table and the root for absolute patterns.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableScope<'a> {
    /// The side for which the table decides.
    pub(super) side: TransferSide,
    /// The absolute path of the root at this side, without slashes at its ends, if known.
    pub(super) root: Option<&'a [u8]>,
    /// True if rules without a side apply to the sender only.
    pub(super) delete_excluded: bool,
    /// True if perishable rules are left out.
    pub(super) in_removed: bool,
}

/// Decision about one entry, regardless of its ancestors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RuleDecision {
    /// The entry is mirrored.
    Included,
    /// The entry is left alone.
    Excluded,
    /// No rule matches.
    Unmatched,
    /// A rule that can't be decided here may match.
    Undecided,
}

/// The rules of one side.
///
/// Patterns without wildcards and patterns for the end of a name (`*.o`) are looked up. The others
/// are matched in order, as far as they come before the rule that was found.
#[derive(Debug, Default)]
pub(super) struct RuleTable {
    /// Literal patterns for whole paths.
    whole: RuleIndex,
    /// Literal patterns for the last components of a path.
    tails: RuleIndex,
    /// Suffixes of names.
    endings: RuleIndex,
    /// Rules that have to be matched one by one.
    scanned: Vec<ScannedRule>,
    /// The root that is prepended to paths for rules with [`PatternRoot::FileSystem`].
    root: Box<[u8]>,
    /// Position of the first rule that can't be decided here. Rules after it do not apply.
    undecided: Option<usize>,
}

#[derive(Debug)]
struct ScannedRule {
    hit: RuleHit,
    /// Quick check that rejects most entries.
    edge_bytes: EdgeBytes,
    rule: FilterRule,
}

impl RuleTable {
    /// Compiles the rules that `scope` selects.
    pub(super) fn new(items: &[Item], scope: TableScope) -> Self {
        let mut table = Self { root: scope.root.unwrap_or_default().into(), ..Self::default() };
        for (number, item) in items.iter().enumerate() {
            match item {
                Item::Rule(rule) if !scope.includes(rule) => {}
                Item::Rule(rule) if scope.root.is_some() || rule.base() == PatternRoot::Mirror => {
                    table.add(number, rule);
                }
                Item::PerDirectory(modifiers, _) if !modifiers.apply_at(scope.side) => {}
                Item::Rule(_) | Item::PerDirectory(..) => {
                    table.undecided = Some(number);
                    break;
                }
            }
        }
        table
    }

    fn add(&mut self, number: usize, rule: &FilterRule) {
        let hit = RuleHit { number, action: rule.action() };
        // Negated rules and absolute patterns can't be looked up by the relative path.
        let plain = !rule.is_negated() && rule.base() == PatternRoot::Mirror;
        let key = rule.pattern().key().filter(|_| plain);
        match key {
            Some(LookupKey::Whole(path)) => self.whole.add(path, path.len(), hit, rule),
            Some(LookupKey::Tail(tail, components)) => {
                self.tails.add(&tail, components.get(), hit, rule);
            }
            Some(LookupKey::Ending(ending)) => self.endings.add(&ending, ending.len(), hit, rule),
            None => {
                let edge_bytes =
                    if plain { rule.pattern().edge_bytes() } else { EdgeBytes::default() };
                self.scanned.push(ScannedRule { hit, edge_bytes, rule: rule.clone() });
            }
        }
    }

    /// Returns the position of the first rule that can't be decided here.
    pub(super) fn undecided(&self) -> Option<usize> {
        self.undecided
    }

    /// Returns the number of rules that have to be matched one by one.
    #[cfg(test)]
    pub(super) fn scanned_count(&self) -> usize {
        self.scanned.len()
    }

    /// Decides about the entry at `path`, regardless of its ancestors.
    pub(super) fn decide(&self, path: &[u8], kind: EntryKind) -> RuleDecision {
        match self.first_match(path, kind).map(|hit| hit.action) {
            Some(RuleAction::Include) => RuleDecision::Included,
            Some(RuleAction::Exclude) => RuleDecision::Excluded,
            None if self.undecided.is_some() => RuleDecision::Undecided,
            None => RuleDecision::Unmatched,
        }
    }

    fn first_match(&self, path: &[u8], kind: EntryKind) -> Option<RuleHit> {
        let name = pattern::tail(path, NonZeroUsize::MIN).unwrap_or(path);
        let found = self.first_indexed(path, name, kind);
        let before =
            |scanned: &&ScannedRule| found.is_none_or(|found| scanned.hit.number < found.number);
        let earlier = self.scanned.iter().take_while(before).find(|scanned| {
            scanned.edge_bytes.allow(path, name) && self.matches(scanned, path, kind)
        });
        earlier.map(|scanned| scanned.hit).or(found)
    }

    /// Returns the first match among the indexed rules.
    fn first_indexed(&self, path: &[u8], name: &[u8], kind: EntryKind) -> Option<RuleHit> {
        let whole =
            self.whole.find(path, kind, |path, length| (path.len() >= length).then_some(path));
        let tails = self.tails.find(path, kind, |path, components| {
            pattern::tail(path, NonZeroUsize::new(components)?)
        });
        let endings = self
            .endings
            .find(name, kind, |name, length| name.get(name.len().checked_sub(length)?..));
        [whole, tails, endings].into_iter().flatten().min_by_key(|hit| hit.number)
    }

    fn matches(&self, scanned: &ScannedRule, path: &[u8], kind: EntryKind) -> bool {
        let path = match scanned.rule.base() {
            PatternRoot::FileSystem if !self.root.is_empty() => {
                Cow::Owned([&*self.root, path].join(&b'/'))
            }
            PatternRoot::FileSystem | PatternRoot::Mirror => Cow::Borrowed(path),
        };
        scanned.rule.pattern().matches(&path, kind) != scanned.rule.is_negated()
    }
}

impl TableScope<'_> {
    fn includes(&self, rule: &FilterRule) -> bool {
        rule.applies_at(self.side, self.delete_excluded)
            && !(self.in_removed && rule.is_perishable())
    }
}
