//! One sync as the engine runs it: its configuration, source, executor and tunnel.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use mirror_core::{
    fleet::MirrorSpec,
    fs_event::MirrorId,
    guard::ReplacedSource,
    input::TargetLink,
    mirror::{Connection, Insist, MirrorSettings, scripted::ScriptSettings},
    path::{Escaped, TreePath},
    plan::target::Target,
    snapshot::SourceDifference,
};

use mirror_platform::answers::within_limit_below;
use rustix::process::geteuid;

use super::{
    around_jobs::{with_hook, with_outdated_mark, with_target_check},
    learned::{LearnedState, SharedRsyncState},
    on_synced::OnSyncedSender,
    remote_shell::RemoteShell,
    remote_target::{remote_mark, remote_renames},
    snapshots::{SnapshotTarget, settings_hash},
    tunnels::Tunnels,
};
use crate::{
    config::{SyncConfig, SyncKind},
    exec::{
        Executor, direct,
        hook::LastHookFailure,
        process::child::ChildOutput,
        rsync,
        source_root::{SourceRoot, SourceRules, Succession},
        ssh::{ConnectionChoice, ControlMaster, MarkRoutes, SshConnections},
        target_identity::TargetIdentity,
        target_mark::MARK_ATTRIBUTE,
        tunnel::{TunnelEndpoint, TunnelHandle, via::ViaTunnel},
    },
    report::{Log, TransferMeter},
    watch::WatchTree,
};

/// Context shared by all syncs of a configuration.
#[derive(Clone)]
pub(super) struct SyncContext<'a> {
    /// Base of relative target paths, whatever the working directory is later.
    pub(super) base_dir: PathBuf,
    /// Shared ssh connections.
    pub(super) connections: &'a Arc<SshConnections>,
    pub(super) tunnels: &'a Tunnels,
    /// Sender of `onSynced` calls.
    pub(super) on_synced: OnSyncedSender,
    /// True if sources have snapshots.
    pub(super) has_snapshots: bool,
    pub(super) log: &'a Log,
}

/// One sync as the engine runs it.
pub(super) struct SyncInstance {
    pub(super) config: SyncConfig,
    pub(super) source: Arc<SourceRoot>,
    /// Executor of its jobs. `None` if only the script handles its events.
    pub(super) executor: Option<Arc<dyn Executor>>,
    learned: LearnedState,
    /// Tunnel to its target.
    pub(super) tunnel: Option<Arc<TunnelHandle>>,
    /// Shared ssh connection to its target.
    pub(super) master: Option<Arc<ControlMaster>>,
    /// Mark of its target on another machine.
    mark: Option<Arc<MarkRoutes>>,
    /// Failure of the last call of `onSynced`.
    pub(super) hook_failure: LastHookFailure,
    /// True if its source has snapshots.
    pub(super) has_snapshots: bool,
    /// Hash of its settings for these, as they were loaded.
    pub(super) settings_hash: String,
}

impl SyncInstance {
    /// Creates an instance without touching source or target.
    ///
    /// # Errors
    ///
    /// If the target is invalid: a message for the user.
    pub(super) fn new(sync: SyncConfig, context: &SyncContext<'_>) -> Result<Self, String> {
        let source = Arc::new(SourceRoot::new(sync.source.clone(), source_rules(&sync)));
        Self::build(sync, source, LearnedState::default(), context)
    }

    /// Creates the instance that continues this one with other settings.
    ///
    /// # Errors
    ///
    /// As for a new one.
    pub(super) fn with_config(
        &self,
        sync: SyncConfig,
        context: &SyncContext<'_>,
    ) -> Result<Self, String> {
        let learned = self.learned_for(&sync);
        Self::build(sync, Arc::clone(&self.source), learned, context)
    }

    /// Returns the learned state if it also holds for this configuration.
    fn learned_for(&self, sync: &SyncConfig) -> LearnedState {
        let is_same = (self.config.kind, &self.config.target) == (sync.kind, &sync.target);
        if is_same { self.learned.clone() } else { LearnedState::default() }
    }

    /// Returns what is known of the target itself: see [`LearnedState::target_identity`].
    pub(super) fn target_identity(&self) -> Option<Arc<TargetIdentity>> {
        self.learned.target_identity(self.config.kind)
    }

    /// Replaces the configuration; the source stays the same.
    ///
    /// # Errors
    ///
    /// As for a new one. Nothing has changed then.
    pub(super) fn set_config(
        &mut self,
        sync: SyncConfig,
        context: &SyncContext<'_>,
    ) -> Result<(), String> {
        *self = self.with_config(sync, context)?;
        Ok(())
    }

    fn build(
        sync: SyncConfig,
        source: Arc<SourceRoot>,
        learned: LearnedState,
        context: &SyncContext<'_>,
    ) -> Result<Self, String> {
        let context = &SyncContext { log: &context.log.for_sync(&sync.name), ..context.clone() };
        let SyncContext { log, tunnels, .. } = context;
        let tunnel = sync.tunnel.as_ref().and_then(|spec| tunnels.get(spec));
        let (mut master, mut mark) = (None, None);
        let executor: Option<Arc<dyn Executor>> = match sync.kind {
            SyncKind::Script => None,
            SyncKind::Rsync | SyncKind::Rsyncssh => {
                if let Some(tunnel) = tunnel.as_ref().filter(|_| depends_on_route(&sync)) {
                    Some(Arc::new(via_tunnel(tunnel, &sync, &source, &learned.rsync, context)))
                } else {
                    let backend = rsync_backend(&sync, &source, &learned, context)?;
                    (master, mark) = (backend.master, backend.mark);
                    Some(backend.executor)
                }
            }
            SyncKind::Direct => {
                let settings = direct_settings(&sync, context);
                let (source, learned) = (Arc::clone(&source), Arc::clone(&learned.direct));
                let log = (*log).clone();
                Some(Arc::new(direct::DirectExecutor::new(source, settings, learned, log)))
            }
        };
        let hook_failure = LastHookFailure::default();
        let has_snapshots = context.has_snapshots && sync.init && executor.is_some();
        let executor = executor.map(|executor| {
            let unnoted = (!has_snapshots).then(|| learned.target_identity(sync.kind)).flatten();
            let executor = with_outdated_mark(executor, unnoted);
            let executor = with_target_check(executor, &sync, &source, &context.base_dir);
            with_hook(executor, &sync, &hook_failure, &context.on_synced, log)
        });
        let settings_hash =
            if has_snapshots { settings_hash(&sync, &context.base_dir) } else { String::new() };
        Ok(Self {
            config: sync,
            source,
            executor,
            learned,
            tunnel,
            master,
            mark,
            hook_failure,
            has_snapshots,
            settings_hash,
        })
    }

    /// Pins the source to the present directory.
    ///
    /// # Errors
    ///
    /// As [`SourceRoot::pin`], or if a file system does not answer.
    pub(super) fn pin_source(&self) -> Result<Succession, String> {
        self.look_at_source(SourceRoot::pin).unwrap_or_else(|| Err(self.silent_source()))
    }

    /// Looks at the source in another thread. `None`: its file system, or one that is mounted
    /// inside, does not answer.
    pub(super) fn look_at_source<T: Send + 'static>(
        &self,
        look: impl FnOnce(&SourceRoot) -> T + Send + 'static,
    ) -> Option<T> {
        let source = Arc::clone(&self.source);
        within_limit_below(self.source.path(), move |_| look(&source))
    }

    /// Returns the reason why a source that does not answer is not available.
    pub(super) fn silent_source(&self) -> String {
        let path = Escaped(self.source.path().as_os_str().as_bytes());
        format!("{path}, or a file system that is mounted inside, does not answer")
    }

    /// Returns the counters of what was transferred. `None` if only a script knows.
    pub(super) fn meter(&self) -> Option<&TransferMeter> {
        self.learned.meter(self.config.kind)
    }

    /// Continues as if the last transfer had been made in this run, since a snapshot that was taken
    /// at `since` tells the differences. `entries` is the number of entries on the target, if
    /// known.
    pub(super) fn resume(
        &self,
        since: SystemTime,
        differences: &[SourceDifference],
        entries: Option<u64>,
    ) {
        if let Some(state) = self.learned.rsync.get() {
            let paths = differences.iter().map(|difference| difference.dirty.clone());
            state.note_abandoned(since, paths);
        }
        self.learned.resume(self.config.kind, entries);
    }

    /// Returns the target for a snapshot.
    pub(super) fn snapshot_target(&self, mirror: MirrorId) -> SnapshotTarget {
        SnapshotTarget {
            mirror,
            name: self.target_text(),
            settings: self.settings_hash.clone(),
            is_trusted: self.config.trust_target,
            keeps_times: self.config.replaced_source == ReplacedSource::Budget,
            identity: self.target_identity(),
            remote_mark: self.mark.clone(),
            entries: self.learned.entry_count(self.config.kind),
        }
    }

    /// Returns the settings that the core needs.
    pub(super) fn mirror_spec(&self) -> MirrorSpec {
        let sync = &self.config;
        if let Some(script) = &sync.script {
            return MirrorSpec::Scripted(ScriptSettings {
                delay: script.delay,
                max_delays: script.max_delays,
                max_jobs: script.max_jobs,
                wants_renames: script.wants_renames,
                subdirectories: script.subdirectories,
                full: script.full,
                restart_mode: script.restart_mode,
                filter: Arc::clone(&sync.filter),
                target_link: self.target_link(),
                connection: self.connection(),
            });
        }
        MirrorSpec::BuiltIn(MirrorSettings {
            debounce: sync.debounce,
            open_wait: sync.open_wait,
            delete: sync.delete,
            init: sync.init,
            has_snapshots: self.has_snapshots,
            insist: if sync.retries_startup() { Insist::Yes } else { Insist::No },
            host: sync.target_host(),
            filter: Arc::clone(&sync.filter),
            target_link: self.target_link(),
            max_jobs: sync.max_processes,
            connection: self.connection(),
        })
    }

    /// Returns the tree to watch for this mirror.
    pub(super) fn watch_tree(&self, mirror: MirrorId) -> WatchTree {
        let filter = Arc::clone(&self.config.filter);
        let script = self.config.script.as_ref();
        let only_root = script.is_some_and(|script| !script.subdirectories);
        WatchTree {
            mirror,
            root: self.source.path().to_owned(),
            skip: Arc::new(move |path: &TreePath| {
                (only_root && !path.is_root()) || filter.prunes(path)
            }),
            exact: script.map(|script| script.writes),
            latency: script.map_or(self.config.debounce.gathering_time(), |_| Duration::ZERO),
        }
    }

    /// Returns the connection that it shares with other syncs.
    fn connection(&self) -> Option<Connection> {
        self.master.as_ref().map(|master| master.args().concat().into())
    }

    /// Returns the state of the link to the target.
    pub(super) fn target_link(&self) -> TargetLink {
        match &self.tunnel {
            Some(tunnel) if !tunnel.is_up() => TargetLink::Down,
            Some(_) | None => TargetLink::Up,
        }
    }

    /// Formats the source for the log, with a trailing slash.
    pub(super) fn source_text(&self) -> String {
        format!("{}/", Escaped(self.source.path().as_os_str().as_bytes()))
    }

    /// Formats the target for the log.
    pub(super) fn target_text(&self) -> String {
        Escaped(self.config.target.as_bytes()).to_string()
    }
}

/// Returns the rules of the user for the source of a sync.
pub(super) fn source_rules(sync: &SyncConfig) -> SourceRules {
    SourceRules {
        marker: sync.marker.clone(),
        replaced: sync.replaced_source,
        given: Some(sync.source_as_given.clone()),
    }
}

/// Returns true if the target, or the way to reach it, depends on the route that a tunnel chooses
/// for each transfer.
fn depends_on_route(sync: &SyncConfig) -> bool {
    let args = sync.rsync.extra.iter().chain(&sync.rsync.long);
    TunnelEndpoint::has_placeholders(sync.target.as_bytes())
        || args.into_iter().any(|arg| TunnelEndpoint::has_placeholders(arg))
}

fn via_tunnel(
    tunnel: &Arc<TunnelHandle>,
    sync: &SyncConfig,
    source: &Arc<SourceRoot>,
    known: &SharedRsyncState,
    context: &SyncContext<'_>,
) -> ViaTunnel {
    let (sync, source) = (sync.clone(), Arc::clone(source));
    let learned = LearnedState { rsync: Arc::clone(known), ..LearnedState::default() };
    let (base_dir, connections) = (context.base_dir.clone(), Arc::clone(context.connections));
    let (log, on_synced) = (context.log.clone(), context.on_synced.clone());
    ViaTunnel::new(Arc::clone(tunnel), move |endpoint| {
        let mut sync = sync.clone();
        sync.target = OsString::from_vec(endpoint.substitute(sync.target.as_bytes()));
        for arg in sync.rsync.extra.iter_mut().chain(&mut sync.rsync.long) {
            *arg = endpoint.substitute(arg);
        }
        let context = SyncContext {
            base_dir: base_dir.clone(),
            connections: &connections,
            tunnels: &Tunnels::default(),
            on_synced: on_synced.clone(),
            has_snapshots: false,
            log: &log,
        };
        Ok(rsync_backend(&sync, &source, &learned, &context)?.executor)
    })
}

/// An rsync executor and its connection.
struct RsyncBackend {
    executor: Arc<dyn Executor>,
    /// The shared connection, if there is one.
    master: Option<Arc<ControlMaster>>,
    /// The mark of a target on another machine.
    mark: Option<Arc<MarkRoutes>>,
}

/// Builds the rsync executor of a sync. Where a connection may be shared, the jobs find out whether
/// the user's ssh configuration already shares one: asking ssh can take long, and here it would
/// block the engine.
fn rsync_backend(
    sync: &SyncConfig,
    source: &Arc<SourceRoot>,
    learned: &LearnedState,
    context: &SyncContext<'_>,
) -> Result<RsyncBackend, String> {
    let note = (!sync.trust_target).then(|| context.log.clone());
    let with_state = |config: &mut rsync::RsyncConfig| {
        let mark =
            config.mark.take().map(|mark| Arc::new(mark.with_state(&learned.mark, note.clone())));
        config.mark.clone_from(&mark);
        mark
    };
    let mut config = rsync_config(sync, source, context, true)?;
    let (master, mark) = (config.master.clone(), with_state(&mut config));
    let executor = continue_rsync_executor(config, &learned.rsync);
    let (connections, log) = (Arc::clone(context.connections), context.log.clone());
    let routes = |via_master, via_user_config| MarkRoutes {
        connections: Arc::downgrade(&connections),
        master: master.clone(),
        via_master,
        via_user_config,
        log: log.clone(),
    };
    let Some(shared) = master.clone() else {
        let mark = mark.map(|mark| Arc::new(routes(Arc::clone(&mark), mark)));
        return Ok(RsyncBackend { executor: Arc::new(executor), master, mark });
    };
    let mut config = rsync_config(sync, source, context, false)?;
    let marks = mark.zip(with_state(&mut config));
    let mark = marks.map(|(via_master, via_user)| Arc::new(routes(via_master, via_user)));
    let via_user_config = continue_rsync_executor(config, &learned.rsync);
    let (master, via_master) = (shared, executor);
    let shared = Some(Arc::clone(&master));
    let executor =
        Arc::new(ConnectionChoice { connections, master, via_master, via_user_config, log });
    Ok(RsyncBackend { executor, master: shared, mark })
}

/// Creates an executor that continues with the `known` state of its target.
fn continue_rsync_executor(
    config: rsync::RsyncConfig,
    known: &SharedRsyncState,
) -> rsync::RsyncExecutor {
    let state = known.get().cloned();
    let executor = rsync::RsyncExecutor::new(rsync::RsyncConfig { state, ..config });
    // Two routes may be used for the first time at once. Then one of them keeps its own state.
    let _ = known.set(Arc::clone(executor.state()));
    executor
}

/// Builds the settings of the built-in copier.
pub(super) fn direct_settings(
    sync: &SyncConfig,
    context: &SyncContext<'_>,
) -> direct::DirectSettings {
    direct::DirectSettings {
        target: context.base_dir.join(&sync.target),
        filter: Arc::clone(&sync.filter),
        delete: sync.delete,
        renames: sync.renames,
        max_delete: sync.max_delete,
        max_delete_seen: sync.max_delete_seen,
        modify_window: sync.modify_window,
        durable: sync.durable,
        options: sync.direct.clone(),
        workers: direct::default_workers(),
    }
}

/// Builds the rsync configuration, through a shared connection if `is_shared`.
pub(super) fn rsync_config(
    sync: &SyncConfig,
    source: &Arc<SourceRoot>,
    SyncContext { base_dir, connections, has_snapshots, log, .. }: &SyncContext<'_>,
    is_shared: bool,
) -> Result<rsync::RsyncConfig, String> {
    let target = Target::new(sync.target.as_bytes()).map_err(|error| error.to_string())?;
    let mut options = sync.rsync.clone();
    if *has_snapshots && target.local().is_some() {
        let mark = MARK_ATTRIBUTE.to_string_lossy();
        options.extra.extend(options.args_keeping_xattr(&mark, geteuid().is_root()));
    }
    let shared = is_shared.then_some(&***connections);
    // Several syncs may use one connection.
    let ssh_log = &log.for_all_syncs();
    let shell =
        target.host().map(|host| RemoteShell::for_host(host, &mut options, shared, ssh_log));
    let renames =
        shell.as_ref().and_then(|shell| remote_renames(sync, &target, shell, connections, ssh_log));
    let mark = shell.as_ref().filter(|_| *has_snapshots && sync.init);
    let mark = mark.and_then(|shell| remote_mark(sync, &target, shell, base_dir)).map(Arc::new);
    let (remote_shell, master) =
        shell.map(|shell| (shell.rsync_rsh, shell.master)).unwrap_or_default();
    Ok(rsync::RsyncConfig {
        root: Arc::clone(source),
        target,
        options,
        filter: Arc::clone(&sync.filter),
        binary: sync.binary.clone(),
        working_dir: base_dir.clone(),
        remote_shell,
        master,
        codes: sync.exit_codes.clone(),
        batch_size_limit: sync.batch_size_limit,
        separate_large_files: sync.max_processes > 1,
        max_delete: sync.max_delete,
        max_delete_seen: sync.max_delete_seen,
        modify_window: sync.modify_window,
        state: None,
        renames,
        mark,
        output: ChildOutput::Log((*log).clone()),
        log: (*log).clone(),
    })
}
