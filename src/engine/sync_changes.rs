//! Differences between the running syncs and a new configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use mirror_core::{
    fleet::{MirrorSpec, Replacement},
    fs_event::MirrorId,
    guard::ReplacedSource,
    mirror::{Insist, MirrorSettings, scripted::RestartMode},
};

use super::{
    registry::SyncRegistry,
    sync::{SyncInstance, source_rules},
};
use crate::{config::SyncConfig, exec::source_root::SourceRoot};

/// Builds the instance of a sync, optionally as the continuation of a running one.
type BuildSync<'a> = &'a dyn Fn(SyncConfig, Option<&SyncInstance>) -> Result<SyncInstance, String>;

/// Change of one sync by a reload.
pub(super) enum SyncChange {
    /// The sync is unchanged, except for its name.
    Keep(MirrorId, String),
    /// Settings differ that do not affect the content of the target.
    Update(MirrorId, Box<SyncInstance>),
    /// The sync is new, or differs in the content of the target.
    Add(Box<SyncInstance>),
}

/// Finds for each sync the running mirror that is equal except for the name, or else one that
/// can continue with other settings. No mirror is matched twice.
pub(super) fn sync_changes(
    registry: &SyncRegistry,
    syncs: Vec<SyncConfig>,
    build: BuildSync<'_>,
) -> Result<Vec<SyncChange>, String> {
    let mut unmatched: BTreeMap<SyncEndpoints, Vec<(MirrorId, &SyncInstance)>> = BTreeMap::new();
    for (id, instance) in registry.iter() {
        unmatched.entry(endpoints(&instance.config)).or_default().push((id, instance));
    }
    let mut find = |sync: &SyncConfig, is_like: fn(&SyncConfig, &SyncConfig) -> bool| {
        let unmatched = unmatched.get_mut(&endpoints(sync))?;
        let at = unmatched.iter().position(|(_, instance)| is_like(&instance.config, sync))?;
        Some(unmatched.remove(at))
    };
    let same: Vec<_> = syncs.iter().map(|sync| find(sync, are_equal_but_for_name)).collect();
    let change = |(sync, same): (SyncConfig, Option<(MirrorId, &SyncInstance)>)| {
        if let Some((id, _)) = same {
            return Ok(SyncChange::Keep(id, sync.name));
        }
        let before = find(&sync, have_same_result);
        let instance = Box::new(build(sync, before.map(|(_, instance)| instance))?);
        Ok(match before {
            Some((id, _)) => SyncChange::Update(id, instance),
            None => SyncChange::Add(instance),
        })
    };
    syncs.into_iter().zip(same).map(change).collect()
}

impl SyncChange {
    /// Carries the accepted source of the previous sync on the same path over to this one, unless
    /// the user has just accepted another, and what is known of its local target: reloading a file
    /// says nothing about either. Returns false if there was no such sync.
    pub(super) fn inherit_accepted_roots(&self, registry: &SyncRegistry) -> bool {
        let (instance, before) = match self {
            Self::Keep(..) => return true,
            Self::Update(id, instance) => (instance, registry.get(*id)),
            Self::Add(instance) => {
                let sync = &instance.config;
                let is_like = |it: &&SyncInstance| {
                    it.config.source == sync.source
                        || have_same_configured_endpoints(&it.config, sync)
                };
                let before: Vec<_> = registry.iter().map(|(_, it)| it).filter(is_like).collect();
                if let Some(target) = instance.target_identity() {
                    for known in before.iter().filter_map(|before| before.target_identity()) {
                        target.inherit(&known);
                    }
                }
                (
                    instance,
                    before
                        .into_iter()
                        .max_by_key(|it| endpoints(&it.config) == endpoints(&instance.config)),
                )
            }
        };
        let Some(before) = before else { return false };
        match self {
            Self::Add(_) => instance.source.inherit(&before.source),
            Self::Keep(..) | Self::Update(..) => {
                instance.source.set_rules(source_rules(&instance.config));
            }
        }
        if accepts_any_source(&instance.config) && !accepts_any_source(&before.config) {
            let _ = instance.look_at_source(SourceRoot::accept);
        }
        true
    }

    /// Returns the replacement that the fleet makes for this change. `kept` are the mirrors that
    /// continue.
    pub(super) fn replacement(
        &self,
        registry: &SyncRegistry,
        kept: &BTreeSet<MirrorId>,
    ) -> Replacement {
        match self {
            Self::Keep(id, _) => Replacement::Keep(*id),
            Self::Update(id, instance) => update_of(*id, instance, registry),
            Self::Add(instance) => addition_of(instance, registry, kept),
        }
    }

    /// Returns the mirrors whose flushes wait for this sync if it replaces them.
    pub(super) fn replaced(
        &self,
        registry: &SyncRegistry,
        kept: &BTreeSet<MirrorId>,
    ) -> Vec<MirrorId> {
        let Some(sync) = self.added() else { return Vec::new() };
        let removed = registry.iter().filter(|(id, _)| !kept.contains(id));
        let before = removed.filter(|(_, it)| have_like_endpoints(&it.config, sync));
        before.map(|(id, _)| id).collect()
    }

    pub(super) const fn kept_mirror(&self) -> Option<MirrorId> {
        match self {
            Self::Keep(id, _) | Self::Update(id, _) => Some(*id),
            Self::Add(_) => None,
        }
    }

    pub(super) fn added(&self) -> Option<&SyncConfig> {
        match self {
            Self::Keep(..) | Self::Update(..) => None,
            Self::Add(instance) => Some(&instance.config),
        }
    }

    pub(super) fn updated(&self) -> Option<(MirrorId, &SyncConfig)> {
        match self {
            Self::Keep(..) | Self::Add(_) => None,
            Self::Update(id, instance) => Some((*id, &instance.config)),
        }
    }
}

/// Returns true if the user accepts any directory at the path of the source.
pub(super) fn accepts_any_source(sync: &SyncConfig) -> bool {
    sync.replaced_source == ReplacedSource::Accept
}

/// Source and target of a sync.
type SyncEndpoints = (PathBuf, OsString);

pub(super) fn endpoints(sync: &SyncConfig) -> SyncEndpoints {
    (sync.source.clone(), sync.target.clone())
}

/// Returns true if both syncs have the same configured source path, whatever it resolves to, and
/// the same target.
fn have_same_configured_endpoints(one: &SyncConfig, other: &SyncConfig) -> bool {
    (&one.source_as_given, &one.target) == (&other.source_as_given, &other.target)
}

/// Returns true if both syncs bring the same source to the same target, even if the configured path
/// of the source has been redirected.
fn have_like_endpoints(one: &SyncConfig, other: &SyncConfig) -> bool {
    endpoints(one) == endpoints(other) || have_same_configured_endpoints(one, other)
}

/// Returns true if the syncs are equal except for the name. A script is never equal: it lives in
/// another Lua state.
fn are_equal_but_for_name(one: &SyncConfig, other: &SyncConfig) -> bool {
    let other = SyncConfig {
        name: one.name.clone(),
        // If it could not be validated then, it is before its first transfer.
        unchecked_target: one.unchecked_target.clone(),
        ..other.clone()
    };
    !one.has_script() && *one == other
}

/// Returns true if both syncs produce the same content of the target, and differ only in when and
/// how it is transferred.
fn have_same_result(one: &SyncConfig, other: &SyncConfig) -> bool {
    let without_neutral_options = |sync: &SyncConfig| {
        let mut sync = sync.clone();
        for args in [&mut sync.rsync.extra, &mut sync.rsync.long] {
            args.retain(|arg| !NEUTRAL_OPTIONS.iter().any(|option| arg.starts_with(option)));
        }
        sync.rsync.short.retain(|letter| !b"hqvWz".contains(letter));
        sync
    };
    let (one, other) = (without_neutral_options(one), without_neutral_options(other));
    !one.has_script()
        && !other.has_script()
        && other
            == SyncConfig {
                name: other.name.clone(),
                source_as_given: other.source_as_given.clone(),
                debounce: other.debounce,
                open_wait: other.open_wait,
                insist: other.insist,
                init: other.init,
                max_delete: other.max_delete,
                max_delete_seen: other.max_delete_seen,
                replaced_source: other.replaced_source,
                marker: other.marker.clone(),
                modify_window: other.modify_window,
                durable: other.durable,
                renames: other.renames,
                exit_codes: other.exit_codes.clone(),
                ssh_exit_codes: other.ssh_exit_codes.clone(),
                batch_size_limit: other.batch_size_limit,
                max_processes: other.max_processes,
                crontab: other.crontab.clone(),
                hook: other.hook.clone(),
                unchecked_target: other.unchecked_target.clone(),
                ..one
            }
}

/// rsync options that affect how a transfer runs, but not its result.
const NEUTRAL_OPTIONS: [&[u8]; 8] = [
    b"--bwlimit=",
    b"--contimeout=",
    b"--info=",
    b"--log-file=",
    b"--progress",
    b"--stats",
    b"--timeout=",
    b"--verbose",
];

/// Returns the replacement that continues a mirror with other settings.
fn update_of(id: MirrorId, instance: &SyncInstance, registry: &SyncRegistry) -> Replacement {
    let budgets = |sync: &SyncConfig| (sync.max_delete, sync.max_delete_seen);
    let before = registry.get(id).map(|before| budgets(&before.config));
    match instance.mirror_spec() {
        MirrorSpec::BuiltIn(settings) => Replacement::Update {
            mirror: id,
            settings: MirrorSettings { insist: Insist::Always, ..settings },
            recount: before != Some(budgets(&instance.config)),
        },
        MirrorSpec::Scripted(_) => Replacement::Keep(id),
    }
}

/// Returns the replacement that adds a new mirror.
fn addition_of(
    instance: &SyncInstance,
    registry: &SyncRegistry,
    kept: &BTreeSet<MirrorId>,
) -> Replacement {
    let sync = &instance.config;
    let removed: Vec<_> = registry.iter_all().filter(|(id, _)| !kept.contains(id)).collect();
    let after = removed.iter().filter(|(_, it)| targets_overlap(&it.config.target, &sync.target));
    // Changes pending in the previous mirror, and changes before the new one is watched, are in no
    // queue. If the path was redirected, the whole tree may differ.
    let succeeds = removed.iter().any(|(_, it)| have_like_endpoints(&it.config, sync));
    let settings = match instance.mirror_spec() {
        MirrorSpec::BuiltIn(settings) => {
            let init = settings.init || succeeds;
            MirrorSettings { init, insist: Insist::Always, ..settings }.into()
        }
        scripted @ MirrorSpec::Scripted(_) => scripted,
    };
    let predecessor = predecessor(sync, registry, kept);
    Replacement::Add { after: after.map(|(id, _)| *id).collect(), spec: settings, predecessor }
}

/// Returns the predecessor whose pending events a sync takes over. Of the syncs with the same
/// source and target it is the one with the same name, or the only one. A script with a startup
/// function takes over none, since the startup covers them.
fn predecessor(
    sync: &SyncConfig,
    registry: &SyncRegistry,
    kept: &BTreeSet<MirrorId>,
) -> Option<MirrorId> {
    if sync.script.as_ref().is_some_and(|script| script.restart_mode != RestartMode::Keep) {
        return None;
    }
    let is_like =
        |it: &SyncConfig| it.has_script() == sync.has_script() && endpoints(it) == endpoints(sync);
    let removed = registry.iter().filter(|(id, it)| !kept.contains(id) && is_like(&it.config));
    let removed: Vec<_> = removed.collect();
    let only = removed.first().filter(|_| removed.len() == 1);
    let named = removed.iter().find(|(_, it)| it.config.name == sync.name);
    named.or(only).map(|(id, _)| *id)
}

/// Returns true if one target contains the other, judged by their text. Both end in `/` or `:`.
fn targets_overlap(one: &OsStr, other: &OsStr) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    one.starts_with(other) || other.starts_with(one)
}
