//! rsync's exclude and filter rules, on bytes, compiled once.
//!
//! One matcher answers for all: what is watched, which events count, what the copier of this
//! process copies and deletes, and, by [`Filter::to_rsync_rules`], what rsync is told. That it
//! decides as rsync does is proved against a real rsync by `tests/filter_vs_rsync`.

mod build;
mod class;
mod error;
mod index;
mod pattern;
mod rule;
mod table;
mod wild;

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use crate::{notice::Kind, path::TreePath};
use rule::Modifiers;
use table::{Scope, Table, Verdict};

pub use build::{Builder, Reader};
pub use error::{Fault, Position, RuleError};
pub use pattern::{Base, Pattern};
pub use rule::{Action, Rule, Side};

/// The rules that say which entries of a mirror do not concern it.
///
/// The default has no rules and excludes nothing. The root is never excluded. A clone is cheap.
///
/// Two kinds of rules can't be decided here: those that are read from files in each directory
/// (`dir-merge`), and those about absolute paths (modifier `/`) where the root is not known. Where
/// no rule before such a one decides, the answer is the safe one: an entry is not excluded, so that
/// rsync gets to see it, and it is protected. [`Filter::undecided`] tells whether there is one.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    items: Arc<[Item]>,
    /// The source and the target, where rules about absolute paths need them.
    roots: [Option<Arc<[u8]>>; 2],
    delete_excluded: bool,
    /// What the sender hides.
    hidden: Arc<Table>,
    /// What the receiver protects.
    protected: Arc<Table>,
    /// What the receiver protects inside a directory that is being removed.
    protected_in_removed: Arc<Table>,
}

/// One entry of the list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Rule(Rule),
    /// The rules in the files of this name.
    PerDirectory(Modifiers, Box<[u8]>),
}

/// Two filters are equal if they were built from the same rules for the same roots.
impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items && self.roots == other.roots
    }
}

impl Eq for Filter {}

impl Filter {
    /// Gathers rules.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn compile(builder: &Builder, items: Vec<Item>) -> Self {
        let delete_excluded = builder.delete_excluded;
        let sender = Scope {
            side: Side::Sender,
            root: builder.source.as_deref(),
            delete_excluded,
            in_removed: false,
        };
        let receiver = Scope { side: Side::Receiver, root: builder.target.as_deref(), ..sender };
        let in_removed = Scope { in_removed: true, ..receiver };
        let hidden = Arc::new(Table::new(&items, sender));
        let protected = Arc::new(Table::new(&items, receiver));
        let protected_in_removed = Arc::new(Table::new(&items, in_removed));
        let roots = [&builder.source, &builder.target].map(|root| root.as_deref().map(Arc::from));
        let items = items.into();
        Self { items, roots, delete_excluded, hidden, protected, protected_in_removed }
    }

    /// The same rules where the root of the source is another one, an absolute path.
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

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether an entry, or a directory above it, is excluded from being sent.
    ///
    /// Each directory on the way is decided on its own by the first rule that matches it, as rsync
    /// does when it descends: below an excluded one nothing can be included.
    #[must_use]
    pub fn excludes(&self, path: &TreePath, kind: Kind) -> bool {
        levels(path, kind).any(|(path, kind)| self.hidden.verdict(path, kind) == Verdict::Excluded)
    }

    /// Whether an entry of a directory that is not excluded is excluded.
    ///
    /// For whoever walks a tree from its top: it saves looking at the directories above again.
    #[must_use]
    pub fn excludes_entry(&self, path: &TreePath, kind: Kind) -> bool {
        !path.is_root() && self.hidden.verdict(path.as_bytes(), kind) == Verdict::Excluded
    }

    /// Whether a directory need not be watched or read: all below it is excluded.
    #[must_use]
    pub fn prunes(&self, directory: &TreePath) -> bool {
        self.excludes(directory, Kind::Directory)
    }

    /// Whether what is below one of these directories is surely decided as what has the same name
    /// below the other.
    ///
    /// If not, a directory that gets the other name may leave something behind that is protected
    /// there, or lose something that was.
    #[must_use]
    pub fn decides_alike_below(&self, one: &TreePath, other: &TreePath) -> bool {
        self.items.iter().all(|item| match item {
            Item::Rule(rule) => {
                let pattern = rule.pattern();
                let knows = |directory| pattern.knows_places_below(directory);
                rule.base() == Base::Mirror && !knows(one) && !knows(other)
            }
            Item::PerDirectory(..) => false,
        })
    }

    /// Whether an entry of the target must not be deleted though the source does not have it.
    #[must_use]
    pub fn protects(&self, path: &TreePath, kind: Kind) -> bool {
        protects(&self.protected, levels(path, kind))
    }

    /// Whether an entry must stay though the directory that has it is removed. Then that directory
    /// stays as well.
    ///
    /// Perishable rules (modifier `p`) do not count here. `removed` is the topmost directory that
    /// is removed, for which [`Self::protects`] said no; `path` lies below it.
    #[must_use]
    pub fn protects_in_removed(&self, removed: &TreePath, path: &TreePath, kind: Kind) -> bool {
        let above = removed.as_bytes().len();
        let below = levels(path, kind).filter(|(path, _)| path.len() > above);
        protects(&self.protected_in_removed, below)
    }

    /// The first rule that can't be decided here, in rsync's form. Where it is not rsync that
    /// writes the target, such a rule has to be refused.
    #[must_use]
    pub fn undecided(&self) -> Option<Vec<u8>> {
        let tables = [&self.hidden, &self.protected];
        let first = tables.iter().filter_map(|table| table.undecided()).min()?;
        self.items.get(first).map(Item::to_rsync)
    }

    /// The first rule that reads a file in each directory, in rsync's form.
    #[must_use]
    pub fn per_directory(&self) -> Option<Vec<u8>> {
        let first = self.items.iter().find(|item| matches!(item, Item::PerDirectory(..)));
        first.map(Item::to_rsync)
    }

    /// The rules in rsync's short form and in their order, for one `--filter` each.
    ///
    /// Merged files and `-C` are resolved, so that rsync decides by the rules that were read
    /// here. A rule may hold any byte but NUL, also a line feed.
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

fn protects<'a>(table: &Table, mut levels: impl Iterator<Item = (&'a [u8], Kind)>) -> bool {
    levels.any(|(path, kind)| match table.verdict(path, kind) {
        Verdict::Excluded | Verdict::Undecided => true,
        Verdict::Included | Verdict::Unmatched => false,
    })
}

/// The directories above an entry, from the top on, and the entry. Nothing for the root.
fn levels(path: &TreePath, kind: Kind) -> impl Iterator<Item = (&[u8], Kind)> {
    let bytes = path.as_bytes();
    let slashes = bytes.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    let above = slashes.filter_map(|at| Some((bytes.get(..at)?, Kind::Directory)));
    above.chain((!path.is_root()).then_some((bytes, kind)))
}

#[cfg(test)]
mod tests;
