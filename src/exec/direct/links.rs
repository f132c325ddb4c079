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
use mirror_platform::{
    dir::{Dir, Stat, device},
    spot::Spot,
};
use rustix::fs::{AtFlags, linkat};

use super::{
    draft::Temporary,
    entry::Subject,
    folder::{Folder, Item, Pair},
    options,
    pass::Pass,
    trouble::{self, Trouble},
};

type Names = BTreeSet<TreePath>;

/// A file of the source with several names.
#[derive(Debug, Default)]
struct File {
    names: Names,
    /// A name under which a pass over everything has been at it, and what it is at the target.
    done: Option<(TreePath, Inode)>,
}

/// The names that files of the source with more than one are known to have. Names that are not
/// true any more are dropped when they are needed.
#[derive(Debug, Default)]
pub(super) struct Links {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    files: HashMap<Inode, Arc<Mutex<File>>>,
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
        Self { device: device(stat), number: stat.stx_ino }
    }

    /// Whether it has this number; another file may have it on another device.
    pub(super) const fn has_number(self, number: u64) -> bool {
        self.number == number
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

    /// What is known of a file. Whoever holds its lock takes no other but that of what is known.
    fn file(&self, inode: Inode) -> Arc<Mutex<File>> {
        Arc::clone(self.known().files.entry(inode).or_default())
    }

    /// The names that the source has for a file of which fewer are `known` than there are.
    fn search(&self, pass: &Pass<'_>, stat: &Stat, known: usize) -> Vec<TreePath> {
        let (inode, links) = (Inode::of(stat), stat.stx_nlink);
        let searched = self.known().elsewhere.get(&inode) == Some(&links);
        if searched || known >= links as usize {
            return Vec::new();
        }
        let names = pass.search.names(pass, inode);
        if names.len() < links as usize {
            self.known().elsewhere.insert(inode, links);
        }
        names
    }

    fn learn<'a>(&self, inode: Inode, names: impl IntoIterator<Item = &'a TreePath>) {
        let mut known = self.known();
        known.by_name.extend(names.into_iter().map(|name| (name.clone(), inode)));
    }

    /// Takes note that the entry at `path` is now `now`, or gone. The other names of the file that
    /// had this one.
    fn leave(&self, path: &TreePath, now: Option<Inode>) -> Names {
        let mut known = self.known();
        let file = known.by_name.get(path).copied().filter(|file| Some(*file) != now);
        let file = file.and_then(|file| {
            known.by_name.remove(path);
            known.files.get(&file).cloned()
        });
        drop(known);
        file.map_or_else(Names::new, |file| {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.names.remove(path);
            file.names.clone()
        })
    }
}

/// Looks at the other names that a file had whose name is now that of `source`, or of nothing: it
/// may have been written under this name before, and then nobody has told about the others.
pub(super) fn look_at_former(folder: &Folder<'_>, path: &TreePath, source: Option<&Stat>) {
    for other in folder.pass.direct.learned.links.leave(path, source.map(Inode::of)) {
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

/// Brings a file with several names to the state of the source. If its content changed, it does
/// so under all its names: nobody tells under which of them it was written.
pub(super) fn copy(folder: &Folder<'_>, subject: &Subject<'_>) -> Result<(), Trouble> {
    let links = &folder.pass.direct.learned.links;
    let inode = Inode::of(&subject.source);
    let file = links.file(inode);
    // Held during the work: two threads at two names of one file would copy it twice.
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.names.insert(subject.path.clone());
    links.learn(inode, [subject.path]);
    if folder.pass.visits_all() {
        return visit(folder, subject, &mut file);
    }
    let own = match &subject.target {
        Some(own) if folder.same_content(subject, own)? => Some(own),
        _ => None,
    };
    if let Some(own) = own.filter(|own| own.stx_nlink == subject.source.stx_nlink) {
        folder.lone(subject)?;
        let now = folder.pair.target.stat(subject.name).map_err(trouble::target("look at"))?;
        if Inode::of(&now) == Inode::of(own) {
            return Ok(());
        }
        // It was copied for its attributes: its other names have to follow.
        complete(folder, subject, &mut file);
        return follow(folder, subject, &file.names, Inode::of(own));
    }
    if own.is_none() && join_any(folder, subject, &file.names)? {
        return Ok(());
    }
    complete(folder, subject, &mut file);
    links.learn(inode, &file.names);
    let others = file.names.iter().filter(|name| *name != subject.path);
    let twins: Vec<Twin> = others.filter_map(|name| twin(folder, subject, name)).collect();
    unite(folder, subject, &twins)
}

/// One of many visits to a file, in a pass that comes to all its names. The first one copies, and one
/// under whose name other content was written.
fn visit(folder: &Folder<'_>, subject: &Subject<'_>, file: &mut File) -> Result<(), Trouble> {
    let mut done = None;
    if let Some((path, inode)) = &file.done
        && target_stat(folder.pass, path).is_some_and(|stat| Inode::of(&stat) == *inode)
        && take(folder, subject, path, *inode)?
    {
        if !folder.pass.is_written(subject.path) {
            return Ok(());
        }
        let stat = folder.pair.target.stat(subject.name).map_err(trouble::target("look at"))?;
        if folder.same_content(subject, &stat)? {
            return Ok(());
        }
        done = Some(*inode);
    }
    let target = folder.pair.target.stat(subject.name).ok();
    folder.lone(&Subject { target, file: None, ..*subject })?;
    let stat = folder.pair.target.stat(subject.name).map_err(trouble::target("look at"))?;
    file.done = Some((subject.path.clone(), Inode::of(&stat)));
    done.map_or(Ok(()), |before| follow(folder, subject, &file.names, before))
}

/// Makes the name one of the file `inode`, which has the name at `path` in the target. Returns false
/// if it gets a copy of its own.
fn take(
    folder: &Folder<'_>,
    subject: &Subject<'_>,
    path: &TreePath,
    inode: Inode,
) -> Result<bool, Trouble> {
    if subject.target.as_ref().map(Inode::of) == Some(inode) {
        return Ok(true);
    }
    folder.make_way(subject)?;
    folder.back_up(subject.path, subject.target.as_ref())?;
    // Too many links, or another file system: a copy of its own is the next best.
    Ok(link_from(folder, path, subject).is_ok())
}

/// Makes all names that the file `before` has in the target names of the one that `subject` is there.
fn follow(
    folder: &Folder<'_>,
    subject: &Subject<'_>,
    names: &Names,
    before: Inode,
) -> Result<(), Trouble> {
    for path in names.iter().filter(|path| *path != subject.path) {
        if target_stat(folder.pass, path).is_some_and(|stat| Inode::of(&stat) == before) {
            relink(folder, subject, path)?;
        }
    }
    Ok(())
}

/// Makes the name one of the file that any other name has at the target already, if that one has
/// the content. Whether there is one.
fn join_any(folder: &Folder<'_>, subject: &Subject<'_>, names: &Names) -> Result<bool, Trouble> {
    let others = names.iter().filter(|name| *name != subject.path);
    let current = others
        .filter(|name| is_name_of(folder.pass, name, &subject.source))
        .filter_map(|name| twin(folder, subject, name))
        .find(|twin| twin.current);
    current.map_or(Ok(false), |twin| join(folder, subject, &twin.path))
}

/// Makes the name one of the file at `path` in the target. Whether that was possible.
fn join(folder: &Folder<'_>, subject: &Subject<'_>, path: &TreePath) -> Result<bool, Trouble> {
    folder.make_way(subject)?;
    folder.back_up(subject.path, subject.target.as_ref())?;
    if link_from(folder, path, subject).is_err() {
        // Too many links, or another file system: a copy of its own is the next best.
        return Ok(false);
    }
    let target = folder.pair.target.stat(subject.name).ok();
    folder.lone(&Subject { target, file: None, ..*subject })?;
    Ok(true)
}

/// Finds all names that the source has for the file.
fn complete(folder: &Folder<'_>, subject: &Subject<'_>, file: &mut File) {
    let stat = &subject.source;
    let beside = folder.pair.twins(stat.stx_ino);
    file.names.extend(beside.iter().filter_map(|name| folder.path.join(name)));
    file.names.retain(|name| name == subject.path || is_name_of(folder.pass, name, stat));
    file.names.extend(folder.pass.direct.learned.links.search(folder.pass, stat, file.names.len()));
}

/// Makes all names of a file names of one file at the target.
fn unite(folder: &Folder<'_>, subject: &Subject<'_>, twins: &[Twin]) -> Result<(), Trouble> {
    if !take_over(folder, subject, twins)? {
        folder.lone(subject)?;
    }
    let now = folder.pair.target.stat(subject.name).map_err(trouble::target("look at"))?;
    for twin in twins {
        if twin.target.as_ref().map(Inode::of) != Some(Inode::of(&now)) {
            relink(folder, subject, &twin.path)?;
        }
    }
    Ok(())
}

/// What the target has at `path`.
fn target_stat(pass: &Pass<'_>, path: &TreePath) -> Option<Stat> {
    let dir = pass.target.open_below(path.parent()?.as_bytes()).ok()?;
    dir.stat(path.name()?).ok()
}

fn is_name_of(pass: &Pass<'_>, path: &TreePath, stat: &Stat) -> bool {
    let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return false };
    let found = pass.source.open_below(parent.as_bytes()).and_then(|dir| dir.stat(name));
    found.is_ok_and(|found| Inode::of(&found) == Inode::of(stat))
}

/// What the target has under another name; `None` if it does not even have the directory.
fn twin(folder: &Folder<'_>, subject: &Subject<'_>, path: &TreePath) -> Option<Twin> {
    let (dir, name) =
        (folder.pass.target.open_below(path.parent()?.as_bytes()).ok()?, path.name()?);
    let target = dir.stat(name).ok();
    let same = |stat: &Stat| folder.same_as(subject, stat, (&dir, name)).unwrap_or(false);
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
    join(folder, subject, &best.path)
}

/// Links the file at `from` in the target to the name of `subject`.
fn link_from(folder: &Folder<'_>, from: &TreePath, subject: &Subject<'_>) -> io::Result<()> {
    let parent = from.parent().unwrap_or_default();
    let dir = folder.pass.target.open_below(parent.as_bytes())?;
    link((&dir, from.name().unwrap_or_default()), (&folder.pair.target, subject.name))
}

/// Gives a file another name, in the place of what has it.
pub(super) fn link(from: (&Dir, &[u8]), to: (&Dir, &[u8])) -> io::Result<()> {
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
    let target = pair.target.stat(name).ok();
    if options::leaves_alone(folder.pass, &subject.source, target.as_ref()) {
        return Ok(());
    }
    let other = Folder { path: &parent, pair: &pair, ..*folder };
    other.back_up(path, target.as_ref())?;
    if link((&folder.pair.target, subject.name), (&pair.target, name)).is_err() {
        let folder = other;
        let target = pair.target.stat(name).ok();
        let source = pair.source.stat(name).map_err(trouble::source("look at"))?;
        folder.lone(&Subject { path, name, source, target, file: None })?;
    }
    set_time(&pair)
}
