//! Comparison of source and target that only reads.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use mirror_core::{fs_event::EntryKind, path::TreePath, plan::options::TransferPhase};

use super::{DirectExecutor, error::os_message, path_text};
use crate::exec::dry_run::Drift;

const SECOND: i128 = 1_000_000_000;

/// Steps of the times that file systems store. Measuring that of the target would write to it.
const STEPS: [i128; 6] = [1, 100, 1_000, 10_000_000, SECOND, 2 * SECOND];

/// Bits of permissions.
const PERMISSIONS: u32 = 0o7777;

impl DirectExecutor {
    /// Compares the target with the source as the first transfer would, by size, time, type and
    /// attributes, and changes nothing. The source must have been pinned.
    #[must_use]
    pub(crate) fn dry_run(&self) -> Drift {
        let (source, target) = (self.source.path(), &*self.settings.target);
        if self.source.open().is_err() {
            return Drift::failed("the source is not available".into());
        }
        let device = match fs::symlink_metadata(source) {
            Ok(found) => found.dev(),
            Err(error) => return Drift::failed(format!("{}: {error}", path_text(source))),
        };
        let target_root = match target_root(target) {
            Ok(found) => found,
            Err(why) => return Drift::failed(why),
        };
        let target_id = target_root.as_ref().map(|found| (found.dev(), found.ino()));
        let mut walk =
            DryWalk { executor: self, source, target, device, target_id, drift: Drift::none() };
        let mut directories = vec![(TreePath::root(), target_root.is_some())];
        while let Some((directory, exists)) = directories.pop() {
            walk.compare_directory(&directory, exists, &mut directories);
        }
        walk.drift
    }
}

/// Returns the root of the target. `None`: the first transfer would create it.
fn target_root(target: &Path) -> Result<Option<Metadata>, String> {
    match fs::metadata(target) {
        Ok(found) if found.is_dir() => Ok(Some(found)),
        Ok(_) => Err(format!("{}: it is not a directory", path_text(target))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = target.parent().filter(|parent| parent.is_dir());
            let why = || format!("{}: its parent directory does not exist", path_text(target));
            parent.map(|_| None).ok_or_else(why)
        }
        Err(error) => Err(format!("{}: {}", path_text(target), os_message(&error))),
    }
}

/// A comparison in progress.
struct DryWalk<'a> {
    executor: &'a DirectExecutor,
    source: &'a Path,
    target: &'a Path,
    device: u64,
    target_id: Option<(u64, u64)>,
    drift: Drift,
}

/// Names and metadata of a directory, in the order of the names.
type Listing = Vec<(Vec<u8>, Metadata)>;

impl DryWalk<'_> {
    /// Compares the entries of a directory, and adds its subdirectories to `next`. `exists` is true
    /// if the target has the directory.
    fn compare_directory(
        &mut self,
        path: &TreePath,
        exists: bool,
        next: &mut Vec<(TreePath, bool)>,
    ) {
        let Ok(entries) = list(&below(self.source, path)) else {
            self.drift.unreadable.add(path);
            return;
        };
        let target = if exists { list(&below(self.target, path)) } else { Ok(Vec::new()) };
        let target = match target {
            Ok(listing) => listing,
            Err(error) => {
                let directory = path_text(&below(self.target, path));
                self.drift.reached = Err(format!("{directory}: {}", os_message(&error)));
                return;
            }
        };
        for (name, source) in &entries {
            let Some(entry) = path.join(name) else { continue };
            let is_directory = source.is_dir();
            if self.is_skipped(&entry, source) {
                continue;
            }
            let found = find(&target, name);
            self.compare_entry(&entry, source, found);
            let stays = !self.executor.settings.options.one_file_system;
            if is_directory && (stays || source.dev() == self.device) {
                next.push((entry, found.is_some_and(Metadata::is_dir)));
            }
        }
        for (name, found) in &target {
            if let Some(entry) = path.join(name).filter(|_| find(&entries, name).is_none()) {
                self.count_deletions(&entry, found);
            }
        }
    }

    /// Returns true if an entry of the source is neither transferred nor deleted.
    fn is_skipped(&self, path: &TreePath, source: &Metadata) -> bool {
        let options = &self.executor.settings.options;
        let size = source.is_file().then_some(source.len());
        self.executor.settings.filter.excludes_entry(path, kind(source))
            || self.target_id == Some((source.dev(), source.ino())) && source.is_dir()
            || source.is_symlink() && !options.links
            || size.zip(options.max_size).is_some_and(|(size, most)| size > most)
            || size.zip(options.min_size).is_some_and(|(size, least)| size < least)
    }

    fn compare_entry(&mut self, path: &TreePath, source: &Metadata, target: Option<&Metadata>) {
        let options = &self.executor.settings.options;
        let Some(target) = target else {
            if !options.existing {
                self.count_sent(path, source);
            }
            return;
        };
        if source.file_type() != target.file_type() {
            self.count_deletions(path, target);
            self.count_sent(path, source);
        } else if source.is_file() {
            let is_kept = options.ignore_existing
                || options.update && nanoseconds(target) > nanoseconds(source);
            if !is_kept && !self.has_same_content(source, target) {
                self.count_sent(path, source);
            } else if !is_kept && !self.has_same_attributes(source, target) {
                self.drift.would_send.add(path);
            }
        } else {
            let link = |root: &Path| fs::read_link(below(root, path)).ok();
            let is_same = if source.is_symlink() {
                link(self.source) == link(self.target)
            } else {
                self.has_same_attributes(source, target) && source.rdev() == target.rdev()
            };
            if !is_same {
                self.drift.would_send.add(path);
            }
        }
    }

    /// Returns true if size and time are equal, as far as the target can represent the time.
    fn has_same_content(&self, source: &Metadata, target: &Metadata) -> bool {
        let settings = &self.executor.settings;
        let (time, other) = (nanoseconds(source), nanoseconds(target));
        let window = settings.modify_window.map_or(0, |window| window.as_nanos());
        let is_same_time = (time - other).unsigned_abs() <= window
            || STEPS.iter().any(|step| time - time.rem_euclid(*step) == other);
        source.len() == target.len() && (is_same_time || !settings.options.times)
    }

    /// Returns true if permissions and owners are equal, where they are mirrored.
    fn has_same_attributes(&self, source: &Metadata, target: &Metadata) -> bool {
        let options = &self.executor.settings.options;
        let owners = self.executor.privileged;
        let permissions = |of: &Metadata| of.mode() & PERMISSIONS;
        let checks_permissions = options.perms && options.chmod.is_none();
        (!checks_permissions || permissions(source) == permissions(target))
            && (!owners || !options.owner || source.uid() == target.uid())
            && (!owners || !options.group || source.gid() == target.gid())
    }

    fn count_sent(&mut self, path: &TreePath, source: &Metadata) {
        self.drift.would_send.add(path);
        if source.is_file() {
            self.drift.bytes += source.len();
        }
    }

    /// Counts an entry of the target, and everything below it, except what is protected.
    fn count_deletions(&mut self, path: &TreePath, target: &Metadata) {
        let settings = &self.executor.settings;
        let mut entries = vec![(path.clone(), target.is_dir())];
        while let Some((path, is_directory)) = entries.pop() {
            let kind = if is_directory { EntryKind::Directory } else { EntryKind::Other };
            if !settings.delete.applies(TransferPhase::Startup)
                || settings.filter.protects_below(&path, kind, |_| true)
            {
                continue;
            }
            self.drift.would_delete.add(&path);
            let listed =
                if is_directory { list(&below(self.target, &path)) } else { Ok(Vec::new()) };
            let listed = listed.unwrap_or_default();
            entries.extend(
                listed.iter().filter_map(|(name, found)| Some((path.join(name)?, found.is_dir()))),
            );
        }
    }
}

fn kind(entry: &Metadata) -> EntryKind {
    if entry.is_dir() { EntryKind::Directory } else { EntryKind::Other }
}

/// Returns the modification time in nanoseconds since 1970.
fn nanoseconds(entry: &Metadata) -> i128 {
    i128::from(entry.mtime()) * SECOND + i128::from(entry.mtime_nsec())
}

fn below(root: &Path, path: &TreePath) -> PathBuf {
    root.join(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

/// Returns the metadata of a name.
fn find<'a>(listing: &'a Listing, name: &[u8]) -> Option<&'a Metadata> {
    let at = listing.binary_search_by(|(other, _)| other.as_slice().cmp(name)).ok()?;
    listing.get(at).map(|(_, found)| found)
}

/// Lists a directory in the order of the names. Entries that vanish meanwhile are left out.
fn list(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) => listing.push((entry.file_name().into_vec(), found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    listing.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(listing)
}
