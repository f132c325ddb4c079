//! The only backend of macOS: FSEvents.

use std::{collections::BTreeMap, io, os::fd::AsFd};

use mirror_core::fs_event::MirrorId;
use mirror_platform::fsevents::CoreServicesStreams;

use crate::watch::{
    Coverage, Preference,
    backend::{Backend, DrainStatus, Drained, WatchTree},
    fsevents::FsEventsBackend,
};

/// The backend, and the trees that it covers.
#[derive(Debug)]
pub(in crate::watch) struct Backends {
    fsevents: FsEventsBackend<CoreServicesStreams>,
    trees: BTreeMap<MirrorId, WatchTree>,
}

impl Backends {
    /// Creates the backend; it covers no tree yet. It has no other one to be preferred.
    ///
    /// # Errors
    ///
    /// As [`CoreServicesStreams::new`].
    pub(in crate::watch) fn new(_: Preference) -> io::Result<Self> {
        let fsevents = FsEventsBackend::new(CoreServicesStreams::new()?);
        Ok(Self { fsevents, trees: BTreeMap::new() })
    }

    /// Starts to cover a tree.
    ///
    /// # Errors
    ///
    /// As [`Backend::cover`].
    pub(in crate::watch) fn cover(&mut self, tree: &WatchTree) -> io::Result<()> {
        self.uncover(tree.mirror);
        self.fsevents.cover(tree)?;
        self.trees.insert(tree.mirror, tree.clone());
        Ok(())
    }

    /// Stops covering a mirror.
    pub(in crate::watch) fn uncover(&mut self, mirror: MirrorId) {
        if self.trees.remove(&mirror).is_some() {
            self.fsevents.uncover(mirror);
        }
    }

    /// Describes the coverage of a mirror with this number of polled directories.
    pub(in crate::watch) fn coverage(&self, _: MirrorId, _: usize, polled: usize) -> Coverage {
        let backend = self.fsevents.name();
        let reason = if polled > 0 {
            format!("{backend}; {polled} directories are polled")
        } else {
            backend.into()
        };
        Coverage { backend, reason, directories: 0, polled }
    }

    /// Returns no watches: FSEvents needs none for single directories.
    pub(in crate::watch) const fn list(&self, _: usize) -> (usize, Vec<(i32, Vec<u8>)>) {
        (0, Vec::new())
    }

    /// Number of watches of single directories.
    pub(in crate::watch) const fn watch_count(&self) -> usize {
        0
    }

    /// Returns the mirrors that are covered as a whole.
    pub(in crate::watch) fn marked(&self) -> impl Iterator<Item = MirrorId> {
        self.trees.keys().copied()
    }

    pub(in crate::watch) fn tree(&self, mirror: MirrorId) -> Option<&WatchTree> {
        self.trees.get(&mirror)
    }

    /// Iterates over the backends in use.
    pub(in crate::watch) fn all(&mut self) -> impl Iterator<Item = &mut dyn Backend> {
        let backend: &mut dyn Backend = &mut self.fsevents;
        std::iter::once(backend)
    }

    /// Returns the descriptors to poll of the backends in use.
    pub(in crate::watch) fn descriptors(
        &self,
    ) -> impl Iterator<Item = std::os::fd::BorrowedFd<'_>> {
        std::iter::once(self.fsevents.as_fd())
    }

    /// Returns the number of bytes of kernel events that were read and that the next drain handles.
    pub(in crate::watch) fn unhandled_bytes(&self) -> usize {
        self.fsevents.unhandled_bytes()
    }

    /// Does a bounded amount of the remaining work. Returns true if there is more.
    pub(in crate::watch) fn advance(&mut self, drained: &mut Drained) -> bool {
        self.fsevents.advance(drained)
    }

    /// Takes the events. An error is reported for each mirror: there is no other backend.
    pub(in crate::watch) fn drain(&mut self, drained: &mut Drained) -> DrainStatus {
        match self.fsevents.drain(drained) {
            Ok(status) => status,
            Err(error) => {
                let failed =
                    |mirror: &MirrorId| (*mirror, io::Error::new(error.kind(), error.to_string()));
                drained.failed.extend(self.trees.keys().map(failed));
                DrainStatus::Empty
            }
        }
    }
}
