//! Renames that were seen at the source, as they may be repeated at the target.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{job::Rename, path::TreePath};

/// What the hints, oldest first, come to: what was renamed twice is renamed once, what was moved
/// into a directory that was renamed later comes after it, and before something gets a name, what
/// had that name gets its own. Of two that change places both are there, one after the other.
#[must_use]
pub fn joined(moves: &[Rename]) -> Vec<Rename> {
    let mut hints = Joined::default();
    for hint in moves {
        hints.add(hint);
        hints.follow(hint);
    }
    let overlap = |hint: &Rename| hint.from.contains(&hint.to) || hint.to.contains(&hint.from);
    in_turn(hints.in_order.into_iter().flatten().filter(|hint| !overlap(hint)).collect())
}

/// These renames, each behind the one that makes its new name free.
fn in_turn(hints: Vec<Rename>) -> Vec<Rename> {
    let starts: BTreeMap<TreePath, usize> =
        hints.iter().zip(0..).map(|(hint, at)| (hint.from.clone(), at)).collect();
    let mut left: Vec<Option<Rename>> = hints.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(left.len());
    for start in 0..left.len() {
        let mut row = Vec::new();
        let mut at = Some(start);
        while let Some(hint) = at.and_then(|at| left.get_mut(at)).and_then(Option::take) {
            at = starts.get(&hint.to).copied();
            row.push(hint);
        }
        ordered.extend(row.into_iter().rev());
    }
    ordered
}

/// The hints so far.
#[derive(Default)]
struct Joined {
    /// In the order in which they are to be made. A place is empty when its hint has moved on.
    in_order: Vec<Option<Rename>>,
    /// Where in that list the hint is that leads to a path.
    by_goal: BTreeMap<Vec<u8>, usize>,
}

impl Joined {
    fn add(&mut self, hint: &Rename) {
        let earlier = self.by_goal.remove(hint.from.as_bytes());
        match earlier.and_then(|at| Some((at, self.in_order.get_mut(at)?.as_mut()?))) {
            Some((at, earlier)) => {
                earlier.to = hint.to.clone();
                self.leads_to(&hint.to, at);
            }
            None => self.push(hint.clone()),
        }
    }

    fn push(&mut self, hint: Rename) {
        self.leads_to(&hint.to, self.in_order.len());
        self.in_order.push(Some(hint));
    }

    /// One that leads to the same name is outdated.
    fn leads_to(&mut self, goal: &TreePath, at: usize) {
        let outdated = self.by_goal.insert(goal.as_bytes().to_vec(), at);
        if let Some(outdated) = outdated.and_then(|at| self.in_order.get_mut(at)) {
            *outdated = None;
        }
    }

    /// What was moved into a directory that now gets another name goes there, after it.
    fn follow(&mut self, directory: &Rename) {
        let start = [directory.from.as_bytes(), b"/"].concat();
        let inside = self.by_goal.range(start.clone()..);
        let inside = inside.take_while(|(path, _)| path.starts_with(&start));
        let mut inside: Vec<(usize, Vec<u8>)> =
            inside.map(|(path, &at)| (at, path.clone())).collect();
        inside.sort_unstable();
        for (at, path) in inside {
            self.by_goal.remove(&path);
            let Some(Rename { from, to }) = self.in_order.get_mut(at).and_then(Option::take) else {
                continue;
            };
            let to = to.rebase(&directory.from, &directory.to).unwrap_or(to);
            self.push(Rename { from, to });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renames(text: &str) -> Vec<Rename> {
        let path = |text: &str| TreePath::new(text.as_bytes()).unwrap();
        text.split_whitespace()
            .map(|hint| hint.split_once('>').unwrap())
            .map(|(from, to)| Rename { from: path(from), to: path(to) })
            .collect()
    }

    #[test]
    fn renames_of_one_thing_are_one_rename() {
        assert_eq!(joined(&renames("a>b b>c")), renames("a>c"));
        assert_eq!(joined(&renames("a>t b>a t>b")), renames("b>a a>b"));
        assert_eq!(joined(&renames("2>3 1>2 0>1")), renames("2>3 1>2 0>1"));
        assert_eq!(joined(&renames("a>b b>a")), []);
        assert_eq!(joined(&renames("t>f t>f x>f")), renames("x>f"));
        assert_eq!(joined(&renames("a>t b>c t>b")), renames("b>c a>b"));
        assert_eq!(joined(&renames("a>t b>c c>d t>b")), renames("b>d a>b"));
        assert_eq!(joined(&renames("a>t d>a c>d b>c t>b")), renames("d>a c>d b>c a>b"));
        assert_eq!(joined(&renames("a>a/b")), []);
        assert_eq!(joined(&renames("x>d/x d>e e>f")), renames("d>f x>f/x"));
        assert_eq!(joined(&renames("x>d/x y>d/y d>e y2>dd")), renames("d>e x>e/x y>e/y y2>dd"));
    }
}
