//! Renames observed at the source, prepared to be repeated at the target.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{job::Rename, path::TreePath};

/// Coalesces and orders rename hints, given oldest first.
///
/// A chain of renames becomes one rename. A rename into a directory that was itself renamed later
/// follows the rename of the directory. A path is vacated before another one takes its name. If two
/// paths swap names, both renames are kept, one after the other.
#[must_use]
pub fn coalesce_renames(hints: &[Rename]) -> Vec<Rename> {
    let mut coalescer = RenameCoalescer::default();
    for hint in hints {
        coalescer.add(hint);
        coalescer.rebase_inside(hint);
    }
    let overlap = |hint: &Rename| hint.from.contains(&hint.to) || hint.to.contains(&hint.from);
    order_renames(coalescer.ordered.into_iter().flatten().filter(|hint| !overlap(hint)).collect())
}

/// Orders the renames so that each comes after the one that vacates its destination.
fn order_renames(hints: Vec<Rename>) -> Vec<Rename> {
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

/// The hints added so far.
#[derive(Default)]
struct RenameCoalescer {
    /// In order of execution. A slot is empty if its hint was moved to a later one.
    ordered: Vec<Option<Rename>>,
    /// Index of the hint for each destination.
    by_destination: BTreeMap<Vec<u8>, usize>,
}

impl RenameCoalescer {
    fn add(&mut self, hint: &Rename) {
        let earlier = self.by_destination.remove(hint.from.as_bytes());
        match earlier.and_then(|at| Some((at, self.ordered.get_mut(at)?.as_mut()?))) {
            Some((at, earlier)) => {
                earlier.to = hint.to.clone();
                self.set_destination(&hint.to, at);
            }
            None => self.push(hint.clone()),
        }
    }

    fn push(&mut self, hint: Rename) {
        self.set_destination(&hint.to, self.ordered.len());
        self.ordered.push(Some(hint));
    }

    /// Records the destination of a hint. An earlier hint with the same destination is obsolete.
    fn set_destination(&mut self, destination: &TreePath, at: usize) {
        let outdated = self.by_destination.insert(destination.as_bytes().to_vec(), at);
        if let Some(outdated) = outdated.and_then(|at| self.ordered.get_mut(at)) {
            *outdated = None;
        }
    }

    /// Moves the hints whose destination lies inside a directory behind the rename of that
    /// directory.
    fn rebase_inside(&mut self, directory: &Rename) {
        let start = [directory.from.as_bytes(), b"/"].concat();
        let inside = self.by_destination.range(start.clone()..);
        let inside = inside.take_while(|(path, _)| path.starts_with(&start));
        let mut inside: Vec<(usize, Vec<u8>)> =
            inside.map(|(path, &at)| (at, path.clone())).collect();
        inside.sort_unstable();
        for (at, path) in inside {
            self.by_destination.remove(&path);
            let Some(Rename { from, to }) = self.ordered.get_mut(at).and_then(Option::take) else {
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
    fn rename_chains_are_coalesced_and_ordered() {
        assert_eq!(coalesce_renames(&renames("a>b b>c")), renames("a>c"));
        assert_eq!(coalesce_renames(&renames("a>t b>a t>b")), renames("b>a a>b"));
        assert_eq!(coalesce_renames(&renames("2>3 1>2 0>1")), renames("2>3 1>2 0>1"));
        assert_eq!(coalesce_renames(&renames("a>b b>a")), []);
        assert_eq!(coalesce_renames(&renames("t>f t>f x>f")), renames("x>f"));
        assert_eq!(coalesce_renames(&renames("a>t b>c t>b")), renames("b>c a>b"));
        assert_eq!(coalesce_renames(&renames("a>t b>c c>d t>b")), renames("b>d a>b"));
        assert_eq!(coalesce_renames(&renames("a>t d>a c>d b>c t>b")), renames("d>a c>d b>c a>b"));
        assert_eq!(coalesce_renames(&renames("a>a/b")), []);
        assert_eq!(coalesce_renames(&renames("x>d/x d>e e>f")), renames("d>f x>f/x"));
        assert_eq!(
            coalesce_renames(&renames("x>d/x y>d/y d>e y2>dd")),
            renames("d>e x>e/x y>e/y y2>dd")
        );
    }
}
