//! Notes on a source for a later run: its identity, and the mounts inside it.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

use mirror_platform::identity::{DirIdentity, FileSystem, InodeIdentity};
use serde::{Deserialize, Serialize};

use super::{PinnedRoot, SourceRoot};
use crate::{exec::nested_mounts::MountNote, hex, unhex};

/// Identity of a source and the mounts inside it, as they are stored for a later run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceNote {
    root: Option<RootNote>,
    mounts: Vec<MountNote>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RootNote {
    file_system: String,
    inode: String,
    /// Mount point in hexadecimal digits, and the directory that is mounted there.
    mount: Option<(String, String)>,
}

impl SourceRoot {
    /// Returns what a later run has to know.
    #[must_use]
    pub(crate) fn note(&self) -> SourceNote {
        let root = self.pin_state().pinned.as_ref().map(PinnedRoot::note);
        SourceNote { root, mounts: self.mounts.notes() }
    }

    /// Continues with the source of an earlier run: only a directory that could follow it can be
    /// pinned, and what was mounted inside it is protected if it is not mounted any more.
    pub(crate) fn restore(&self, note: &SourceNote, is_same_boot: bool) {
        let pinned = note.root.as_ref().and_then(|root| root.pinned(&self.path));
        let is_lasting = |it: &PinnedRoot| it.file_system.is_lasting(is_same_boot);
        self.pin_state().pinned = pinned.filter(is_lasting);
        self.mounts.restore(&note.mounts, is_same_boot);
    }
}

impl PinnedRoot {
    fn note(&self) -> RootNote {
        let mount = self.mount.as_ref();
        RootNote {
            file_system: self.file_system.encode(),
            inode: self.instance.inode().encode(),
            mount: mount.map(|(point, it)| (hex(point.as_os_str().as_bytes()), it.encode())),
        }
    }
}

impl RootNote {
    /// Returns the root at this path. `None` if the note is damaged.
    fn pinned(&self, path: &Path) -> Option<PinnedRoot> {
        let mount = match &self.mount {
            None => None,
            Some((point, inode)) => {
                let point = OsString::from_vec(unhex(point)?).into();
                Some((point, InodeIdentity::decode(inode)?))
            }
        };
        Some(PinnedRoot {
            path: path.to_owned(),
            instance: DirIdentity::of_earlier(InodeIdentity::decode(&self.inode)?),
            file_system: FileSystem::decode(&self.file_system)?,
            mount,
            is_earlier: true,
        })
    }
}
