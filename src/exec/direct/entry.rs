//! One entry of a directory: compared, and made, changed or removed at the target.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

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
    fs::{self, AtFlags, FileType, Mode},
    io::Errno,
};

use super::{
    attributes::{self, Ends, Plan, file_type},
    draft::{self, Temporary},
    file,
    folder::{Folder, Item, Task, existing, kind},
    grain::{same_file, same_size_and_time},
    links, options,
    remove::{Removed, count, remove},
    trouble::{self, Trouble, target_call},
    unseen::{Deletion, Witness},
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
        if draft::is_temporary(name) && self.is_of_a_copier(name, source.is_some()) {
            return Ok(());
        }
        let Some(source) = source.filter(is_mirrored) else {
            return target.map_or(Ok(()), |target| self.gone(path, &target));
        };
        self.pass.tally.mirrored(target.is_some());
        if options::leaves_alone(self.pass, &source, target.as_ref()) {
            return Ok(());
        }
        let subject = Subject { path, name, source, target, file };
        if file_type(&source) == FileType::Directory {
            return self.directory(&subject, item.scope);
        }
        if source.stx_nlink <= 1 {
            return self.lone(&subject);
        }
        // What replaces a link comes later, and its other names with it.
        if let Some(target) = &subject.target
            && file_type(&source) == FileType::Symlink
            && !self.same_content(&subject, target)?
            && self.pass.late.put_off(path)
        {
            return Ok(());
        }
        links::copy(self, &subject)
    }

    /// Whether the entry with this temporary name is one that a copier works on, or has left. What was
    /// left at the target is removed.
    fn is_of_a_copier(&self, name: &[u8], is_in_source: bool) -> bool {
        if is_in_source {
            return draft::is_unfinished(&self.pair.source, name);
        }
        draft::is_in_use(&self.pair.target, name) || self.remove_left_over(name)
    }

    /// Removes what a process that ended too early left. Returns false if it is something else.
    pub(super) fn remove_left_over(&self, name: &[u8]) -> bool {
        let is_left_over = draft::is_left_over(&self.pair.target, name);
        if is_left_over {
            // If it can't be removed, it does no harm, and the next pass tries again.
            let _ = fs::unlinkat(&self.pair.target, name, AtFlags::empty());
        }
        is_left_over
    }

    /// Removes what the source does not have any more, or hides, or counts it for later.
    fn gone(&self, path: &TreePath, target: &Stat) -> Result<(), Trouble> {
        match self.pass.deletion(path, kind(file_type(target))) {
            Deletion::Never => Ok(()),
            Deletion::TooLate => Err(Trouble::Unseen),
            Deletion::Later(witness) => self.put_off(path, target, witness).map(drop),
            Deletion::Now if self.is_other_name(path) => Ok(()),
            Deletion::Now => remove(self.pass, &self.pair.target, path, target).map(drop),
        }
    }

    /// Counts what is deleted at the end, if at all.
    fn put_off(
        &self,
        path: &TreePath,
        target: &Stat,
        witness: Witness,
    ) -> Result<Removed, Trouble> {
        let counted = count(self.pass, &self.pair.target, path, target)?;
        // Where all that is left is protected, nothing goes.
        if counted.count > 0 {
            self.pass.counted(witness).add(path, counted.count);
        }
        Ok(counted)
    }

    /// Whether the target has this name only by another one that differs by its case: then what is
    /// there is what the source has under that one.
    fn is_other_name(&self, path: &TreePath) -> bool {
        if !self.pass.traits().folds_case {
            return false;
        }
        let mut is_listed = false;
        let listed = Dir::open_below(&self.pair.target, b"").and_then(|dir| {
            dir.read(&mut ReadBuffer::new(), |entry| {
                is_listed |= Some(entry.name) == path.name();
                Ok(())
            })
        });
        listed.is_ok() && !is_listed
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
            (Some(target), _) if !self.goes_below(subject, scope) => {
                return attributes::copy(self.pass, self.ends(subject, target));
            }
            (Some(_), _) => {}
            (None, _) => {
                if target.is_some() {
                    self.back_up(subject.path, target)?;
                    match fs::unlinkat(&self.pair.target, subject.name, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(error) => return Err(target_call("replace")(error)),
                    }
                }
                match fs::mkdirat(&self.pair.target, subject.name, Mode::RWXU) {
                    Err(Errno::EXIST) => return Err(Trouble::Changed),
                    made => made.map_err(target_call("make"))?,
                }
            }
        }
        if self.pass.is_elsewhere(&subject.source) {
            let stat = self.pair.target.stat(subject.name).map_err(trouble::target("look at"))?;
            return attributes::copy(self.pass, self.ends(subject, &stat));
        }
        if let Some(name) = TreePath::new(subject.name) {
            let branch = self.branch.child(name, there.is_none(), 0);
            self.crew.push([Task::All(branch)]);
        }
        Ok(())
    }

    /// Whether what a directory lists is looked at: not if only the directory itself is meant, or if
    /// it is the root of another file system.
    fn goes_below(&self, subject: &Subject<'_>, scope: Scope) -> bool {
        scope == Scope::Tree && !self.pass.is_elsewhere(&subject.source)
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
            let is_alone = plan.is_empty() || target.stx_nlink <= subject.source.stx_nlink;
            if is_alone && !plan.lends_rights() {
                return plan.carry_out(self.pass, ends);
            }
        }
        let is_link = file_type(&subject.source) == FileType::Symlink;
        if is_link && subject.target.is_some() && self.pass.late.put_off(subject.path) {
            return Ok(());
        }
        self.make_way(subject)?;
        self.back_up(subject.path, subject.target.as_ref())?;
        match file_type(&subject.source) {
            FileType::RegularFile => file::copy(self, subject),
            FileType::Symlink => self.symlink(subject),
            _ => self.special(subject),
        }
    }

    /// Whether the target has the same content, as far as can be told without reading it. It is read
    /// where somebody was heard to write it, which size and time need not tell.
    pub(super) fn same_content(
        &self,
        subject: &Subject<'_>,
        target: &Stat,
    ) -> Result<bool, Trouble> {
        self.same_as(subject, target, (&self.pair.target, subject.name))
    }

    /// As [`same_content`](Self::same_content), for another name of the target.
    pub(super) fn same_as(
        &self,
        subject: &Subject<'_>,
        target: &Stat,
        (dir, name): (&Dir, &[u8]),
    ) -> Result<bool, Trouble> {
        let source = &subject.source;
        if file_type(source) != file_type(target) {
            return Ok(false);
        }
        let device = |stat: &Stat| (stat.stx_rdev_major, stat.stx_rdev_minor);
        Ok(match file_type(source) {
            FileType::RegularFile
                if attributes::lends_rights(self.pass, self.ends(subject, target)) =>
            {
                false
            }
            FileType::RegularFile if options::reads_all(&self.pass.direct.settings.options) => {
                source.stx_size == target.stx_size && file::same(self, subject, (dir, name))?
            }
            FileType::RegularFile if self.pass.is_written(subject.path) => {
                same_size_and_time(self.pass.grain(), source, target)
                    && file::same(self, subject, (dir, name))?
            }
            FileType::RegularFile => same_file(self.pass.grain(), source, target),
            FileType::Symlink => {
                let there = read_link(dir, name).map_err(trouble::target("read"))?;
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
        let empty = || match fs::unlinkat(&self.pair.target, subject.name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(Trouble::Target("replace", error.into())),
        };
        let kept = match self.pass.deletion(subject.path, Kind::Directory) {
            Deletion::Now => remove(self.pass, &self.pair.target, subject.path, target)?.kept,
            _ if empty()? => false,
            Deletion::Never => true,
            Deletion::TooLate => return Err(Trouble::Unseen),
            Deletion::Later(witness) => {
                if !self.put_off(subject.path, target, witness)?.kept {
                    return Err(Trouble::Later);
                }
                true
            }
        };
        if kept { Err(Trouble::Blocked) } else { Ok(()) }
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
