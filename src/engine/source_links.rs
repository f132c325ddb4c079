//! Changes of the directory that a configured source path resolves to.
//!
//! A symbolic link in the path that the user gave is followed, unless a less trusted user could
//! have created it. A directory that has been replaced by a link is not followed.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use mirror_core::{fs_event::MirrorId, path::Escaped};
use mirror_platform::answers::within_limit;

use super::{
    registry::SyncRegistry,
    sync::{SyncContext, SyncInstance},
    sync_changes::{SyncChange, accepts_any_source},
};
use crate::{
    config::{SyncConfig, TargetBase, TargetCheck, check_target},
    exec::trusted_path::{self, TrustedOpenError},
    report::{Category, Log, RunMode},
};

/// Result of resolving the configured path of a source.
enum SourceResolution {
    /// Resolves to the current source, or to nothing.
    Unchanged,
    /// Resolves to another directory, which may become the source.
    Redirected(PathBuf),
    /// Resolves to another directory by a link that a less trusted user could have created.
    Untrusted(PathBuf, TrustedOpenError),
    /// Resolves to another directory by a link that replaced a directory.
    DirectoryReplaced(PathBuf),
}

/// Resolves the source paths of these mirrors again, and returns the change of each sync. A sync
/// whose path has been redirected is added again, with the other source.
pub(super) fn redirected_syncs(
    mirrors: &[MirrorId],
    registry: &SyncRegistry,
    mode: RunMode,
    context: &SyncContext<'_>,
) -> Vec<SyncChange> {
    let change = |(id, instance): (MirrorId, &SyncInstance)| {
        let replacement =
            mirrors.contains(&id).then(|| redirected(instance, mode, context)).flatten();
        let kept = || SyncChange::Keep(id, instance.config.name.clone());
        replacement.map_or_else(kept, |replacement| SyncChange::Add(Box::new(replacement)))
    };
    registry.iter().map(change).collect()
}

/// Returns the replacement of this mirror if its source path has been redirected. A redirection
/// that is refused is logged once.
fn redirected(
    instance: &SyncInstance,
    mode: RunMode,
    context: &SyncContext<'_>,
) -> Option<SyncInstance> {
    let resolution = resolve(instance);
    let is_new =
        instance.source.has_newly_moved(!matches!(resolution, SourceResolution::Unchanged));
    let refused = match resolution {
        // A replaced directory is reported when the source is lost.
        SourceResolution::Unchanged | SourceResolution::DirectoryReplaced(_) => return None,
        SourceResolution::Untrusted(now, refused) => (now, refused.to_string()),
        // The functions of a script know the source as it was when the file was read.
        SourceResolution::Redirected(now) if instance.config.script.is_some() => {
            (now, "a script follows at SIGHUP".to_owned())
        }
        SourceResolution::Redirected(now) => {
            let filter = Arc::new(instance.config.filter.for_source(now.as_os_str().as_bytes()));
            let sync = SyncConfig { source: now.clone(), filter, ..instance.config.clone() };
            let base = TargetBase { mode, start_dir: &context.base_dir };
            let filters = [Arc::clone(&sync.filter)];
            let checked = check_target(sync.kind, &now, &sync.target, &filters, base);
            let start = |checked: TargetCheck| {
                let unchecked_target = checked.unchecked;
                SyncInstance::new(SyncConfig { unchecked_target, ..sync }, context)
            };
            match checked.and_then(start) {
                Ok(other) => {
                    log_followed(context.log, &instance.config, &now);
                    return Some(other);
                }
                Err(why) => (now, why),
            }
        }
    };
    if is_new {
        log_refused(context.log, &instance.config, &refused.0, &refused.1);
    }
    None
}

/// Keeps a reloaded sync at the previous source if its path has been redirected and must not be
/// followed.
pub(super) fn keep_or_follow_source(sync: &mut SyncConfig, registry: &SyncRegistry, log: &Log) {
    let is_redirected = |it: &&SyncInstance| {
        let it = &it.config;
        (&it.source_as_given, &it.target, it.kind)
            == (&sync.source_as_given, &sync.target, sync.kind)
            && it.source != sync.source
    };
    let Some(before) = registry.iter().map(|(_, it)| it).find(is_redirected) else { return };
    match resolve(before) {
        SourceResolution::Unchanged => {}
        SourceResolution::Redirected(now) => {
            log_followed(log, &before.config, &now);
            sync.source = now;
            return;
        }
        SourceResolution::Untrusted(now, refused) => {
            log_refused(log, &before.config, &now, &refused.to_string());
        }
        // The user has just accepted the replaced source.
        SourceResolution::DirectoryReplaced(now)
            if accepts_any_source(sync) && !accepts_any_source(&before.config) =>
        {
            log_followed(log, &before.config, &now);
            sync.source = now;
            return;
        }
        SourceResolution::DirectoryReplaced(now) => {
            let why = "its path contains a new symbolic link";
            log_refused(log, &before.config, &now, why);
        }
    }
    sync.source.clone_from(&before.config.source);
    let source = sync.source.as_os_str().as_bytes();
    sync.filter = Arc::new(sync.filter.for_source(source));
}

fn resolve(instance: &SyncInstance) -> SourceResolution {
    let (given, was) = (&instance.config.source_as_given, instance.source.path().to_owned());
    let was_pinned = instance.source.was_pinned();
    let resolution = within_limit(given, move |given| resolution(given, &was, was_pinned));
    // A file system that does not answer leads nowhere else.
    resolution.unwrap_or(SourceResolution::Unchanged)
}

fn resolution(given: &Path, was: &Path, was_pinned: bool) -> SourceResolution {
    match trusted_path::canonical(given) {
        Ok(now) if now == was => SourceResolution::Unchanged,
        // A source that never existed can't have been replaced.
        Ok(now) if was_pinned && was.canonicalize().is_ok_and(|it| it == now) => {
            SourceResolution::DirectoryReplaced(now)
        }
        Ok(now) => SourceResolution::Redirected(now),
        Err(refused @ TrustedOpenError::UntrustedLink(_)) => match given.canonicalize() {
            Ok(now) if now != was => SourceResolution::Untrusted(now, refused),
            Ok(_) | Err(_) => SourceResolution::Unchanged,
        },
        Err(TrustedOpenError::System(_)) => SourceResolution::Unchanged,
    }
}

fn log_followed(log: &Log, sync: &SyncConfig, now: &Path) {
    let [given, was, now] = [&*sync.source_as_given, &*sync.source, now].map(text);
    let what = format_args!("now leads to {now} instead of {was}: it is followed");
    log.say(Category::Warn, format_args!("source {given} {what} ({})", sync.name));
}

fn log_refused(log: &Log, sync: &SyncConfig, now: &Path, why: &str) {
    let [given, now] = [&*sync.source_as_given, now].map(text);
    let what = format_args!("now leads to {now}, but stays where it was: {why}");
    log.say(Category::Warn, format_args!("source {given} {what} ({})", sync.name));
}

fn text(path: &Path) -> String {
    Escaped(path.as_os_str().as_bytes()).to_string()
}
