//! The rules of one side, compiled so that the first one that matches is found fast.

use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use core::num::NonZeroUsize;

use super::{
    Item,
    index::{Hit, Index},
    pattern::{self, Base, Ends, Key},
    rule::{Action, Rule, Side},
};
use crate::notice::Kind;

/// Which rules a table has, and how it compares absolute patterns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// The side that it decides for.
    pub(super) side: Side,
    /// The absolute path of the root at this side, without slashes at its ends, if it is known.
    pub(super) root: Option<&'a [u8]>,
    /// Whether rules without a side are for the sender only.
    pub(super) delete_excluded: bool,
    /// Whether perishable rules are left out.
    pub(super) in_removed: bool,
}

/// What the rules say of one entry, regardless of the directories above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is mirrored.
    Included,
    /// It is left alone.
    Excluded,
    /// No rule is about it.
    Unmatched,
    /// Some rule may be about it that can't be decided here.
    Undecided,
}

/// The rules of one side.
///
/// Patterns without wildcards, and those for the end of a name (`*.o`), are looked up; the others
/// are tried in their order, as long as they stand before the rule that was found.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Literal patterns that have to equal all of a path.
    whole: Index,
    /// Literal patterns that have to equal the last components of a path.
    tails: Index,
    /// What names have to end with.
    endings: Index,
    /// The rules that have to be tried.
    tried: Vec<Tried>,
    /// The root to which paths are added for rules with [`Base::FileSystem`].
    root: Box<[u8]>,
    /// The number of the first rule that can't be decided here. Nothing after it counts.
    undecided: Option<usize>,
}

#[derive(Debug)]
struct Tried {
    hit: Hit,
    /// What most entries are told by.
    ends: Ends,
    rule: Rule,
}

impl Table {
    /// Compiles the rules that count in `scope`.
    pub(super) fn new(items: &[Item], scope: Scope) -> Self {
        let mut table = Self { root: scope.root.unwrap_or_default().into(), ..Self::default() };
        for (number, item) in items.iter().enumerate() {
            match item {
                Item::Rule(rule) if !scope.has(rule) => {}
                Item::Rule(rule) if scope.root.is_some() || rule.base() == Base::Mirror => {
                    table.add(number, rule);
                }
                Item::PerDirectory(modifiers, _) if !modifiers.count_at(scope.side) => {}
                Item::Rule(_) | Item::PerDirectory(..) => {
                    table.undecided = Some(number);
                    break;
                }
            }
        }
        table
    }

    fn add(&mut self, number: usize, rule: &Rule) {
        let hit = Hit { number, action: rule.action() };
        // What a pattern says of the path of an entry, neither of these says.
        let plain = !rule.is_negated() && rule.base() == Base::Mirror;
        let key = rule.pattern().key().filter(|_| plain);
        match key {
            Some(Key::Whole(path)) => self.whole.add(path, path.len(), hit, rule),
            Some(Key::Tail(tail, components)) => {
                self.tails.add(&tail, components.get(), hit, rule);
            }
            Some(Key::Ending(ending)) => self.endings.add(&ending, ending.len(), hit, rule),
            None => {
                let ends = if plain { rule.pattern().ends() } else { Ends::default() };
                self.tried.push(Tried { hit, ends, rule: rule.clone() });
            }
        }
    }

    /// The number of the first rule that can't be decided here.
    pub(super) fn undecided(&self) -> Option<usize> {
        self.undecided
    }

    /// How many rules have to be tried one by one.
    #[cfg(test)]
    pub(super) fn tried(&self) -> usize {
        self.tried.len()
    }

    /// What the rules say of the entry at `path`, regardless of the directories above it.
    pub(super) fn verdict(&self, path: &[u8], kind: Kind) -> Verdict {
        match self.first(path, kind).map(|hit| hit.action) {
            Some(Action::Include) => Verdict::Included,
            Some(Action::Exclude) => Verdict::Excluded,
            None if self.undecided.is_some() => Verdict::Undecided,
            None => Verdict::Unmatched,
        }
    }

    fn first(&self, path: &[u8], kind: Kind) -> Option<Hit> {
        let name = pattern::tail(path, NonZeroUsize::MIN).unwrap_or(path);
        let found = self.first_found(path, name, kind);
        let before = |tried: &&Tried| found.is_none_or(|found| tried.hit.number < found.number);
        let earlier = self
            .tried
            .iter()
            .take_while(before)
            .find(|tried| tried.ends.allow(path, name) && self.tries(tried, path, kind));
        earlier.map(|tried| tried.hit).or(found)
    }

    /// The first of the rules that are looked up.
    fn first_found(&self, path: &[u8], name: &[u8], kind: Kind) -> Option<Hit> {
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

    fn tries(&self, tried: &Tried, path: &[u8], kind: Kind) -> bool {
        let path = match tried.rule.base() {
            Base::FileSystem if !self.root.is_empty() => {
                Cow::Owned([&*self.root, path].join(&b'/'))
            }
            Base::FileSystem | Base::Mirror => Cow::Borrowed(path),
        };
        tried.rule.pattern().matches(&path, kind) != tried.rule.is_negated()
    }
}

impl Scope<'_> {
    fn has(&self, rule: &Rule) -> bool {
        rule.counts_at(self.side, self.delete_excluded)
            && !(self.in_removed && rule.is_perishable())
    }
}
