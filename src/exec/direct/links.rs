//! Hard links within the tree: files with more than one name get them at the target too.

use std::{
    collections::BTreeSet,
    io,
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hashbrown::HashMap;
use mirror_core::{
    job::{Place, Scope},
    path::TreePath,
};
use mirror_linux::{
    dir::{Dir, Stat},
    spot::Spot,
};
use rustix::fs::{AtFlags, linkat};

use super::{
    draft::Temporary,
    entry::Subject,
    folder::{Folder, Item, Pair},
    pass::Pass,
    trouble::{self, Trouble},
};

type Names = BTreeSet<TreePath>;

/// The names that files of the source with more than one are known to have. Names that are not
/// true any more are dropped when they are needed.
#[derive(Debug, Default)]
pub(super) struct Links {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    files: HashMap<Inode, Arc<Mutex<Names>>>,
    /// Files that have names elsewhere, outside of the tree: how many names they had in all when
    /// the whole tree was searched for them.
    elsewhere: HashMap<Inode, u32>,
    by_name: HashMap<TreePath, Inode>,
}

/// Which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    device: (u32, u32),
    number: u64,
}

impl Inode {
    pub(super) const fn of(stat: &Stat) -> Self {
        Self { device: (stat.stx_dev_major, stat.stx_dev_minor), number: stat.stx_ino }
    }
}

impl Links {
    /// Forgets all names: everything is about to be visited.
    pub(super) fn forget(&self) {
        *self.known() = Known::default();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of a file. Whoever holds its lock takes no other but that of what is known.
    fn names(&self, inode: Inode) -> Arc<Mutex<Names>> {
        Arc::clone(self.known().files.entry(inode).or_default())
    }

    /// The names that the source has for a file of which fewer are `known` than there are.
    fn search<'a>(&self, pass: &'a Pass<'_>, stat: &Stat, known: usize) -> &'a [TreePath] {
        let (inode, links) = (Inode::of(stat), stat.stx_nlink);
        let searched = self.known().elsewhere.get(&inode) == Some(&links);
        if searched || known >= links as usize || pass.visits_all() {
            return &[];
        }
        let names = pass.search.names(pass, inode);
        if names.len() < links as usize {
            self.known().elsewhere.insert(inode, links);
        }
        names
    }

    fn learn(&self, inode: Inode, names: &Names) {
        let mut known = self.known();
        known.by_name.extend(names.iter().map(|name| (name.clone(), inode)));
    }

    /// Takes note that the entry at `path` is now `now`, or gone. The other names of the file that
    /// had this one.
    fn leave(&self, path: &TreePath, now: Option<Inode>) -> Names {
        let mut known = self.known();
        let file = known.by_name.get(path).copied().filter(|file| Some(*file) != now);
        let names = file.and_then(|file| {
            known.by_name.remove(path);
            known.files.get(&file).cloned()
        });
        drop(known);
        names.map_or_else(Names::new, |names| {
            let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
            names.remove(path);
            names.clone()
        })
    }
}

/// Looks at the other names that a file had whose name is now that of `source`, or of nothing: it
/// may have been written under this name before, and then nobody has told about the others.
pub(super) fn look_at_former(folder: &Folder<'_>, path: &TreePath, source: Option<&Stat>) {
    for other in folder.pass.direct.links.leave(path, source.map(Inode::of)) {
        let (Some(parent), Some(name)) = (other.parent(), other.name()) else { continue };
        if let Ok(pair) = Pair::open(folder.pass, &parent).map(Arc::new) {
            let folder = Folder { path: &parent, pair: &pair, ..*folder };
            folder.entry(&Item::new(name, Scope::Entry));
            if let Err(trouble) = set_time(&pair) {
                let place = Place { path: parent.clone(), scope: Scope::Entry };
                folder.pass.note(place, &trouble);
            }
        }
    }
}

/// Sets the time of a directory that a file was put into from elsewhere: nobody else may come to
/// it in this job.
fn set_time(pair: &Pair) -> Result<(), Trouble> {
    let stat = pair.source.stat(b"").map_err(trouble::source("look at"))?;
    Spot::Open(pair.target.as_fd())
        .set_modified(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec)
        .map_err(trouble::target("set the time of"))
}

/// Another name of the same file.
struct Twin {
    path: TreePath,
    /// What the target has under that name.
    target: Option<Stat>,
    /// Whether it has the content of the source.
    current: bool,
}

/// Brings a file with several names to the state of the source, under all names that are known.
pub(super) fn copy(folder: &Folder<'_>, subject: &Subject<'_>) -> Result<(), Trouble> {
    let pass = folder.pass;
    let names = pass.direct.links.names(Inode::of(&subject.source));
    // Held during the work: two threads at two names of one file would copy it twice.
    let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
    if names.iter().all(|name| name == subject.path) {
        let twins = folder.pair.twins(subject.source.stx_ino);
        names.extend(twins.iter().filter_map(|name| folder.path.join(name)));
    }
    names.insert(subject.path.clone());
    let more = pass.direct.links.search(pass, &subject.source, names.len());
    names.extend(more.iter().cloned());
    names.remove(subject.path);
    names.retain(|name| is_name_of(pass, name, &subject.source));
    let twins: Vec<Twin> = names.iter().filter_map(|name| twin(folder, subject, name)).collect();
    names.insert(subject.path.clone());
    pass.direct.links.learn(Inode::of(&subject.source), &names);
    if !take_over(folder, subject, &twins)? {
        folder.lone(subject)?;
    }
    let now = folder.pair.target.stat(subject.name).map_err(trouble::target("look at"))?;
    for twin in &twins {
        if twin.target.as_ref().map(Inode::of) != Some(Inode::of(&now)) {
            relink(folder, subject, &twin.path)?;
        }
    }
    Ok(())
}

fn is_name_of(pass: &Pass<'_>, path: &TreePath, stat: &Stat) -> bool {
    let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return false };
    let found = pass.source.open_below(parent.as_bytes()).and_then(|dir| dir.stat(name));
    found.is_ok_and(|found| Inode::of(&found) == Inode::of(stat))
}

/// What the target has under another name; `None` if it does not even have the directory.
fn twin(folder: &Folder<'_>, subject: &Subject<'_>, path: &TreePath) -> Option<Twin> {
    let dir = folder.pass.target.open_below(path.parent()?.as_bytes()).ok()?;
    let target = dir.stat(path.name()?).ok();
    let same = |stat: &Stat| folder.same_content(subject, stat).unwrap_or(false);
    Some(Twin { path: path.clone(), current: target.as_ref().is_some_and(same), target })
}

/// Makes the name one of the file that another name already has at the target, if there is such
/// a file and it is the better one. Whether that was done.
fn take_over(folder: &Folder<'_>, subject: &Subject<'_>, twins: &[Twin]) -> Result<bool, Trouble> {
    // How many of the names of a file at the target are not names of this file of the source.
    let strangers = |stat: &Stat| {
        let shares = |twin: &&Twin| twin.target.as_ref().map(Inode::of) == Some(Inode::of(stat));
        let known = twins.iter().filter(shares).count();
        let own = subject.target.as_ref().map(Inode::of) == Some(Inode::of(stat));
        (stat.stx_nlink as usize).saturating_sub(known + usize::from(own))
    };
    let current = twins.iter().filter(|twin| twin.current);
    let Some((best, stat)) = current
        .filter_map(|twin| twin.target.as_ref().map(|stat| (twin, stat)))
        .min_by_key(|(_, stat)| strangers(stat))
    else {
        return Ok(false);
    };
    if let Some(own) = &subject.target
        && folder.same_content(subject, own)?
        && (Inode::of(own) == Inode::of(stat) || strangers(own) <= strangers(stat))
    {
        return Ok(false);
    }
    folder.make_way(subject)?;
    if link_from(folder, &best.path, subject).is_err() {
        // Too many links, or another file system: a copy of its own is the next best.
        return Ok(false);
    }
    let target = folder.pair.target.stat(subject.name).ok();
    folder.lone(&Subject { target, file: None, ..*subject })?;
    Ok(true)
}

/// Links the file at `from` in the target to the name of `subject`.
fn link_from(folder: &Folder<'_>, from: &TreePath, subject: &Subject<'_>) -> io::Result<()> {
    let parent = from.parent().unwrap_or_default();
    let dir = folder.pass.target.open_below(parent.as_bytes())?;
    link((&dir, from.name().unwrap_or_default()), (&folder.pair.target, subject.name))
}

/// Gives a file another name, in the place of what has it.
fn link(from: (&Dir, &[u8]), to: (&Dir, &[u8])) -> io::Result<()> {
    let create = |name: &[u8]| linkat(from.0, from.1, to.0, name, AtFlags::empty());
    let (temporary, ()) = Temporary::new(to.0, to.1, create)?;
    temporary.publish(to.1)
}

/// Makes the name at `path` another name of the file that `subject` is at the target.
fn relink(folder: &Folder<'_>, subject: &Subject<'_>, path: &TreePath) -> Result<(), Trouble> {
    let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Ok(()) };
    let pair = match Pair::open(folder.pass, &parent) {
        // It comes with its directory.
        Err(Trouble::Changed) => return Ok(()),
        pair => Arc::new(pair?),
    };
    if link((&folder.pair.target, subject.name), (&pair.target, name)).is_err() {
        let folder = Folder { path: &parent, pair: &pair, ..*folder };
        let target = pair.target.stat(name).ok();
        let source = pair.source.stat(name).map_err(trouble::source("look at"))?;
        folder.lone(&Subject { path, name, source, target, file: None })?;
    }
    set_time(&pair)
}
