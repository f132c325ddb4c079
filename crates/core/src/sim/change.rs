//! Changes of a source, and the events that a perfect source of events reports for them.

use alloc::{format, vec, vec::Vec};
use core::fmt;

use crate::{
    fs_event::{Change, Edit, EntryKind, FsEventKind},
    path::TreePath,
    sim::{
        random::SimRng,
        tree::{PLAIN, SimNode, SimTree},
    },
};

/// A change of a tree. Impossible changes are skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TreeChange {
    /// Writes or creates a file. The number is its content.
    Write(TreePath, u32),
    /// Sets the mode of a file or a directory.
    Mode(TreePath, u32),
    /// Creates a symbolic link. The number is its target.
    Link(TreePath, u32),
    MakeDir(TreePath),
    /// Moves a directory into the tree, with this number of files and as many in a subdirectory.
    MoveIn(TreePath, u32),
    /// `rm -r`.
    Remove(TreePath),
    /// Moves a directory or a file out of the tree.
    MoveOut(TreePath),
    Rename(TreePath, TreePath),
    Swap(TreePath, TreePath),
}

pub(crate) fn path(random: &mut SimRng) -> TreePath {
    let mut path = TreePath::root();
    for _ in 0..=random.below(3) {
        path.push(random.pick(&[b"a", b"b", b"c"])).unwrap();
    }
    path
}

/// Returns a random path that exists in the tree.
fn known(tree: &SimTree, random: &mut SimRng) -> TreePath {
    let all: Vec<_> = tree.paths().collect();
    all[random.below(all.len())].clone()
}

impl TreeChange {
    /// Returns a random change of `tree`.
    pub(crate) fn random(tree: &SimTree, random: &mut SimRng) -> Self {
        let number = u32::try_from(random.below(1_000)).unwrap();
        match random.below(16) {
            0..3 => Self::Write(path(random), number),
            3..5 => Self::Write(known(tree, random), number),
            5 => Self::Mode(known(tree, random), number),
            6 => Self::Link(path(random), number),
            7 | 8 => Self::MakeDir(path(random)),
            9 => Self::MoveIn(path(random), number % 3),
            10 => Self::Remove(known(tree, random)),
            11 => Self::MoveOut(known(tree, random)),
            12..15 => Self::Rename(known(tree, random), path(random)),
            _ => Self::Swap(known(tree, random), known(tree, random)),
        }
    }

    /// Applies the change and returns its events; none if it is impossible.
    pub(crate) fn apply(&self, tree: &mut SimTree) -> Vec<FsEventKind> {
        match self {
            Self::Write(path, content) => write(tree, path, *content),
            Self::Mode(path, mode) => set_mode(tree, path, *mode),
            Self::Link(path, to) => create(tree, path, SimNode::Link { to: *to }),
            Self::MakeDir(path) => create(tree, path, PLAIN),
            Self::MoveIn(path, count) => move_in(tree, path, *count),
            Self::Remove(path) => remove(tree, path),
            Self::MoveOut(path) => move_out(tree, path),
            Self::Rename(from, to) => rename(tree, from, to),
            Self::Swap(one, other) => swap(tree, one, other),
        }
    }
}

fn kind(tree: &SimTree, path: &TreePath) -> EntryKind {
    if tree.is_dir(path) { EntryKind::Directory } else { EntryKind::Other }
}

fn changed(edit: Edit, kind: EntryKind, path: &TreePath) -> FsEventKind {
    FsEventKind::Changed(Change { edit, kind, path: path.clone() })
}

fn write(tree: &mut SimTree, path: &TreePath, content: u32) -> Vec<FsEventKind> {
    match tree.get(path) {
        None => create(tree, path, SimNode::File { content, mode: 0 }),
        Some(SimNode::File { mode, .. }) => {
            tree.put(path, SimNode::File { content, mode });
            // Some writers never close the file, such as truncate(2).
            let edit = if content.is_multiple_of(3) { Edit::Write } else { Edit::Modify };
            vec![changed(edit, EntryKind::Other, path)]
        }
        Some(SimNode::Link { .. } | SimNode::Directory { .. }) => vec![],
    }
}

fn set_mode(tree: &mut SimTree, path: &TreePath, mode: u32) -> Vec<FsEventKind> {
    let node = match tree.get(path) {
        Some(SimNode::File { content, .. }) => SimNode::File { content, mode },
        Some(SimNode::Directory { .. }) => SimNode::Directory { mode },
        Some(SimNode::Link { .. }) | None => return vec![],
    };
    tree.put(path, node);
    vec![changed(Edit::Attrib, kind(tree, path), path)]
}

fn create(tree: &mut SimTree, path: &TreePath, node: SimNode) -> Vec<FsEventKind> {
    if tree.get(path).is_some() || !tree.has_room_at(path) {
        return vec![];
    }
    tree.put(path, node);
    vec![changed(Edit::Create, kind(tree, path), path)]
}

fn move_in(tree: &mut SimTree, path: &TreePath, count: u32) -> Vec<FsEventKind> {
    let events = create(tree, path, PLAIN);
    if events.is_empty() {
        return events;
    }
    let below = path.join(b"b").unwrap();
    tree.put(&below, PLAIN);
    for content in 0..count {
        let name = format!("f{content}");
        for directory in [path, &below] {
            let file = directory.join(name.as_bytes()).unwrap();
            tree.put(&file, SimNode::File { content, mode: 0 });
        }
    }
    events
}

fn remove(tree: &mut SimTree, path: &TreePath) -> Vec<FsEventKind> {
    if path.is_root() || tree.get(path).is_none() {
        return vec![];
    }
    let gone = tree.paths().rev().filter(|it| path.contains(it));
    let events = gone.map(|it| changed(Edit::Delete, kind(tree, it), it)).collect();
    tree.remove(path);
    events
}

fn move_out(tree: &mut SimTree, path: &TreePath) -> Vec<FsEventKind> {
    remove(tree, path).pop().into_iter().collect()
}

fn rename(tree: &mut SimTree, from: &TreePath, to: &TreePath) -> Vec<FsEventKind> {
    let possible = match (tree.get(from), tree.get(to)) {
        (Some(_), None) => tree.has_room_at(to),
        (Some(SimNode::Directory { .. }), Some(SimNode::Directory { .. })) => {
            tree.children(to).is_empty() && !to.is_root()
        }
        (None, _)
        | (Some(SimNode::Directory { .. }), Some(_))
        | (Some(_), Some(SimNode::Directory { .. })) => false,
        (Some(_), Some(_)) => true,
    };
    if !possible || from.contains(to) || from.is_root() {
        return vec![];
    }
    let kind = kind(tree, from);
    tree.rename(from, to);
    vec![FsEventKind::Renamed { from: from.clone(), to: to.clone(), kind }]
}

fn swap(tree: &mut SimTree, one: &TreePath, other: &TreePath) -> Vec<FsEventKind> {
    let there = tree.get(one).is_some() && tree.get(other).is_some();
    if !there || one.contains(other) || other.contains(one) {
        return vec![];
    }
    let moved = |from: &TreePath, to: &TreePath| FsEventKind::Renamed {
        from: from.clone(),
        to: to.clone(),
        kind: kind(tree, from),
    };
    let events = vec![moved(one, other), moved(other, one)];
    tree.swap(one, other);
    events
}

impl fmt::Display for TreeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(path, content) => write!(f, "write {path} {content}"),
            Self::Mode(path, mode) => write!(f, "mode {path} {mode}"),
            Self::Link(path, to) => write!(f, "link {path} {to}"),
            Self::MakeDir(path) => write!(f, "mkdir {path}"),
            Self::MoveIn(path, count) => write!(f, "move-in {path} {count}"),
            Self::Remove(path) => write!(f, "rm {path}"),
            Self::MoveOut(path) => write!(f, "move-out {path}"),
            Self::Rename(from, to) => write!(f, "mv {from} {to}"),
            Self::Swap(one, other) => write!(f, "swap {one} {other}"),
        }
    }
}

/// Parses a path.
pub(crate) fn parse_path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

/// Parses a change. Returns `None` if the words are not one.
pub(crate) fn parse(words: &[&str]) -> Option<TreeChange> {
    let path = parse_path;
    let number = |text: &str| text.parse().unwrap();
    Some(match *words {
        ["write", it, content] => TreeChange::Write(path(it), number(content)),
        ["mode", it, mode] => TreeChange::Mode(path(it), number(mode)),
        ["link", it, to] => TreeChange::Link(path(it), number(to)),
        ["mkdir", it] => TreeChange::MakeDir(path(it)),
        ["move-in", it, count] => TreeChange::MoveIn(path(it), number(count)),
        ["rm", it] => TreeChange::Remove(path(it)),
        ["move-out", it] => TreeChange::MoveOut(path(it)),
        ["mv", from, to] => TreeChange::Rename(path(from), path(to)),
        ["swap", one, other] => TreeChange::Swap(path(one), path(other)),
        _ => return None,
    })
}
