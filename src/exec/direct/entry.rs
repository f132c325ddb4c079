//! Comparison of one entry, and its creation, update or removal at the target.

mod hardlinks;

use std::{io, os::fd::AsFd};

use mirror_core::{
    fs_event::EntryKind,
    job::{DirtyPath, Scope},
    path::TreePath,
};
use mirror_platform::{dir::Dir, entries::ReadBuffer, metadata::FileRef, special_file, stat::Stat};
use rustix::{
    fs::{self, AtFlags, FileType, Mode},
    io::Errno,
};

use super::{
    attributes::{self, AttributePlan, EntrySide, EntrySides},
    backup::link_to_backup,
    deletions::{Deletion, DeletionClass},
    dir_context::{DirContext, DirTask, Item, SourceEntry},
    error::{self, EntryError, target_errno},
    file, options,
    remove::{Removed, count, remove},
    temp_file::{self, EntryName, TempEntry},
    timestamps::{quick_check, same_size_and_time},
    warnings::WarningTopic,
};
use crate::exec::inode::EntryType;

/// Number of attempts for an entry that keeps changing its type.
const MAX_TRIES: usize = 3;

impl DirContext<'_> {
    /// Syncs an entry from the source and records a failure.
    pub(super) fn sync_entry(&self, item: &Item) {
        let Some(path) = self.path.join(&item.name) else { return };
        let mut absent = item.absent;
        for tried in 1..=MAX_TRIES {
            match self.sync_once(&path, item, absent) {
                Ok(()) => return,
                Err(EntryError::Changed) if tried < MAX_TRIES => absent = false,
                Err(error) => {
                    let dirty = DirtyPath { path, scope: item.scope };
                    return self.job.record_failure(dirty, &error);
                }
            }
        }
    }

    fn sync_once(&self, path: &TreePath, item: &Item, absent: bool) -> Result<(), EntryError> {
        let name = &*item.name;
        if let Some(why) = self.job.shared_names.reason(path) {
            return Err(EntryError::SharedName(why));
        }
        // A new file has to be opened anyway. If that fails, the `stat` of its name reports the
        // reason.
        let file = if absent && item.is_file { file::open(self, name).ok() } else { None };
        let source = match &file {
            Some(file) => Stat::of(file).map(Some),
            None => missing_as_none(self.pair.source.stat(name)),
        };
        let source = source.map_err(error::source_error("stat"))?;
        hardlinks::sync_former_names(self, path, source.as_ref());
        let target = if absent { Ok(None) } else { missing_as_none(self.pair.target.stat(name)) };
        let target = target.map_err(error::target_error("stat"))?;
        let is_mirrored =
            |source: &Stat| !self.job.filter().excludes_entry(path, EntryType::of(source).kind());
        if temp_file::is_temp_name(name) && self.is_temp_of_copier(name, source.is_some()) {
            return Ok(());
        }
        let Some(source) = source.filter(is_mirrored) else {
            return target.map_or(Ok(()), |target| self.delete_extraneous(path, &target));
        };
        self.job.tally.count_mirrored(target.is_some());
        if options::is_skipped(self.job.options(), &source, target.as_ref()) {
            return Ok(());
        }
        let entry = SourceEntry { path, name, source, target, file };
        if source.file_type() == FileType::Directory {
            return self.sync_directory(&entry, item);
        }
        if source.links <= 1 {
            return self.sync_single(&entry);
        }
        // A symbolic link that replaces something is deferred together with its other names.
        if let Some(target) = &entry.target
            && source.file_type() == FileType::Symlink
            && !self.same_content(&entry, target)?
            && self.job.deferred.defer(path)
        {
            return Ok(());
        }
        hardlinks::copy(self, &entry)
    }

    /// Returns true if the entry with this temporary name is in use by a copier or was left by one.
    /// A stale one at the target is removed.
    fn is_temp_of_copier(&self, name: &[u8], is_in_source: bool) -> bool {
        if is_in_source {
            return temp_file::is_unfinished(&self.pair.source, name);
        }
        temp_file::is_in_use(&self.pair.target, name) || self.remove_stale_temp(name)
    }

    /// Removes a temporary file that an interrupted process left. Returns false if it is something
    /// else.
    pub(super) fn remove_stale_temp(&self, name: &[u8]) -> bool {
        let is_stale_temp = temp_file::is_stale_temp(&self.pair.target, name);
        if is_stale_temp {
            // If it cannot be removed, it does no harm, and the next listing tries again.
            let _ = fs::unlinkat(&self.pair.target, name, AtFlags::empty());
        }
        is_stale_temp
    }

    /// Deletes an entry that the source lacks or excludes, or counts it for later.
    fn delete_extraneous(&self, path: &TreePath, target: &Stat) -> Result<(), EntryError> {
        match self.job.deletion(path, EntryType::of(target).kind()) {
            Deletion::Never => Ok(()),
            Deletion::TooLate => Err(EntryError::Unobserved),
            Deletion::Later(class) => self.count_deletion(path, target, class).map(drop),
            Deletion::Now if self.is_case_alias(path) => Ok(()),
            Deletion::Now
                if !self.job.capabilities().folds_case
                    && self.job.deferred_deletions.defer(path) =>
            {
                Ok(())
            }
            Deletion::Now => remove(self.job, &self.pair.target, path, target).map(drop),
        }
    }

    /// Counts a deletion that is made at the end of the job, if the budget allows it.
    fn count_deletion(
        &self,
        path: &TreePath,
        target: &Stat,
        class: DeletionClass,
    ) -> Result<Removed, EntryError> {
        let counted = count(self.job, &self.pair.target, path, target)?;
        // Nothing is deleted if everything in it is protected.
        if counted.count > 0 {
            self.job.counted_deletions(class).add(path, counted.count);
        }
        Ok(counted)
    }

    /// Returns true if the target has this name only as an alias that differs in case. The entry
    /// then belongs to the other name.
    fn is_case_alias(&self, path: &TreePath) -> bool {
        if !self.job.capabilities().folds_case {
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

    fn sync_directory(&self, entry: &SourceEntry<'_>, item: &Item) -> Result<(), EntryError> {
        if self.job.is_target(&entry.source) {
            let text = "the target is inside the source: it is not copied into itself";
            self.job.warn_once(WarningTopic::TargetInSource, text);
            return Ok(());
        }
        let target = entry.target.as_ref();
        let existing_dir = target.filter(|stat| stat.file_type() == FileType::Directory);
        match existing_dir {
            Some(target) if !self.descends(entry, item.scope) => {
                if opens(&entry.source, target) && self.job.deferred_openings.defer(entry.path) {
                    return Ok(());
                }
                return attributes::copy(self.job, self.sides(entry, target));
            }
            Some(_) => {}
            None => {
                if target.is_some() {
                    self.back_up(entry)?;
                    match fs::unlinkat(&self.pair.target, entry.name, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(error) => return Err(target_errno("replace")(error)),
                    }
                }
                match fs::mkdirat(&self.pair.target, entry.name, Mode::RWXU) {
                    Err(Errno::EXIST) => return Err(EntryError::Changed),
                    made => made.map_err(target_errno("make"))?,
                }
            }
        }
        if self.job.is_on_other_device(&entry.source) {
            let stat = self.pair.target.stat(entry.name).map_err(error::target_error("stat"))?;
            return attributes::copy(self.job, self.sides(entry, &stat));
        }
        if let Some(name) = TreePath::new(entry.name) {
            let node = self.node.child(name, existing_dir.is_none(), item.tries);
            self.pool.push([DirTask::All(node)]);
        }
        Ok(())
    }

    /// Returns true if the entries of a directory are compared as well: not if only the directory
    /// itself is dirty, or if it is the root of an excluded file system.
    fn descends(&self, entry: &SourceEntry<'_>, scope: Scope) -> bool {
        scope == Scope::Tree && !self.job.is_on_other_device(&entry.source)
    }

    /// Syncs an entry that is not a directory, without its other hard links.
    pub(super) fn sync_single(&self, entry: &SourceEntry<'_>) -> Result<(), EntryError> {
        if let Some(target) = &entry.target
            && self.same_content(entry, target)?
        {
            let sides = self.sides(entry, target);
            let plan = AttributePlan::new(self.job, sides)?;
            // If the target file has more links than expected, a change of its attributes would
            // affect unrelated names.
            let is_alone = plan.is_empty() || target.links <= entry.source.links;
            if is_alone && !plan.grants_capabilities() {
                return plan.apply(self.job, sides);
            }
        }
        let is_link = entry.source.file_type() == FileType::Symlink;
        if is_link && entry.target.is_some() && self.job.deferred.defer(entry.path) {
            return Ok(());
        }
        self.remove_conflicting_dir(entry)?;
        match EntryType::of(&entry.source) {
            EntryType::File => file::copy(self, entry),
            EntryType::Symlink => self.make_symlink(entry),
            EntryType::Directory | EntryType::Other => self.make_special(entry),
        }
    }

    /// Returns true if the target has the same content, by type, size and modification time. The
    /// content is read if an event reported a write, because a write does not always change size or
    /// time.
    pub(super) fn same_content(
        &self,
        entry: &SourceEntry<'_>,
        target: &Stat,
    ) -> Result<bool, EntryError> {
        self.same_content_at(entry, target, self.target_name(entry.name))
    }

    /// Like [`same_content`](Self::same_content), for another name at the target.
    pub(super) fn same_content_at(
        &self,
        entry: &SourceEntry<'_>,
        target: &Stat,
        at: EntryName<'_>,
    ) -> Result<bool, EntryError> {
        let source = &entry.source;
        if source.file_type() != target.file_type() {
            return Ok(false);
        }
        Ok(match EntryType::of(source) {
            EntryType::File if attributes::grants_rights(self.job, self.sides(entry, target)) => {
                false
            }
            EntryType::File if options::compares_content(self.job.options()) => {
                source.size == target.size && file::same_bytes(self, entry, at)?
            }
            EntryType::File if self.job.is_written(entry.path) => {
                same_size_and_time(self.job.granularity(), source, target)
                    && file::same_bytes(self, entry, at)?
            }
            EntryType::File => quick_check(self.job.granularity(), source, target),
            EntryType::Symlink => {
                let link = read_link(&self.pair.source, entry.name);
                let link = link.map_err(error::source_error("read"))?;
                // Some servers make links that lead out of the target, and do not tell where to.
                read_link(at.dir, at.name).is_ok_and(|target_link| target_link == link)
            }
            EntryType::Directory | EntryType::Other => {
                source.special_device == target.special_device
            }
        })
    }

    /// Returns handles and metadata of the entry on both sides.
    fn sides<'b>(&'b self, entry: &'b SourceEntry<'_>, target: &'b Stat) -> EntrySides<'b> {
        let from = FileRef::Named(self.pair.source.as_fd(), entry.name);
        let to = FileRef::Named(self.pair.target.as_fd(), entry.name);
        EntrySides {
            source: EntrySide { file: from, stat: &entry.source },
            target: EntrySide { file: to, stat: target },
            is_new: false,
            no_xattrs: false,
        }
    }

    /// Removes a directory at the target whose name the source uses for something else.
    pub(super) fn remove_conflicting_dir(&self, entry: &SourceEntry<'_>) -> Result<(), EntryError> {
        let Some(target) = &entry.target else { return Ok(()) };
        if target.file_type() != FileType::Directory {
            return Ok(());
        }
        let empty = || match fs::unlinkat(&self.pair.target, entry.name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(EntryError::Target("replace", error.into())),
        };
        let kept = match self.job.deletion(entry.path, EntryKind::Directory) {
            Deletion::Now => remove(self.job, &self.pair.target, entry.path, target)?.kept,
            Deletion::Never | Deletion::TooLate | Deletion::Later(_) if empty()? => false,
            Deletion::Never => true,
            Deletion::TooLate => return Err(EntryError::Unobserved),
            Deletion::Later(class) => {
                if !self.count_deletion(entry.path, target, class)?.kept {
                    return Err(EntryError::Deferred);
                }
                true
            }
        };
        if kept { Err(EntryError::Blocked) } else { Ok(()) }
    }

    /// Makes a backup of the target entry, which is about to be replaced, unless that is a file
    /// with the same content: its backup would replace the one of the content before.
    pub(super) fn back_up(&self, entry: &SourceEntry<'_>) -> Result<(), EntryError> {
        let Some(target) = entry.target.as_ref().filter(|_| self.job.options().backup.is_some())
        else {
            return Ok(());
        };
        let are_files = [target, &entry.source].map(|stat| EntryType::of(stat) == EntryType::File);
        if are_files == [true; 2]
            && target.size == entry.source.size
            && file::same_bytes(self, entry, self.target_name(entry.name))?
        {
            return Ok(());
        }
        link_to_backup(self.job, &self.pair.target, entry.path, target)
    }

    fn make_symlink(&self, entry: &SourceEntry<'_>) -> Result<(), EntryError> {
        let link = read_link(&self.pair.source, entry.name).map_err(error::source_error("read"))?;
        let create = |name: &[u8]| fs::symlinkat(&*link, &self.pair.target, name);
        let temporary = TempEntry::new(&self.pair.target, entry.name, create);
        self.publish(entry, temporary.map_err(error::target_error("make"))?.0)
    }

    /// Creates a fifo, a socket or a device.
    fn make_special(&self, entry: &SourceEntry<'_>) -> Result<(), EntryError> {
        let stat = &entry.source;
        let create = |name: &[u8]| special_file::create(&self.pair.target, name, stat);
        match TempEntry::new(&self.pair.target, entry.name, create) {
            Ok((temporary, ())) => self.publish(entry, temporary),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let text = "devices and special files cannot be created without privileges: they \
                            are skipped";
                self.job.warn_once(WarningTopic::Special, text);
                Ok(())
            }
            Err(error) => Err(EntryError::Target("make", error)),
        }
    }

    /// Sets the attributes of a new entry, then renames it to its name.
    fn publish(&self, entry: &SourceEntry<'_>, temporary: TempEntry<'_>) -> Result<(), EntryError> {
        let stat = self.pair.target.stat(temporary.name()).map_err(error::target_error("stat"))?;
        if !may_be_copy(&stat, &entry.source) {
            return Err(EntryError::Changed);
        }
        let to = FileRef::Named(self.pair.target.as_fd(), temporary.name());
        let target = EntrySide { file: to, stat: &stat };
        let sides = EntrySides { target, is_new: true, ..self.sides(entry, &stat) };
        attributes::copy(self.job, sides)?;
        self.back_up(entry)?;
        temporary.publish(entry.name).map_err(error::target_error("make"))
    }
}

/// Returns true if the attributes of a directory let others in, and its owner may do as much as
/// before.
const fn opens(source: &Stat, target: &Stat) -> bool {
    let granted = source.mode & !target.mode;
    granted & 0o077 != 0 && granted & 0o700 == 0
}

/// Returns false if an entry can't be the one that was just made for `source`: whoever may write in
/// the directory has given its temporary name to another one, and must not gain that.
fn may_be_copy(made: &Stat, source: &Stat) -> bool {
    made.file_type() == source.file_type()
        && made.special_device == source.special_device
        && made.links <= 1
}

/// Returns the target of a symbolic link.
fn read_link(dir: &Dir, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(fs::readlinkat(dir, name, Vec::new())?.into_bytes())
}

/// Maps the error "no such entry" to `None`.
fn missing_as_none<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_another_type_or_with_other_names_was_not_just_made() {
        let place = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| place.path().join(name));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let stat = |name: &[u8]| dir.stat(name).unwrap();
        assert!(may_be_copy(&stat(b"link"), &stat(b"link")));
        assert!(!may_be_copy(&stat(b"file"), &stat(b"link")));
        std::fs::hard_link(&link, place.path().join("second")).unwrap();
        assert!(!may_be_copy(&stat(b"link"), &stat(b"link")));
    }
}
