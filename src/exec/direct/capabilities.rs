//! Capabilities of the target's file system.

use std::{io, os::fd::AsFd};

use mirror_platform::{dir::Dir, metadata::FileRef, stat::Stat};
use rustix::fs::symlinkat;

use super::{
    temp_file::{TempEntry, TempFile},
    timestamps::{TimestampGranularity, mtime},
};

/// Capabilities of the target's file system, probed with a temporary file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TargetCapabilities {
    /// Granularity of modification times.
    pub(super) granularity: TimestampGranularity,
    /// True if owners and the set-user and set-group bits are kept as set. If not, they do not show
    /// whether a file was copied.
    pub(super) keeps_owners: bool,
    /// True if an incomplete file may have a name, which a crash leaves behind.
    pub(super) names_temp_files: bool,
    /// True if names that differ only in case are the same.
    pub(super) folds_case: bool,
    pub(super) link_attributes: LinkAttributes,
}

/// Effects of setting the owner or the time of a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkAttributes {
    /// They are those of the link.
    Own,
    /// They are those of what the link leads to, which may be any file there. So does sshfs.
    Followed,
}

impl TargetCapabilities {
    /// Assumed capabilities if the probe fails. They cause too many copies rather than too few.
    pub(super) const ASSUMED: Self = Self {
        granularity: TimestampGranularity::FINEST,
        keeps_owners: true,
        names_temp_files: false,
        folds_case: false,
        link_attributes: LinkAttributes::Own,
    };

    /// Probes the file system with a temporary file at `target` and leaves no trace.
    pub(super) fn probe(target: &Dir, privileged: bool) -> Self {
        let before = target.stat(b"");
        let capabilities = probe_with_file(target, privileged).unwrap_or(Self::ASSUMED);
        // The probe may have created a name, which changes the time of the directory.
        if let Ok(before) = before
            && target.stat(b"").is_ok_and(|now| mtime(&now) != mtime(&before))
        {
            let (seconds, nanoseconds) = (before.mtime.seconds, before.mtime.nanoseconds);
            let _ = FileRef::Open(target.as_fd()).set_modified(seconds, nanoseconds);
        }
        capabilities
    }
}

fn probe_with_file(target: &Dir, privileged: bool) -> Option<TargetCapabilities> {
    let names_temp_files = TempFile::unnamed(target, b"time").ok()?.name().is_some();
    let temp = TempFile::named(target, b"time").ok()?;
    let granularity = TimestampGranularity::probe(&temp).unwrap_or(TimestampGranularity::FINEST);
    let folds_case =
        temp.name().is_some_and(|name| target.stat(&name.to_ascii_uppercase()).is_ok());
    let keeps_owners = privileged && keeps_owners(&temp);
    let link_attributes =
        if follows_links(target) { LinkAttributes::Followed } else { LinkAttributes::Own };
    Some(TargetCapabilities {
        granularity,
        keeps_owners,
        names_temp_files,
        folds_case,
        link_attributes,
    })
}

/// Sets the time of a link that leads nowhere, where following it does no harm.
fn follows_links(target: &Dir) -> bool {
    const SECONDS: i64 = 1_000_000_000;
    let create = |name: &[u8]| symlinkat([name, b"-none"].concat(), target, name);
    let Ok((link, ())) = TempEntry::new(target, b"link", create) else { return false };
    let set = FileRef::Named(target.as_fd(), link.name()).set_modified(SECONDS, 0);
    set.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        && target.stat(link.name()).is_ok()
}

/// Changes the owner of a file and sets the bits that grant his rights. Nobody can open the file.
fn keeps_owners(temp: &TempFile<'_>) -> bool {
    const SOMEBODY: u32 = 12_345;
    const BITS: u32 = 0o6000;
    let spot = FileRef::Open(temp.as_fd());
    let set = spot.chown(Some(SOMEBODY), None).and_then(|()| spot.chmod(BITS));
    let is_kept = |stat: &Stat| stat.uid == SOMEBODY && stat.mode & BITS == BITS;
    set.is_ok() && temp.stat().is_ok_and(|stat| is_kept(&stat))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_probed_without_a_trace() {
        let temp_dir = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp_dir.path()).unwrap();
        let before = dir.stat(b"").unwrap();
        let privileged = rustix::process::geteuid().is_root();
        let capabilities = TargetCapabilities::probe(&dir, privileged);
        assert_eq!(
            (capabilities.granularity, capabilities.folds_case, capabilities.link_attributes),
            (TimestampGranularity::FINEST, false, LinkAttributes::Own)
        );
        assert_eq!(capabilities.keeps_owners, privileged);
        assert_eq!(mtime(&dir.stat(b"").unwrap()), mtime(&before));
        assert_eq!(std::fs::read_dir(temp_dir.path()).unwrap().count(), 0);
    }
}
