//! What the events of the kernel mean.

use mirror_core::{
    notice::{Change, Edit, Kind, News, Writes},
    path::TreePath,
};
use mirror_platform::inotify::{Event, What};

use super::{
    super::{
        forest::{LIMBO, State, Ticket},
        limits::Limit,
        source::{Findings, unmounted},
    },
    Inotify,
    kernel::Kernel,
    walk::{Found, Then, Walk},
};

/// How many files are remembered to have been told as modified, and how.
const MODIFIED: usize = 8;

/// The first half of a rename, whose second is awaited.
///
/// The kernel queues both halves one after the other, but not as one: a read may end between
/// them, and events of others may come between them.
#[derive(Debug)]
pub(super) struct Half {
    cookie: u32,
    directory: Ticket,
    name: Box<[u8]>,
    kind: Kind,
    /// The directory that was known at that place, until it is seen elsewhere or there again.
    child: Option<Ticket>,
    /// Whether something happened below it meanwhile, which was told under the old name.
    disturbed: bool,
    drain: u64,
}

impl<K: Kernel> Inotify<K> {
    pub(super) fn handle(&mut self, event: &Event<'_>, found: &mut Findings) {
        found.events += 1;
        if event.what == What::Overflow {
            found.overflows.push(Limit::InotifyQueue);
            return self.doubt_everything();
        }
        // What has no node was let go before its last events came.
        let mut next = self.forest.watched_by(event.watch);
        while let Some(node) = next {
            next = self.forest.twin(node);
            self.handle_at(node, event, found);
        }
    }

    fn handle_at(&mut self, node: u32, event: &Event<'_>, found: &mut Findings) {
        let kind = if event.is_directory { Kind::Directory } else { Kind::Other };
        let at = (node, event.name);
        if !self.halves.is_empty() {
            self.meanwhile(node, event, found);
        }
        if !matches!(event.what, What::Modify | What::CloseWrite) {
            self.modified.clear();
        }
        match event.what {
            What::Attrib if event.name.is_empty() => self.on_own_attributes(node, found),
            What::Attrib => self.on_attributes(at, kind, found),
            What::Modify => self.on_modify(at, kind, Writes::Written, found),
            What::CloseWrite => self.on_modify(at, kind, Writes::Closed, found),
            What::Create => self.on_create(at, kind, found),
            What::Delete => self.on_delete(at, kind, found),
            What::MovedFrom(cookie) => self.on_moved_from(at, kind, cookie),
            What::MovedTo(cookie) => self.on_moved_to(at, kind, cookie, found),
            What::Ignored => self.on_ignored(node),
            What::Unmount => self.on_unmount(node),
            What::DeleteSelf | What::MoveSelf | What::Overflow => {}
            What::Unknown => self.walk_new(node, Then::Lost(self.forest.ticket(node)), found),
        }
    }

    fn on_own_attributes(&mut self, node: u32, found: &mut Findings) {
        // Of all others than roots the parent tells it.
        for (mirror, path) in self.places(node).iter().filter(|(_, path)| path.is_root()) {
            let change = Change { edit: Edit::Attrib, kind: Kind::Directory, path: path.clone() };
            found.tell(*mirror, News::Changed(change));
        }
    }

    fn on_attributes(&mut self, at: (u32, &[u8]), kind: Kind, found: &mut Findings) {
        self.tell(at, Edit::Attrib, kind, found);
        let child = self.forest.child(at.0, at.1).filter(|_| kind == Kind::Directory);
        if let Some(child) = child
            .filter(|&child| matches!(self.forest.state(child), State::Unreadable | State::Polled))
            && let Found::New(child) = self.examine(child, found)
        {
            self.walk_new(child, Then::Lost(self.forest.ticket(child)), found);
        }
    }

    fn on_modify(&mut self, at: (u32, &[u8]), kind: Kind, how: Writes, found: &mut Findings) {
        let (node, name) = at;
        let known = self.modified.iter_mut().find(|(n, known, _)| *n == node && **known == *name);
        let is_news = known.as_ref().is_none_or(|(_, _, before)| *before != how);
        if let Some((_, _, before)) = known {
            *before = how;
        } else {
            if self.modified.len() == MODIFIED {
                self.modified.remove(0);
            }
            self.modified.push((node, name.into(), how));
        }
        self.tell_modified(at, kind, (how, is_news), found);
    }

    fn on_create(&mut self, at: (u32, &[u8]), kind: Kind, found: &mut Findings) {
        if kind == Kind::Other {
            return self.tell_made(at, found);
        }
        let child = self.forest.child_or_new(at.0, at.1, State::Pending);
        if self.forest.is_watched(child) {
            // A walk was here before its event.
            self.confirm(child);
            return self.tell_whole(at, child, found);
        }
        self.on_arrival(at, child, found);
    }

    /// Tells a directory that came to a place, as soon as all below it is watched.
    fn on_arrival(&mut self, at: (u32, &[u8]), child: u32, found: &mut Findings) {
        match self.examine(child, found) {
            Found::New(child) => {
                self.walk_new(child, Then::Create(self.forest.ticket(child)), found);
            }
            Found::Known(child) => self.tell_whole(at, child, found),
            arrived => {
                self.clear_place(child, arrived);
                self.tell(at, Edit::Create, Kind::Directory, found);
            }
        }
    }

    /// Something came to the place of `node` that can't be seen there now: so nothing is there, or it
    /// is looked up when it can be.
    fn clear_place(&mut self, node: u32, arrived: Found) {
        match arrived {
            Found::Gone if self.forest.watch(node).is_none() => self.put_aside(node),
            Found::Hidden if self.forest.watch(node).is_some() => {
                let name = self.forest.name(node).to_vec();
                if let Some(parent) = self.forest.parent(node) {
                    self.put_aside(node);
                    self.forest.child_or_new(parent, &name, State::Pending);
                }
            }
            _ => {}
        }
    }

    /// Tells a directory that is watched already, as soon as all below it is.
    fn tell_whole(&mut self, at: (u32, &[u8]), child: u32, found: &mut Findings) {
        if self.is_whole(child) {
            return self.tell(at, Edit::Create, Kind::Directory, found);
        }
        self.walk_new(child, Then::Create(self.forest.ticket(child)), found);
    }

    /// Whether no walk has something left to do below a directory. If one has, and the directory
    /// comes to another place, then the end of that walk is not told there.
    fn is_whole(&self, directory: u32) -> bool {
        let is_pending = |node: &u32| self.forest.state(*node) == State::Pending;
        !self.forest.subtree(directory).iter().any(is_pending)
    }

    fn on_delete(&mut self, at: (u32, &[u8]), kind: Kind, found: &mut Findings) {
        if let Some(child) = self.forest.child(at.0, at.1).filter(|_| kind == Kind::Directory) {
            self.forget_unless_root(child);
        }
        self.tell(at, Edit::Delete, kind, found);
    }

    fn forget_unless_root(&mut self, node: u32) {
        if self.forest.subtree(node).iter().any(|&below| self.forest.is_root(below)) {
            self.stop_watching_below(node);
            self.forest.set_state(node, State::Way);
        } else {
            self.forget(node);
        }
    }

    fn on_ignored(&mut self, node: u32) {
        // It was deleted, and with it all that was below it. That its name is gone, its parent
        // tells.
        self.watches = self.watches.saturating_sub(usize::from(self.forest.unbind(node).is_some()));
        if self.forest.is_watched(node) {
            self.forest.set_state(node, State::Pending);
        }
    }
}

/// Renames.
impl<K: Kernel> Inotify<K> {
    fn on_moved_from(&mut self, at: (u32, &[u8]), kind: Kind, cookie: u32) {
        let child = self.forest.child(at.0, at.1).filter(|_| kind == Kind::Directory);
        if let Some(child) = child {
            self.depart(child);
        }
        self.halves.push(Half {
            cookie,
            directory: self.forest.ticket(at.0),
            name: at.1.into(),
            kind,
            child: child.map(|child| self.forest.ticket(child)),
            disturbed: false,
            drain: self.drains,
        });
    }

    fn on_moved_to(&mut self, at: (u32, &[u8]), kind: Kind, cookie: u32, found: &mut Findings) {
        let half = self.halves.iter().rposition(|half| half.cookie == cookie);
        match (half.map(|at| self.halves.remove(at)), kind) {
            (None, Kind::Other) => self.tell(at, Edit::Create, kind, found),
            (None, Kind::Directory) => {
                let child = self.forest.child_or_new(at.0, at.1, State::Pending);
                self.on_arrival(at, child, found);
            }
            (Some(half), Kind::Other) => self.tell_move(&half, at, found),
            (Some(half), Kind::Directory) => self.on_moved_directory(&half, at, found),
        }
    }

    fn on_moved_directory(&mut self, half: &Half, at: (u32, &[u8]), found: &mut Findings) {
        let place = self.forest.child_or_new(at.0, at.1, State::Pending);
        let arrived = self.examine(place, found);
        let left = self.look_back(half, found);
        if matches!(arrived, Found::Gone | Found::Hidden)
            && !left.is_some_and(|moved| self.follow(moved, at))
            && let Some(place) = self.forest.child(at.0, at.1)
        {
            self.clear_place(place, arrived);
        }
        self.tell_move(half, at, found);
        match arrived {
            Found::New(node) => {
                self.walk_new(node, Then::Lost(self.forest.ticket(node)), found);
            }
            Found::Known(node) => {
                if half.disturbed || !self.is_whole(node) {
                    self.walk_new(node, Then::Lost(self.forest.ticket(node)), found);
                }
            }
            Found::Nothing | Found::Gone | Found::Hidden => {}
        }
    }

    /// Believes an event whose directory has gone on since: it is moved along the way that the
    /// events tell, so that what is told of it meanwhile has a name. Returns whether it was.
    ///
    /// It may be another one that went there, so it is looked for when no more is told.
    fn follow(&mut self, moved: u32, at: (u32, &[u8])) -> bool {
        // It may have been seen to hold the directory into which it went before.
        if self.forest.way_up(at.0).any(|above| above == moved) {
            return false;
        }
        if let Some(place) = self.forest.child(at.0, at.1) {
            self.put_aside(place);
        }
        self.forest.relocate(moved, at.0, at.1);
        self.followed.push((self.forest.ticket(moved), self.drains));
        true
    }

    /// Puts aside whoever was believed to be somewhere and was not seen there.
    pub(super) fn settle_followed(&mut self, found: &mut Findings) {
        let drains = self.drains;
        let old: Vec<_> = self.followed.extract_if(.., |(_, since)| *since < drains).collect();
        for (ticket, _) in old {
            let Some(node) = self.forest.resolve(ticket) else { continue };
            if self.forest.parent(node) == Some(LIMBO) {
                continue;
            }
            match self.see_off(node, found) {
                Found::New(new) => {
                    self.walk_new(new, Then::Lost(self.forest.ticket(new)), found);
                }
                Found::Known(node) => self.look_for_wanted(node, found),
                _ => {}
            }
        }
    }

    /// Looks whether a directory is at its place, and puts it aside if it is not.
    fn see_off(&mut self, node: u32, found: &mut Findings) -> Found {
        let seen = self.examine(node, found);
        if matches!(seen, Found::Gone | Found::Hidden) {
            self.put_aside(node);
        }
        seen
    }

    /// Sees to what is still called by the old name: another directory, or nothing. Returns the one
    /// that was there, if it is not known now where it is.
    fn look_back(&mut self, half: &Half, found: &mut Findings) -> Option<u32> {
        let old = self.left(half)?;
        let ticket = self.forest.ticket(old);
        // What comes there is told later.
        if let Found::New(node) = self.see_off(old, found) {
            self.walk_new(node, Then::Lost(self.forest.ticket(node)), found);
        }
        let old = self.forest.resolve(ticket)?;
        (self.forest.parent(old) == Some(LIMBO)).then_some(old)
    }

    /// The directory that was known at the old place, if it is known there still.
    fn left(&self, half: &Half) -> Option<u32> {
        let child = self.forest.resolve(half.child?)?;
        let directory = self.forest.resolve(half.directory)?;
        let is_there = self.forest.parent(child) == Some(directory)
            && self.forest.name(child) == &*half.name
            && !self.forest.is_root(child);
        is_there.then_some(child)
    }

    /// A directory was seen at its place: no rename away from there concerns it.
    pub(super) fn confirm(&mut self, node: u32) {
        let ticket = self.forest.ticket(node);
        for half in self.halves.iter_mut().filter(|half| half.child == Some(ticket)) {
            half.child = None;
        }
    }

    fn tell_move(&mut self, half: &Half, at: (u32, &[u8]), found: &mut Findings) {
        let directory = self.forest.resolve(half.directory);
        let from = directory.map_or_else(Vec::new, |node| self.places(node).to_vec());
        let to = self.places(at.0).to_vec();
        let kind = half.kind;
        let place_in = |places: &[_], mirror, name: &[u8]| -> Option<TreePath> {
            places
                .iter()
                .find(|(m, _)| *m == mirror)
                .and_then(|(_, dir): &(_, TreePath)| dir.join(name))
        };
        for (mirror, directory) in &from {
            let Some(old) = directory.join(&half.name) else { continue };
            let news = match place_in(&to, *mirror, at.1) {
                Some(new) => News::Moved { from: old, to: new, kind },
                None => News::Changed(Change { edit: Edit::Delete, kind, path: old }),
            };
            found.tell(*mirror, news);
        }
        for (mirror, directory) in &to {
            if from.iter().any(|(known, _)| known == mirror) {
                continue;
            }
            if let Some(path) = directory.join(at.1) {
                found.tell(*mirror, News::Changed(Change { edit: Edit::Create, kind, path }));
            }
        }
    }

    /// What an event means for the halves that wait.
    fn meanwhile(&mut self, node: u32, event: &Event<'_>, found: &mut Findings) {
        let mut halves = std::mem::take(&mut self.halves);
        for half in &mut halves {
            let child = half.child.and_then(|child| self.forest.resolve(child));
            half.disturbed |= child.is_some_and(|c| self.forest.way_up(node).any(|n| n == c));
        }
        // A rename away is told before what comes to that place next.
        let here = self.forest.ticket(node);
        let is_second = |half: &Half| event.what == What::MovedTo(half.cookie);
        let overtaken = |half: &mut Half| {
            half.directory == here && *half.name == *event.name && !is_second(half)
        };
        for half in halves.extract_if(.., overtaken) {
            self.settle_half(&half, found);
        }
        self.halves = halves;
    }

    pub(super) fn settle_halves(&mut self, found: &mut Findings) {
        let drains = self.drains;
        let old: Vec<Half> = self.halves.extract_if(.., |half| half.drain < drains).collect();
        for half in old {
            self.settle_half(&half, found);
        }
    }

    /// Tells a rename out of all that is watched.
    fn settle_half(&mut self, half: &Half, found: &mut Findings) {
        // Another directory may have come there at once, as with RENAME_EXCHANGE.
        self.look_back(half, found);
        if let Some(directory) = self.forest.resolve(half.directory) {
            self.tell((directory, &half.name), Edit::Delete, half.kind, found);
        }
    }

    /// Below a directory that got another name, watches what was not wanted under the old one, and
    /// what is not wanted under the new one no more.
    pub(super) fn look_for_wanted(&mut self, top: u32, found: &mut Findings) {
        let below = self.forest.subtree(top);
        let below: Vec<Ticket> = below.into_iter().map(|node| self.forest.ticket(node)).collect();
        for ticket in below {
            let Some(node) = self.forest.resolve(ticket) else { continue };
            match self.forest.state(node) {
                State::Skipped | State::Polled => {
                    if let Found::New(new) = self.examine(node, found) {
                        self.walk_new(new, Then::Create(self.forest.ticket(new)), found);
                    }
                }
                State::Watched | State::Asked if !self.wanted(node) => {
                    self.stop_watching_below(node);
                    self.forest.set_state(node, State::Skipped);
                }
                _ => {}
            }
        }
    }
}

/// Unmounted file systems.
impl<K: Kernel> Inotify<K> {
    fn on_unmount(&mut self, node: u32) {
        self.watches = self.watches.saturating_sub(usize::from(self.forest.unbind(node).is_some()));
        self.forest.set_state(node, State::Unmounted);
        self.unmounted.push(self.forest.ticket(node));
    }

    /// Says what was unmounted below a root, and tells nobody that it was deleted. Of a root the
    /// sentinel tells it.
    pub(super) fn tell_unmounted(&mut self, found: &mut Findings) {
        for ticket in std::mem::take(&mut self.unmounted) {
            let Some(node) = self.forest.resolve(ticket) else { continue };
            let parent = self.forest.parent(node);
            if parent.is_some_and(|parent| self.forest.state(parent) == State::Unmounted) {
                continue;
            }
            let path = self.forest.path(node).filter(|_| !self.forest.is_root(node));
            self.stop_watching_below(node);
            if let Some(path) = path {
                found.warnings.push(unmounted(&[b"/", &*path].concat()));
                // What shows in its place is a directory like others.
                self.walks.push_back(Walk::new(ticket, Then::Lost(ticket)));
            }
        }
    }
}
