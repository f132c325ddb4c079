//! Explanation of the treatment of one path.

use std::{os::unix::ffi::OsStrExt, path::Path, thread};

use mirror_core::{
    fleet::Member,
    fs_event::{EntryKind, MirrorId},
    job::HeldDeletions,
    mirror::{DelayKind, Mirror},
    path::{Escaped, TreePath},
    queue::{
        Stage,
        event_queue::{EventStatus, QueuedEvent},
    },
};

use mirror_platform::dir::Dir;
use rustix::fs::FileType;

use super::{
    answer, labels,
    report::watcher_text,
    selection::{absolute_path, path_in},
};
use crate::{
    config::SyncConfig,
    control::{
        frame::{ErrorKind, RequestError},
        request::{ByteText, ExplainDocument, PathExplanation},
        server::AnswerSender,
    },
    engine::{Engine, Message, sync::SyncInstance},
};

/// Number of batches that are listed for a path.
const MAX_BATCHES: usize = 5;

/// The stage of a path, and the reason of a failure or hold.
type StageText = (&'static str, Option<String>);

/// A path whose type was looked up.
#[derive(Debug)]
pub(crate) struct PathLookup {
    path: Vec<u8>,
    /// The type of the entry at the source.
    kind: &'static str,
    reply: AnswerSender,
}

impl Engine {
    /// Looks up the type of a path, on a thread of its own: a file system that hangs must not stop
    /// the engine. The answer follows with [`Message::PathFound`].
    pub(super) fn look_up(&self, path: &ByteText, reply: AnswerSender) {
        let path = match absolute_path(path) {
            Ok(path) => path,
            Err(error) => return answer::<ExplainDocument>(reply, Err(error)),
        };
        let in_source = |(_, instance): (MirrorId, &SyncInstance)| {
            Some((instance.config.source.clone(), path_in(&instance.config, &path)?))
        };
        let Some((source, below)) = self.registry.iter().find_map(in_source) else {
            let text = format!("no sync has a source with the path {}", Escaped(&path));
            let error = RequestError::new(ErrorKind::NoSuchSync, text);
            return answer::<ExplainDocument>(reply, Err(error));
        };
        let inbox = self.inbox.clone();
        // Without a thread the request is answered as one that was dropped.
        let _ = thread::Builder::new().name("explain".into()).spawn(move || {
            let kind = entry_type(&source, &below);
            inbox.send(Message::PathFound(PathLookup { path, kind, reply }));
        });
    }

    /// Explains a path whose type is known.
    pub(in crate::engine) fn explain(&self, lookup: PathLookup) {
        let PathLookup { path, kind, reply } = lookup;
        let labels = labels(&self.registry);
        let entry_kind = match kind {
            "missing" => None,
            "directory" => Some(EntryKind::Directory),
            _ => Some(EntryKind::Other),
        };
        let syncs = self.registry.iter().filter_map(|(id, instance)| {
            let path = path_in(&instance.config, &path)?;
            let explanation = self.explain_in_sync(id, &path, entry_kind)?;
            let sync = labels.get(&id).cloned().unwrap_or_default();
            Some(PathExplanation { sync, ..explanation })
        });
        let (path, kind) = (format!("{:#}", Escaped(&path)), kind.to_owned());
        answer(reply, Ok(ExplainDocument { path, kind, syncs: syncs.collect() }));
    }

    fn explain_in_sync(
        &self,
        id: MirrorId,
        path: &TreePath,
        kind: Option<EntryKind>,
    ) -> Option<PathExplanation> {
        let (member, instance) = (self.fleet.member(id)?, self.registry.get(id)?);
        let entry_kind = kind.unwrap_or(EntryKind::Other);
        let excluded_by = instance.config.filter.excluded_by(path, entry_kind);
        let excluded_by = excluded_by.map(|(rule, matched)| {
            let matches =
                if matched == *path { String::new() } else { format!(", which matches {matched}") };
            let position = self.position_of_rule(&instance.config, &rule);
            let position = position.map_or_else(String::new, |position| format!(" ({position})"));
            format!("{}{matches}{position}", Escaped(&rule))
        });
        let coverage = self.control.coverage.get(&id).filter(|_| member.source().is_covered());
        let watched = match coverage {
            None => "not watched now".into(),
            Some(_) if excluded_by.is_some() => "excluded: changes are ignored".into(),
            Some(coverage) => watcher_text(coverage),
        };
        let (stage, message) = match (member, &excluded_by) {
            (_, Some(_)) => ("excluded", None),
            (Member::BuiltIn(mirror), None) => stage_of(mirror, path, kind.is_none()),
            (Member::Scripted(mirror), None) => {
                stage_of_events(mirror.queue().iter(), path, mirror.is_live())
            }
        };
        let is_waiting = matches!(stage, "waiting" | "deferred" | "failed");
        let message = match message {
            None if is_waiting && member.is_paused() => Some("the sync is paused".into()),
            message => message,
        };
        Some(PathExplanation {
            sync: String::new(),
            target: format!("{:#}", Escaped(instance.config.target.as_bytes())),
            watched,
            excluded_by,
            stage: stage.to_owned(),
            message,
            batches: self.control.activity.batches_of(id, path, MAX_BATCHES),
        })
    }
}

impl Engine {
    /// Returns the position of a rule in a file of rules, or that of the setting with the rule,
    /// such as `conf.lua:7`.
    fn position_of_rule(&self, sync: &SyncConfig, rule: &[u8]) -> Option<String> {
        let is_filter = sync.exclusions.filters.iter().any(|filter| filter == rule);
        let keys = if is_filter {
            ["filter", "filterFrom", "exclude", "excludeFrom"]
        } else {
            ["exclude", "excludeFrom", "filter", "filterFrom"]
        };
        let positions = &self.control.origin.positions;
        positions.of_rule(&sync.name, rule).or_else(|| positions.of_key(&sync.name, &keys))
    }
}

/// Returns the type of an entry at the source. No link in its path is followed: what lies outside
/// of the source concerns nobody.
fn entry_type(source: &Path, below: &TreePath) -> &'static str {
    let found = Dir::open_no_symlinks(source).and_then(|root| match below.parent() {
        None => root.stat(b""),
        Some(parent) => {
            let parent = root.open_below(parent.as_bytes())?;
            parent.stat(below.name().unwrap_or_default())
        }
    });
    match found.map(|found| found.file_type()) {
        Ok(FileType::RegularFile) => "file",
        Ok(FileType::Directory) => "directory",
        Ok(FileType::Symlink) => "link",
        Ok(_) => "other",
        Err(_) => "missing",
    }
}

fn stage_of(mirror: &Mirror, path: &TreePath, is_missing: bool) -> StageText {
    let held = |name: &TreePath| name.contains(path);
    if mirror.held().any(|it| it.names.iter().any(held)) {
        return ("held", Some("its deletion is held for an operator".into()));
    }
    let may_be_held = |held: &&HeldDeletions| {
        !held.lists_all() && held.paths.iter().any(|dirty| dirty.path.contains(path))
    };
    if is_missing && let Some(held) = mirror.held().find(may_be_held) {
        let text = format!("{} deletions are held; this may be one of them", held.count);
        return ("held", Some(text));
    }
    let concerns = |kind: &DelayKind| match kind {
        DelayKind::Init | DelayKind::Full => true,
        DelayKind::Path(dirty) => dirty.covers(path),
    };
    let delay = mirror.delays().find(|delay| concerns(&delay.kind));
    match delay.map(|delay| (delay.stage, delay.kind)) {
        Some((Stage::Waiting, _)) => ("waiting", None),
        Some((Stage::Deferred, _)) => ("deferred", None),
        Some((Stage::InFlight, _)) => ("in_flight", None),
        Some((Stage::BackingOff { .. }, kind)) => {
            let reason = match kind {
                DelayKind::Path(dirty) => mirror.reason(&dirty.path).map(ToOwned::to_owned),
                DelayKind::Init | DelayKind::Full => None,
            };
            ("failed", reason)
        }
        None if mirror.is_live() => ("in_sync", None),
        None => ("unknown", None),
    }
}

fn stage_of_events<'a>(
    mut events: impl Iterator<Item = &'a QueuedEvent>,
    path: &TreePath,
    is_live: bool,
) -> StageText {
    let concerns = |event: &QueuedEvent| {
        let mut names = std::iter::once(event.path()).chain(event.to());
        names
            .any(|name| name == path || name.contains(path) && event.kind() == EntryKind::Directory)
    };
    let Some(event) = events.find(|event| concerns(event)) else {
        return if is_live { ("in_sync", None) } else { ("unknown", None) };
    };
    match (event.failure(), event.status()) {
        (_, EventStatus::Active) => ("in_flight", None),
        (Some(failure), _) => ("failed", Some(failure.message.to_string())),
        (None, EventStatus::Wait) => ("waiting", None),
        (None, EventStatus::Block) => ("deferred", None),
    }
}
