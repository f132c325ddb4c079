//! Renames that were seen at the source, as they may be repeated at the target.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::job::Rename;

/// The hints with what was renamed twice as one rename: the name between is gone. What was moved
/// into a directory that was renamed later comes after it.
#[must_use]
pub fn joined(moves: &[Rename]) -> Vec<Rename> {
    let mut hints = Joined::default();
    for hint in moves {
        hints.add(hint);
        hints.follow(hint);
    }
    let overlap = |hint: &Rename| hint.from.contains(&hint.to) || hint.to.contains(&hint.from);
    hints.in_order.into_iter().flatten().filter(|hint| !overlap(hint)).collect()
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
        if let Some(at) = earlier
            && let Some(Some(earlier)) = self.in_order.get_mut(at)
        {
            earlier.to = hint.to.clone();
            self.by_goal.insert(hint.to.as_bytes().to_vec(), at);
        } else {
            self.push(hint.clone());
        }
    }

    fn push(&mut self, hint: Rename) {
        self.by_goal.insert(hint.to.as_bytes().to_vec(), self.in_order.len());
        self.in_order.push(Some(hint));
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
    use crate::path::TreePath;

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
        assert_eq!(joined(&renames("a>t b>a t>b")), renames("a>b b>a"));
        assert_eq!(joined(&renames("2>3 1>2 0>1")), renames("2>3 1>2 0>1"));
        assert_eq!(joined(&renames("a>b b>a")), []);
        assert_eq!(joined(&renames("a>a/b")), []);
        assert_eq!(joined(&renames("x>d/x d>e e>f")), renames("d>f x>f/x"));
        assert_eq!(joined(&renames("x>d/x y>d/y d>e y2>dd")), renames("d>e x>e/x y>e/y y2>dd"));
    }
}
