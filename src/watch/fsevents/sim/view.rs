//! Looks of the backend at the simulated file system.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use mirror_core::{fs_event::EntryKind, path::TreePath};
use mirror_platform::stored_entry::StoredEntry;
use rustix::io::Errno;

use super::{
    super::{
        flags::EventFlags,
        view::{SeenEntry, Sighting, TreeView, look_with},
    },
    Mistake, below_top,
    streams::SimMachine,
    text,
    tree::TOP,
};

/// Missing paths, each with its root. True for those that exist on a volume that is not mounted.
pub(super) type MissingPaths = BTreeMap<(usize, TreePath), bool>;

/// Looks at the simulated file system.
#[derive(Debug)]
pub(super) struct SimView {
    pub(super) machine: Arc<Mutex<SimMachine>>,
    /// The paths that were missing at some look of this drain.
    pub(super) missing: Arc<Mutex<MissingPaths>>,
}

impl TreeView for SimView {
    /// The directory.
    type Root = usize;

    fn open(&mut self, root: &Path) -> io::Result<usize> {
        let mut machine = self.machine.lock().unwrap();
        machine.tick();
        let found = machine.tree.find(TOP, below_top(root)).ok_or(Errno::NOENT)?;
        Ok(found)
    }

    fn look(&mut self, root: &usize, path: &TreePath) -> Sighting {
        let mut machine = self.machine.lock().unwrap();
        machine.tick();
        let tree = &machine.tree;
        let read = |path: &[u8]| {
            let entry = tree.find(*root, text(path)).ok_or(Errno::NOENT)?;
            let name = tree.name(entry).as_bytes().to_vec();
            let known = &tree.entries[entry];
            let (is_directory, device) = (known.is_directory, known.device);
            Ok(StoredEntry { name, is_directory, inode: entry as u64, device })
        };
        let mut sighting = look_with(path, read);
        match machine.mistake {
            Mistake::TrustRemoved if is_taken_as_removed(&machine, path) => {
                sighting.entry = SeenEntry::Missing;
            }
            Mistake::StoredNames => {
                (sighting.path, sighting.other_name_in) = (path.clone(), None);
            }
            Mistake::Volumes => sighting.device = 1,
            Mistake::Kinds => {
                if let SeenEntry::Found { kind, .. } = &mut sighting.entry
                    && !path.is_root()
                {
                    *kind = EntryKind::Other;
                }
            }
            _ => {}
        }
        let mut missing = self.missing.lock().unwrap();
        for path in [path, &sighting.path] {
            let (is_visible, is_hidden) = tree.has(*root, text(path.as_bytes()));
            if !is_visible {
                *missing.entry((*root, path.clone())).or_insert(is_hidden) &= is_hidden;
            }
        }
        sighting
    }

    fn mounts_below(&mut self, root: &Path) -> io::Result<Vec<TreePath>> {
        let mut machine = self.machine.lock().unwrap();
        machine.tick();
        let mounted = machine.tree.mounted_volume();
        let mounted = mounted.filter(|_| machine.mistake != Mistake::Volumes);
        let below = mounted.as_deref().and_then(|point| point.strip_prefix(root.to_str()?));
        Ok(below.and_then(|below| TreePath::new(below.as_bytes())).into_iter().collect())
    }
}

/// Returns true if an event of this entry has the flag of a removal.
fn is_taken_as_removed(machine: &SimMachine, path: &TreePath) -> bool {
    let end = format!("/{}", text(path.as_bytes()));
    let mut taken = machine.taken.iter().filter(|(taken, _)| taken.ends_with(&end));
    !path.is_root() && taken.any(|(_, flags)| flags.has(EventFlags::ITEM_REMOVED))
}
