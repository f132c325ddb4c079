//! Configuration reload: compares the new configuration with the running syncs, and replaces the
//! difference.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Zoned;
use mirror_core::{
    effect::Effect,
    fs_event::MirrorId,
    input::{Input, Signal},
    job::HeldDeletions,
    plan::options::DeletePolicy,
};

use super::{
    ConfigOrigin, Engine, base_dir,
    reload_log::{self, ReloadCounts},
    source_links::{keep_or_follow_source, redirected_syncs},
    sync::{SyncContext, SyncInstance},
    sync_changes::{SyncChange, endpoints, sync_changes},
    tunnels::Tunnels,
};
use crate::{config::DaemonConfig, frontend::Loaded, report::Category};

/// Loads the configuration again. The error holds the lines that explain it.
pub(crate) type LoadConfig = Box<dyn FnMut() -> Result<Loaded, Vec<String>>>;

/// Applies new process settings as far as they can change at runtime. It is given the settings in
/// force and the wanted ones, and returns those in force afterwards.
type ApplyDaemonConfig = Box<dyn FnMut(&DaemonConfig, &DaemonConfig) -> DaemonConfig>;

/// The lines that explain a failed reload.
#[derive(Debug)]
pub(super) struct ReloadFailure(pub(super) Vec<String>);

/// Callbacks for a configuration reload.
pub(crate) struct Reload {
    /// Loads the configuration.
    pub load: LoadConfig,
    /// Applies new process settings.
    pub apply: ApplyDaemonConfig,
}

impl Engine {
    /// Handles `SIGHUP`: reloads the configuration, or retries everything if there is no file.
    pub(super) fn on_hangup(&mut self, effects: &mut Vec<Effect>) {
        self.service.reloading();
        if self.reload.is_some() {
            // The log has the reason of a failure.
            let _ = self.reload(effects);
        } else {
            self.touch_status();
            self.fleet.handle(Input::Signal(Signal::Hangup), self.now(), effects);
        }
        self.service.reloaded();
    }

    /// Reloads the configuration after `SIGHUP`.
    ///
    /// An invalid configuration changes nothing. In any case all pending retries are made at once.
    ///
    /// Returns lines about the result.
    pub(super) fn reload(
        &mut self,
        effects: &mut Vec<Effect>,
    ) -> Result<Vec<String>, ReloadFailure> {
        let Some(Reload { load, apply }) = &mut self.reload else { return Ok(Vec::new()) };
        self.log.say(Category::Normal, "--- HUP signal, resetting ---");
        self.connections.reset_failures();
        let read = load().and_then(|Loaded { mut config, scripts, hash, positions, .. }| {
            for sync in &mut config.syncs {
                keep_or_follow_source(sync, &self.registry, &self.log);
            }
            let Self { tunnels, inbox, log, connections, .. } = self;
            let scripts = self.scripts.next(scripts).map_err(|why| vec![why])?;
            let tunnels = Tunnels::start(&config.tunnels, tunnels, inbox, log);
            let tunnels = tunnels.map_err(|why| vec![why])?;
            let context = SyncContext {
                base_dir: base_dir(),
                connections,
                tunnels: &tunnels,
                on_synced: scripts.on_synced_sender(),
                has_snapshots: self.snapshots.is_some(),
                log,
            };
            let build = |sync, before: Option<&SyncInstance>| match before {
                Some(before) => before.with_config(sync, &context),
                None => SyncInstance::new(sync, &context),
            };
            let changes = sync_changes(&self.registry, config.syncs, &build);
            let changes = changes.map_err(|why| vec![why])?;
            let origin = ConfigOrigin { hash, positions };
            Ok((config.daemon, changes, tunnels, scripts, origin))
        });
        let (daemon, changes, tunnels, scripts, origin) = match read {
            Ok(read) => read,
            Err(lines) => return Err(self.keep_configuration(lines, effects)),
        };
        self.tunnels = tunnels;
        self.tunnels.retry_now();
        let in_force = apply(&self.daemon, &daemon);
        self.adopt_daemon_config(in_force);
        // Transfers that became due while the configuration was read.
        for input in self.calendar.step(Zoned::now) {
            self.fleet.handle(input, self.now(), effects);
        }
        self.scripts = scripts;
        let counts = self.replace(changes, effects);
        self.note_reload(Ok(origin));
        Ok(reload_log::log_reload(&self.log, counts))
    }

    /// Continues after a failed reload, which these lines explain.
    fn keep_configuration(
        &mut self,
        lines: Vec<String>,
        effects: &mut Vec<Effect>,
    ) -> ReloadFailure {
        for line in &lines {
            self.log.say(Category::Error, line);
        }
        self.log.say(Category::Error, "reload failed: keeping the running configuration");
        self.tunnels.retry_now();
        self.fleet.retry_now(self.now(), effects);
        let failure = ReloadFailure(lines);
        self.note_reload(Err(&failure));
        failure
    }

    fn adopt_daemon_config(&mut self, in_force: DaemonConfig) {
        self.daemon = in_force;
        self.status.reload(&self.daemon, self.now());
        self.ignore_own_files();
        self.touch_status();
        self.fleet.limit_jobs(self.daemon.max_processes);
        self.jobs.set_limit(self.daemon.max_processes);
    }

    /// Resolves the source paths of these mirrors again. Where one has been redirected, a new
    /// mirror replaces the current one, as after `SIGHUP`.
    pub(super) fn update_sources(&mut self, mirrors: &[MirrorId], effects: &mut Vec<Effect>) {
        // A one-pass run mirrors what existed when it started.
        if self.daemon.onepass || !self.fleet.is_running() {
            return;
        }
        let on_synced = self.scripts.on_synced_sender();
        let Self { registry, tunnels, connections, log, .. } = self;
        let context = SyncContext {
            base_dir: base_dir(),
            connections,
            tunnels,
            on_synced,
            has_snapshots: self.snapshots.is_some(),
            log,
        };
        let changes = redirected_syncs(mirrors, registry, self.daemon.mode, &context);
        if changes.iter().any(|change| change.added().is_some()) {
            self.touch_status();
            self.replace(changes, effects);
        }
    }

    /// Carries the identities of sources and targets over to these syncs. One that was removed by
    /// an earlier reload continues with its notes, as after a restart. Returns the deletions that
    /// were held for each such sync.
    fn restore_roots(&mut self, changes: &[SyncChange]) -> Vec<Vec<HeldDeletions>> {
        let mut restore = |change: &SyncChange| {
            let has_predecessor = change.inherit_accepted_roots(&self.registry);
            let (SyncChange::Add(instance), Some(snapshots)) = (change, &mut self.snapshots) else {
                return Vec::new();
            };
            if !has_predecessor {
                snapshots.restore_source(instance);
            }
            let added = endpoints(&instance.config);
            let was_there = self.registry.iter().any(|(_, it)| {
                endpoints(&it.config) == added && it.config.delete != DeletePolicy::Never
            });
            if was_there { Vec::new() } else { snapshots.held(instance) }
        };
        changes.iter().map(&mut restore).collect()
    }

    /// Replaces the mirrors by these, in this order, and logs the changes.
    fn replace(&mut self, changes: Vec<SyncChange>, effects: &mut Vec<Effect>) -> ReloadCounts {
        let kept: BTreeSet<MirrorId> = changes.iter().filter_map(SyncChange::kept_mirror).collect();
        let stopped = self.registry.iter().count() - kept.len();
        let updated = changes.iter().filter_map(SyncChange::updated).count();
        let (unchanged, started) = (kept.len() - updated, changes.len() - kept.len());
        let counts = ReloadCounts { unchanged, updated, started, stopped };
        let removed = self.registry.iter().filter(|(id, _)| !kept.contains(id));
        let removed = removed.map(|(_, instance)| &instance.config).collect();
        let added: Vec<_> = changes.iter().filter_map(SyncChange::added).collect();
        reload_log::log_replaced_syncs(&self.log, removed, &added);
        for (id, config) in changes.iter().filter_map(SyncChange::updated) {
            if let Some(previous) = self.registry.get(id) {
                reload_log::log_updated_sync(&self.log, &previous.config, config);
            }
        }
        let replacement = |change: &SyncChange| change.replacement(&self.registry, &kept);
        let replacements = changes.iter().map(replacement).collect();
        let replaced: Vec<_> =
            changes.iter().map(|change| change.replaced(&self.registry, &kept)).collect();
        self.save_removed_notes(&kept);
        let returning = self.restore_roots(&changes);
        let pauses = self.sync_pauses();
        let ids = self.fleet.replace(replacements, self.now(), effects);
        let mut successors = BTreeMap::<_, Vec<_>>::new();
        for (&id, replaced) in ids.iter().zip(replaced) {
            for old in replaced {
                successors.entry(old).or_default().push(id);
            }
        }
        self.hand_over_flushes(&successors);
        for (change, id) in changes.into_iter().zip(&ids) {
            match change {
                SyncChange::Keep(id, name) => self.registry.rename(id, name),
                SyncChange::Update(id, instance) => self.registry.insert(id, *instance),
                SyncChange::Add(instance) => self.registry.insert(*id, *instance),
            }
        }
        for (id, held) in ids.iter().zip(returning) {
            if let Some(mirror) = self.fleet.mirror_mut(*id) {
                mirror.restore_held(held);
            }
        }
        self.bind_scripts(&ids, |mirror| !kept.contains(&mirror));
        self.registry.set_order(ids);
        self.update_control_syncs();
        self.pause_again(&pauses, effects);
        self.calendar.schedule(self.registry.crontabs(), Zoned::now());
        counts
    }
}
