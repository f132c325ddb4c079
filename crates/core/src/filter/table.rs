//! The rules of one side, compiled so that the first one that matches is found fast.

use alloc::{borrow::Cow, boxed::Box, collections::BTreeMap, vec::Vec};
use core::num::NonZeroUsize;

use super::{
    Item,
    pattern::{self, Base, Reach},
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
/// Patterns without wildcards are looked up; the others are tried in their order, as long as
/// they stand before the first one that was found. So the time depends on how many patterns have
/// wildcards, and hardly on how many there are.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Literal patterns that have to equal all of a path.
    whole: BTreeMap<Box<[u8]>, First>,
    /// Literal patterns that have to equal the last components of a path.
    tails: BTreeMap<Box<[u8]>, First>,
    /// How many components the keys of `tails` have: each number once, in order.
    lengths: Vec<NonZeroUsize>,
    /// The rules that have to be tried.
    tried: Vec<Tried>,
    /// The root to which paths are added for rules with [`Base::FileSystem`].
    root: Box<[u8]>,
    /// The number of the first rule that can't be decided here. Nothing after it counts.
    undecided: Option<usize>,
}

/// The numbers of the first rules with one literal pattern.
#[derive(Clone, Copy, Debug, Default)]
struct First {
    for_any: Option<Hit>,
    for_directories: Option<Hit>,
}

/// A rule that matches.
#[derive(Clone, Copy, Debug)]
struct Hit {
    number: usize,
    action: Action,
}

#[derive(Debug)]
struct Tried {
    hit: Hit,
    /// The byte with which all that matches ends, if there is only one: most are told by it.
    last_byte: Option<u8>,
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
        let literal = rule.pattern().literal();
        match literal.filter(|_| !rule.is_negated() && rule.base() == Base::Mirror) {
            Some((Reach::Tail(components), literal)) => {
                if let Err(at) = self.lengths.binary_search(&components) {
                    self.lengths.insert(at, components);
                }
                self.tails.entry(literal.into()).or_default().note(hit, rule);
            }
            Some((Reach::Whole | Reach::AnyTail, literal)) => {
                self.whole.entry(literal.into()).or_default().note(hit, rule);
            }
            None => {
                let last_byte = rule.pattern().last_byte().filter(|_| !rule.is_negated());
                self.tried.push(Tried { hit, last_byte, rule: rule.clone() });
            }
        }
    }

    /// The number of the first rule that can't be decided here.
    pub(super) fn undecided(&self) -> Option<usize> {
        self.undecided
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
        let found = self.first_literal(path, kind);
        let last_byte = path.last().copied();
        let before = |tried: &&Tried| found.is_none_or(|found| tried.hit.number < found.number);
        let earlier = self
            .tried
            .iter()
            .take_while(before)
            .find(|tried| {
                tried.last_byte.is_none_or(|b| Some(b) == last_byte)
                    && self.tries(tried, path, kind)
            })
            .map(|tried| tried.hit);
        earlier.or(found)
    }

    fn first_literal(&self, path: &[u8], kind: Kind) -> Option<Hit> {
        let whole = self.whole.get(path).and_then(|first| first.hit(kind));
        self.lengths
            .iter()
            .map_while(|&components| pattern::tail(path, components))
            .filter_map(|tail| self.tails.get(tail)?.hit(kind))
            .chain(whole)
            .min_by_key(|hit| hit.number)
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

impl First {
    fn note(&mut self, hit: Hit, rule: &Rule) {
        let slot = if rule.pattern().is_for_directories() {
            &mut self.for_directories
        } else {
            &mut self.for_any
        };
        slot.get_or_insert(hit);
    }

    fn hit(self, kind: Kind) -> Option<Hit> {
        let for_directories = self.for_directories.filter(|_| kind == Kind::Directory);
        self.for_any.into_iter().chain(for_directories).min_by_key(|hit| hit.number)
    }
}
