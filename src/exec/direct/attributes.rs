//! Owner, mode, times and extended attributes: comparison and update.

use std::{ffi::CString, io};

use mirror_platform::{file_attributes, metadata::FileRef, pinned_entry::PinnedEntry, stat::Stat};
use rustix::{fs::FileType, io::Errno};

use super::{
    super::{inode::Inode, target_mark::MARK_ATTRIBUTE},
    capabilities::LinkAttributes,
    copy_job::CopyJob,
    error::{self, EntryError},
    warnings::WarningTopic,
};

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const MODE: u32 = 0o7777;
const OTHERS: u32 = 0o077;
/// Mode bits that a umask affects.
const PERMISSIONS: u32 = 0o777;
const CAPABILITY: &[u8] = b"security.capability";

/// Entry on one side.
#[derive(Clone, Copy)]
pub(super) struct EntrySide<'a> {
    pub(super) file: FileRef<'a>,
    pub(super) stat: &'a Stat,
}

/// Entry on both sides.
#[derive(Clone, Copy)]
pub(super) struct EntrySides<'a> {
    pub(super) source: EntrySide<'a>,
    pub(super) target: EntrySide<'a>,
    /// True if the target was just created, so that its modification time is arbitrary.
    pub(super) is_new: bool,
    /// True if the target is known to have no extended attributes, so that they need not be read.
    pub(super) no_xattrs: bool,
}

/// Changes that make the attributes of the target equal to those of the source.
#[derive(Debug, Default)]
pub(super) struct AttributePlan {
    owner: Option<u32>,
    group: Option<u32>,
    mode: Option<u32>,
    set: Vec<(CString, Vec<u8>)>,
    remove: Vec<CString>,
    modified: Option<(i64, u32)>,
}

/// Copies the attributes of the source to the target.
pub(super) fn copy(job: &CopyJob<'_>, sides: EntrySides<'_>) -> Result<(), EntryError> {
    AttributePlan::new(job, sides)?.apply(job, sides)
}

/// Returns the metadata of the source, with the attributes that the target is to have.
fn wanted_stat(job: &CopyJob<'_>, sides: EntrySides<'_>) -> Stat {
    let (source, target) = (sides.source.stat, sides.target.stat);
    let options = job.options();
    let mut wanted = *source;
    let kind = source.mode & !MODE;
    let mut mode = source.mode & MODE;
    if let Some(chmod) = &options.chmod
        && source.file_type() != FileType::Symlink
    {
        mode =
            chmod.apply(mode, source.file_type() == FileType::Directory, job.executor.umask) & MODE;
    }
    if !options.perms {
        mode = if sides.is_new {
            mode & PERMISSIONS & !job.executor.umask
        } else {
            target.mode & MODE
        };
    }
    wanted.mode = kind | mode;
    if !options.owner {
        wanted.uid = target.uid;
    }
    if !options.group {
        wanted.gid = target.gid;
    }
    wanted
}

/// Returns true if the attributes of the source, set on the present target file, would give
/// somebody access to content he could not read, or rights that he did not have: by another owner,
/// or by the set-user or set-group bit. Size and time prove nothing here, because the owner of the
/// target file can set them.
pub(super) fn grants_rights(job: &CopyJob<'_>, sides: EntrySides<'_>) -> bool {
    if !job.capabilities().keeps_owners {
        return false;
    }
    let (source, target) = (wanted_stat(job, sides), sides.target.stat);
    let bits = source.mode & !target.mode & (SET_USER | SET_GROUP);
    source.uid != target.uid || bits != 0
}

/// Returns true if nobody can do more with a clone of this file, which has its mode but not its
/// owner yet, than with the finished copy. A clone needs no rights of the group beyond those of
/// others, no bit that grants the rights of its owner, and no ACL.
pub(super) fn may_clone(job: &CopyJob<'_>, source: EntrySide<'_>) -> bool {
    let options = job.options();
    let is_exact =
        options.perms && options.owner && options.group && options.times && options.chmod.is_none();
    let (group, others) = ((source.stat.mode >> 3) & 0o7, source.stat.mode & 0o7);
    let has_no_acl = || {
        let names = source.file.xattr_names();
        names.is_ok_and(|all| !all.iter().any(|name| file_attributes::is_acl(name.as_bytes())))
    };
    is_exact
        && group & !others == 0
        && source.stat.mode & (SET_USER | SET_GROUP) == 0
        && has_no_acl()
}

/// Removes access from a target entry that its source does not grant: from a directory before
/// anything is written to it, and from an entry that gets a new name. Access that it lacks is
/// granted at the end, where failures are reported as well.
pub(super) fn tighten(job: &CopyJob<'_>, sides: EntrySides<'_>) {
    let source = wanted_stat(job, sides);
    let EntrySide { file: to, stat: target } = sides.target;
    let (wanted, mode) = (source.mode & MODE, target.mode & MODE);
    let is_others =
        job.capabilities().keeps_owners && (source.uid, source.gid) != (target.uid, target.gid);
    let is_open = mode & !wanted & OTHERS != 0;
    if !is_open && !is_others && sides.no_xattrs {
        return;
    }
    let narrow = mode & (wanted | !OTHERS);
    // Nobody else may enter while the owner and the ACL change.
    let shut = if is_others { narrow & !OTHERS } else { narrow };
    let _ = to.chmod(shut);
    if let Ok(plan) = AttributePlan::new(job, sides)
        && (plan.changes_owner() || plan.changes_acl())
    {
        let _ = AttributePlan { mode: None, modified: None, ..plan }.apply(job, sides);
        let _ = to.chmod(narrow);
    }
}

impl AttributePlan {
    /// Compares both sides.
    pub(super) fn new(job: &CopyJob<'_>, sides: EntrySides<'_>) -> Result<Self, EntryError> {
        let is_link = sides.source.stat.file_type() == FileType::Symlink;
        if is_link && job.capabilities().link_attributes == LinkAttributes::Followed {
            let text = "owners and times of symbolic links cannot be set on the target: continuing \
                        without them";
            job.warn_once(WarningTopic::Links, text);
            return Ok(Self::default());
        }
        let (source, target) = (&wanted_stat(job, sides), sides.target.stat);
        let mut plan = Self {
            // Only root can change the owner.
            owner: (job.executor.privileged && source.uid != target.uid).then_some(source.uid),
            group: (source.gid != target.gid).then_some(source.gid),
            ..Self::default()
        };
        plan.compare_xattrs(job, sides)?;
        let wanted = plan.mode_for(source, target);
        // A new owner clears the set-user bit, and a new ACL sets bits of the mode.
        let unsure =
            plan.changes_owner() && wanted & (SET_USER | SET_GROUP) != 0 || plan.changes_acl();
        if !is_link && (unsure || wanted != target.mode & MODE) {
            plan.mode = Some(wanted);
        }
        let times = job.options().times;
        if times && (sides.is_new || !job.granularity().same_time(source, target)) {
            plan.modified = Some((source.mtime.seconds, source.mtime.nanoseconds));
        }
        Ok(plan)
    }

    /// Returns true if the plan would set file capabilities on the present target file: whoever
    /// could write its content would gain them.
    pub(super) fn grants_capabilities(&self) -> bool {
        self.set.iter().any(|(name, _)| name.as_bytes() == CAPABILITY)
    }

    /// Returns true if nothing differs.
    pub(super) fn is_empty(&self) -> bool {
        !self.changes_owner()
            && self.mode.is_none()
            && self.set.is_empty()
            && self.remove.is_empty()
            && self.modified.is_none()
    }

    const fn changes_owner(&self) -> bool {
        self.owner.is_some() || self.group.is_some()
    }

    fn changes_acl(&self) -> bool {
        let names = self.set.iter().map(|(name, _)| name).chain(&self.remove);
        names.into_iter().any(|name| file_attributes::is_acl(name.as_bytes()))
    }

    /// Returns the mode to set. It lacks the set-user or set-group bit if the user or group cannot
    /// be set, because the bit would grant the rights of somebody else.
    fn mode_for(&self, source: &Stat, target: &Stat) -> u32 {
        let mut mode = source.mode & MODE;
        if source.file_type() != FileType::Directory {
            if self.owner.unwrap_or(target.uid) != source.uid {
                mode &= !SET_USER;
            }
            if self.group.unwrap_or(target.gid) != source.gid {
                mode &= !SET_GROUP;
            }
        }
        mode
    }

    fn compare_xattrs(
        &mut self,
        job: &CopyJob<'_>,
        sides: EntrySides<'_>,
    ) -> Result<(), EntryError> {
        let (from, to) = (sides.source.file, sides.target.file);
        let privileged = job.executor.privileged;
        let read = error::source_error("read the extended attributes of");
        let wanted = mirrored_xattrs(from.xattr_names().map_err(&read)?, privileged);
        let present = if sides.no_xattrs {
            Vec::new()
        } else {
            let read = error::target_error("read the extended attributes of");
            mirrored_xattrs(to.xattr_names().map_err(read)?, privileged)
        };
        self.remove = present.iter().filter(|name| !wanted.contains(name)).cloned().collect();
        for name in wanted {
            let value = match from.xattr(&name) {
                Ok(value) => value,
                Err(error) if file_attributes::is_missing(&error) => continue,
                Err(error) => return Err(read(error)),
            };
            // A new owner clears the capabilities.
            let cleared = self.changes_owner() && name.as_bytes() == CAPABILITY;
            let is_there = present.contains(&name) && !cleared;
            if !is_there || !to.xattr(&name).is_ok_and(|present_value| present_value == value) {
                self.set.push((name, value));
            }
        }
        Ok(())
    }

    /// Sets what differs, on the entry that was compared: whoever may write in the directory could
    /// give its name to another one, and would gain that.
    pub(super) fn apply(self, job: &CopyJob<'_>, sides: EntrySides<'_>) -> Result<(), EntryError> {
        let EntrySide { file: FileRef::Named(dir, name), stat } = sides.target else {
            return self.apply_to(job, sides);
        };
        if self.is_empty() {
            return Ok(());
        }
        let opened = PinnedEntry::open(dir, name).and_then(|entry| Ok((entry.stat()?, entry)));
        let (now, entry) = opened.map_err(error::target_error("open"))?;
        if Inode::of(&now) != Inode::of(stat) || now.file_type() != stat.file_type() {
            return Err(EntryError::Changed);
        }
        let target = EntrySide { file: entry.file(), stat };
        self.apply_to(job, EntrySides { target, ..sides })
    }

    /// Sets what differs. The owner is first, because it clears bits of the mode and capabilities.
    /// The mode follows the extended attributes, whose change it may forbid. The time is last.
    fn apply_to(mut self, job: &CopyJob<'_>, sides: EntrySides<'_>) -> Result<(), EntryError> {
        let source = &wanted_stat(job, sides);
        let EntrySide { file: to, stat: target } = sides.target;
        if self.changes_owner() && !self.chown(job, to)? {
            (self.owner, self.group) = (None, None);
            self.mode = self.mode.map(|_| self.mode_for(source, target));
        }
        self.make_writable_for_xattrs(job, sides)?;
        for (name, value) in &self.set {
            tolerate_unsupported(job, to.set_xattr(name, value), "set the extended attributes of")?;
        }
        for name in &self.remove {
            tolerate_unsupported(job, to.remove_xattr(name), "remove the extended attributes of")?;
        }
        if let Some(mode) = self.mode {
            to.chmod(mode).map_err(error::target_error("set the mode of"))?;
        }
        if let Some((seconds, nanoseconds)) = self.modified {
            to.set_modified(seconds, nanoseconds)
                .map_err(error::target_error("set the time of"))?;
        }
        Ok(())
    }

    /// Sets the owner. Returns false if that is not permitted.
    fn chown(&self, job: &CopyJob<'_>, to: FileRef<'_>) -> Result<bool, EntryError> {
        match to.chown(self.owner, self.group) {
            Ok(()) => Ok(true),
            Err(error) if is_not_permitted(&error) => {
                if job.executor.privileged {
                    let text = "not all owners can be set on the target: continuing without them";
                    job.warn_once(WarningTopic::Owner, text);
                }
                Ok(false)
            }
            Err(error) => Err(EntryError::Target("set the owner of", error)),
        }
    }

    /// Makes the target writable if needed: without root, extended attributes can only be set on
    /// writable files.
    fn make_writable_for_xattrs(
        &mut self,
        job: &CopyJob<'_>,
        sides: EntrySides<'_>,
    ) -> Result<(), EntryError> {
        let source = &wanted_stat(job, sides);
        let EntrySide { file: to, stat: target } = sides.target;
        let mode = target.mode & MODE;
        let changes = !self.set.is_empty() || !self.remove.is_empty();
        let is_link = source.file_type() == FileType::Symlink;
        if job.executor.privileged || !changes || is_link || mode & 0o200 != 0 {
            return Ok(());
        }
        self.mode = Some(self.mode_for(source, target));
        to.chmod(mode | 0o200).map_err(error::target_error("set the mode of"))
    }
}

/// Selects the attributes that are mirrored.
fn mirrored_xattrs(names: Vec<CString>, privileged: bool) -> Vec<CString> {
    let travels = |name: &CString| {
        name.as_c_str() != MARK_ATTRIBUTE
            && file_attributes::is_mirrored(name.as_bytes(), privileged)
    };
    names.into_iter().filter(travels).collect()
}

/// Ignores the error of an attribute that the target does not support, with a warning: the rest is
/// mirrored.
fn tolerate_unsupported(
    job: &CopyJob<'_>,
    result: io::Result<()>,
    action: &'static str,
) -> Result<(), EntryError> {
    match result {
        Err(error) if file_attributes::is_missing(&error) => Ok(()),
        Err(error) if is_not_permitted(&error) || file_attributes::is_unsupported(&error) => {
            let text = "not all extended attributes and ACLs can be set on the target: continuing \
                        without them";
            job.warn_once(WarningTopic::Attributes, text);
            Ok(())
        }
        // The space for the attributes of one file is exhausted, not the disk.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOSPC) => {
            Err(EntryError::Target(action, Errno::TOOBIG.into()))
        }
        done => done.map_err(error::target_error(action)),
    }
}

fn is_not_permitted(error: &io::Error) -> bool {
    // EINVAL: an owner that a user namespace does not map.
    matches!(Errno::from_io_error(error), Some(Errno::PERM | Errno::INVAL))
}
