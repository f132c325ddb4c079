//! rsync's exclude and filter rules, matched on bytes and compiled once.
//!
//! One matcher serves all purposes: which directories are watched, which events count, what the
//! built-in copier copies and deletes and, through [`Filter::to_rsync_rules`], the rules that are
//! passed to rsync. `tests/filter_vs_rsync` proves against a real rsync that it decides as rsync
//! does.

mod build;
mod class;
mod error;
mod glob;
mod index;
mod pattern;
mod rule;
mod table;

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use crate::{fs_event::EntryKind, path::TreePath};
use rule::RuleModifiers;
use table::{RuleDecision, RuleTable, TableScope};

pub use build::{Builder, MergeFileReader};
pub use error::{RuleError, RuleErrorKind, RuleLocation};
pub use pattern::{Pattern, PatternRoot};
pub use rule::{FilterRule, RuleAction, TransferSide};

/// A compiled list of rules that exclude entries from a mirror.
///
/// The default has no rules and excludes nothing. The root is never excluded. Cloning is cheap.
///
/// Two kinds of rules can't be decided here: rules that are read from files in each directory
/// (`dir-merge`), and rules about absolute paths (modifier `/`) if the root is unknown. If no rule
/// before such a rule decides, the result is the safe one: the entry is not excluded, so that rsync
/// gets to see it, and it is protected. [`Filter::undecided`] returns the first such rule.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    items: Arc<[Item]>,
    /// The source and target roots, needed by rules about absolute paths.
    roots: [Option<Arc<[u8]>>; 2],
    delete_excluded: bool,
    /// Rules of the sender: they hide entries.
    hidden: Arc<RuleTable>,
    /// Rules of the receiver: they protect entries.
    protected: Arc<RuleTable>,
    /// Rules of the receiver inside a directory that is being removed.
    protected_in_removed: Arc<RuleTable>,
}

/// One entry of the rule list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Rule(FilterRule),
    /// A per-directory merge rule and the name of its files.
    PerDirectory(RuleModifiers, Box<[u8]>),
}

/// Filters are equal if they were built from the same rules for the same roots.
impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items && self.roots == other.roots
    }
}

impl Eq for Filter {}

impl Filter {
    /// Returns an empty builder.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn compile(builder: &Builder, items: Vec<Item>) -> Self {
        let delete_excluded = builder.delete_excluded;
        let sender = TableScope {
            side: TransferSide::Sender,
            root: builder.source.as_deref(),
            delete_excluded,
            in_removed: false,
        };
        let receiver =
            TableScope { side: TransferSide::Receiver, root: builder.target.as_deref(), ..sender };
        let in_removed = TableScope { in_removed: true, ..receiver };
        let hidden = Arc::new(RuleTable::new(&items, sender));
        let protected = Arc::new(RuleTable::new(&items, receiver));
        let protected_in_removed = Arc::new(RuleTable::new(&items, in_removed));
        let roots = [&builder.source, &builder.target].map(|root| root.as_deref().map(Arc::from));
        let items = items.into();
        Self { items, roots, delete_excluded, hidden, protected, protected_in_removed }
    }

    /// Returns the same rules for another source root, an absolute path.
    #[must_use]
    pub fn for_source(&self, root: &[u8]) -> Self {
        let [source, target] = &self.roots;
        if source.is_none() {
            return self.clone();
        }
        let mut builder = Builder::new().source(root);
        builder.target = target.as_deref().map(Box::from);
        builder.delete_excluded = self.delete_excluded;
        Self::compile(&builder, self.items.to_vec())
    }

    /// Returns true if there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns true if an entry or one of its ancestors is excluded from the transfer.
    ///
    /// Each ancestor is decided separately by the first rule that matches it, as rsync does when it
    /// descends: nothing below an excluded directory can be included.
    #[must_use]
    pub fn excludes(&self, path: &TreePath, kind: EntryKind) -> bool {
        levels(path, kind)
            .any(|(path, kind)| self.hidden.decide(path, kind) == RuleDecision::Excluded)
    }

    /// Returns the rule that excludes an entry, in rsync's form, and the path that it matches: that
    /// of the entry, or of a directory above. `None` if it is not excluded.
    ///
    /// It compiles the rules several times: it is for people, not for each entry.
    #[must_use]
    pub fn excluded_by(&self, path: &TreePath, kind: EntryKind) -> Option<(Vec<u8>, TreePath)> {
        let is_excluded = |(path, kind): &(&[u8], EntryKind)| {
            self.hidden.decide(path, *kind) == RuleDecision::Excluded
        };
        let (matched, kind) = levels(path, kind).find(is_excluded)?;
        let [source, _] = &self.roots;
        let scope = TableScope {
            side: TransferSide::Sender,
            root: source.as_deref(),
            delete_excluded: self.delete_excluded,
            in_removed: false,
        };
        let is_unmatched = |count: &usize| {
            let first = self.items.get(..*count).unwrap_or_default();
            RuleTable::new(first, scope).decide(matched, kind) == RuleDecision::Unmatched
        };
        // The first rule that matches decides.
        let counts: Vec<usize> = (1..=self.items.len()).collect();
        let rule = self.items.get(counts.partition_point(is_unmatched))?;
        Some((rule.to_rsync(), TreePath::new(matched)?))
    }

    /// Returns true if an entry is excluded, assuming that its directory is not.
    ///
    /// For a top-down tree walk: the ancestors are not checked again.
    #[must_use]
    pub fn excludes_entry(&self, path: &TreePath, kind: EntryKind) -> bool {
        !path.is_root() && self.hidden.decide(path.as_bytes(), kind) == RuleDecision::Excluded
    }

    /// Returns true if a directory need not be watched or read, because everything below it is
    /// excluded.
    #[must_use]
    pub fn prunes(&self, directory: &TreePath) -> bool {
        self.excludes(directory, EntryKind::Directory)
    }

    /// Returns true if entries with the same relative path below either directory are certain to be
    /// decided equally.
    ///
    /// If not, renaming one directory to the other could leave entries behind that are protected
    /// there, or delete entries that were protected before.
    #[must_use]
    pub fn decides_equally_below(&self, one: &TreePath, other: &TreePath) -> bool {
        self.items.iter().all(|item| match item {
            Item::Rule(rule) => {
                let pattern = rule.pattern();
                let depends = |directory| pattern.may_depend_on_location(directory);
                rule.base() == PatternRoot::Mirror && !depends(one) && !depends(other)
            }
            Item::PerDirectory(..) => false,
        })
    }

    /// Returns true if an entry of the target must not be deleted although the source lacks it, and
    /// the directories above it.
    #[must_use]
    pub fn protects(&self, path: &TreePath, kind: EntryKind) -> bool {
        self.protects_below(path, kind, |_| false)
    }

    /// Like [`protects`](Self::protects), for a source that has some of the directories above.
    ///
    /// rsync compares a directory that is transferred, whatever protects it from deletion: only
    /// what is missing is kept with everything below it.
    #[must_use]
    pub fn protects_below(
        &self,
        path: &TreePath,
        kind: EntryKind,
        has_directory: impl Fn(&[u8]) -> bool,
    ) -> bool {
        let is_transferred = |above: &[u8]| {
            let hidden = self.hidden.decide(above, EntryKind::Directory);
            hidden != RuleDecision::Excluded && has_directory(above)
        };
        levels(path, kind).any(|(level, kind)| {
            is_protected(&self.protected, level, kind)
                && (level.len() == path.as_bytes().len() || !is_transferred(level))
        })
    }

    /// Returns true if a rule that can be decided here keeps this entry from being deleted. The
    /// source has the directory above it.
    #[must_use]
    pub fn certainly_protects(&self, path: &TreePath, kind: EntryKind) -> bool {
        !path.is_root() && self.protected.decide(path.as_bytes(), kind) == RuleDecision::Excluded
    }

    /// Returns true if an entry must be kept although its directory is removed. That directory is
    /// kept as well.
    ///
    /// Perishable rules (modifier `p`) do not apply here. `removed` is the topmost directory that
    /// is removed, for which [`Self::protects`] returned false; `path` lies below it.
    #[must_use]
    pub fn protects_in_removed(
        &self,
        removed: &TreePath,
        path: &TreePath,
        kind: EntryKind,
    ) -> bool {
        let above = removed.as_bytes().len();
        let mut below = levels(path, kind).filter(|(path, _)| path.len() > above);
        below.any(|(path, kind)| is_protected(&self.protected_in_removed, path, kind))
    }

    /// Returns the first rule that can't be decided here, in rsync's form. Such a rule has to be
    /// rejected unless rsync writes the target.
    #[must_use]
    pub fn undecided(&self) -> Option<Vec<u8>> {
        let tables = [&self.hidden, &self.protected];
        let first = tables.iter().filter_map(|table| table.undecided()).min()?;
        self.items.get(first).map(Item::to_rsync)
    }

    /// Returns the first rule that reads a file in each directory, in rsync's form.
    #[must_use]
    pub fn per_directory(&self) -> Option<Vec<u8>> {
        let first = self.items.iter().find(|item| matches!(item, Item::PerDirectory(..)));
        first.map(Item::to_rsync)
    }

    /// Iterates over the rules in rsync's short form and in order, one `--filter` argument each.
    ///
    /// Merged files and `-C` are resolved, so that rsync decides by the rules that were read here.
    /// A rule may contain any byte but NUL, including a line feed.
    pub fn to_rsync_rules(&self) -> impl Iterator<Item = Vec<u8>> {
        self.items.iter().map(Item::to_rsync)
    }
}

impl Item {
    fn to_rsync(&self) -> Vec<u8> {
        match self {
            Self::Rule(rule) => rule.to_rsync(),
            Self::PerDirectory(modifiers, name) => {
                let mut text = b":".to_vec();
                modifiers.write(&mut text);
                text.push(b' ');
                text.extend_from_slice(name);
                text
            }
        }
    }
}

fn is_protected(table: &RuleTable, path: &[u8], kind: EntryKind) -> bool {
    match table.decide(path, kind) {
        RuleDecision::Excluded | RuleDecision::Undecided => true,
        RuleDecision::Included | RuleDecision::Unmatched => false,
    }
}

/// Returns the ancestors of an entry from the top down, then the entry. Empty for the root.
fn levels(path: &TreePath, kind: EntryKind) -> impl Iterator<Item = (&[u8], EntryKind)> {
    let bytes = path.as_bytes();
    let slashes = bytes.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    let above = slashes.filter_map(|at| Some((bytes.get(..at)?, EntryKind::Directory)));
    above.chain((!path.is_root()).then_some((bytes, kind)))
}

#[cfg(test)]
mod tests;
