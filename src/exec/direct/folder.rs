//! A directory on both sides: what it lists, what is too much at the target, who does the rest.

use std::{
    ffi::CString,
    io, mem,
    os::fd::AsFd,
    sync::{Arc, OnceLock},
};

use hashbrown::{HashMap, HashSet};
use mirror_core::{
    job::{Place, Scope},
    notice::Kind,
    path::TreePath,
};
use mirror_platform::{
    dir::{Dir, Stat},
    entries::ReadBuffer,
    spot::Spot,
};
use rustix::{
    fs::{FileType, fsync},
    io::Errno,
};

use super::{
    attributes::{self, Ends},
    branch::Branch,
    crew::Crew,
    draft,
    links::Inode,
    pass::Pass,
    trouble::{self, Trouble, is_absent},
};

/// How many entries of one directory are a task of their own.
const PART: usize = 256;
/// How often a directory that turns out to be something else is looked at again.
const TRIES: usize = 3;

/// Something to do in a directory.
#[derive(Debug)]
pub(super) enum Task {
    /// All that it lists, on either side.
    All(Arc<Branch>),
    /// Some names. The directory is not held open: many tasks can wait.
    Some(Arc<Branch>, Vec<Item>),
}

/// A name in a directory.
#[derive(Debug)]
pub(super) struct Item {
    /// The name.
    pub(super) name: Box<[u8]>,
    /// How much of it has to be looked at.
    pub(super) scope: Scope,
    /// Whether the target was seen not to have it.
    pub(super) absent: bool,
    /// Whether the source lists it as a regular file.
    pub(super) is_file: bool,
}

impl Item {
    /// A name of which nothing else is known.
    pub(super) fn new(name: &[u8], scope: Scope) -> Self {
        Self { name: name.into(), scope, absent: false, is_file: false }
    }
}

/// A directory, open on both sides.
#[derive(Debug)]
pub(super) struct Pair {
    /// That of the source.
    pub(super) source: Dir,
    /// That of the target.
    pub(super) target: Dir,
    /// Whether what is made in it gets no ACL by itself.
    pub(super) bare: bool,
    /// Whether this job made that of the target, so that nobody looks into it yet.
    pub(super) fresh: bool,
    /// Which directories they are.
    inodes: (Inode, Inode),
    /// What a file is that was just made in that of the target: whose, and its mode.
    pub(super) new_file: OnceLock<Stat>,
    /// The names that share an inode with another name in the directory of the source, by inode;
    /// listed once it is asked for.
    twins: OnceLock<HashMap<u64, Vec<Box<[u8]>>>>,
}

impl Pair {
    /// Opens the directory at `path`. One that is missing on either side has changed.
    pub(super) fn open(pass: &Pass<'_>, path: &TreePath) -> Result<Self, Trouble> {
        let source = pass.source.open_below(path.as_bytes()).map_err(trouble::source("open"))?;
        let target = open_target(pass, path).map_err(|error| {
            if is_absent(&error) { Trouble::Changed } else { Trouble::Target("open", error) }
        })?;
        Self::entered(pass, source, target)
    }

    /// As [`open`](Self::open), for the directory `name` in this one: that of a deep tree takes no
    /// longer.
    fn below(&self, pass: &Pass<'_>, name: &[u8], path: &TreePath) -> Result<Self, Trouble> {
        match (self.source.open_below(name), self.target.open_below(name)) {
            (Ok(source), Ok(target)) => Self::entered(pass, source, target),
            // It is looked at as a whole.
            _ => Self::open(pass, path),
        }
    }

    /// The directory that this one lies in, if it is the one that is meant.
    fn above(&self, inodes: (Inode, Inode)) -> Option<Self> {
        let (source, target) = (self.source.up().ok()?, self.target.up().ok()?);
        let is = |dir: &Dir, inode| dir.stat(b"").is_ok_and(|stat| Inode::of(&stat) == inode);
        let is_it = is(&source, inodes.0) && is(&target, inodes.1);
        is_it.then(|| Self::new((source, target), inodes, false))
    }

    fn new((source, target): (Dir, Dir), inodes: (Inode, Inode), bare: bool) -> Self {
        let (new_file, twins) = (OnceLock::new(), OnceLock::new());
        Self { source, target, bare, fresh: false, inodes, new_file, twins }
    }

    /// Prepares a directory that was opened.
    fn entered(pass: &Pass<'_>, source: Dir, target: Dir) -> Result<Self, Trouble> {
        if !pass.direct.privileged {
            make_workable(&target);
        }
        let names = Spot::Open(target.as_fd()).xattr_names();
        let has_none = |wanted: &[u8]| {
            let is_it = |name: &CString| name.as_bytes() == wanted;
            names.as_ref().is_ok_and(|names| !names.iter().any(is_it))
        };
        let bare = has_none(b"system.posix_acl_default");
        let is_plain = has_none(b"system.posix_acl_access");
        let stat = source.stat(b"").map_err(trouble::source("look at"))?;
        if pass.is_elsewhere(&stat) {
            return Err(Trouble::Elsewhere);
        }
        let there = target.stat(b"").map_err(trouble::target("look at"))?;
        let (from, to) = (Spot::Open(source.as_fd()), Spot::Open(target.as_fd()));
        let ends =
            Ends { source: (from, &stat), target: (to, &there), is_new: false, bare: is_plain };
        // Whoever may not look into the directory of the source is shut out.
        attributes::tighten(pass, ends);
        let inodes = (Inode::of(&stat), Inode::of(&there));
        Ok(Self::new((source, target), inodes, bare))
    }

    /// The other names in this directory of the source that have this inode. A guess.
    pub(super) fn twins(&self, inode: u64) -> &[Box<[u8]>] {
        let twins = self.twins.get_or_init(|| {
            let mut names: HashMap<u64, Vec<Box<[u8]>>> = HashMap::new();
            let _ = self.source.read(&mut ReadBuffer::new(), |entry| {
                names.entry(entry.inode).or_default().push(entry.name.into());
                Ok(())
            });
            names.retain(|_, names| names.len() > 1);
            names
        });
        twins.get(&inode).map(Vec::as_slice).unwrap_or_default()
    }

    /// Makes the attributes of the directory itself those of its source.
    fn finish(&self, pass: &Pass<'_>) -> Result<(), Trouble> {
        let source = self.source.stat(b"").map_err(trouble::source("look at"))?;
        let target = self.target.stat(b"").map_err(trouble::target("look at"))?;
        let (from, to) = (Spot::Open(self.source.as_fd()), Spot::Open(self.target.as_fd()));
        let (source, target) = ((from, &source), (to, &target));
        attributes::copy(pass, Ends { source, target, is_new: false, bare: false })?;
        if pass.direct.settings.durable {
            fsync(&self.target).map_err(trouble::target_call("write"))?;
        }
        Ok(())
    }
}

/// Opens a directory of the target, even if its mode forbids it to its owner, who is not root.
fn open_target(pass: &Pass<'_>, path: &TreePath) -> io::Result<Dir> {
    match pass.target.open_below(path.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
                return Err(error);
            };
            let parent = pass.target.open_below(parent.as_bytes())?;
            Spot::Named(parent.as_fd(), name).chmod(0o700)?;
            pass.target.open_below(path.as_bytes())
        }
        opened => opened,
    }
}

/// Lets the owner of a directory work in it, who is not root. Its mode is set again at the end.
fn make_workable(dir: &Dir) {
    const ALL: u32 = 0o700;
    if let Ok(stat) = dir.stat(b"") {
        let mode = u32::from(stat.stx_mode) & 0o7777;
        if mode & ALL != ALL {
            // If this is not allowed, the work itself will tell.
            let _ = Spot::Open(dir.as_fd()).chmod(mode | ALL);
        }
    }
}

/// A directory that is worked on.
#[derive(Clone, Copy)]
pub(super) struct Folder<'a> {
    /// The job.
    pub(super) pass: &'a Pass<'a>,
    /// Who takes what is left to others.
    pub(super) crew: &'a Crew<Task>,
    /// The directory among those in work.
    pub(super) branch: &'a Arc<Branch>,
    /// Where it is.
    pub(super) path: &'a TreePath,
    /// The directory itself.
    pub(super) pair: &'a Arc<Pair>,
}

/// Carries out a task.
pub(super) fn work(pass: &Pass<'_>, crew: &Crew<Task>, task: Task) {
    if !pass.goes_on() {
        return;
    }
    let (branch, items) = match task {
        Task::All(branch) => (branch, None),
        Task::Some(branch, items) => (branch, Some(items)),
    };
    let (path, opened) = open(pass, &branch);
    let mut pair = match opened {
        Ok(pair) => Some(pair),
        Err(trouble) => {
            misfit(pass, crew, (&branch, &path), &trouble);
            None
        }
    };
    if let Some(pair) = &pair {
        let folder = Folder { pass, crew, branch: &branch, path: &path, pair };
        match items {
            None => folder.all(),
            Some(items) => {
                folder.sweep();
                folder.share(items);
            }
        }
    }
    let mut failed = pair.is_none();
    let mut below = None;
    branch.done(|branch| {
        if !mem::take(&mut failed) {
            finish(pass, branch, pair.take(), &mut below);
        }
        pass.near.forget(branch);
    });
}

/// Opens a directory, from the one above it if that was open a moment ago.
fn open(pass: &Pass<'_>, branch: &Arc<Branch>) -> (Arc<TreePath>, Result<Arc<Pair>, Trouble>) {
    if let Some((path, pair)) = pass.near.find(branch) {
        return (path, Ok(pair));
    }
    let above = branch.parent().and_then(|parent| pass.near.find(parent));
    let name = branch.name().as_bytes();
    let above = above.and_then(|(path, pair)| Some((path.join(name)?, pair)));
    let (path, opened) = if let Some((path, above)) = above {
        let opened = above.below(pass, name, &path);
        (path, opened)
    } else {
        let path = branch.path();
        let opened = Pair::open(pass, &path);
        (path, opened)
    };
    let path = Arc::new(path);
    let opened = opened.map(|pair| Arc::new(Pair { fresh: branch.fresh, ..pair }));
    if let Ok(pair) = &opened {
        let _ = branch.inodes.set(pair.inodes);
        pass.near.keep(branch, &path, pair);
    }
    (path, opened)
}

/// A directory that could not be opened. If it is not there any more, its parent tells what is.
fn misfit(
    pass: &Pass<'_>,
    crew: &Crew<Task>,
    (branch, path): (&Arc<Branch>, &TreePath),
    trouble: &Trouble,
) {
    if let (Trouble::Changed, Some(parent), Some(name)) = (trouble, branch.parent(), path.name())
        && branch.tries < TRIES
        && let Some(above) = path.parent()
        && let Ok(pair) = Pair::open(pass, &above).map(Arc::new)
    {
        let folder = Folder { pass, crew, branch: parent, path: &above, pair: &pair };
        return folder.entry(&Item::new(name, Scope::Tree));
    }
    pass.note(Place { path: path.clone(), scope: Scope::Tree }, trouble);
}

/// Sets the attributes of a directory in which all is done. It is found from the one `below`, in which
/// all was done just before, if it is not open any more.
fn finish(
    pass: &Pass<'_>,
    branch: &Branch,
    pair: Option<Arc<Pair>>,
    below: &mut Option<Arc<Pair>>,
) {
    if !pass.goes_on() {
        return;
    }
    let kept = || pass.near.find(branch).map(|(_, pair)| pair);
    let above = || below.as_ref()?.above(*branch.inodes.get()?).map(Arc::new);
    let pair = pair.or_else(kept).or_else(above);
    let pair = pair.map_or_else(|| Pair::open(pass, &branch.path()).map(Arc::new), Ok);
    // What shows where something was unmounted would open, or shut, what the target has of that.
    let is_left = !branch.fresh && pass.is_unmounted_place(&branch.path());
    let finished = pair.and_then(|pair| {
        let finished = if is_left { Ok(()) } else { pair.finish(pass) };
        *below = Some(pair);
        finished
    });
    match finished {
        // If it is gone, this was told, or its parent will tell.
        Ok(()) | Err(Trouble::Changed) => {}
        Err(trouble) => {
            pass.note(Place { path: branch.path(), scope: Scope::Entry }, &trouble);
        }
    }
}

impl Folder<'_> {
    /// Brings all that this directory lists to the state of the source.
    fn all(&self) {
        match self.compare() {
            Ok(items) => self.share(items),
            Err(trouble) => {
                self.pass.note(Place { path: self.path.clone(), scope: Scope::Tree }, &trouble);
            }
        }
    }

    /// What the source lists, after what it does not list has been removed from the target.
    fn compare(&self) -> Result<Vec<Item>, Trouble> {
        let mut buffer = ReadBuffer::new();
        let mut items: Vec<Item> = Vec::new();
        let listed = self.pair.source.read(&mut buffer, |entry| {
            let is_file = entry.file_type == FileType::RegularFile;
            items.push(Item { absent: true, is_file, ..Item::new(entry.name, Scope::Tree) });
            Ok(())
        });
        listed.map_err(trouble::source("list"))?;
        let mut there: HashSet<Box<[u8]>> = HashSet::new();
        if !self.branch.fresh {
            let listed = self.pair.target.read(&mut buffer, |entry| {
                there.insert(Box::from(entry.name));
                Ok(())
            });
            listed.map_err(trouble::target("list"))?;
            for item in &mut items {
                item.absent = !there.remove(&item.name);
            }
        }
        self.remove_rest(there);
        Ok(items)
    }

    /// Removes what only the target has, or counts it for later.
    fn remove_rest(&self, rest: HashSet<Box<[u8]>>) {
        for name in rest {
            if !self.pass.goes_on() {
                return;
            }
            self.entry(&Item { name, scope: Scope::Tree, absent: false, is_file: false });
        }
    }

    /// Removes what a process that ended too early left here, where that can have happened: nobody
    /// else lists a directory of which some entries changed. Once for each directory.
    fn sweep(&self) {
        if !self.pass.traits().names_drafts || !self.pass.direct.learned.is_unswept(self.path) {
            return;
        }
        let mut names = Vec::new();
        let listed = self.pass.target.open_below(self.path.as_bytes()).and_then(|dir| {
            dir.read(&mut ReadBuffer::new(), |entry| {
                if draft::is_temporary(entry.name) && !draft::is_in_use(&dir, entry.name) {
                    names.push(Box::<[u8]>::from(entry.name));
                }
                Ok(())
            })
        });
        // If it can't be listed, nothing is known to be left there.
        for name in names.into_iter().filter(|_| listed.is_ok()) {
            if self.pair.source.stat(&name).is_err() {
                self.remove_left_over(&name);
            }
        }
    }

    /// Works on these names, and leaves a part to others if there are many.
    fn share(&self, mut items: Vec<Item>) {
        let mut parts = Vec::new();
        if self.pass.direct.settings.workers.get() > 1 {
            while items.len() > 2 * PART {
                let part = items.split_off(items.len() - PART);
                parts.push(Task::Some(Arc::clone(self.branch), part));
            }
        }
        self.branch.add(parts.len());
        self.crew.push(parts);
        self.each(&items);
    }

    fn each(&self, items: &[Item]) {
        for item in items {
            if !self.pass.goes_on() {
                return;
            }
            self.entry(item);
        }
    }
}

/// What the filter calls a kind.
pub(super) fn kind(file_type: FileType) -> Kind {
    if file_type == FileType::Directory { Kind::Directory } else { Kind::Other }
}

/// The answer to a look at something that may be missing.
pub(super) fn existing<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
