//! Lookup of the paths of a directory in the mirrors, and what is remembered of it.

use std::{io, os::unix::ffi::OsStrExt, sync::Arc};

use mirror_core::{
    fs_event::FsEventKind,
    path::{Escaped, TreePath},
};
use mirror_platform::fanotify::{FanotifyEntry, handle_of};

use super::{
    super::backend::{Drained, strip_root},
    FanotifyBackend,
    drops::DropReason,
    location::Location,
    translation::ResolvedDir,
};

/// Maximum number of cached directories.
const MAX_CACHED: usize = 8192;

/// Maximum number of missing directories that wait to be looked up again.
const MAX_MISSING: usize = 8192;

/// Certainty of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    /// It holds until a directory is renamed.
    Certain,
    /// It holds for this event only.
    Momentary,
    /// The directory was not found.
    Missing,
}

impl FanotifyBackend {
    /// Returns the current paths of a directory.
    pub(super) fn resolve(
        &mut self,
        entry: &FanotifyEntry<'_>,
        drained: &mut Drained,
    ) -> Arc<ResolvedDir> {
        let key = entry.key();
        let known = if let Some(known) = self.cache.get(key) {
            known.clone()
        } else if self.missing.contains(key) {
            Arc::default()
        } else {
            self.look_up_new(key, drained)
        };
        if known.paths.is_empty() {
            let is_missing = self.missing.contains(key);
            let reason = if is_missing { DropReason::Missing } else { DropReason::Outside };
            self.dropped.add(reason);
        }
        known
    }

    /// Looks up a directory, and keeps the answer if it is certain.
    fn look_up_new(&mut self, key: &[u8], drained: &mut Drained) -> Arc<ResolvedDir> {
        let (known, certainty) = self.look_up(handle_of(key), drained);
        let known = Arc::new(known);
        match certainty {
            Certainty::Momentary => {}
            Certainty::Missing => {
                if self.missing.len() >= MAX_MISSING {
                    self.verify_missing(drained);
                }
                self.missing.insert(key.into());
            }
            Certainty::Certain => {
                if self.cache.len() >= MAX_CACHED {
                    self.cache.clear();
                }
                self.cache.insert(key.into(), known.clone());
            }
        }
        known
    }

    /// Looks up the current paths of a directory in all views.
    fn look_up(&mut self, handle: &[u8], drained: &mut Drained) -> (ResolvedDir, Certainty) {
        let mut known = ResolvedDir::default();
        let (mut is_found, mut is_certain) = (false, true);
        for at in 0..self.views.len() {
            match self.locate_in(at, handle) {
                Ok(Some(Location::Missing)) => continue,
                Ok(Some(Location::At(path))) => self.add_paths(&path, &mut known),
                Ok(Some(Location::Below(path))) => {
                    known.is_approximate = true;
                    self.add_paths(&path, &mut known);
                }
                Ok(Some(Location::Moving(path))) => {
                    is_certain = false;
                    known.is_approximate = true;
                    self.add_paths(&path, &mut known);
                }
                Ok(Some(Location::Hidden)) => self.dropped.add(DropReason::Hidden),
                Ok(None) => {
                    self.dropped.add(DropReason::Unmounted);
                    continue;
                }
                Err(error) => {
                    is_certain = false;
                    self.report_all_lost(&error.to_string(), drained);
                }
            }
            is_found = true;
        }
        let certainty = match (is_found, is_certain) {
            (false, _) => Certainty::Missing,
            (true, false) => Certainty::Momentary,
            (true, true) => Certainty::Certain,
        };
        (known, certainty)
    }

    /// Looks up a directory in a view. `None` if that is no longer mounted.
    fn locate_in(&mut self, view: usize, handle: &[u8]) -> io::Result<Option<Location>> {
        let locate = self.locate;
        let Some(view) = self.views.get_mut(view) else { return Ok(None) };
        view.open()?.map(|mount| locate(mount, handle)).transpose()
    }

    /// Looks the missing directories up again. Those that exist are rescanned.
    pub(super) fn verify_missing(&mut self, drained: &mut Drained) {
        for key in std::mem::take(&mut self.missing) {
            let (found, _) = self.look_up(handle_of(&key), drained);
            for (mirror, path) in found.paths {
                drained.warnings.push(format!(
                    "fanotify: a directory was found only later, events may be lost: rescanning \
                     {}",
                    Escaped(path.as_bytes())
                ));
                drained.push(mirror, FsEventKind::Lost(path));
            }
        }
    }

    fn add_paths(&self, path: &[u8], known: &mut ResolvedDir) {
        for mirror in self.mirrors.iter().filter(|mirror| mirror.is_covered) {
            let root = mirror.tree.root.as_os_str().as_bytes();
            let Some(path) = strip_root(root, path).and_then(TreePath::new) else { continue };
            if path.is_root() || !(mirror.tree.skip)(&path) {
                let in_mirror = (mirror.tree.mirror, path);
                if !known.paths.contains(&in_mirror) {
                    known.paths.push(in_mirror);
                }
            }
        }
    }
}
