//! What is ready for the engine: a list that it takes whole.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use mirror_core::{
    notice::{MirrorId, News, Notice},
    path::TreePath,
};

use super::{Barrier, Coverage, Inventory};

/// How many notices of one mirror wait at most: about one second of a storm, and 20 MB.
const MOST: usize = 200_000;

/// What watching has to tell the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Something happened.
    Notice(Notice),
    /// From here on, all changes of the mirror are told.
    Covered {
        /// Whose tree is covered.
        mirror: MirrorId,
        /// How.
        coverage: Coverage,
    },
    /// The mirror can't be covered.
    CannotCover {
        /// Whose tree it is.
        mirror: MirrorId,
        /// Why not, as a sentence without a full stop.
        why: String,
    },
    /// The given path of the root leads, or has led, to another directory than before.
    Elsewhere(MirrorId),
    /// All that happened before this was asked for has been told.
    Drained(Barrier),
    /// What is watched.
    Listed(Inventory),
}

/// The list.
///
/// It is bounded: too many notices of a mirror become one, that all of it has to be read again.
#[derive(Debug)]
pub(super) struct Outbox {
    list: Mutex<List>,
    most: usize,
}

#[derive(Debug, Default)]
struct List {
    told: Vec<Told>,
    /// How many notices there are of each mirror; `None` if all of it is told to be read again.
    waiting: BTreeMap<MirrorId, Option<usize>>,
}

impl Outbox {
    /// An empty list.
    pub(super) fn new() -> Self {
        Self { list: Mutex::default(), most: MOST }
    }

    /// Takes all there is.
    pub(super) fn take(&self) -> Vec<Told> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *list).told
    }

    /// Adds to the list. Returns whether it was empty before and is not now: then whoever takes it
    /// has to be woken.
    #[must_use]
    pub(super) fn put(&self, told: impl IntoIterator<Item = Told>) -> bool {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = list.told.is_empty();
        for told in told {
            list.put(told, self.most);
        }
        was_empty && !list.told.is_empty()
    }
}

impl List {
    fn put(&mut self, told: Told, most: usize) {
        let Told::Notice(Notice { mirror, news }) = &told else {
            return self.told.push(told);
        };
        if self.told.last() == Some(&told) {
            return;
        }
        let is_gone = matches!(news, News::Gone(_));
        let mirror = *mirror;
        match self.waiting.entry(mirror).or_insert(Some(0)) {
            None if !is_gone => return,
            Some(waiting) if *waiting >= most && !is_gone => return self.collapse(mirror),
            Some(waiting) => *waiting += 1,
            None => {}
        }
        self.told.push(told);
    }

    /// Tells all of a mirror to be read again, in place of what waits.
    fn collapse(&mut self, mirror: MirrorId) {
        self.waiting.insert(mirror, None);
        self.told.retain(|told| match told {
            Told::Notice(notice) => notice.mirror != mirror || matches!(notice.news, News::Gone(_)),
            _ => true,
        });
        let news = News::Lost(TreePath::root());
        self.told.push(Told::Notice(Notice { mirror, news }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_core::notice::Gone;

    fn lost(mirror: u32, path: &str) -> Told {
        let news = News::Lost(TreePath::new(path.as_bytes()).unwrap());
        Told::Notice(Notice { mirror: MirrorId(mirror), news })
    }

    fn outbox(most: usize) -> Outbox {
        Outbox { list: Mutex::default(), most }
    }

    #[test]
    fn whoever_takes_is_woken_once_for_all_that_waits() {
        let outbox = outbox(10);
        assert!(!outbox.put([]));
        assert!(outbox.put([lost(0, "a"), lost(0, "a"), lost(0, "b")]));
        assert!(!outbox.put([lost(0, "c")]));
        assert_eq!(outbox.take(), [lost(0, "a"), lost(0, "b"), lost(0, "c")]);
        assert!(outbox.put([lost(0, "d")]));
    }

    #[test]
    fn too_much_of_one_mirror_is_told_as_all_of_it() {
        let outbox = outbox(2);
        let drained = Told::Drained(Barrier(1));
        let gone = Told::Notice(Notice { mirror: MirrorId(0), news: News::Gone(Gone::Removed) });
        let first = [lost(0, "a"), drained.clone(), lost(1, "b"), lost(0, "c"), lost(0, "d")];
        assert!(outbox.put(first));
        assert!(!outbox.put([lost(0, "e"), gone.clone(), lost(1, "f")]));
        assert_eq!(outbox.take(), [drained, lost(1, "b"), lost(0, ""), gone, lost(1, "f")]);
        assert!(outbox.put([lost(0, "a")]));
        assert_eq!(outbox.take(), [lost(0, "a")]);
    }
}
