//! Which mirrors want a directory, and under which path.

use std::collections::BTreeMap;

use mirror_core::{
    notice::{Change, Edit, Kind, MirrorId, News, Writes},
    path::TreePath,
};

use super::{
    super::{
        forest::{Forest, Ticket},
        source::{Findings, Skip, Tree},
    },
    Inotify,
    kernel::Kernel,
};

/// The mirrors whose trees are covered, or are being so.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    all: Vec<Mirror>,
    /// Those for which each event matters, and what counts for them where a file is written to.
    exact: BTreeMap<MirrorId, Writes>,
    version: u64,
}

pub(super) struct Mirror {
    id: MirrorId,
    root: Ticket,
    skip: Skip,
    live: bool,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The directory that had the last event, and what it is called in the mirrors.
///
/// Events come in runs from one directory, so that this spares most of the climbing.
#[derive(Debug, Default)]
pub(super) struct Here {
    of: Option<(u32, u64, u64)>,
    places: Vec<(MirrorId, TreePath)>,
}

impl Mirror {
    /// Whether it wants the directory at this path, which is not its root.
    pub(super) fn wants(&self, path: &TreePath) -> bool {
        !(self.skip)(path)
    }
}

impl Mirrors {
    pub(super) fn add(&mut self, tree: &Tree, root: Ticket) {
        let skip = tree.skip.clone();
        self.exact.extend(tree.exact.map(|writes| (tree.mirror, writes)));
        self.all.push(Mirror { id: tree.mirror, root, skip, live: false });
        self.version += 1;
    }

    /// Forgets a mirror. Returns its root.
    pub(super) fn remove(&mut self, mirror: MirrorId) -> Option<Ticket> {
        let at = self.all.iter().position(|known| known.id == mirror)?;
        self.exact.remove(&mirror);
        self.version += 1;
        Some(self.all.remove(at).root)
    }

    pub(super) fn has_root(&self, root: Ticket) -> bool {
        self.all.iter().any(|mirror| mirror.root == root)
    }

    pub(super) fn root(&self, id: MirrorId) -> Option<Ticket> {
        self.all.iter().find(|mirror| mirror.id == id).map(|mirror| mirror.root)
    }

    /// From now on a mirror is told what happens.
    pub(super) fn enliven(&mut self, id: MirrorId) {
        self.version += 1;
        for mirror in self.all.iter_mut().filter(|mirror| mirror.id == id) {
            mirror.live = true;
        }
    }

    /// The mirrors that are told what happens, and their roots.
    pub(super) fn live(&self) -> impl Iterator<Item = (MirrorId, Ticket)> {
        self.all.iter().filter(|mirror| mirror.live).map(|mirror| (mirror.id, mirror.root))
    }

    /// The mirrors that want a directory, alive or not, and what it is called there.
    pub(super) fn wanting(
        &self,
        forest: &Forest,
        node: u32,
    ) -> impl Iterator<Item = (&Mirror, TreePath)> {
        let way: Vec<u32> = forest.way_up(node).collect();
        let roots: Vec<usize> =
            (0..way.len()).filter(|&at| way.get(at).is_some_and(|&n| forest.is_root(n))).collect();
        roots.into_iter().flat_map(move |at| {
            let (below, from) = way.split_at(at);
            let root = from.first().map(|&node| forest.ticket(node));
            let mut path = TreePath::root();
            let whole = below.iter().rev().all(|&node| path.push(forest.name(node)).is_some());
            let own = self.all.iter().filter(move |mirror| whole && Some(mirror.root) == root);
            own.filter_map(move |mirror| {
                let wanted = path.is_root() || mirror.wants(&path);
                wanted.then(|| (mirror, path.clone()))
            })
        })
    }
}

impl<K: Kernel> Inotify<K> {
    /// Whether some mirror wants the directory.
    pub(super) fn wanted(&self, node: u32) -> bool {
        self.mirrors.wanting(&self.forest, node).next().is_some()
    }

    /// What the directory is called in the mirrors that want it, alive or not.
    pub(super) fn all_places(&self, node: u32) -> Vec<(MirrorId, TreePath)> {
        let wanting = self.mirrors.wanting(&self.forest, node);
        wanting.map(|(mirror, path)| (mirror.id, path)).collect()
    }

    /// What the directory is called in the mirrors that want it and are alive.
    pub(super) fn places(&mut self, node: u32) -> &[(MirrorId, TreePath)] {
        let now = (node, self.forest.version(), self.mirrors.version);
        if self.here.of != Some(now) {
            let wanting = self.mirrors.wanting(&self.forest, node);
            self.here.places = wanting
                .filter(|(mirror, _)| mirror.live)
                .map(|(mirror, path)| (mirror.id, path))
                .collect();
            self.here.of = Some(now);
        }
        &self.here.places
    }

    /// Tells that something happened to the entry `name` of a directory.
    pub(super) fn tell(&mut self, at: (u32, &[u8]), edit: Edit, kind: Kind, found: &mut Findings) {
        let (node, name) = at;
        for (mirror, directory) in self.places(node) {
            if let Some(path) = directory.join(name) {
                found.tell(*mirror, News::Changed(Change { edit, kind, path }));
            }
        }
    }

    /// Tells that an entry came into being that is no directory, and was not moved there.
    pub(super) fn tell_made(&mut self, at: (u32, &[u8]), found: &mut Findings) {
        let (node, name) = at;
        self.places(node);
        for (mirror, directory) in &self.here.places {
            let Some(path) = directory.join(name) else { continue };
            let news = News::Changed(Change { edit: Edit::Create, kind: Kind::Other, path });
            // Whoever wants each event wants it as it is.
            if self.mirrors.exact.contains_key(mirror) {
                found.tell(*mirror, news);
            } else {
                found.tell_made(*mirror, news);
            }
        }
    }

    /// Tells that the content of an entry changed: those for which each event matters if `how` is
    /// what counts for them, the others if `is_news`.
    pub(super) fn tell_modified(
        &mut self,
        at: (u32, &[u8]),
        kind: Kind,
        (how, is_news): (Writes, bool),
        found: &mut Findings,
    ) {
        let (node, name) = at;
        self.places(node);
        for (mirror, directory) in &self.here.places {
            let counts = match self.mirrors.exact.get(mirror) {
                Some(Writes::Both) => true,
                Some(wanted) => *wanted == how,
                None => is_news,
            };
            let is_exact = self.mirrors.exact.contains_key(mirror);
            let edit = if how == Writes::Written && !is_exact { Edit::Write } else { Edit::Modify };
            if let Some(path) = directory.join(name).filter(|_| counts) {
                let change = Change { edit, kind, path };
                found.tell(*mirror, News::Changed(change));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, sync::Arc};

    use super::*;
    use crate::watch::{inotify::Limits, source::Source};

    fn cover(source: &mut Inotify, tree: &Tree) {
        source.cover(tree).unwrap();
        while source.work(&mut Findings::default()) {}
    }

    /// Who is told that the file `f` was modified.
    fn told(source: &mut Inotify) -> Vec<u32> {
        let mut found = Findings::default();
        source.drain(&mut found).unwrap();
        let path = TreePath::new(b"f").unwrap();
        let modified = [Edit::Modify, Edit::Write]
            .map(|edit| News::Changed(Change { edit, kind: Kind::Other, path: path.clone() }));
        let told = found.notices.into_iter().filter(|it| modified.contains(&it.news));
        told.map(|it| it.mirror.0).collect()
    }

    #[test]
    fn who_wants_each_event_is_told_of_writing_as_he_wants_it() {
        let place = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(place.path()).unwrap();
        let mut source = Inotify::new(Limits::default()).unwrap();
        let wanted = [Some(Writes::Closed), Some(Writes::Written), Some(Writes::Both), None];
        for (exact, mirror) in wanted.into_iter().zip(0..) {
            let (mirror, root) = (MirrorId(mirror), root.clone());
            cover(&mut source, &Tree { mirror, root, skip: Arc::new(|_| false), exact });
        }
        let mut file = fs::File::create(root.join("f")).unwrap();
        for _ in 0..2 {
            file.write_all(b"more").unwrap();
            assert_eq!(told(&mut source), [1, 2, 3]);
        }
        drop(file);
        assert_eq!(told(&mut source), [0, 2, 3]);
    }
}
