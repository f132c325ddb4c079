//! Runs the user scripts of a configuration.

use std::{os::fd::RawFd, time::Duration};

use mirror_core::{
    effect::ScriptCall,
    fs_event::MirrorId,
    input::{ChildExit, Input, ScriptInput},
    job::{Failure, Job, JobId, Outcome},
    plan::command::CommandLine,
};

use rustix::process::Signal;

use super::{
    Inbox, Message, base_dir,
    jobs::ScriptProcess,
    on_synced::{OnSyncedRequest, OnSyncedSender},
    registry::SyncRegistry,
    sync::SyncInstance,
};

use crate::{
    config::SyncConfig,
    exec::process::child::{ChildOutput, ChildProgram},
    report::{Category, Log},
    script::{
        CallContext, CallResult, DescriptorPoller, FdReadiness, ScriptRequest, Scripts,
        SpawnRequest, SyncBinding,
    },
};

/// The scripts of one configuration, if it has any.
///
/// A call returns the effects that it requested. They are performed before the next call.
pub(super) struct ScriptRunner {
    /// Descriptors that scripts observe; started with the first one.
    descriptors: Option<DescriptorPoller>,
    scripts: Option<Scripts>,
    /// Number of reloads before this configuration.
    generation: u64,
    inbox: Inbox,
    log: Log,
}

/// Effect that a script has requested, for the engine to perform.
#[derive(Debug)]
pub(super) enum ScriptEffect {
    /// Pass an input to the fleet, in the next turn.
    Input(Input),
    /// Start a child process.
    Spawn(ScriptProcess),
    /// Transfer changes to the built-in target.
    Transfer(Job),
    /// Continue a sync with another configuration. The error explains why that can't be run.
    Reconfigure(MirrorId, Box<Result<SyncConfig, String>>),
}

impl ScriptRunner {
    /// Creates the runner of the first configuration, and installs the watchdog of its scripts.
    ///
    /// # Errors
    ///
    /// If memory is exhausted: a message for the user.
    pub(super) fn new(scripts: Option<Scripts>, inbox: Inbox, log: Log) -> Result<Self, String> {
        Self::of_generation(0, scripts, inbox, log)
    }

    /// Creates the runner of the next configuration. Alarms and observed descriptors end with the
    /// previous one.
    ///
    /// # Errors
    ///
    /// As for the first one.
    pub(super) fn next(&self, scripts: Option<Scripts>) -> Result<Self, String> {
        Self::of_generation(self.generation + 1, scripts, self.inbox.clone(), self.log.clone())
    }

    fn of_generation(
        generation: u64,
        mut scripts: Option<Scripts>,
        inbox: Inbox,
        log: Log,
    ) -> Result<Self, String> {
        if let Some(scripts) = &mut scripts {
            let watched = scripts.install_watchdog(log.clone(), inbox.exit_flag());
            watched.map_err(|error| format!("cannot run scripts: {error}"))?;
        }
        Ok(Self { descriptors: None, scripts, generation, inbox, log })
    }

    /// Binds the syncs of the configuration to these mirrors, in order. A script whose mirror
    /// starts late, as after a reload, retries a failed startup, since no user is watching.
    pub(super) fn bind(
        &mut self,
        mirrors: &[MirrorId],
        registry: &SyncRegistry,
        starts_late: impl Fn(MirrorId) -> bool,
    ) {
        let Some(scripts) = &mut self.scripts else { return };
        for (number, &mirror) in (1..).zip(mirrors) {
            let insists =
                registry.get(mirror).is_some_and(|instance| instance.config.retries_startup());
            scripts.bind(number, SyncBinding { mirror, insists: insists || starts_late(mirror) });
        }
    }

    /// Returns a sender of `onSynced` calls of this configuration.
    pub(super) fn on_synced_sender(&self) -> OnSyncedSender {
        OnSyncedSender { inbox: self.inbox.clone(), generation: self.generation }
    }

    /// Returns the exit code that a script has requested.
    pub(super) fn exit_code(&self) -> Option<u8> {
        self.scripts.as_ref()?.exit_code()
    }

    /// Frees what the scripts do not use any more.
    pub(super) fn collect_garbage(&self) {
        if let Some(scripts) = &self.scripts {
            scripts.collect_garbage();
        }
    }

    /// Ends without closing the Lua state, which would wait for all programs that scripts read from
    /// or write to.
    pub(super) fn abandon(self) {
        std::mem::forget(self.scripts);
    }

    /// Returns the time until the next alarm.
    pub(super) fn time_to_next_alarm(&self) -> Option<Duration> {
        self.scripts.as_ref().and_then(Scripts::time_to_next_alarm)
    }

    /// Calls the alarms that are due.
    pub(super) fn step(&mut self, context: CallContext<'_>) -> Vec<ScriptEffect> {
        let is_due = self.time_to_next_alarm().is_some_and(|wait| wait.is_zero());
        match &self.scripts {
            Some(scripts) if is_due && context.fleet.is_running() => {
                let called = scripts.call_due_alarms(context);
                self.finish_call("an alarm", called)
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// Calls the script of a mirror. A script that is gone is not called, but the call is answered.
    pub(super) fn call(
        &mut self,
        context: CallContext<'_>,
        mirror: MirrorId,
        instance: Option<&SyncInstance>,
        call: &ScriptCall,
    ) -> Vec<ScriptEffect> {
        let (Some(scripts), Some(instance)) = (&self.scripts, instance) else {
            let failure = Failure::new("its script has ended");
            return vec![ScriptEffect::Input(match call {
                ScriptCall::Init(_) | ScriptCall::Full(_) | ScriptCall::Action => {
                    self.returned(mirror, Err(failure))
                }
                ScriptCall::Collect { job, .. } => {
                    Input::Script(ScriptInput::Collected { job: *job, result: Err(failure) })
                }
            })];
        };
        let is_collect = matches!(call, ScriptCall::Collect { .. });
        // The due event may be the deletion of files on a disk that was unmounted.
        let lost = || match instance.look_at_source(|source| source.open().map(drop)) {
            None => Some(instance.silent_source()),
            Some(Err(Outcome::SourceGone(failure))) => Some(failure.message),
            Some(_) => None,
        };
        if !is_collect && let Some(reason) = lost() {
            let gone = Input::CannotCover { mirror, reason };
            return [gone, self.returned(mirror, Ok(()))].map(ScriptEffect::Input).into();
        }
        let called = scripts.call(context, mirror, &instance.config.name, call);
        let mut effects = self.take_effects();
        effects.push(ScriptEffect::Input(match called {
            CallResult::Done(result) => self.returned(mirror, result),
            CallResult::Collected(job, result) => {
                Input::Script(ScriptInput::Collected { job, result })
            }
        }));
        effects
    }

    fn returned(&self, mirror: MirrorId, result: Result<(), Failure>) -> Input {
        // The script may wait for an alarm or a descriptor.
        let has_pending_work = self.scripts.as_ref().is_some_and(Scripts::has_pending_callbacks)
            || self.descriptors.as_ref().is_some_and(|it| !it.is_empty());
        Input::Script(ScriptInput::Returned { mirror, result, has_pending_work })
    }

    /// Calls the functions for a descriptor that is ready.
    pub(super) fn descriptor_ready(
        &mut self,
        context: CallContext<'_>,
        fd: RawFd,
        readiness: FdReadiness,
    ) -> Vec<ScriptEffect> {
        let Some(scripts) = self.scripts.as_ref().filter(|_| context.fleet.is_running()) else {
            return Vec::new();
        };
        let called = scripts.call_for_descriptor(context, fd, readiness);
        let is_well = called.is_ok();
        let effects = self.finish_call("a function for a descriptor", called);
        if self.descriptors.as_ref().is_some_and(|it| it.rearm(fd, is_well)) {
            let text = "is at its end, and its function neither closes nor forgets it: from now on \
                        that is called once a second";
            self.log.say(Category::Warn, format_args!("observefd({fd}): the descriptor {text}"));
        }
        effects
    }

    /// Calls `onSynced` for a completed batch. A function of a previous configuration is not
    /// called: the sync that replaced it transfers everything again.
    pub(super) fn call_on_synced(
        &mut self,
        context: CallContext<'_>,
        request: OnSyncedRequest,
    ) -> Vec<ScriptEffect> {
        let OnSyncedRequest { number, generation, names, reply } = request;
        let scripts = self.scripts.as_ref().filter(|_| generation == self.generation);
        let called = scripts.map_or(Ok(()), |it| it.call_on_synced(context, number, &names));
        let effects = self.take_effects();
        // The job waits for the answer, unless it was stopped.
        let _ = reply.send(called.map_err(|failure| failure.message));
        effects
    }

    /// Handles the exit of a child. A script that is not called for it drops its state of the
    /// child.
    pub(super) fn child_exited(&self, context: CallContext<'_>, job: JobId, exit: &ChildExit) {
        if let (Some(scripts), ChildExit::Signal(_) | ChildExit::Partial(_)) = (&self.scripts, exit)
        {
            scripts.forget(context, job);
        }
    }

    fn finish_call(&mut self, name: &str, result: Result<(), Failure>) -> Vec<ScriptEffect> {
        // A script that requested an exit has not failed.
        if let (None, Err(failure)) = (self.exit_code(), result) {
            self.log.say(Category::Error, format_args!("{name}: {}", failure.message));
        }
        self.take_effects()
    }

    /// Takes the requested effects. At startup these are the ones requested while the files ran.
    pub(super) fn take_effects(&mut self) -> Vec<ScriptEffect> {
        let requests = self.scripts.as_ref().map(Scripts::take_requests).unwrap_or_default();
        requests.into_iter().filter_map(|request| self.effect_of(request)).collect()
    }

    /// Returns the effect of a request. The descriptors are handled here.
    fn effect_of(&mut self, request: ScriptRequest) -> Option<ScriptEffect> {
        match request {
            ScriptRequest::Spawn(spawn) => Some(ScriptEffect::Spawn(self.child(spawn))),
            ScriptRequest::Transfer(job) => Some(ScriptEffect::Transfer(job)),
            ScriptRequest::Full(mirror) => Some(ScriptEffect::Input(Input::FullDue(mirror))),
            ScriptRequest::Refilter(number) => {
                let scripts = self.scripts.as_ref()?;
                let mirror = scripts.mirror(number)?;
                Some(ScriptEffect::Reconfigure(mirror, Box::new(scripts.reread(number))))
            }
            ScriptRequest::Observe { fd, read, write } => {
                self.observe(fd, FdReadiness { read, write });
                None
            }
            ScriptRequest::Forget(fd) => {
                self.descriptors.as_ref()?.forget(fd);
                None
            }
        }
    }

    fn child(&self, request: SpawnRequest) -> ScriptProcess {
        let SpawnRequest { job, program, args, stdin } = request;
        let program = ChildProgram {
            binary: program,
            working_dir: base_dir(),
            environment: Vec::new(),
            output: ChildOutput::Inherit(self.log.clone()),
            parent_death_signal: Signal::TERM,
            inherited: None,
        };
        let call = CommandLine { args, stdin };
        ScriptProcess { job, program, call }
    }

    fn observe(&mut self, fd: RawFd, wanted: FdReadiness) {
        if self.descriptors.is_none() {
            let inbox = self.inbox.clone();
            let report = move |fd, readiness| inbox.send(Message::DescriptorReady(fd, readiness));
            match DescriptorPoller::start(report) {
                Ok(descriptors) => self.descriptors = Some(descriptors),
                Err(error) => {
                    let text = format!("observefd({fd}): cannot observe anything: {error}");
                    return self.log.say(Category::Error, text);
                }
            }
        }
        if let Some(Err(error)) = self.descriptors.as_ref().map(|it| it.observe(fd, wanted)) {
            self.log.say(Category::Error, format_args!("observefd({fd}): {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use mirror_core::{
        fleet::{Fleet, FleetLimits, MirrorSpec},
        time::Moment,
    };

    use super::{super::MessageChannel, *};
    use crate::{
        config::Overrides,
        frontend::lua::{self, LoadPurpose, LoadRequest},
    };

    /// Creates the runner of a configuration file with one sync.
    fn runner(channel: &MessageChannel, text: &str) -> ScriptRunner {
        let dir = tempfile::tempdir().unwrap();
        let start_dir = dir.path().canonicalize().unwrap();
        let file = start_dir.join("conf.lua");
        let sync = "sync{ default.direct, source = '.', target = '/nonexistent' }";
        fs::write(&file, format!("{sync} {text}")).unwrap();
        let request = LoadRequest {
            scripts: Vec::new(),
            file: Some(file),
            overrides: Overrides::default(),
            start_dir,
            purpose: LoadPurpose::Run,
        };
        let scripts = lua::load(&request, &Log::default()).unwrap().scripts;
        ScriptRunner::new(scripts, channel.inbox.clone(), Log::default()).unwrap()
    }

    fn empty_fleet() -> Fleet {
        Fleet::new(Vec::<MirrorSpec>::new(), FleetLimits::default())
    }

    #[test]
    fn a_due_alarm_is_called_unless_the_daemon_shuts_down() {
        let channel = MessageChannel::default();
        for (shuts_down, code) in [(false, Some(7)), (true, None)] {
            let mut runner = runner(&channel, "alarm(now(), function() terminate(7) end)");
            let mut fleet = empty_fleet();
            if shuts_down {
                let signal = Input::Signal(mirror_core::input::Signal::Terminate);
                fleet.handle(signal, Moment::ORIGIN, &mut Vec::new());
            }
            assert_eq!(runner.time_to_next_alarm(), Some(Duration::ZERO));
            let context = CallContext { fleet: &mut fleet, now: Moment::ORIGIN };
            assert!(runner.step(context).is_empty());
            assert_eq!(runner.exit_code(), code);
        }
    }

    #[test]
    fn garbage_is_collected_unless_lua_would_wait_for_a_program() {
        let channel = MessageChannel::default();
        // A finalizer shows what was collected.
        let garbage = "unused = setmetatable({}, {__gc = function() terminate(7) end}) \
                       alarm(now(), function() unused = nil end)";
        for (more, code) in [("", Some(7)), ("program = io.popen('exec sleep 1000')", None)] {
            let mut runner = runner(&channel, &format!("{garbage} {more}"));
            let mut fleet = empty_fleet();
            runner.step(CallContext { fleet: &mut fleet, now: Moment::ORIGIN });
            assert_eq!(runner.exit_code(), None, "{more}");
            runner.collect_garbage();
            assert_eq!(runner.exit_code(), code, "{more}");
        }
    }

    #[test]
    fn a_call_of_a_script_that_is_gone_is_answered() {
        let channel = MessageChannel::default();
        let with_scripts = runner(&channel, "alarm(now() + 1000, print)");
        assert!(with_scripts.scripts.is_some());
        // A reload to a configuration without scripts in the turn in which a child exits.
        let without_scripts = with_scripts.next(None).unwrap();
        let collect = ScriptCall::Collect { job: JobId(4), events: Vec::new(), code: 0 };
        for mut runner in [with_scripts, without_scripts] {
            let mut answer = |call| {
                let mut fleet = empty_fleet();
                let context = CallContext { fleet: &mut fleet, now: Moment::ORIGIN };
                runner.call(context, MirrorId(3), None, call)
            };
            let answered = answer(&collect);
            let [ScriptEffect::Input(Input::Script(ScriptInput::Collected { job, result }))] =
                &answered[..]
            else {
                panic!("{answered:?}")
            };
            assert!(*job == JobId(4) && result.is_err(), "{result:?}");
            let answered = answer(&ScriptCall::Action);
            let [
                ScriptEffect::Input(Input::Script(ScriptInput::Returned {
                    mirror, result, ..
                })),
            ] = &answered[..]
            else {
                panic!("{answered:?}")
            };
            assert!(*mirror == MirrorId(3) && result.is_err(), "{result:?}");
        }
    }

    #[test]
    fn on_synced_of_a_previous_configuration_is_answered_without_a_call() {
        let channel = MessageChannel::default();
        let first = runner(&channel, "");
        let call = first.on_synced_sender().blocking_call(1);
        let mut next = first.next(None).unwrap();
        let job = thread::spawn(move || call(b"a\0".to_vec()));
        let Ok(Message::OnSynced(request)) = channel.receiver.recv() else { panic!("no request") };
        let context = CallContext { fleet: &mut empty_fleet(), now: Moment::ORIGIN };
        assert!(next.call_on_synced(context, request).is_empty());
        assert_eq!(job.join().unwrap(), Ok(()));
    }
}
