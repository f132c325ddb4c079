//! A simulated file system: directories, files and volumes, and the processes that change them.

use std::collections::BTreeMap;

use super::super::flags::EventFlags;
use crate::watch::tests::backend_contract::WatchRng;

/// Number of the directory that holds the roots.
pub(super) const TOP: usize = 0;

/// The root, whatever its name is, a directory beside it, and a root in it.
const ROOT: usize = 1;
const OUTSIDE: usize = 2;
const NEST: usize = 3;

/// Path of the directory that holds the roots.
pub(super) const TOP_PATH: &str = "/private/var/top";

pub(super) type PlayedName = &'static str;

/// A file or a directory.
#[derive(Debug)]
pub(super) struct SimEntry {
    pub(super) is_directory: bool,
    pub(super) children: BTreeMap<PlayedName, usize>,
    parent: usize,
    name: PlayedName,
    /// Number of changes of its content or its attributes.
    pub(super) version: u64,
    pub(super) device: u64,
    /// Root of the volume that is mounted here.
    pub(super) mounted: Option<usize>,
    is_removed: bool,
}

/// A change as the kernel reports it to the service.
#[derive(Clone, Debug)]
pub(super) struct KernelReport {
    /// Absolute path at the time of the change.
    pub(super) path: String,
    pub(super) flags: EventFlags,
    pub(super) inode: Option<u64>,
}

#[derive(Debug)]
pub(super) struct PlayedTree {
    pub(super) rng: WatchRng,
    pub(super) entries: Vec<SimEntry>,
    /// True if names that differ only in case lead to the same entry.
    pub(super) ignores_case: bool,
    /// True if the root is renamed now and then.
    pub(super) moves_root: bool,
    /// The volume, and its mount point, once there is one.
    volume: Option<(usize, usize)>,
    pub(super) reports: Vec<KernelReport>,
    /// Log of everything that happened, if requested.
    pub(super) log: Option<Vec<String>>,
}

impl PlayedTree {
    pub(super) fn new(seed: u64, ignores_case: bool) -> Self {
        let mut tree = Self {
            rng: WatchRng(seed),
            entries: Vec::new(),
            ignores_case,
            moves_root: false,
            volume: None,
            reports: Vec::new(),
            log: None,
        };
        tree.add((TOP, ""), true, 1);
        for (parent, name) in [("", "in"), ("", "out"), ("in", "nest"), ("in", "mnt")] {
            let parent = tree.find(TOP, parent).expect("it was made");
            tree.make(parent, name, true);
        }
        let volume = tree.add((TOP, ""), true, 2);
        tree.make(volume, "a", true);
        tree.make(volume, "b", false);
        tree.reports.clear();
        let point = tree.find(TOP, "in/mnt").expect("it was made");
        tree.volume = Some((volume, point));
        tree
    }

    fn add(
        &mut self,
        (parent, name): (usize, PlayedName),
        is_directory: bool,
        device: u64,
    ) -> usize {
        self.entries.push(SimEntry {
            is_directory,
            children: BTreeMap::new(),
            parent,
            name,
            version: 0,
            device,
            mounted: None,
            is_removed: false,
        });
        self.entries.len() - 1
    }

    /// Returns the entry of a directory, before a volume that is mounted there.
    fn covered_child(&self, directory: usize, name: &str) -> Option<usize> {
        let mut children = self.entries[directory].children.iter();
        let is_it =
            |known: &str| known == name || (self.ignores_case && known.eq_ignore_ascii_case(name));
        children.find(|(known, _)| is_it(known)).map(|(_, &entry)| entry)
    }

    pub(super) fn child(&self, directory: usize, name: &str) -> Option<usize> {
        let entry = self.covered_child(directory, name)?;
        Some(self.entries[entry].mounted.unwrap_or(entry))
    }

    /// Returns the entry at a path below a directory.
    pub(super) fn find(&self, directory: usize, path: &str) -> Option<usize> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(directory, |directory, name| self.child(directory, name))
    }

    /// Returns the name of an entry in its directory.
    pub(super) fn name(&self, entry: usize) -> PlayedName {
        self.entries[entry].name
    }

    /// Returns true if exactly this path exists, and true if it would on the volume that is not
    /// mounted. What a mounted volume hides does not exist.
    pub(super) fn has(&self, directory: usize, path: &str) -> (bool, bool) {
        let (name, rest) = path.split_once('/').unwrap_or((path, ""));
        if name.is_empty() {
            return (true, false);
        }
        let Some(&child) = self.entries[directory].children.get(name) else {
            return (false, false);
        };
        let (is_visible, is_hidden) = self.has(self.entries[child].mounted.unwrap_or(child), rest);
        let is_point =
            |(_, point): &(usize, usize)| *point == child && self.entries[child].mounted.is_none();
        let volume = self.volume.filter(is_point);
        (is_visible, is_hidden || volume.is_some_and(|(volume, _)| self.has(volume, rest).0))
    }

    /// Returns the absolute path of an entry. `None` if it has none now.
    fn path(&self, entry: usize) -> Option<String> {
        let mut names = Vec::new();
        let mut here = entry;
        while here != TOP {
            let SimEntry { name, parent, is_removed, .. } = &self.entries[here];
            if *is_removed || name.is_empty() {
                return None;
            }
            names.push(*name);
            here = *parent;
        }
        names.push(TOP_PATH);
        names.reverse();
        Some(names.join("/"))
    }

    fn is_in(&self, mut entry: usize, directory: usize) -> bool {
        while entry != directory {
            if entry == TOP {
                return false;
            }
            entry = self.entries[entry].parent;
        }
        true
    }

    pub(super) fn note(&mut self, entry: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(entry());
        }
    }

    /// Reports a change of an entry of a directory.
    fn report(&mut self, (directory, name): (usize, PlayedName), entry: usize, change: EventFlags) {
        let Some(directory) = self.path(directory) else { return };
        let kind = if self.entries[entry].is_directory {
            EventFlags::ITEM_IS_DIR
        } else {
            [EventFlags::ITEM_IS_FILE, EventFlags::ITEM_IS_SYMLINK]
                [usize::from(entry.is_multiple_of(7))]
        };
        let path = format!("{directory}/{name}");
        let inode = u64::try_from(entry).ok();
        self.note(|| format!("change {path} {:x} inode {entry}", change.0));
        self.reports.push(KernelReport { path, flags: change | kind, inode });
    }

    fn report_special(&mut self, path: String, flags: EventFlags) {
        self.note(|| format!("special {path} {:x}", flags.0));
        self.reports.push(KernelReport { path, flags, inode: None });
    }
}

/// Changes of the tree.
impl PlayedTree {
    /// Makes a random change, if it is possible.
    pub(super) fn change(&mut self) {
        let (from, to) = (self.random_location(), self.random_location());
        let (a, x) = from;
        match self.rng.roll(24) {
            0..=4 => self.make(a, x, true),
            5..=7 => self.make(a, x, false),
            8..=10 => self.touch(a, x),
            11..=15 => self.rename(from, to),
            16 => self.rename_case(a, x),
            17 => self.exchange(from, to),
            18 => self.remove(a, x),
            19 | 20 => self.remove_all(a, x),
            21 => self.mount(),
            22 => self.unmount(),
            _ if self.moves_root && self.rng.roll(2) == 0 => self.move_root(),
            _ => self.return_root(),
        }
    }

    /// Returns a random location, usually one where something exists.
    fn random_location(&mut self) -> (usize, PlayedName) {
        const NAMES: [PlayedName; 6] = ["a", "b", "c", "A", "B", "skip"];
        let mut here = [ROOT, ROOT, ROOT, NEST, OUTSIDE, ROOT][self.rng.roll(6)];
        for _ in 0..self.rng.roll(4) {
            let entry = &self.entries[here];
            let children =
                entry.children.values().map(|&it| self.entries[it].mounted.unwrap_or(it));
            let children: Vec<usize> =
                children.filter(|&it| self.entries[it].is_directory).collect();
            if children.is_empty() {
                break;
            }
            here = children[self.rng.roll(children.len())];
        }
        (here, NAMES[self.rng.roll(NAMES.len())])
    }

    pub(super) fn make(&mut self, directory: usize, name: PlayedName, is_directory: bool) {
        if self.child(directory, name).is_some() || self.entries[directory].is_removed {
            return;
        }
        let device = self.entries[directory].device;
        let entry = self.add((directory, name), is_directory, device);
        self.entries[directory].children.insert(name, entry);
        self.report((directory, name), entry, EventFlags::ITEM_CREATED);
        if !is_directory {
            self.report((directory, name), entry, EventFlags::ITEM_MODIFIED);
        }
    }

    fn touch(&mut self, directory: usize, name: PlayedName) {
        let Some(entry) = self.child(directory, name) else { return };
        self.entries[entry].version += 1;
        let attributes = [
            EventFlags::ITEM_INODE_META_MOD,
            EventFlags::ITEM_FINDER_INFO_MOD,
            EventFlags::ITEM_CHANGE_OWNER,
            EventFlags::ITEM_XATTR_MOD,
        ][self.rng.roll(4)];
        let content = [EventFlags::ITEM_MODIFIED, EventFlags::ITEM_CLONED][self.rng.roll(2)];
        let is_content = !self.entries[entry].is_directory && self.rng.roll(2) == 0;
        let flags = if is_content { content } else { attributes };
        self.report((directory, self.name(entry)), entry, flags);
    }

    /// Returns true if an entry must keep its name.
    fn is_fixed(&self, entry: usize) -> bool {
        let point = self.volume.map(|(_, point)| point);
        entry <= NEST || Some(entry) == point || self.entries[entry].mounted.is_some()
    }

    fn rename(&mut self, (a, x): (usize, PlayedName), (b, y): (usize, PlayedName)) {
        let Some(moved) = self.child(a, x) else { return };
        if self.is_fixed(moved) || self.is_in(b, moved) || self.entries[b].is_removed {
            return;
        }
        if self.entries[a].device != self.entries[b].device || self.name(moved) == y && a == b {
            return;
        }
        let target = self.child(b, y).filter(|&target| target != moved);
        if let Some(target) = target {
            let (new, old) = (&self.entries[moved], &self.entries[target]);
            let is_busy = self.is_fixed(target) || !old.children.is_empty();
            if is_busy || new.is_directory != old.is_directory {
                return;
            }
            // It keeps the case of the old name.
            self.drop_name(target);
        }
        let old = self.name(moved);
        self.entries[a].children.remove(old);
        self.entries[b].children.insert(y, moved);
        (self.entries[moved].parent, self.entries[moved].name) = (b, y);
        self.report((a, old), moved, EventFlags::ITEM_RENAMED);
        if let Some(target) = target.map(|target| self.name(target)).filter(|name| *name != y) {
            self.report((b, target), moved, EventFlags::ITEM_RENAMED);
        }
        self.report((b, y), moved, EventFlags::ITEM_RENAMED);
    }

    fn rename_case(&mut self, directory: usize, name: PlayedName) {
        let other = ["a", "A", "b", "B"].into_iter();
        let mut other = other.filter(|it| it.eq_ignore_ascii_case(name));
        if let (Some(one), Some(two)) = (other.next(), other.next()) {
            let is_first = self.child(directory, name).is_some_and(|it| self.name(it) == one);
            let (from, to) = if is_first { (one, two) } else { (two, one) };
            self.rename((directory, from), (directory, to));
        }
    }

    fn exchange(&mut self, (a, x): (usize, PlayedName), (b, y): (usize, PlayedName)) {
        let (Some(one), Some(other)) = (self.child(a, x), self.child(b, y)) else { return };
        let is_fixed = self.is_fixed(one) || self.is_fixed(other);
        let is_within = self.is_in(b, one) || self.is_in(a, other);
        if one == other || is_fixed || is_within || self.entries[a].device != self.entries[b].device
        {
            return;
        }
        let (x, y) = (self.name(one), self.name(other));
        for ((directory, name), entry) in [((b, y), one), ((a, x), other)] {
            self.entries[directory].children.insert(name, entry);
            (self.entries[entry].parent, self.entries[entry].name) = (directory, name);
        }
        self.report((a, x), other, EventFlags::ITEM_RENAMED);
        self.report((b, y), one, EventFlags::ITEM_RENAMED);
    }

    fn drop_name(&mut self, entry: usize) {
        let SimEntry { parent, name, .. } = self.entries[entry];
        self.entries[parent].children.remove(name);
        self.entries[entry].is_removed = true;
    }

    fn remove(&mut self, directory: usize, name: PlayedName) {
        let Some(entry) = self.child(directory, name) else { return };
        if self.is_fixed(entry) || !self.entries[entry].children.is_empty() {
            return;
        }
        let name = self.name(entry);
        self.drop_name(entry);
        self.report((directory, name), entry, EventFlags::ITEM_REMOVED);
    }

    fn remove_all(&mut self, directory: usize, name: PlayedName) {
        let Some(entry) = self.child(directory, name).filter(|&it| !self.is_fixed(it)) else {
            return;
        };
        let children: Vec<PlayedName> = self.entries[entry].children.keys().copied().collect();
        for child in children {
            self.remove_all(entry, child);
        }
        self.remove(directory, name);
    }
}

/// Volumes, and the root.
impl PlayedTree {
    /// Returns the volume if it is mounted.
    pub(super) fn mounted_volume(&self) -> Option<String> {
        let (_, point) = self.volume.filter(|(_, point)| self.entries[*point].mounted.is_some())?;
        self.path(point)
    }

    fn is_root_away(&self) -> bool {
        self.entries[TOP].children.contains_key("gone")
    }

    fn mount(&mut self) {
        let Some((volume, point)) = self.volume.filter(|_| !self.is_root_away()) else { return };
        if self.entries[point].mounted.is_none() {
            let SimEntry { parent, name, .. } = self.entries[point];
            self.entries[point].mounted = Some(volume);
            (self.entries[volume].parent, self.entries[volume].name) = (parent, name);
            let path = self.path(point).expect("it exists");
            self.report_special(path, EventFlags::MOUNT);
        }
    }

    fn unmount(&mut self) {
        let Some((volume, point)) = self.volume else { return };
        if self.entries[point].mounted.take().is_some() {
            // Without a name, nothing in it has a path.
            self.entries[volume].name = "";
            let path = self.path(point).expect("it exists");
            self.report_special(path, EventFlags::UNMOUNT);
        }
    }

    /// Renames the root, and maybe creates another one in its place.
    fn move_root(&mut self) {
        if self.is_root_away() || self.mounted_volume().is_some() {
            return;
        }
        self.rename_root("in", "gone");
        if self.rng.roll(2) == 0 {
            self.make(TOP, "in", true);
            let other = self.child(TOP, "in").expect("it was made");
            for name in ["a", "nest"] {
                self.make(other, name, true);
            }
            self.report_special(format!("{TOP_PATH}/in"), EventFlags::ROOT_CHANGED);
        }
    }

    /// Gives the root its name again.
    pub(super) fn return_root(&mut self) {
        if self.is_root_away() {
            self.remove_all(TOP, "in");
            self.rename_root("gone", "in");
        }
    }

    fn rename_root(&mut self, from: PlayedName, to: PlayedName) {
        self.entries[TOP].children.remove(from);
        self.entries[TOP].children.insert(to, ROOT);
        self.entries[ROOT].name = to;
        self.report_special(format!("{TOP_PATH}/in"), EventFlags::ROOT_CHANGED);
    }
}
