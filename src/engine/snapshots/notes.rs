//! Notes for the next run: the identity of each source, the mounts inside it, and deletions that
//! are held. A restart continues with them as a reload does.

use std::{
    collections::BTreeSet,
    io, mem,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_core::{
    fleet::Member,
    fs_event::MirrorId,
    job::{DirtyPath, HeldDeletions, HoldReason},
    path::{Escaped, TreePath},
    snapshot::{DifferenceKind, SourceDifference},
    time::Moment,
};
use serde::{Deserialize, Serialize};

use super::{RETRY_PAUSE, Snapshots, SourceSnapshots};
use crate::{
    engine::{Engine, sync::SyncInstance},
    exec::source_root::SourceNote,
    hex,
    report::Category,
    snapshot::{StoredPath, read_notes, write_notes},
    unhex,
};

/// Notes on a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceNotes {
    /// Path of the source, for people.
    source: String,
    /// Identity of the boot of the machine.
    boot: String,
    syncs: Vec<SyncNote>,
}

/// Notes on one sync of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SyncNote {
    /// Name of the target.
    target: String,
    source: SourceNote,
    #[serde(default)]
    held: Vec<HeldNote>,
}

/// Held deletions: see [`HeldDeletions`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct HeldNote {
    paths: Vec<StoredPath>,
    count: u64,
    total: Option<u64>,
    /// Bytes of each name, in hexadecimal digits.
    names: Vec<String>,
    reason: HoldReasonNote,
}

/// Reason to hold deletions: see [`HoldReason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum HoldReasonNote {
    Unobserved,
    Observed,
    EmptySource,
}

impl Engine {
    /// Continues with the notes of the last run. If a full transfer was asked for, the present
    /// sources are accepted.
    pub(in crate::engine) fn restore_notes(&mut self) {
        let Some(snapshots) = &mut self.snapshots else { return };
        for (id, instance) in self.registry.iter() {
            if !snapshots.is_full {
                snapshots.restore_source(instance);
            }
            if let Some(mirror) = self.fleet.mirror_mut(id) {
                mirror.restore_held(snapshots.held(instance));
            }
        }
    }

    /// Stores the notes on the syncs that a reload removes: it may be undone.
    pub(in crate::engine) fn save_removed_notes(&mut self, kept: &BTreeSet<MirrorId>) {
        self.save_notes_of(|id| !kept.contains(&id));
    }

    /// Notes that the notes on the source of this mirror may have changed. Events of the source do
    /// not change them: what they make obsolete, a job finds.
    pub(in crate::engine) fn outdate_notes(&mut self, mirror: MirrorId) {
        if let (Some(snapshots), Some(instance)) = (&mut self.snapshots, self.registry.get(mirror))
            && instance.has_snapshots
        {
            snapshots.source_mut(instance.source.path()).outdate_notes();
        }
    }

    /// Stores the notes that may have changed, but not too soon after a failure. What a user is
    /// told of held deletions must survive a crash, so this comes before the log and the answers.
    pub(in crate::engine) fn save_due_notes(&mut self) {
        let now = self.now();
        let Some(snapshots) = self.snapshots.as_ref().filter(|_| self.fleet.is_running()) else {
            return;
        };
        let is_due = |source: &SourceSnapshots| source.notes_due.is_some_and(|due| due <= now);
        let due = snapshots.sources.iter().filter(|(_, source)| is_due(source));
        for path in due.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.save_notes(&path, now);
        }
    }

    /// Stores the notes on a source, if they have changed.
    fn save_notes(&mut self, path: &Path, now: Moment) {
        let mut syncs: Vec<_> =
            self.members_of(path).filter_map(|(id, _)| self.sync_note(id)).collect();
        let Some(snapshots) = &mut self.snapshots else { return };
        let boot = snapshots.boot.clone();
        // Those on syncs that a reload has removed.
        let known = snapshots.notes(path);
        let is_removed = |it: &&SyncNote| syncs.iter().all(|sync| sync.target != it.target);
        let removed: Vec<_> = known.syncs.iter().filter(is_removed).cloned().collect();
        if known.boot == boot {
            syncs.extend(removed);
        }
        let holds = syncs.iter().any(|sync| !sync.held.is_empty());
        let source = Escaped(path.as_os_str().as_bytes()).to_string();
        let notes = SourceNotes { source: source.clone(), boot, syncs };
        let file = snapshots.state_dir.notes_of(path);
        let retry = now + snapshots.interval.max(RETRY_PAUSE);
        let log = snapshots.log.clone();
        let state = snapshots.source_mut(path);
        let stored = state.store_notes(&file, notes, retry);
        let were_unstored = mem::replace(&mut state.are_holds_unstored, holds && stored.is_err());
        match stored {
            Err(error) if holds && !were_unstored => {
                let file = Escaped(file.as_os_str().as_bytes());
                log.say(
                    Category::Warn,
                    format_args!(
                        "cannot write {file}: {error}: the next start makes the held deletions of \
                         {source} if they are within maxDelete"
                    ),
                );
            }
            Err(error) if !holds => snapshots.report_failure(path, &error),
            Ok(()) | Err(_) => {}
        }
    }

    /// Stores the notes on all sources, at the end.
    pub(super) fn save_all_notes(&mut self) {
        self.save_notes_of(|_| true);
    }

    /// Stores the notes on the sources of these syncs.
    fn save_notes_of(&mut self, is_meant: impl Fn(MirrorId) -> bool) {
        let syncs = self.registry.iter().filter(|(id, it)| it.has_snapshots && is_meant(*id));
        let paths: BTreeSet<PathBuf> =
            syncs.map(|(_, instance)| instance.source.path().to_owned()).collect();
        let now = self.now();
        for path in paths {
            self.save_notes(&path, now);
        }
    }

    fn sync_note(&self, id: MirrorId) -> Option<SyncNote> {
        let instance = self.registry.get(id)?;
        let mirror = self.fleet.member(id).and_then(Member::built_in)?;
        Some(SyncNote {
            target: instance.target_text(),
            source: instance.source.note(),
            held: mirror.held().map(HeldNote::new).collect(),
        })
    }
}

impl SourceSnapshots {
    /// Notes that the notes may have changed.
    pub(super) fn outdate_notes(&mut self) {
        self.notes_due.get_or_insert(Moment::ORIGIN);
    }

    /// Stores these notes at a path, unless they are there. If that fails, it is to be tried again
    /// at `retry`.
    fn store_notes(&mut self, file: &Path, notes: SourceNotes, retry: Moment) -> io::Result<()> {
        self.notes_due = None;
        if self.notes.as_ref() == Some(&notes) {
            return Ok(());
        }
        write_notes(file, &notes).inspect_err(|_| self.notes_due = Some(retry))?;
        self.notes = Some(notes);
        Ok(())
    }
}

impl Snapshots {
    /// Continues with the identity of a source that was noted for this sync.
    pub(in crate::engine) fn restore_source(&mut self, instance: &SyncInstance) {
        let boot = self.boot.clone();
        if let Some((note, noted_at)) = self.sync_note(instance) {
            instance.source.restore(&note.source, *noted_at == boot);
        }
    }

    /// Returns the held deletions that were noted for this sync.
    pub(in crate::engine) fn held(&mut self, instance: &SyncInstance) -> Vec<HeldDeletions> {
        let note = self.sync_note(instance);
        let held = note.into_iter().flat_map(|(note, _)| &note.held);
        held.filter_map(HeldNote::deletions).collect()
    }

    /// Returns the note on a sync, and the boot in which it was written.
    fn sync_note(&mut self, instance: &SyncInstance) -> Option<(&SyncNote, &String)> {
        if !instance.has_snapshots {
            return None;
        }
        let notes = self.notes(instance.source.path());
        let target = instance.target_text();
        let note = notes.syncs.iter().find(|it| it.target == target)?;
        Some((note, &notes.boot))
    }

    /// Returns the notes of the last run on a source. If they can't be used, which is logged, there
    /// are none.
    fn notes(&mut self, path: &Path) -> &SourceNotes {
        let (file, log) = (self.state_dir.notes_of(path), self.log.clone());
        let read = || {
            let error = match read_notes(&file) {
                Ok(notes) => return notes.unwrap_or_default(),
                Err(error) => error,
            };
            let shown = Escaped(file.as_os_str().as_bytes());
            let text = "it is unknown which source and which deletions wait for an operator";
            log.say(Category::Warn, format_args!("cannot use the notes {shown}: {error}: {text}"));
            SourceNotes::default()
        };
        self.source_mut(path).notes.get_or_insert_with(read)
    }
}

impl HeldNote {
    fn new(held: &HeldDeletions) -> Self {
        let HeldDeletions { paths, count, total, names, reason } = held;
        let path = |dirty: &DirtyPath| {
            let dirty = dirty.clone();
            StoredPath::new(&SourceDifference { dirty, kind: DifferenceKind::Compared })
        };
        Self {
            paths: paths.iter().map(path).collect(),
            count: *count,
            total: *total,
            names: names.iter().map(|name| hex(name.as_bytes())).collect(),
            reason: match reason {
                HoldReason::Unobserved => HoldReasonNote::Unobserved,
                HoldReason::Observed => HoldReasonNote::Observed,
                HoldReason::EmptySource => HoldReasonNote::EmptySource,
            },
        }
    }

    /// Returns the deletions. `None` if the note is damaged.
    fn deletions(&self) -> Option<HeldDeletions> {
        let Self { paths, count, total, names, reason } = self;
        let paths = paths.iter().map(|path| Some(path.difference()?.dirty));
        let names = names.iter().map(|name| TreePath::new(&unhex(name)?));
        Some(HeldDeletions {
            paths: paths.collect::<Option<_>>()?,
            count: *count,
            total: *total,
            names: names.collect::<Option<_>>()?,
            reason: match reason {
                HoldReasonNote::Unobserved => HoldReason::Unobserved,
                HoldReasonNote::Observed => HoldReason::Observed,
                HoldReasonNote::EmptySource => HoldReason::EmptySource,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use mirror_core::job::Scope;

    use super::*;

    #[test]
    fn notes_that_could_not_be_stored_are_stored_later() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("state");
        let file = directory.join("a.notes");
        let mut source = SourceSnapshots::new(directory.join("a.snapshot"));
        let notes = SourceNotes { source: "/s".into(), ..SourceNotes::default() };
        let retry = Moment::ORIGIN + RETRY_PAUSE;
        assert!(source.store_notes(&file, notes.clone(), retry).is_err());
        assert_eq!(source.notes_due, Some(retry));
        std::fs::create_dir(&directory).unwrap();
        source.store_notes(&file, notes.clone(), retry).unwrap();
        assert_eq!(source.notes_due, None);
        assert_eq!(read_notes(&file), Ok(Some(notes)));
    }

    #[test]
    fn held_deletions_are_stored_as_they_are() {
        let path = |bytes: &[u8]| TreePath::new(bytes).unwrap();
        for reason in [HoldReason::Unobserved, HoldReason::Observed, HoldReason::EmptySource] {
            let held = HeldDeletions {
                paths: vec![
                    DirtyPath::root_tree(),
                    DirtyPath { path: path(b"a/\xff\n"), scope: Scope::Entry },
                ],
                count: 30,
                total: None,
                names: vec![path(b"a/b"), path(b"\xfe")],
                reason,
            };
            let note = HeldNote::new(&held);
            let text = serde_json::to_string(&note).unwrap();
            let stored: HeldNote = serde_json::from_str(&text).unwrap();
            assert_eq!(stored.deletions(), Some(held));
        }
        let damaged = HeldNote {
            names: vec!["0".into()],
            paths: Vec::new(),
            count: 1,
            total: None,
            reason: HoldReasonNote::Observed,
        };
        assert_eq!(damaged.deletions(), None);
    }
}
