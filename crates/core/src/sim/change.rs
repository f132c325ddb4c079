//! What happens to a source, and what a perfect witness would tell of it.

use alloc::{format, vec, vec::Vec};
use core::fmt;

use crate::{
    notice::{Change as Edited, Edit, Kind, News},
    path::TreePath,
    sim::{
        random::Random,
        tree::{Node, PLAIN, Tree},
    },
};

/// Something that somebody does to a tree. What is not possible is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A file is written, or made. The number is its content.
    Write(TreePath, u32),
    /// The mode of a file or a directory.
    Mode(TreePath, u32),
    /// A symbolic link is made. The number is where it leads.
    Link(TreePath, u32),
    MakeDir(TreePath),
    /// A directory comes from outside, with so many files and as many in a directory below.
    MoveIn(TreePath, u32),
    /// `rm -r`.
    Remove(TreePath),
    /// A directory or a file goes to outside.
    MoveOut(TreePath),
    Rename(TreePath, TreePath),
    Swap(TreePath, TreePath),
}

fn path(random: &mut Random) -> TreePath {
    let mut path = TreePath::root();
    for _ in 0..=random.below(3) {
        path.push(random.pick(&[b"a", b"b", b"c"])).unwrap();
    }
    path
}

/// A path that stands in the tree, if there is one.
fn known(tree: &Tree, random: &mut Random) -> TreePath {
    let all: Vec<_> = tree.paths().collect();
    all[random.below(all.len())].clone()
}

impl Change {
    /// Something that may happen to `tree`.
    pub(crate) fn random(tree: &Tree, random: &mut Random) -> Self {
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

    /// Does it, and tells what happened; nothing if it is not possible.
    pub(crate) fn apply(&self, tree: &mut Tree) -> Vec<News> {
        match self {
            Self::Write(path, content) => write(tree, path, *content),
            Self::Mode(path, mode) => set_mode(tree, path, *mode),
            Self::Link(path, to) => create(tree, path, Node::Link { to: *to }),
            Self::MakeDir(path) => create(tree, path, PLAIN),
            Self::MoveIn(path, count) => move_in(tree, path, *count),
            Self::Remove(path) => remove(tree, path),
            Self::MoveOut(path) => move_out(tree, path),
            Self::Rename(from, to) => rename(tree, from, to),
            Self::Swap(one, other) => swap(tree, one, other),
        }
    }
}

fn kind(tree: &Tree, path: &TreePath) -> Kind {
    if tree.is_dir(path) { Kind::Directory } else { Kind::Other }
}

fn told(edit: Edit, kind: Kind, path: &TreePath) -> News {
    News::Changed(Edited { edit, kind, path: path.clone() })
}

fn write(tree: &mut Tree, path: &TreePath, content: u32) -> Vec<News> {
    match tree.get(path) {
        None => create(tree, path, Node::File { content, mode: 0 }),
        Some(Node::File { mode, .. }) => {
            tree.put(path, Node::File { content, mode });
            // Some never close what they write, as truncate(2).
            let edit = if content.is_multiple_of(3) { Edit::Write } else { Edit::Modify };
            vec![told(edit, Kind::Other, path)]
        }
        Some(Node::Link { .. } | Node::Directory { .. }) => vec![],
    }
}

fn set_mode(tree: &mut Tree, path: &TreePath, mode: u32) -> Vec<News> {
    let node = match tree.get(path) {
        Some(Node::File { content, .. }) => Node::File { content, mode },
        Some(Node::Directory { .. }) => Node::Directory { mode },
        Some(Node::Link { .. }) | None => return vec![],
    };
    tree.put(path, node);
    vec![told(Edit::Attrib, kind(tree, path), path)]
}

fn create(tree: &mut Tree, path: &TreePath, node: Node) -> Vec<News> {
    if tree.get(path).is_some() || !tree.has_room_at(path) {
        return vec![];
    }
    tree.put(path, node);
    vec![told(Edit::Create, kind(tree, path), path)]
}

fn move_in(tree: &mut Tree, path: &TreePath, count: u32) -> Vec<News> {
    let news = create(tree, path, PLAIN);
    if news.is_empty() {
        return news;
    }
    let below = path.join(b"b").unwrap();
    tree.put(&below, PLAIN);
    for content in 0..count {
        let name = format!("f{content}");
        for directory in [path, &below] {
            let file = directory.join(name.as_bytes()).unwrap();
            tree.put(&file, Node::File { content, mode: 0 });
        }
    }
    news
}

fn remove(tree: &mut Tree, path: &TreePath) -> Vec<News> {
    if path.is_root() || tree.get(path).is_none() {
        return vec![];
    }
    let gone = tree.paths().rev().filter(|it| path.contains(it));
    let news = gone.map(|it| told(Edit::Delete, kind(tree, it), it)).collect();
    tree.remove(path);
    news
}

fn move_out(tree: &mut Tree, path: &TreePath) -> Vec<News> {
    remove(tree, path).pop().into_iter().collect()
}

fn rename(tree: &mut Tree, from: &TreePath, to: &TreePath) -> Vec<News> {
    let possible = match (tree.get(from), tree.get(to)) {
        (Some(_), None) => tree.has_room_at(to),
        (Some(Node::Directory { .. }), Some(Node::Directory { .. })) => {
            tree.children(to).is_empty() && !to.is_root()
        }
        (None, _)
        | (Some(Node::Directory { .. }), Some(_))
        | (Some(_), Some(Node::Directory { .. })) => false,
        (Some(_), Some(_)) => true,
    };
    if !possible || from.contains(to) || from.is_root() {
        return vec![];
    }
    let kind = kind(tree, from);
    tree.rename(from, to);
    vec![News::Moved { from: from.clone(), to: to.clone(), kind }]
}

fn swap(tree: &mut Tree, one: &TreePath, other: &TreePath) -> Vec<News> {
    let there = tree.get(one).is_some() && tree.get(other).is_some();
    if !there || one.contains(other) || other.contains(one) {
        return vec![];
    }
    let moved = |from: &TreePath, to: &TreePath| News::Moved {
        from: from.clone(),
        to: to.clone(),
        kind: kind(tree, from),
    };
    let news = vec![moved(one, other), moved(other, one)];
    tree.swap(one, other);
    news
}

impl fmt::Display for Change {
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

/// The change that is written so; `None` if none is.
pub(crate) fn parse(words: &[&str]) -> Option<Change> {
    let path = |text: &str| TreePath::new(text.as_bytes()).unwrap();
    let number = |text: &str| text.parse().unwrap();
    Some(match *words {
        ["write", it, content] => Change::Write(path(it), number(content)),
        ["mode", it, mode] => Change::Mode(path(it), number(mode)),
        ["link", it, to] => Change::Link(path(it), number(to)),
        ["mkdir", it] => Change::MakeDir(path(it)),
        ["move-in", it, count] => Change::MoveIn(path(it), number(count)),
        ["rm", it] => Change::Remove(path(it)),
        ["move-out", it] => Change::MoveOut(path(it)),
        ["mv", from, to] => Change::Rename(path(from), path(to)),
        ["swap", one, other] => Change::Swap(path(one), path(other)),
        _ => return None,
    })
}
