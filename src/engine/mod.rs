//! The event loop: receive messages, pass them to the fleet, perform its effects.
//!
//! The engine's thread owns the fleet, so there is no lock. The fleet makes all decisions.

mod around_jobs;
mod calendar;
mod control;
mod dry_run;
mod freed_memory;
mod inbox;
mod jobs;
mod learned;
mod listing;
mod log_events;
mod messages;
mod on_synced;
mod registry;
mod reload;
mod reload_log;
mod remote_shell;
mod remote_target;
mod scripts;
mod service;
mod snapshots;
mod source_links;
mod state_log;
mod status;
mod sync;
mod sync_changes;
mod target_probes;
#[cfg(test)]
mod tests;
mod thread_retry;
mod tunnels;

use std::{
    env,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use jiff::Zoned;

use mirror_core::{
    effect::{Effect, ScriptCall},
    fleet::{Fleet, FleetLimits},
    fs_event::{Change, Edit, EntryKind, FsEvent, FsEventKind, MirrorId},
    input::Input,
    log_event::LogEvent,
    path::TreePath,
    time::Moment,
};

use crate::{
    config::{Config, DaemonConfig, SyncConfig},
    frontend::Loaded,
    report::{Category, Log},
    script::CallContext,
    watch::Watcher,
};

use crate::exec::{source_root::Succession, ssh::SshConnections};
use calendar::Calendar;
use control::ControlState;
pub(crate) use control::{ConfigOrigin, DaemonFacts, request_handler};
pub(crate) use dry_run::describe_first_transfer;
use freed_memory::FreedMemory;
pub(crate) use inbox::{Inbox, Message, MessageChannel};
use jobs::Jobs;
use listing::DirectoryLister;
use registry::SyncRegistry;
use reload::ReloadFailure;
pub(crate) use reload::{LoadConfig, Reload};
use scripts::{ScriptEffect, ScriptRunner};
use service::ServiceNotifier;
pub(crate) use snapshots::SnapshotMessage;
use snapshots::Snapshots;
use status::{DaemonState, StatusAction, StatusWriter};
use sync::{SyncContext, SyncInstance};
use target_probes::{TargetPlace, TargetProbes};
use tunnels::Tunnels;

/// Maximum number of messages handled before due work is done.
const MAX_MESSAGES_PER_TURN: usize = 1024;

/// The engine: owns the fleet, and connects it with watcher, jobs, scripts and status.
pub(crate) struct Engine {
    fleet: Fleet,
    registry: SyncRegistry,
    /// Process settings in force.
    daemon: DaemonConfig,
    reload: Option<Reload>,
    calendar: Calendar,
    status: StatusWriter,
    control: ControlState,
    service: ServiceNotifier,
    /// Snapshots of the sources, if there are any.
    snapshots: Option<Snapshots>,
    probes: TargetProbes,
    watch: Watcher,
    jobs: Jobs,
    lister: DirectoryLister,
    receiver: Receiver<Message>,
    freed_memory: FreedMemory,
    /// Inputs that resulted from performing effects, for the next turn.
    next_inputs: Vec<Input>,
    /// Shared ssh connections. Declared after `registry`, so that the remote shells of the syncs
    /// are dropped first.
    connections: Arc<SshConnections>,
    tunnels: Tunnels,
    scripts: ScriptRunner,
    inbox: Inbox,
    log: Log,
    started: Instant,
}

impl Engine {
    /// Creates an engine for a loaded configuration.
    ///
    /// # Errors
    ///
    /// If one of the syncs can't be run: a message for the user.
    pub(crate) fn new(
        loaded: Loaded,
        reload: Option<Reload>,
        watch: Watcher,
        channel: MessageChannel,
        log: Log,
    ) -> Result<Self, String> {
        let Loaded { config: Config { daemon, syncs, tunnels }, scripts, .. } = loaded;
        let MessageChannel { inbox, receiver } = channel;
        let scripts = ScriptRunner::new(scripts, inbox.clone(), log.clone())?;
        let snapshots = Snapshots::open(&daemon, &inbox, &log);
        let connections = Arc::new(SshConnections::new(daemon.share_connections));
        let tunnels = Tunnels::start(&tunnels, &Tunnels::default(), &inbox, &log)?;
        let context = SyncContext {
            base_dir: base_dir(),
            connections: &connections,
            tunnels: &tunnels,
            on_synced: scripts.on_synced_sender(),
            has_snapshots: snapshots.is_some(),
            log: &log,
        };
        let instances = syncs.into_iter().map(|sync| SyncInstance::new(sync, &context));
        let instances = instances.collect::<Result<Vec<_>, _>>()?;
        let limits = FleetLimits { max_jobs: daemon.max_processes, onepass: daemon.onepass };
        let fleet = Fleet::new(instances.iter().map(SyncInstance::mirror_spec).collect(), limits);
        let mut registry = SyncRegistry::default();
        let ids: Vec<_> = fleet.members().iter().map(|member| member.id()).collect();
        ids.iter().zip(instances).for_each(|(&id, instance)| registry.insert(id, instance));
        registry.set_order(ids.clone());
        let mut engine = Self {
            fleet,
            registry,
            status: StatusWriter::new(&daemon, Moment::ORIGIN),
            daemon,
            reload,
            calendar: Calendar::new(Zoned::now()),
            control: ControlState::default(),
            service: ServiceNotifier::default(),
            snapshots,
            probes: TargetProbes::new(inbox.clone()),
            watch,
            jobs: Jobs::new(limits.max_jobs, inbox.clone(), log.clone()),
            lister: DirectoryLister::new(inbox.clone(), log.clone()),
            receiver,
            next_inputs: Vec::new(),
            freed_memory: FreedMemory::default(),
            connections,
            tunnels,
            scripts,
            inbox,
            log,
            started: Instant::now(),
        };
        engine.bind_scripts(&ids, |_| false);
        engine.calendar.schedule(engine.registry.crontabs(), Zoned::now());
        engine.ignore_own_files();
        Ok(engine)
    }

    /// Runs until the fleet or a script requests an exit. Returns the exit code.
    #[must_use]
    pub(crate) fn run(mut self) -> ExitCode {
        self.restore_notes();
        let code = self.run_loop();
        self.service.stopping();
        self.log_onepass_summary();
        self.write_last_snapshots();
        self.write_status(true);
        self.scripts.abandon();
        code
    }

    fn run_loop(&mut self) -> ExitCode {
        let mut effects = Vec::new();
        self.fleet.begin(&mut effects);
        loop {
            if !effects.is_empty() {
                self.touch_status();
            }
            self.save_due_notes();
            if let Some(code) = self.perform(&mut effects) {
                return code.into();
            }
            self.step_status();
            self.step_snapshots();
            self.service.step(&self.fleet, self.now(), self.jobs.any_running());
            let has_work = !self.next_inputs.is_empty() || self.has_requests();
            let is_busy = has_work || self.jobs.any_running();
            let collect = || self.scripts.collect_garbage();
            self.freed_memory.release(self.now(), is_busy, collect);
            if !has_work && !self.wait(&mut effects) {
                return ExitCode::FAILURE;
            }
            // Messages are received in each turn, so that signals and child exits are handled also
            // while scripts produce much work.
            self.receive_pending(&mut effects);
            self.save_due_notes();
            self.carry_out_requests(&mut effects);
            self.jobs.start_queued();
            self.lister.start_waiting();
            self.next_inputs.extend(self.calendar.step(Zoned::now));
            let now = self.now();
            for input in std::mem::take(&mut self.next_inputs) {
                self.note_input(&input);
                self.fleet.handle(input, now, &mut effects);
            }
            self.call_scripts(ScriptRunner::step);
            if let Some(code) = self.script_exit() {
                return code.into();
            }
            self.fleet.advance(now, &mut effects);
            self.end_overdue_flushes();
            self.note_states();
        }
    }

    /// Does what is due for the status file. A daemon that is shutting down writes only the final
    /// status.
    fn step_status(&mut self) {
        if !self.fleet.is_running() {
            return;
        }
        match self.status.step(self.now(), self.jobs.any_running()) {
            StatusAction::Nothing => {}
            StatusAction::RequestInventory => self.watch.list(),
            StatusAction::Write => self.write_status(false),
            StatusAction::Log => self.log_state(),
        }
    }

    fn write_status(&mut self, is_final: bool) {
        let now = self.now();
        let Self { fleet, registry, jobs, tunnels, .. } = self;
        let state = DaemonState { fleet, registry, jobs, tunnels, is_final };
        if let Err(Some(why)) = self.status.write(&state, now) {
            self.log.say(Category::Error, why);
        }
    }

    /// Records a change that the status may show.
    fn touch_status(&mut self) {
        self.status.touch(self.now());
        self.service.touch();
    }

    /// Excludes these files from the reported changes of a source.
    pub(crate) fn ignore_files(&self, files: impl Iterator<Item = PathBuf>) {
        files.for_each(|path| self.watch.ignore(path));
    }

    /// Excludes the daemon's own files from the reported changes of a source.
    fn ignore_own_files(&self) {
        let DaemonConfig { logfile, pidfile, .. } = &self.daemon;
        let own = [logfile, pidfile].into_iter().flatten().cloned();
        self.ignore_files(own.chain(self.status.paths()));
    }

    fn now(&self) -> Moment {
        Moment::new(self.started.elapsed())
    }

    /// Waits for a message or the next wake-up, and handles the message. Returns false if no
    /// message can ever arrive.
    fn wait(&mut self, effects: &mut Vec<Effect>) -> bool {
        let first = match self.time_to_next_work() {
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => self.receiver.recv_timeout(wait),
        };
        match first {
            Ok(message) => self.handle_message(message, effects),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    /// Handles the messages that are already in the channel.
    fn receive_pending(&mut self, effects: &mut Vec<Effect>) {
        for _ in 1..MAX_MESSAGES_PER_TURN {
            let Ok(message) = self.receiver.try_recv() else { break };
            self.handle_message(message, effects);
        }
    }

    /// Returns the time until the next scheduled work. `None`: nothing is scheduled.
    fn time_to_next_work(&self) -> Option<Duration> {
        let status = self.status.due(self.jobs.any_running()).filter(|_| self.fleet.is_running());
        let flush = self.next_flush_end();
        let service = self.service.due(self.jobs.any_running());
        let snapshot = self.next_snapshot().filter(|_| self.fleet.is_running());
        let requested = flush.into_iter().chain(service).chain(snapshot);
        let memory = self.freed_memory.due(self.jobs.any_running());
        let requested = requested.chain(memory);
        let wakeup = self.fleet.next_wakeup().into_iter().chain(status).chain(requested).min();
        let wakeup = wakeup.map(|at| at - self.now());
        let calendar = self.calendar.wait(Zoned::now);
        let alarm = self.scripts.time_to_next_alarm().filter(|_| self.fleet.is_running());
        let threads = self.jobs.retry_wait().into_iter().chain(self.lister.retry_wait());
        wakeup.into_iter().chain(calendar).chain(alarm).chain(threads).min()
    }

    /// Pins the root of a mirror and starts watching it, in this order: the watched directory is
    /// then the one that the executor accepts.
    fn cover(&self, id: MirrorId) -> Result<Succession, String> {
        let instance =
            self.registry.get(id).ok_or_else(|| String::from("there is no such sync"))?;
        let succession = instance.pin_source()?;
        log_events::log_source_change(&self.log, instance, &succession);
        instance.source.report_lost_mounts(&self.log.for_sync(&instance.config.name));
        let given = &instance.config.source_as_given;
        let may_have_links = !self.daemon.onepass && given != instance.source.path();
        self.watch.cover(instance.watch_tree(id), may_have_links.then(|| given.clone()));
        Ok(succession)
    }

    /// Starts watching a mirror. An error is reported to the fleet.
    fn start_covering(&mut self, mirror: MirrorId) {
        match self.cover(mirror) {
            // The whole tree may have been written by someone else: equal size and time prove
            // nothing.
            Ok(Succession::Replaced | Succession::Accepted) => {
                let (kind, path) = (EntryKind::Directory, TreePath::root());
                let news = FsEventKind::Changed(Change { edit: Edit::Create, kind, path });
                self.next_inputs.push(Input::FsEvent(FsEvent { mirror, kind: news }));
            }
            Ok(_) => {}
            Err(why) => {
                self.next_inputs.push(Input::CannotCover { mirror, reason: why });
                // The watcher does not follow its source path now.
                self.inbox.send(Message::SourcePathChanged(mirror));
            }
        }
    }

    /// Binds the scripts to these mirrors, the ones of the syncs in their order.
    fn bind_scripts(&mut self, mirrors: &[MirrorId], starts_late: impl Fn(MirrorId) -> bool) {
        self.scripts.bind(mirrors, &self.registry, starts_late);
        // The requests that were made while the files ran.
        self.call_scripts(|scripts, _| scripts.take_effects());
    }

    fn call_script(&mut self, mirror: MirrorId, call: &ScriptCall) {
        let context = CallContext { now: self.now(), fleet: &mut self.fleet };
        let effects = self.scripts.call(context, mirror, self.registry.get(mirror), call);
        self.perform_script_effects(effects);
    }

    /// Logs the exit that a script has requested, and returns its code.
    fn script_exit(&self) -> Option<u8> {
        let code = self.scripts.exit_code()?;
        let text = format_args!("--- A script has called terminate({code}), ending the daemon ---");
        self.log.say(Category::Normal, text);
        Some(code)
    }

    /// Calls scripts, and performs the effects that they request.
    fn call_scripts(
        &mut self,
        call: impl FnOnce(&mut ScriptRunner, CallContext<'_>) -> Vec<ScriptEffect>,
    ) {
        let context = CallContext { now: self.now(), fleet: &mut self.fleet };
        let effects = call(&mut self.scripts, context);
        self.perform_script_effects(effects);
    }

    fn perform_script_effects(&mut self, effects: Vec<ScriptEffect>) {
        for effect in effects {
            match effect {
                ScriptEffect::Input(input) => self.next_inputs.push(input),
                ScriptEffect::Spawn(process) => {
                    self.note_child(process.job);
                    self.jobs.start_child(process);
                }
                ScriptEffect::Transfer(job) => {
                    self.note_child(job.id);
                    // A sync without a built-in target was refused when it requested the transfer.
                    if let Some(executor) = self.registry.executor(job.mirror) {
                        self.jobs.start_transfer(job, executor);
                    }
                }
                ScriptEffect::Reconfigure(mirror, sync) => self.reconfigure(mirror, *sync),
            }
        }
    }

    /// Continues a sync with the configuration that its script has changed. A new filter applies to
    /// later changes.
    fn reconfigure(&mut self, mirror: MirrorId, sync: Result<SyncConfig, String>) {
        let on_synced = self.scripts.on_synced_sender();
        let Self { registry, tunnels, connections, log, snapshots, .. } = self;
        let context = SyncContext {
            base_dir: base_dir(),
            connections,
            tunnels,
            on_synced,
            has_snapshots: snapshots.is_some(),
            log,
        };
        let Some(instance) = registry.get_mut(mirror) else { return };
        match sync.and_then(|sync| instance.set_config(sync, &context)) {
            Ok(()) => {
                let filter = Arc::clone(&instance.config.filter);
                if let Some(mirror) = self.fleet.scripted(mirror) {
                    mirror.set_filter(filter);
                }
            }
            Err(why) => {
                self.log.say(Category::Error, format_args!("{}: {why}", instance.config.name));
            }
        }
    }

    /// Performs effects. Returns the exit code if one of them ends the process.
    fn perform(&mut self, effects: &mut Vec<Effect>) -> Option<u8> {
        for effect in effects.drain(..) {
            self.note_effect(&effect);
            match effect {
                Effect::Cover(mirror) => {
                    self.start_covering(mirror);
                }
                Effect::Uncover(mirror) => self.watch.uncover(mirror),
                Effect::Compare(mirror) => self.request_comparison(mirror),
                Effect::Start(job) => {
                    self.note_snapshot_job(&job);
                    if let Some(executor) = self.registry.executor(job.mirror) {
                        self.jobs.start(job, executor);
                    }
                }
                Effect::CallScript(mirror, call) => {
                    self.call_script(mirror, &call);
                    if let Some(code) = self.script_exit() {
                        return Some(code);
                    }
                }
                Effect::ListDirectory { mirror, path } => {
                    if let Some(instance) = self.registry.get(mirror) {
                        self.lister.list(instance, mirror, path);
                    }
                }
                Effect::Stop(job) => self.jobs.stop(job),
                Effect::Forget(mirror) => {
                    self.registry.remove(mirror);
                    self.probes.forget(mirror);
                }
                Effect::Report(event) => {
                    if matches!(event, LogEvent::Draining(..)) {
                        self.jobs.notify_exit();
                    }
                    let registry = &self.registry;
                    self.probes.note(&event, |mirror| {
                        TargetPlace::of(&registry.get(mirror)?.config, &base_dir())
                    });
                    log_events::log_event(&self.log, &self.registry, &event);
                }
                Effect::Flushed(end) => self.end_flush(end),
                Effect::Exit(code) => return Some(code),
            }
        }
        None
    }
}

/// Returns the base directory of relative targets.
fn base_dir() -> PathBuf {
    env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}
