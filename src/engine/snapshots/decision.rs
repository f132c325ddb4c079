//! Decides whether a target is as the last snapshot describes it.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use mirror_core::{
    fs_event::MirrorId,
    job::DirtyPath,
    path::Escaped,
    snapshot::{DifferenceKind, SourceComparison, SourceDifference, Unconfirmed},
};
use mirror_platform::{boot, dir::Dir, identity::FileSystem};

use crate::{
    config::{SyncConfig, read_regular_file},
    exec::{
        ssh::MarkRoutes,
        target_identity::TargetIdentity,
        target_mark::{TargetMark, directory_identity},
    },
    snapshot::{Footer, JournalEntry, LastSnapshot, StoredPath, StoredTarget, text_hash},
};

/// Target of a mirror, for a snapshot.
#[derive(Clone)]
pub(in crate::engine) struct SnapshotTarget {
    pub(in crate::engine) mirror: MirrorId,
    /// Name, which is the same under all settings.
    pub(in crate::engine) name: String,
    /// Hash of the settings that change what the target holds.
    pub(in crate::engine) settings: String,
    /// True if the user says that nothing else changes the target.
    pub(in crate::engine) is_trusted: bool,
    /// True if sources replace each other that keep size and time of each file.
    pub(in crate::engine) keeps_times: bool,
    pub(in crate::engine) identity: Option<Arc<TargetIdentity>>,
    /// Mark on another machine.
    pub(in crate::engine) remote_mark: Option<Arc<MarkRoutes>>,
    /// Number of entries on the target, if known.
    pub(in crate::engine) entries: Option<u64>,
}

/// Facts about the present, against which a snapshot is checked.
#[derive(Clone, Debug)]
pub(super) struct PresentFacts {
    /// Identity of the root of the source.
    pub(super) root: String,
    pub(super) boot: String,
    /// Seconds since 1970.
    pub(super) now: u64,
}

impl PresentFacts {
    /// Reads the facts for this source.
    ///
    /// # Errors
    ///
    /// The reason why there can be no snapshot of it.
    pub(super) fn of(root: &Dir) -> Result<Self, String> {
        let file_system = FileSystem::of(root).map_err(|error| error.to_string())?;
        if file_system.is_remote() {
            return Err("the source is on a network file system".into());
        }
        let root = directory_identity(root).map_err(|why| format!("the source: {why}"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        Ok(Self { root, boot: boot_id()?, now })
    }
}

/// Returns the identity of this boot of the machine.
///
/// # Errors
///
/// A message if the kernel does not tell.
pub(super) fn boot_id() -> Result<String, String> {
    boot::boot_id().map_err(|error| format!("cannot read the boot id: {error}"))
}

/// Decides what a target lacks.
pub(super) fn decide(
    last: &Result<LastSnapshot, String>,
    target: &SnapshotTarget,
    facts: &PresentFacts,
) -> SourceComparison {
    match differences(last, target, facts) {
        Ok(differences) => SourceComparison::Differences(differences),
        Err(reason) => {
            let written = match last {
                Ok(last) if last.footer.root == facts.root => written_since(last, &target.name),
                // The source was replaced, and not everything of it is known to be on the target:
                // its files may be new, and have the size and time of old ones.
                Ok(_) if !target.keeps_times => vec![DirtyPath::root_tree()],
                Ok(_) | Err(_) => Vec::new(),
            };
            SourceComparison::Unknown { reason, written }
        }
    }
}

/// Returns the paths that were written since this target had them, as far as the snapshot tells: a
/// full transfer would not notice them if size and time are equal.
fn written_since(last: &LastSnapshot, target: &str) -> Vec<DirtyPath> {
    let stored = stored_paths(last, target).filter_map(StoredPath::difference);
    let all = last.differences.iter().flatten().cloned().chain(stored);
    all.filter(|it| it.kind == DifferenceKind::Written).map(|it| it.dirty).collect()
}

/// Returns the paths that were not confirmed on a target when the snapshot was taken, and those
/// that were to be changed there since.
fn stored_paths<'a>(
    last: &'a LastSnapshot,
    target: &'a str,
) -> impl Iterator<Item = &'a StoredPath> {
    let states = last.footer.targets.iter().filter(move |state| state.target == target);
    let unconfirmed = states.flat_map(|state| state.unconfirmed.iter().chain([&state.written]));
    let changed = last.journal.iter().filter_map(move |entry| match entry {
        JournalEntry::Changed { target: name, paths } if name == target => Some(paths),
        JournalEntry::Changed { .. }
        | JournalEntry::Marking { .. }
        | JournalEntry::Marked { .. }
        | JournalEntry::Opened { .. }
        | JournalEntry::Closed => None,
    });
    unconfirmed.chain(changed).flatten()
}

fn differences(
    last: &Result<LastSnapshot, String>,
    target: &SnapshotTarget,
    facts: &PresentFacts,
) -> Result<Vec<SourceDifference>, String> {
    let last = last.as_ref().map_err(String::clone)?;
    check_footer(last, facts)?;
    let mut states = last.footer.targets.iter();
    let state = states.find(|state| state.target == target.name);
    let state = state.ok_or("the target is not in the snapshot")?;
    if state.settings != target.settings {
        return Err("the settings of the sync have changed".into());
    }
    if state.unconfirmed.is_none() {
        return Err("the target was not complete".into());
    }
    check_mark(&KnownMarks::of(last, state), target)?;
    let mut all = last.differences.clone().ok_or("most of the source has changed")?;
    for stored in stored_paths(last, &target.name) {
        all.push(stored.difference().ok_or("the snapshot is damaged")?);
    }
    if all.iter().any(SourceDifference::is_everything) {
        return Err("the last full transfer was not finished".into());
    }
    Ok(all)
}

/// Checks what concerns all targets of the source.
fn check_footer(last: &LastSnapshot, facts: &PresentFacts) -> Result<(), String> {
    let Footer { program, root, boot, is_final, taken, .. } = &last.footer;
    if program != env!("CARGO_PKG_VERSION") {
        return Err(format!("the snapshot is from version {}", Escaped(program.as_bytes())));
    }
    if *root != facts.root {
        return Err("the source is another directory than before".into());
    }
    if *taken > facts.now {
        return Err("the clock is behind the time of the snapshot".into());
    }
    let (mut is_closed, mut boot) = (*is_final, boot);
    for entry in &last.journal {
        match entry {
            JournalEntry::Opened { boot: opened } => (is_closed, boot) = (false, opened),
            JournalEntry::Closed => is_closed = true,
            JournalEntry::Changed { .. }
            | JournalEntry::Marking { .. }
            | JournalEntry::Marked { .. } => {}
        }
    }
    if !is_closed && *boot != facts.boot {
        return Err("the machine was restarted while lsyncd was running".into());
    }
    Ok(())
}

/// Marks that a target may have.
struct KnownMarks<'a> {
    state: &'a StoredTarget,
    /// From the oldest to the latest.
    marks: Vec<&'a String>,
    /// True if the target has got the last one, and so has none of the others any more.
    has_last: bool,
}

impl<'a> KnownMarks<'a> {
    fn of(last: &'a LastSnapshot, state: &'a StoredTarget) -> Self {
        let (mut marks, mut has_last) = (state.marks.iter().collect::<Vec<_>>(), false);
        for entry in &last.journal {
            match entry {
                JournalEntry::Marking { mark, targets } if targets.contains(&state.target) => {
                    marks.push(mark);
                    has_last = false;
                }
                JournalEntry::Marked { mark, targets } if targets.contains(&state.target) => {
                    has_last |= marks.last() == Some(&mark);
                }
                JournalEntry::Marking { .. }
                | JournalEntry::Marked { .. }
                | JournalEntry::Changed { .. }
                | JournalEntry::Opened { .. }
                | JournalEntry::Closed => {}
            }
        }
        Self { state, marks, has_last }
    }

    fn check(&self, mark: Option<&String>) -> Result<(), String> {
        let mark = mark.ok_or("the target has lost its mark")?;
        match self.marks.split_last() {
            Some((last, _)) if *last == mark => Ok(()),
            Some((_, others)) if !others.contains(&mark) => {
                Err("the target is newer than the snapshot".into())
            }
            Some(_) if !self.has_last => Ok(()),
            Some(_) | None => Err("the target is older than the snapshot".into()),
        }
    }
}

/// Checks that the target is the one that the snapshot describes, neither newer nor older.
fn check_mark(known: &KnownMarks<'_>, target: &SnapshotTarget) -> Result<(), String> {
    if let Some(mark) = target.remote_mark.as_ref().filter(|_| !target.is_trusted) {
        let found = mark.read().map_err(|why| format!("the target can't be checked: {why}"))?;
        known.check(found.as_ref())?;
        if let Some(found) = found {
            mark.resume(&found);
        }
        return Ok(());
    }
    match target.identity.as_ref().and_then(TargetIdentity::read_mark) {
        None if target.is_trusted => Ok(()),
        None => Err("it is unknown whether the target was changed by others: \
                     trustTarget = true says that it was not"
            .into()),
        Some(Err(why)) => Err(format!("the target can't be checked: {why}")),
        Some(Ok(TargetMark { identity, .. }))
            if Some(&identity) != known.state.identity.as_ref() =>
        {
            Err("the target is another directory than before".into())
        }
        Some(Ok(_)) if target.is_trusted => Ok(()),
        Some(Ok(TargetMark { mark, .. })) => known.check(mark.as_ref()),
    }
}

/// Returns the state of a target for a new snapshot with this mark.
pub(super) fn target_state(
    target: &SnapshotTarget,
    unconfirmed: Unconfirmed,
    previous: Option<&Footer>,
    mark: &str,
) -> StoredTarget {
    let mut known = previous.into_iter().flat_map(|footer| &footer.targets);
    let known = known.find(|state| state.target == target.name);
    let mut marks = match &target.remote_mark {
        Some(remote) => remote.present(),
        None => known.and_then(|state| state.marks.last()).into_iter().cloned().collect(),
    };
    marks.push(mark.to_owned());
    let stored = |paths: &[SourceDifference]| paths.iter().map(StoredPath::new).collect();
    let (unconfirmed, written) = match unconfirmed {
        Unconfirmed::Everything { written } => {
            let kind = DifferenceKind::Written;
            let written = written.into_iter().map(|dirty| SourceDifference { dirty, kind });
            (None, stored(&written.collect::<Vec<_>>()))
        }
        Unconfirmed::Paths(paths) => (Some(stored(&paths)), Vec::new()),
    };
    StoredTarget {
        target: target.name.clone(),
        settings: target.settings.clone(),
        identity: None,
        entries: target.entries,
        marks,
        unconfirmed,
        written,
    }
}

/// Returns the hash of the settings that change what a target holds, and of the files of rules that
/// they name. It reads these files, whose names count from `base_dir`.
pub(in crate::engine) fn settings_hash(sync: &SyncConfig, base_dir: &Path) -> String {
    let default =
        SyncConfig::new(String::new(), sync.kind, sync.source.clone(), sync.target.clone());
    let relevant = SyncConfig {
        name: String::new(),
        source_as_given: sync.source.clone(),
        debounce: default.debounce,
        open_wait: default.open_wait,
        insist: default.insist,
        max_delete: default.max_delete,
        max_delete_seen: default.max_delete_seen,
        replaced_source: default.replaced_source,
        marker: default.marker,
        trust_target: default.trust_target,
        exit_codes: default.exit_codes,
        ssh_exit_codes: default.ssh_exit_codes,
        batch_size_limit: default.batch_size_limit,
        max_processes: default.max_processes,
        crontab: default.crontab,
        hook: default.hook,
        tunnel: default.tunnel,
        script: default.script,
        unchecked_target: default.unchecked_target,
        ..sync.clone()
    };
    let mut settings = format!("{relevant:?}").into_bytes();
    let arguments = sync.rsync.extra.iter().chain(&sync.rsync.long);
    settings.extend(arguments.filter_map(|argument| named_file(argument, base_dir)).flatten());
    text_hash(&settings)
}

/// Returns the content of a file of rules that an argument of rsync names, alone or at its end,
/// such as `--exclude-from=FILE` and `--filter=merge FILE`.
fn named_file(argument: &[u8], base_dir: &Path) -> Option<Vec<u8>> {
    if argument.starts_with(b"--password-file") {
        return None;
    }
    let ends = argument.iter().enumerate().filter(|(_, byte)| matches!(byte, b'=' | b' ' | b','));
    let starts = [0].into_iter().chain(ends.map(|(at, _)| at + 1));
    let mut names = starts.filter_map(|start| argument.get(start..));
    names.find_map(|name| read_regular_file(&base_dir.join(OsStr::from_bytes(name))).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_rules_in_named_files_are_settings_and_a_password_is_none() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("a file"), "*.o").unwrap();
        let named = |argument: &str| named_file(argument.as_bytes(), place.path());
        for argument in ["a file", "--exclude-from=a file", "--filter=merge a file", "._,a file"] {
            assert_eq!(named(argument).as_deref(), Some(&b"*.o"[..]), "{argument}");
        }
        for argument in ["--password-file=a file", "--exclude-from=missing", "--archive", ""] {
            assert_eq!(named(argument), None, "{argument}");
        }
    }
}
