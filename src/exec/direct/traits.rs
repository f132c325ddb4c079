//! What the file system of the target can hold.

use std::os::fd::AsFd;

use mirror_platform::{
    dir::{Dir, Stat},
    spot::Spot,
};

use super::{
    draft::Draft,
    grain::{Grain, time},
};

/// What the file system of the target can hold, found out by a file that is made there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    /// How finely it keeps times.
    pub(super) grain: Grain,
    /// Whether owners and the set-user and set-group bits stay as they are set. If not, it can't be
    /// told by them whether a file was copied.
    pub(super) keeps_owners: bool,
    /// Whether a file that is not complete may have a name, which a crash leaves there.
    pub(super) names_drafts: bool,
    /// Whether two names that differ by their case are one.
    pub(super) folds_case: bool,
}

impl Traits {
    /// What is assumed if nothing can be found out: then too much is copied, not too little.
    pub(super) const USUAL: Self =
        Self { grain: Grain::FINE, keeps_owners: true, names_drafts: false, folds_case: false };

    /// Tries what becomes of a file at `target`, which leaves no trace.
    pub(super) fn of(target: &Dir, privileged: bool) -> Self {
        let before = target.stat(b"");
        let traits = tried(target, privileged).unwrap_or(Self::USUAL);
        // The trial may have needed a name, and so changed the time of the directory.
        if let Ok(before) = before
            && target.stat(b"").is_ok_and(|now| time(&now) != time(&before))
        {
            let (seconds, nanoseconds) = (before.stx_mtime.tv_sec, before.stx_mtime.tv_nsec);
            let _ = Spot::Open(target.as_fd()).set_modified(seconds, nanoseconds);
        }
        traits
    }
}

fn tried(target: &Dir, privileged: bool) -> Option<Traits> {
    let names_drafts = Draft::unnamed(target, b"time").ok()?.name().is_some();
    let draft = Draft::named(target, b"time").ok()?;
    let grain = Grain::of(&draft).unwrap_or(Grain::FINE);
    let folds_case =
        draft.name().is_some_and(|name| target.stat(&name.to_ascii_uppercase()).is_ok());
    let keeps_owners = privileged && keeps_owners(&draft);
    Some(Traits { grain, keeps_owners, names_drafts, folds_case })
}

/// Gives a file to somebody else, with bits that lend his rights: nobody can open it.
fn keeps_owners(draft: &Draft<'_>) -> bool {
    const SOMEBODY: u32 = 12_345;
    const BITS: u32 = 0o6000;
    let spot = Spot::Open(draft.as_fd());
    let set = spot.chown(Some(SOMEBODY), None).and_then(|()| spot.chmod(BITS));
    let is_kept = |stat: &Stat| stat.stx_uid == SOMEBODY && u32::from(stat.stx_mode) & BITS == BITS;
    set.is_ok() && draft.stat().is_ok_and(|stat| is_kept(&stat))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_system_can_hold_is_found_and_leaves_no_trace() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let before = dir.stat(b"").unwrap();
        let privileged = rustix::process::geteuid().is_root();
        let traits = Traits::of(&dir, privileged);
        assert_eq!((traits.grain, traits.folds_case), (Grain::FINE, false));
        assert_eq!(traits.keeps_owners, privileged);
        assert_eq!(time(&dir.stat(b"").unwrap()), time(&before));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
