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
    plan::options::DeletePolicy,
    snapshot::{DifferenceKind, SourceDifference},
    time::Moment,
};
use serde::{Deserialize, Serialize};

use super::{RETRY_PAUSE, Snapshots, SourceSnapshots};
use crate::{
    config::target_path::uniform_spelling,
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
    #[serde(flatten)]
    sync: NotedSync,
    source: SourceNote,
    #[serde(default)]
    held: Vec<HeldNote>,
}

/// Sync of a source, recognized by its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct NotedSync {
    /// Target, in a [uniform spelling](uniform_spelling).
    target: String,
    /// Hash of the settings: several syncs can share a target, each with its own filter.
    #[serde(default)]
    settings: String,
    /// Configured path of the source, which can be a link.
    #[serde(default)]
    given: String,
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
        let Some(snapshots) = &mut self.snapshots else { return };
        let boot = snapshots.boot.clone();
        let known = snapshots.notes(path).clone();
        let members = self.members_of(path);
        let mut syncs: Vec<_> = members.filter_map(|(id, _)| self.sync_note(id, &known)).collect();
        syncs.append(&mut known.without(&syncs, &boot));
        let Some(snapshots) = &mut self.snapshots else { return };
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

    /// Returns the note on a sync, given those that are stored.
    fn sync_note(&self, id: MirrorId, known: &SourceNotes) -> Option<SyncNote> {
        let instance = self.registry.get(id)?;
        let mirror = self.fleet.member(id).and_then(Member::built_in)?;
        let sync = NotedSync::new(instance);
        let held = if deletes(instance) {
            mirror.held().map(HeldNote::new).collect()
        } else {
            // Nobody has decided.
            known.of(&sync).into_iter().flat_map(|note| note.held.clone()).collect()
        };
        Some(SyncNote { sync, source: instance.source.note(), held })
    }
}

/// Returns true if the sync can make, and so hold, deletions.
fn deletes(instance: &SyncInstance) -> bool {
    instance.config.delete != DeletePolicy::Never
}

impl NotedSync {
    fn new(instance: &SyncInstance) -> Self {
        let SyncInstance { config, settings_hash, .. } = instance;
        Self {
            target: Escaped(uniform_spelling(&config.target).as_bytes()).to_string(),
            settings: settings_hash.clone(),
            given: Escaped(config.source_as_given.as_os_str().as_bytes()).to_string(),
        }
    }
}

impl SourceNotes {
    /// Returns the notes on a sync. If none has its settings, those on all syncs with its target:
    /// rather hold too much than forget what a person was told.
    fn of(&self, sync: &NotedSync) -> Vec<&SyncNote> {
        let of_target: Vec<_> =
            self.syncs.iter().filter(|note| note.sync.target == sync.target).collect();
        let is_same = |note: &&&SyncNote| note.sync.settings == sync.settings;
        of_target.iter().find(is_same).map_or(of_target.clone(), |note| vec![*note])
    }

    /// Returns the notes on syncs that are none of the present ones, since a reload has removed
    /// them. Where their target has another sync, only held deletions are left of them.
    fn without(self, present: &[SyncNote], boot: &str) -> Vec<SyncNote> {
        let is_removed = |note: &SyncNote| {
            let mut of_target = present.iter().filter(|it| it.sync.target == note.sync.target);
            of_target.all(|it| it.sync.settings != note.sync.settings && !note.held.is_empty())
        };
        let Self { syncs, boot: noted_at, .. } = self;
        let mut removed: Vec<_> = syncs.into_iter().filter(is_removed).collect();
        if noted_at != boot {
            // Their source may have another identity now, but nobody has decided.
            removed.retain(|note| !note.held.is_empty());
            for note in &mut removed {
                note.source = SourceNote::default();
            }
        }
        removed
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
        if !instance.has_snapshots {
            return;
        }
        let boot = self.boot.clone();
        let notes = self.notes(instance.source.path());
        if let Some(note) = notes.of(&NotedSync::new(instance)).first() {
            instance.source.restore(&note.source, notes.boot == boot);
        }
    }

    /// Returns the held deletions that were noted for this sync. If the configured path of its
    /// source has led elsewhere, it is those that were noted there.
    pub(in crate::engine) fn held(&mut self, instance: &SyncInstance) -> Vec<HeldDeletions> {
        if !instance.has_snapshots || !deletes(instance) {
            return Vec::new();
        }
        let sync = NotedSync::new(instance);
        let mut noted = self.notes(instance.source.path()).of(&sync).into_iter().peekable();
        if noted.peek().is_some() {
            return noted.flat_map(SyncNote::held).collect();
        }
        let read = |path: &PathBuf| read_notes::<SourceNotes>(path).ok().flatten();
        let others: Vec<_> = self.state_dir.all_notes().iter().filter_map(read).collect();
        let is_it = |note: &&SyncNote| note.sync.given == sync.given;
        others.iter().flat_map(|it| it.of(&sync)).filter(is_it).flat_map(SyncNote::held).collect()
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

impl SyncNote {
    fn held(&self) -> impl Iterator<Item = HeldDeletions> {
        self.held.iter().filter_map(HeldNote::deletions)
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
    fn notes_on_syncs_that_share_a_target_are_told_apart() {
        let note = |target: &str, settings: &str, count| {
            let held = HeldNote {
                paths: Vec::new(),
                count,
                total: None,
                names: Vec::new(),
                reason: HoldReasonNote::Observed,
            };
            SyncNote {
                sync: NotedSync {
                    target: target.into(),
                    settings: settings.into(),
                    ..NotedSync::default()
                },
                held: if count == 0 { Vec::new() } else { vec![held] },
                ..SyncNote::default()
            }
        };
        let all = [note("t", "one", 1), note("t", "two", 2), note("t", "three", 0)];
        let notes = SourceNotes {
            boot: "boot".into(),
            syncs: all.iter().cloned().chain([note("u", "one", 4), note("v", "one", 0)]).collect(),
            ..SourceNotes::default()
        };
        let of = |target: &str, settings: &str| {
            let found = notes.of(&note(target, settings, 0).sync);
            found.iter().flat_map(|it| &it.held).map(|it| it.count).collect::<Vec<_>>()
        };
        assert_eq!(of("t", "two"), [2]);
        assert!(of("t", "three").is_empty() && of("w", "one").is_empty());
        assert_eq!(of("t", "other"), [1, 2]);
        let without = |boot: &str| {
            let left = notes.clone().without(&[note("t", "one", 0)], boot);
            left.into_iter().map(|it| (it.sync.target, it.sync.settings)).collect::<Vec<_>>()
        };
        let pair = |target: &str, settings: &str| (target.to_owned(), settings.to_owned());
        assert_eq!(without("boot"), [pair("t", "two"), pair("u", "one"), pair("v", "one")]);
        assert_eq!(without("other"), [pair("t", "two"), pair("u", "one")]);
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
