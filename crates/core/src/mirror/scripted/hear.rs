//! What becomes of news: events in the queue, in the words of the original.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{MOST_EVENTS, Reset, Scripted, Sight, listings::Said};
use crate::{
    effect::Effect,
    event::MirrorEvent,
    input::Listed,
    mirror::State,
    notice::{Change, Edit, Kind, News},
    path::{TreePath, is_name},
    queue::ordered::{Entry, Etype},
    time::Moment,
};

impl Scripted {
    /// Takes in what a source of changes says.
    pub fn hear(&mut self, news: News, now: Moment, effects: &mut Vec<Effect>) {
        self.take_in(news, now, effects);
        if self.queue.len() > MOST_EVENTS && !self.is_made_up_for() {
            match self.settings.anew {
                Reset::Clear => self.begin_anew(Reset::Clear),
                Reset::Keep => self.is_full = true,
            }
            self.report(MirrorEvent::Lost(TreePath::root()), effects);
        }
    }

    /// Whether what happens now need not be told, since what makes up for it is still to come.
    fn is_made_up_for(&self) -> bool {
        let is_away = matches!(self.state, State::Held { .. });
        self.reset == Some(Reset::Clear) || self.is_full || is_away
    }

    fn take_in(&mut self, news: News, now: Moment, effects: &mut Vec<Effect>) {
        self.remember(&news);
        match news {
            News::Gone(gone) => return self.lose_source(gone.sentence().into(), now, effects),
            _ if self.is_made_up_for() => return,
            News::Changed(change) => self.hear_change(&change, now, effects),
            News::Moved { from, to, kind } => self.hear_move((from, to), kind, now, effects),
            News::Lost(path) => self.hear_lost(path, effects),
        }
        self.wake();
    }

    /// Takes in what a source of changes says of the one before, while this one is not watched yet.
    /// Whether the source is there, its own watching tells.
    pub(crate) fn overhear(&mut self, news: News, now: Moment, effects: &mut Vec<Effect>) {
        match news {
            News::Gone(_) => self.miss(),
            news => self.hear(news, now, effects),
        }
    }

    /// Takes in what another mirror of this source was told and is not done. What is being worked on
    /// is not done either: its child was asked to end.
    pub(crate) fn take_over(&mut self, other: &Self, now: Moment, effects: &mut Vec<Effect>) {
        self.sight = if other.is_full { Sight::Broken } else { other.sight };
        for entry in other.queue.iter() {
            if entry.etype() == Etype::Full {
                self.queue.push_full(entry.path().clone());
            } else if let Some(news) = news_of(entry) {
                self.hear(news, now, effects);
            }
        }
        for directory in other.listings.directories() {
            if !other.glances.contains(&directory) && !self.listings.is_asked(&directory) {
                self.list(&directory, effects);
            }
        }
    }

    /// Notes what came or went in directories that are being listed.
    fn remember(&mut self, news: &News) {
        match news {
            News::Changed(Change { edit: Edit::Create | Edit::Delete, kind, path }) => {
                self.listings.hear(path, *kind);
            }
            News::Moved { from, to, kind } => {
                self.listings.hear(from, *kind);
                self.listings.hear(to, *kind);
            }
            News::Changed(_) | News::Lost(_) | News::Gone(_) => {}
        }
    }

    fn hear_change(&mut self, change: &Change, now: Moment, effects: &mut Vec<Effect>) {
        let Change { edit, kind, path } = change;
        if !self.concerns(path, *kind) {
            return;
        }
        match (kind, edit) {
            // No event says that; what is there may have changed.
            (Kind::Directory, Edit::Modify) => self.list(path, effects),
            (Kind::Directory, Edit::Create) => {
                self.queue.push(change, now);
                self.list(path, effects);
            }
            _ => self.queue.push(change, now),
        }
    }

    /// Where one of the names does not concern the mirror, the other is told as if the entry had
    /// come or gone. So is every move while the beginning or a full event is not done: what that brings
    /// to the target may have its new name already, and then another entry would be moved. And so
    /// is a move of what the script may not have been told of yet.
    fn hear_move(
        &mut self,
        (from, to): (TreePath, TreePath),
        kind: Kind,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let may_move = self.settings.moves
            && self.init.is_none()
            && !self.queue.has_full()
            && !self.listings.concern(&from);
        if may_move && self.concerns(&from, kind) && self.concerns(&to, kind) {
            let stays_whole = self.queue.push_move(&from, &to, kind, now);
            if kind == Kind::Directory && !stays_whole {
                self.list(&to, effects);
            }
            return;
        }
        let went = Change { edit: Edit::Delete, kind, path: from };
        let came = Change { edit: Edit::Create, kind, path: to };
        self.hear_change(&went, now, effects);
        self.hear_change(&came, now, effects);
    }

    fn hear_lost(&mut self, path: TreePath, effects: &mut Vec<Effect>) {
        let is_root = path.is_root();
        if is_root && self.settings.anew == Reset::Clear {
            self.begin_anew(Reset::Clear);
        } else if !is_root && !self.concerns(&path, Kind::Directory) {
            return;
        } else {
            self.tell_again(&path, effects);
        }
        self.report(MirrorEvent::Lost(path), effects);
    }

    /// Tells what is there, since something may have been missed.
    pub(super) fn tell_again(&mut self, directory: &TreePath, effects: &mut Vec<Effect>) {
        if self.settings.full {
            self.queue.push_full(directory.clone());
        } else {
            self.listings.doubt(directory);
            self.list(directory, effects);
        }
    }

    /// Whether the script is told of this entry. As with the original, it is told nothing of the
    /// root itself.
    fn concerns(&self, path: &TreePath, kind: Kind) -> bool {
        let is_near = || path.components().nth(1).is_none();
        !path.is_root()
            && (self.settings.subdirectories || is_near())
            && !self.settings.filter.excludes(path, kind)
    }

    /// What a directory of which nothing is told holds, need not be known.
    fn list(&mut self, path: &TreePath, effects: &mut Vec<Effect>) {
        if !self.settings.subdirectories && !path.is_root() {
            return;
        }
        self.glances.remove(path);
        self.listings.ask(path);
        effects.push(Effect::List { mirror: self.id, path: path.clone() });
    }

    /// Asks what a directory holds only to see what is not there any more.
    pub(super) fn look_into(&mut self, path: &TreePath, effects: &mut Vec<Effect>) {
        if !self.listings.is_asked(path) {
            self.glances.insert(path.clone());
            self.listings.ask(path);
            effects.push(Effect::List { mirror: self.id, path: path.clone() });
        }
    }

    /// Takes in what a directory holds, of which that was asked: it is told as if it had just been
    /// made. Of a directory that is gone meanwhile, that is nothing. What came or went since then
    /// was told. Where something failed that is not there any more, it is given up.
    pub fn listed(
        &mut self,
        path: &TreePath,
        listed: Listed,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let Listed { entries, is_whole } = listed;
        let is_glance = self.glances.remove(path);
        let but = match self.listings.answer(path) {
            Said::Entries { but } => but,
            Said::Nothing => return,
            Said::AskAgain if is_glance => return,
            Said::AskAgain => return self.list(path, effects),
        };
        if is_whole && self.queue.failed_count() > 0 {
            let names: BTreeSet<_> = entries.iter().map(|(name, _)| &**name).collect();
            let holds = |name: &[u8]| names.contains(name) || but.contains(name);
            self.queue.drop_missing(path, holds, now);
            self.see_beginning();
        }
        if is_glance {
            return;
        }
        let is_told = |name: &[u8]| !is_name(name) || but.contains(name);
        for (name, kind) in entries.into_iter().filter(|(name, _)| !is_told(name)) {
            if let Some(path) = path.join(&name) {
                let change = Change { edit: Edit::Create, kind, path };
                // Of what is told in the place of events there may be more than of those.
                match self.settings.anew {
                    Reset::Clear => self.hear(News::Changed(change), now, effects),
                    Reset::Keep => self.take_in(News::Changed(change), now, effects),
                }
            }
        }
    }
}

/// What was heard when this event was made.
fn news_of(entry: &Entry) -> Option<News> {
    let (path, kind) = (entry.path().clone(), entry.kind());
    let edit = match entry.etype() {
        Etype::Attrib => Edit::Attrib,
        Etype::Create => Edit::Create,
        Etype::Modify => Edit::Modify,
        Etype::Delete => Edit::Delete,
        Etype::Move => return Some(News::Moved { from: path, to: entry.to()?.clone(), kind }),
        Etype::Init | Etype::Blanket | Etype::Full => return None,
    };
    Some(News::Changed(Change { edit, kind, path }))
}
