//! Explanation of the treatment of one path.

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use mirror_core::{
    fleet::Member,
    fs_event::{EntryKind, MirrorId},
    job::Scope,
    mirror::{DelayKind, Mirror},
    path::{Escaped, TreePath},
    queue::{
        Stage,
        event_queue::{EventStatus, QueuedEvent},
    },
};

use super::{
    labels,
    selection::{absolute_path, path_in},
};
use crate::{
    control::{
        frame::{ErrorKind, RequestError},
        request::{ByteText, ExplainDocument, PathExplanation},
    },
    engine::Engine,
};

/// Number of batches that are listed for a path.
const MAX_BATCHES: usize = 5;

/// The stage of a path, and the reason of a failure or hold.
type StageText = (&'static str, Option<String>);

impl Engine {
    pub(super) fn explain(&self, path: &ByteText) -> Result<ExplainDocument, RequestError> {
        let path = absolute_path(path)?;
        let labels = labels(&self.registry);
        // A file system that hangs would stop the engine: only what is in a source is looked at.
        let in_sources = self
            .registry
            .iter()
            .filter_map(|(id, instance)| Some((id, instance, path_in(&instance.config, &path)?)));
        let in_sources: Vec<_> = in_sources.collect();
        let Some((_, first, below)) = in_sources.first() else {
            let text = format!("no sync has a source with the path {}", Escaped(&path));
            return Err(RequestError::new(ErrorKind::NoSuchSync, text));
        };
        let entry =
            first.config.source.join(Path::new(std::ffi::OsStr::from_bytes(below.as_bytes())));
        let kind = entry_type(&entry);
        let entry_kind = if kind == "directory" { EntryKind::Directory } else { EntryKind::Other };
        let syncs = in_sources.iter().filter_map(|(id, _, path)| {
            let explanation = self.explain_in_sync(*id, path, entry_kind)?;
            let sync = labels.get(id).cloned().unwrap_or_default();
            Some(PathExplanation { sync, ..explanation })
        });
        Ok(ExplainDocument {
            path: Escaped(&path).to_string(),
            kind: kind.to_owned(),
            syncs: syncs.collect(),
        })
    }

    fn explain_in_sync(
        &self,
        id: MirrorId,
        path: &TreePath,
        kind: EntryKind,
    ) -> Option<PathExplanation> {
        let (member, instance) = (self.fleet.member(id)?, self.registry.get(id)?);
        let excluded_by = instance.config.filter.excluded_by(path, kind).map(|(rule, matched)| {
            let rule = Escaped(&rule).to_string();
            if matched == *path { rule } else { format!("{rule}, which matches {matched}") }
        });
        let coverage = self.control.coverage.get(&id).filter(|_| member.source().is_covered());
        let watched = match coverage {
            None => "not watched now".into(),
            Some(_) if excluded_by.is_some() => "excluded: changes are ignored".into(),
            Some(coverage) => coverage.reason.clone(),
        };
        let (stage, message) = match (member, &excluded_by) {
            (_, Some(_)) => ("excluded", None),
            (Member::BuiltIn(mirror), None) => stage_of(mirror, path),
            (Member::Scripted(mirror), None) => {
                stage_of_events(mirror.queue().iter(), path, mirror.is_live())
            }
        };
        Some(PathExplanation {
            sync: String::new(),
            target: Escaped(instance.config.target.as_bytes()).to_string(),
            watched,
            excluded_by,
            stage: stage.to_owned(),
            message,
            batches: self.control.activity.batches_of(id, path, MAX_BATCHES),
        })
    }
}

/// Returns the type of an entry at the source.
fn entry_type(path: &Path) -> &'static str {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => "file",
        Ok(found) if found.is_dir() => "directory",
        Ok(found) if found.is_symlink() => "link",
        Ok(_) => "other",
        Err(_) => "missing",
    }
}

fn stage_of(mirror: &Mirror, path: &TreePath) -> StageText {
    let held = |name: &TreePath| name.contains(path);
    if mirror.held().any(|it| it.names.iter().any(held)) {
        return ("held", Some("its deletion is held for an operator".into()));
    }
    let concerns = |kind: &DelayKind| match kind {
        DelayKind::Init | DelayKind::Full => true,
        DelayKind::Path(dirty) => {
            dirty.path == *path || dirty.scope == Scope::Tree && dirty.path.contains(path)
        }
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
