//! A source of news that loses, repeats and reorders, as real ones do.

use alloc::{vec, vec::Vec};
use core::mem;

use crate::{
    notice::{Change, Edit, News},
    path::TreePath,
    sim::random::Random,
};

/// What happens to news that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It is told that something above is to be read again.
    Told,
    /// Nothing is told: what must never happen, to see whether it would be noticed.
    Silent,
    /// Nothing is lost, and all is told in its order, as by inotify.
    Never,
}

/// Watches a tree, and tells later and badly what happened there.
#[derive(Clone, Debug)]
pub(crate) struct Witness {
    seen: Vec<News>,
    loss: Loss,
}

impl Witness {
    pub(crate) const fn new(loss: Loss) -> Self {
        Self { seen: Vec::new(), loss }
    }

    /// Something happened.
    pub(crate) fn see(&mut self, news: impl IntoIterator<Item = News>) {
        self.seen.extend(news);
    }

    /// Tells nothing of what it saw so far.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    /// Whether all was told.
    pub(crate) const fn is_done(&self) -> bool {
        self.seen.is_empty()
    }

    /// Tells all that was seen, as badly as a witness may.
    pub(crate) fn tell(&mut self, random: &mut Random) -> Vec<News> {
        let mut told = Vec::new();
        for news in mem::take(&mut self.seen) {
            match random.below(8) {
                0 => told.extend(self.lose(news, random)),
                1 => told.extend([news.clone(), news]),
                2 => told.extend(blur(news)),
                _ => told.push(news),
            }
        }
        for at in 1..told.len() {
            if self.loss != Loss::Never && random.once_in(4) {
                told.swap(at, random.below(at));
            }
        }
        told
    }

    fn lose(&self, news: News, random: &mut Random) -> Vec<News> {
        let mut top = match &news {
            News::Changed(change) => change.path.clone(),
            News::Moved { from, to, .. } => common(from, to),
            News::Lost(_) | News::Gone(_) => return vec![news],
        };
        match self.loss {
            Loss::Silent => return vec![],
            Loss::Never => return vec![news],
            Loss::Told => {}
        }
        for _ in 0..random.below(3) {
            top.pop();
        }
        vec![News::Lost(top)]
    }
}

/// The deepest directory that holds both.
fn common(one: &TreePath, other: &TreePath) -> TreePath {
    let mut top = one.clone();
    while !top.contains(other) {
        top.pop();
    }
    top
}

/// As a source tells it that does not pair the two halves of a move, or joins what happened to
/// one entry.
fn blur(news: News) -> Vec<News> {
    match news {
        News::Moved { from, to, kind } => vec![
            News::Changed(Change { edit: Edit::Create, kind, path: to }),
            News::Changed(Change { edit: Edit::Delete, kind, path: from }),
        ],
        News::Changed(change) if change.edit == Edit::Create => {
            let before = Change { edit: Edit::Delete, ..change.clone() };
            vec![News::Changed(change), News::Changed(before)]
        }
        News::Changed(change) => vec![News::Changed(change)],
        News::Lost(_) | News::Gone(_) => vec![news],
    }
}
