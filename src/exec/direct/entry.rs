//! One entry of a directory: compared, and made, changed or removed at the target.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use mirror_core::{
    job::{Place, Scope},
    path::TreePath,
};
use mirror_linux::{
    dir::{Dir, Stat},
    spot::Spot,
};
use rustix::{
    fs::{self, AtFlags, FileType, Mode},
    io::Errno,
};

use super::{
    attributes::{self, Ends, Plan, file_type},
    draft::{self, Temporary},
    file,
    folder::{Folder, Item, Task, existing, kind},
    grain::same_file,
    links,
    remove::{Removed, remove},
    trouble::{self, Trouble, target_call},
    warn::Topic,
};

/// How often an entry is looked at that is something else each time.
const TRIES: usize = 3;

/// An entry that the source has.
pub(super) struct Subject<'a> {
    /// Where it is.
    pub(super) path: &'a TreePath,
    /// Its name, the last component of the path.
    pub(super) name: &'a [u8],
    /// What the source has.
    pub(super) source: Stat,
    /// What the target has.
    pub(super) target: Option<Stat>,
    /// The file of the source, where it had to be opened anyway.
    pub(super) file: Option<OwnedFd>,
}

impl Subject<'_> {
    /// Whether nothing has the name at the target, once a directory has been removed from there.
    pub(super) fn is_new(&self) -> bool {
        self.target.as_ref().is_none_or(|stat| file_type(stat) == FileType::Directory)
    }
}

impl Folder<'_> {
    /// Brings an entry to the state of the source, and takes note if that fails.
    pub(super) fn entry(&self, item: &Item) {
        let Some(path) = self.path.join(&item.name) else { return };
        let mut absent = item.absent;
        for tried in 1..=TRIES {
            match self.look(&path, item, absent) {
                Ok(()) => return,
                Err(Trouble::Changed) if tried < TRIES => absent = false,
                Err(trouble) => {
                    let place = Place { path, scope: item.scope };
                    return self.pass.note(place, &trouble);
                }
            }
        }
    }

    fn look(&self, path: &TreePath, item: &Item, absent: bool) -> Result<(), Trouble> {
        let name = &*item.name;
        if draft::is_temporary(name) {
            return Ok(());
        }
        // What is new has to be opened anyway, and if it can't be, its name tells why.
        let file = if absent && item.is_file { file::open(self, name).ok() } else { None };
        let source = match &file {
            Some(file) => file::stat(file).map(Some),
            None => existing(self.pair.source.stat(name)),
        };
        let source = source.map_err(trouble::source("look at"))?;
        links::look_at_former(self, path, source.as_ref());
        let target = if absent { Ok(None) } else { existing(self.pair.target.stat(name)) };
        let target = target.map_err(trouble::target("look at"))?;
        let is_mirrored =
            |source: &Stat| !self.pass.filter().excludes_entry(path, kind(file_type(source)));
        let Some(source) = source.filter(is_mirrored) else {
            return target.map_or(Ok(()), |target| self.gone(path, &target));
        };
        let subject = Subject { path, name, source, target, file };
        if file_type(&source) == FileType::Directory {
            return self.directory(&subject, item.scope);
        }
        // Other kinds can have several names too, but nobody gives them any.
        if file_type(&source) == FileType::RegularFile && source.stx_nlink > 1 {
            return links::copy(self, &subject);
        }
        self.lone(&subject)
    }

    /// Removes what the source does not have any more, or hides.
    fn gone(&self, path: &TreePath, target: &Stat) -> Result<(), Trouble> {
        if !self.pass.may_delete(path, kind(file_type(target))) {
            return Ok(());
        }
        remove(self.pass, &self.pair.target, path, target).map(drop)
    }

    fn directory(&self, subject: &Subject<'_>, scope: Scope) -> Result<(), Trouble> {
        if self.pass.is_target(&subject.source) {
            let text = "the target lies in the source: it is not copied into itself";
            self.pass.warn_once(Topic::Within, text);
            return Ok(());
        }
        let target = subject.target.as_ref();
        let there = target.filter(|stat| file_type(stat) == FileType::Directory);
        match (there, scope) {
            (Some(target), Scope::Entry) => {
                return attributes::copy(self.pass, self.ends(subject, target));
            }
            (Some(_), Scope::Tree) => {}
            (None, _) => {
                if target.is_some() {
                    fs::unlinkat(&self.pair.target, subject.name, AtFlags::empty())
                        .map_err(target_call("replace"))?;
                }
                match fs::mkdirat(&self.pair.target, subject.name, Mode::RWXU) {
                    Err(Errno::EXIST) => return Err(Trouble::Changed),
                    made => made.map_err(target_call("make"))?,
                }
            }
        }
        if let Some(name) = TreePath::new(subject.name) {
            let branch = self.branch.child(name, there.is_none(), 0);
            self.crew.push([Task::All(branch)]);
        }
        Ok(())
    }

    /// Brings an entry that is no directory to the state of the source, other names of the same
    /// file aside.
    pub(super) fn lone(&self, subject: &Subject<'_>) -> Result<(), Trouble> {
        if let Some(target) = &subject.target
            && self.same_content(subject, target)?
        {
            let ends = self.ends(subject, target);
            let plan = Plan::new(self.pass, ends)?;
            // What has more names here than there would be changed under names that must not be.
            if plan.is_empty() || target.stx_nlink <= subject.source.stx_nlink {
                return plan.carry_out(self.pass, ends);
            }
        }
        self.make_way(subject)?;
        match file_type(&subject.source) {
            FileType::RegularFile => file::copy(self, subject),
            FileType::Symlink => self.symlink(subject),
            _ => self.special(subject),
        }
    }

    /// Whether the target has the same content, as far as can be told without reading it.
    pub(super) fn same_content(
        &self,
        subject: &Subject<'_>,
        target: &Stat,
    ) -> Result<bool, Trouble> {
        let source = &subject.source;
        if file_type(source) != file_type(target) {
            return Ok(false);
        }
        let device = |stat: &Stat| (stat.stx_rdev_major, stat.stx_rdev_minor);
        Ok(match file_type(source) {
            FileType::RegularFile => same_file(self.pass.grain(), source, target),
            FileType::Symlink => {
                let there = read_link(&self.pair.target, subject.name);
                let there = there.map_err(trouble::target("read"))?;
                read_link(&self.pair.source, subject.name).map_err(trouble::source("read"))?
                    == there
            }
            _ => device(source) == device(target),
        })
    }

    /// The entry on both sides.
    fn ends<'b>(&'b self, subject: &'b Subject<'_>, target: &'b Stat) -> Ends<'b> {
        let from = Spot::Named(self.pair.source.as_fd(), subject.name);
        let to = Spot::Named(self.pair.target.as_fd(), subject.name);
        Ends { source: (from, &subject.source), target: (to, target), is_new: false, bare: false }
    }

    /// Removes a directory at the target that stands where something else belongs.
    pub(super) fn make_way(&self, subject: &Subject<'_>) -> Result<(), Trouble> {
        let Some(target) = &subject.target else { return Ok(()) };
        if file_type(target) != FileType::Directory {
            return Ok(());
        }
        let removed = if self.pass.may_delete(subject.path, kind(FileType::Directory)) {
            remove(self.pass, &self.pair.target, subject.path, target)?
        } else {
            match fs::unlinkat(&self.pair.target, subject.name, AtFlags::REMOVEDIR) {
                Ok(()) => Removed::All,
                Err(Errno::NOTEMPTY | Errno::EXIST) => Removed::Some,
                Err(error) => return Err(Trouble::Target("replace", error.into())),
            }
        };
        match removed {
            Removed::All => Ok(()),
            Removed::Some => Err(Trouble::Blocked),
        }
    }

    fn symlink(&self, subject: &Subject<'_>) -> Result<(), Trouble> {
        let link = read_link(&self.pair.source, subject.name).map_err(trouble::source("read"))?;
        let create = |name: &[u8]| fs::symlinkat(&*link, &self.pair.target, name);
        let temporary = Temporary::new(&self.pair.target, subject.name, create);
        self.publish(subject, temporary.map_err(trouble::target("make"))?.0)
    }

    /// A fifo, a socket or a device.
    fn special(&self, subject: &Subject<'_>) -> Result<(), Trouble> {
        let stat = &subject.source;
        let device = fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
        let mode = Mode::RUSR | Mode::WUSR;
        let create =
            |name: &[u8]| fs::mknodat(&self.pair.target, name, file_type(stat), mode, device);
        match Temporary::new(&self.pair.target, subject.name, create) {
            Ok((temporary, ())) => self.publish(subject, temporary),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let text = "devices and special files can't be made without the rights for it: \
                            they are left out";
                self.pass.warn_once(Topic::Special, text);
                Ok(())
            }
            Err(error) => Err(Trouble::Target("make", error)),
        }
    }

    /// Gives a new entry its attributes and then its name.
    fn publish(&self, subject: &Subject<'_>, temporary: Temporary<'_>) -> Result<(), Trouble> {
        let stat = self.pair.target.stat(temporary.name()).map_err(trouble::target("look at"))?;
        let to = Spot::Named(self.pair.target.as_fd(), temporary.name());
        let ends = Ends { target: (to, &stat), is_new: true, ..self.ends(subject, &stat) };
        attributes::copy(self.pass, ends)?;
        temporary.publish(subject.name).map_err(trouble::target("make"))
    }
}

/// Where a symbolic link points.
fn read_link(dir: &Dir, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(fs::readlinkat(dir, name, Vec::new())?.into_bytes())
}
