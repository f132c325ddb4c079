//! Owner, mode, times and extended attributes: what differs, and setting it.

use std::{ffi::CString, io};

use mirror_platform::{dir::Stat, spot::Spot};
use rustix::{fs::FileType, io::Errno};

use super::{
    options,
    pass::Pass,
    trouble::{self, Trouble},
    warn::Topic,
};

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const MODE: u32 = 0o7777;
const OTHERS: u32 = 0o077;
const CAPABILITY: &[u8] = b"security.capability";

/// An entry on both sides.
#[derive(Clone, Copy)]
pub(super) struct Ends<'a> {
    /// Where the attributes come from, and what was seen there.
    pub(super) source: (Spot<'a>, &'a Stat),
    /// Where they go, and what is there.
    pub(super) target: (Spot<'a>, &'a Stat),
    /// Whether the target was just made, so that its time is anything.
    pub(super) is_new: bool,
    /// Whether the target is known to have no extended attributes, so that they need not be
    /// asked for.
    pub(super) bare: bool,
}

/// What has to be set so that the attributes of an entry are those of its source.
#[derive(Debug, Default)]
pub(super) struct Plan {
    owner: Option<u32>,
    group: Option<u32>,
    mode: Option<u32>,
    set: Vec<(CString, Vec<u8>)>,
    remove: Vec<CString>,
    modified: Option<(i64, u32)>,
}

/// Makes the attributes of the target those of the source.
pub(super) fn copy(pass: &Pass<'_>, ends: Ends<'_>) -> Result<(), Trouble> {
    Plan::new(pass, ends)?.carry_out(pass, ends)
}

/// What an entry is: a file, a directory, a link..
pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

/// Whether the attributes of the source would lend somebody what he could not read, or rights that he
/// did not have, if they were set on what the target has: another owner, or the set-user or set-group
/// bit. Size and time are his to set, so they do not tell that it is a copy.
pub(super) fn lends_rights(pass: &Pass<'_>, ends: Ends<'_>) -> bool {
    if !pass.traits().keeps_owners {
        return false;
    }
    let (source, target) = (options::wanted(pass, ends), ends.target.1);
    let bits = u32::from(source.stx_mode) & !u32::from(target.stx_mode) & (SET_USER | SET_GROUP);
    source.stx_uid != target.stx_uid || bits != 0
}

/// Takes from a directory of the target what its source does not give, before anything comes into it.
/// What it does not give yet is given at the end, where it is told as well if anything fails.
pub(super) fn tighten(pass: &Pass<'_>, ends: Ends<'_>) {
    let source = options::wanted(pass, ends);
    let (to, target) = ends.target;
    let (wanted, mode) = (u32::from(source.stx_mode) & MODE, u32::from(target.stx_mode) & MODE);
    let is_others = pass.traits().keeps_owners
        && (source.stx_uid, source.stx_gid) != (target.stx_uid, target.stx_gid);
    let is_open = mode & !wanted & OTHERS != 0;
    if !is_open && !is_others && ends.bare {
        return;
    }
    let narrow = mode & (wanted | !OTHERS);
    // Nobody else comes in while its owner and its ACL are changed.
    let shut = if is_others { narrow & !OTHERS } else { narrow };
    let _ = to.chmod(shut);
    if let Ok(plan) = Plan::new(pass, ends)
        && (plan.changes_owner() || plan.changes_acl())
    {
        let _ = Plan { mode: None, modified: None, ..plan }.carry_out(pass, ends);
        let _ = to.chmod(narrow);
    }
}

impl Plan {
    /// What differs.
    pub(super) fn new(pass: &Pass<'_>, ends: Ends<'_>) -> Result<Self, Trouble> {
        let (source, target) = (&options::wanted(pass, ends), ends.target.1);
        let mut plan = Self {
            // Only root can give a file away.
            owner: (pass.direct.privileged && source.stx_uid != target.stx_uid)
                .then_some(source.stx_uid),
            group: (source.stx_gid != target.stx_gid).then_some(source.stx_gid),
            ..Self::default()
        };
        plan.compare_xattrs(pass, ends)?;
        let wanted = plan.mode_for(source, target);
        // A new owner clears the set-user bit, and a new ACL sets bits of the mode.
        let unsure =
            plan.changes_owner() && wanted & (SET_USER | SET_GROUP) != 0 || plan.changes_acl();
        if file_type(source) != FileType::Symlink
            && (unsure || wanted != u32::from(target.stx_mode) & MODE)
        {
            plan.mode = Some(wanted);
        }
        let times = pass.direct.settings.options.times;
        if times && (ends.is_new || !pass.grain().same(source, target)) {
            plan.modified = Some((source.stx_mtime.tv_sec, source.stx_mtime.tv_nsec));
        }
        Ok(plan)
    }

    /// Whether it would lend the capabilities of the source to what the target has: whoever could
    /// write that would have them.
    pub(super) fn lends_rights(&self) -> bool {
        self.set.iter().any(|(name, _)| name.as_bytes() == CAPABILITY)
    }

    /// Whether nothing differs.
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
        names.into_iter().any(|name| name.as_bytes().starts_with(b"system.posix_acl_"))
    }

    /// The mode to set: without the set-user or set-group bit where the user or group can't be
    /// had, since it would lend the rights of somebody else.
    fn mode_for(&self, source: &Stat, target: &Stat) -> u32 {
        let mut mode = u32::from(source.stx_mode) & MODE;
        if file_type(source) != FileType::Directory {
            if self.owner.unwrap_or(target.stx_uid) != source.stx_uid {
                mode &= !SET_USER;
            }
            if self.group.unwrap_or(target.stx_gid) != source.stx_gid {
                mode &= !SET_GROUP;
            }
        }
        mode
    }

    fn compare_xattrs(&mut self, pass: &Pass<'_>, ends: Ends<'_>) -> Result<(), Trouble> {
        let ((from, _), (to, _)) = (ends.source, ends.target);
        let privileged = pass.direct.privileged;
        let read = trouble::source("read the extended attributes of");
        let wanted = travelling(from.xattr_names().map_err(&read)?, privileged);
        let present = if ends.bare {
            Vec::new()
        } else {
            let read = trouble::target("read the extended attributes of");
            travelling(to.xattr_names().map_err(read)?, privileged)
        };
        self.remove = present.iter().filter(|name| !wanted.contains(name)).cloned().collect();
        for name in wanted {
            let value = match from.xattr(&name) {
                Ok(value) => value,
                Err(error) if is_no_data(&error) => continue,
                Err(error) => return Err(read(error)),
            };
            // A new owner clears the capabilities.
            let cleared = self.changes_owner() && name.as_bytes() == CAPABILITY;
            let is_there = present.contains(&name) && !cleared;
            if !is_there || !to.xattr(&name).is_ok_and(|there| there == value) {
                self.set.push((name, value));
            }
        }
        Ok(())
    }

    /// Sets what differs: first the owner, which clears bits of the mode and capabilities; the
    /// mode after the extended attributes, which it may forbid to set; the time last.
    pub(super) fn carry_out(mut self, pass: &Pass<'_>, ends: Ends<'_>) -> Result<(), Trouble> {
        let source = &options::wanted(pass, ends);
        let (to, target) = ends.target;
        if self.changes_owner() && !self.chown(pass, to)? {
            (self.owner, self.group) = (None, None);
            self.mode = self.mode.map(|_| self.mode_for(source, target));
        }
        self.open_for_xattrs(pass, ends)?;
        for (name, value) in &self.set {
            bear(pass, to.set_xattr(name, value), "set the extended attributes of")?;
        }
        for name in &self.remove {
            bear(pass, to.remove_xattr(name), "remove the extended attributes of")?;
        }
        if let Some(mode) = self.mode {
            to.chmod(mode).map_err(trouble::target("set the mode of"))?;
        }
        if let Some((seconds, nanoseconds)) = self.modified {
            to.set_modified(seconds, nanoseconds).map_err(trouble::target("set the time of"))?;
        }
        Ok(())
    }

    /// Sets the owner. Whether that was possible.
    fn chown(&self, pass: &Pass<'_>, to: Spot<'_>) -> Result<bool, Trouble> {
        match to.chown(self.owner, self.group) {
            Ok(()) => Ok(true),
            Err(error) if is_not_permitted(&error) => {
                if pass.direct.privileged {
                    let text = "not all owners can be set on the target: it goes on without them";
                    pass.warn_once(Topic::Owner, text);
                }
                Ok(false)
            }
            Err(error) => Err(Trouble::Target("set the owner of", error)),
        }
    }

    /// Who is not root can set extended attributes only on what he may write.
    fn open_for_xattrs(&mut self, pass: &Pass<'_>, ends: Ends<'_>) -> Result<(), Trouble> {
        let source = &options::wanted(pass, ends);
        let (to, target) = ends.target;
        let mode = u32::from(target.stx_mode) & MODE;
        let changes = !self.set.is_empty() || !self.remove.is_empty();
        let is_link = file_type(source) == FileType::Symlink;
        if pass.direct.privileged || !changes || is_link || mode & 0o200 != 0 {
            return Ok(());
        }
        self.mode = Some(self.mode_for(source, target));
        to.chmod(mode | 0o200).map_err(trouble::target("set the mode of"))
    }
}

/// The attributes that are mirrored. Those of other security modules belong to the machine, and
/// `trusted.SGI_ACL_*` is how XFS shows the ACLs that are listed anyway.
fn travelling(names: Vec<CString>, privileged: bool) -> Vec<CString> {
    let travels = |name: &CString| {
        let name = name.as_bytes();
        name.starts_with(b"user.")
            || name == b"system.posix_acl_access"
            || name == b"system.posix_acl_default"
            || privileged
                && (name == CAPABILITY
                    || name.starts_with(b"trusted.") && !name.starts_with(b"trusted.SGI_"))
    };
    names.into_iter().filter(travels).collect()
}

/// A target that can't hold an attribute is no reason not to mirror the rest.
fn bear(pass: &Pass<'_>, result: io::Result<()>, action: &'static str) -> Result<(), Trouble> {
    match result {
        Err(error) if is_no_data(&error) => Ok(()),
        Err(error)
            if is_not_permitted(&error)
                || Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) =>
        {
            let text = "not all extended attributes and ACLs can be set on the target: it goes on \
                        without them";
            pass.warn_once(Topic::Attributes, text);
            Ok(())
        }
        // The room for the attributes of one file is full, not the disk.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOSPC) => {
            Err(Trouble::Target(action, Errno::TOOBIG.into()))
        }
        done => done.map_err(trouble::target(action)),
    }
}

fn is_no_data(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NODATA)
}

fn is_not_permitted(error: &io::Error) -> bool {
    // EINVAL: an owner that a user namespace does not map.
    matches!(Errno::from_io_error(error), Some(Errno::PERM | Errno::INVAL))
}
