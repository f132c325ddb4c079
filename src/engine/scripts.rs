//! User scripts: calls them and performs their requests.

use std::{io, os::fd::RawFd, sync::Arc, thread};

use mirror_core::{
    effect::ScriptCall,
    fs_event::{EntryKind, MirrorId},
    input::{ChildExit, DirectoryListing, Input, ScriptInput},
    job::{Failure, Job, JobId, Outcome},
    path::TreePath,
    plan::command::CommandLine,
};

use rustix::process::Signal;

use super::{Engine, Inbox, Message, base_dir, jobs::ScriptProcess, sync::SyncContext};
use mirror_platform::entries::ReadBuffer;
use rustix::fs::FileType;

use crate::{
    exec::{
        process::child::{ChildOutput, ChildProgram},
        source_root::{SourceRoot, is_gone},
    },
    report::{Category, Log},
    script::{
        CallContext, CallResult, DescriptorPoller, FdReadiness, ScriptRequest, Scripts,
        SpawnRequest, SyncBinding,
    },
};

impl Engine {
    /// Binds the syncs of the configuration to these mirrors, in order. A script whose mirror
    /// starts late, as after a reload, retries a failed startup, since no user is watching.
    pub(super) fn bind_scripts(
        &mut self,
        mirrors: &[MirrorId],
        starts_late: impl Fn(MirrorId) -> bool,
    ) {
        let Some(scripts) = &mut self.scripts else { return };
        for (number, &mirror) in (1..).zip(mirrors) {
            let insists =
                self.registry.get(mirror).is_some_and(|instance| instance.config.retries_startup());
            scripts.bind(number, SyncBinding { mirror, insists: insists || starts_late(mirror) });
        }
    }

    /// Installs the watchdog of new scripts.
    pub(super) fn install_scripts(
        scripts: Option<Scripts>,
        inbox: &Inbox,
        log: &Log,
    ) -> Result<Option<Scripts>, String> {
        let Some(mut scripts) = scripts else { return Ok(None) };
        let watched = scripts.install_watchdog(log.clone(), inbox.exit_flag());
        watched.map_err(|error| format!("cannot run scripts: {error}"))?;
        Ok(Some(scripts))
    }

    /// Handles the exit of a child. A script that is not called for it drops its state of the
    /// child.
    pub(super) fn child_ended(&mut self, job: JobId, exit: &ChildExit) {
        let now = self.now();
        if let (Some(scripts), ChildExit::Signal(_) | ChildExit::Partial(_)) = (&self.scripts, exit)
        {
            scripts.forget(CallContext { fleet: &mut self.fleet, now }, job);
        }
    }

    /// Calls the script of a mirror.
    pub(super) fn call_script(&mut self, mirror: MirrorId, call: &ScriptCall) {
        let Some(scripts) = &self.scripts else { return };
        let now = self.now();
        let instance = self.registry.get(mirror);
        // The due event may be the deletion of files on a disk that was unmounted.
        if let Some(Err(Outcome::SourceGone(Failure { message, .. }))) = instance
            .filter(|_| !matches!(call, ScriptCall::Collect { .. }))
            .map(|it| it.source.open())
        {
            self.next_inputs.push(Input::CannotCover { mirror, reason: message });
            let has_pending_work = self.has_pending_callbacks();
            self.next_inputs.push(Input::Script(ScriptInput::Returned {
                mirror,
                result: Ok(()),
                has_pending_work,
            }));
            return;
        }
        let sync = instance.map(|instance| &*instance.config.name).unwrap_or_default();
        let context = CallContext { fleet: &mut self.fleet, now };
        let called = scripts.call(context, mirror, sync, call);
        self.perform_requests();
        self.next_inputs.push(Input::Script(match called {
            CallResult::Done(result) => ScriptInput::Returned {
                mirror,
                result,
                has_pending_work: self.has_pending_callbacks(),
            },
            CallResult::Collected(job, result) => ScriptInput::Collected { job, result },
        }));
    }

    /// Returns true if a script waits for an alarm or a descriptor.
    fn has_pending_callbacks(&self) -> bool {
        self.scripts.as_ref().is_some_and(Scripts::has_pending_callbacks)
            || self.descriptors.as_ref().is_some_and(|it| !it.is_empty())
    }

    pub(super) fn call_due_alarms(&mut self) {
        let is_due = |wait: std::time::Duration| wait.is_zero();
        let Some(scripts) =
            self.scripts.as_ref().filter(|it| it.time_to_next_alarm().is_some_and(is_due))
        else {
            return;
        };
        if self.fleet.is_running() {
            let now = self.now();
            let context = CallContext { fleet: &mut self.fleet, now };
            let called = scripts.call_due_alarms(context);
            self.finish_call("an alarm", called);
        }
    }

    /// Calls the functions for a descriptor that is ready.
    pub(super) fn descriptor_ready(&mut self, fd: RawFd, readiness: FdReadiness) {
        let Some(scripts) = &self.scripts else { return };
        if self.fleet.is_running() {
            let now = self.now();
            let context = CallContext { fleet: &mut self.fleet, now };
            let called = scripts.call_for_descriptor(context, fd, readiness);
            let is_well = called.is_ok();
            self.finish_call("a function for a descriptor", called);
            if self.descriptors.as_ref().is_some_and(|it| it.rearm(fd, is_well)) {
                let text = "is at its end, and its function neither closes nor forgets it: from now \
                            on that is called once a second";
                self.log
                    .say(Category::Warn, format_args!("observefd({fd}): the descriptor {text}"));
            }
        }
    }

    fn finish_call(&mut self, name: &str, result: Result<(), Failure>) {
        // A script that requested an exit has not failed.
        let is_running = self.scripts.as_ref().is_some_and(|scripts| scripts.exit_code().is_none());
        if let (true, Err(failure)) = (is_running, result) {
            self.log.say(Category::Error, format_args!("{name}: {}", failure.message));
        }
        self.perform_requests();
    }

    /// Performs the requests of scripts. At startup these are the requests made while the files
    /// ran.
    pub(super) fn perform_requests(&mut self) {
        let requests = self.scripts.as_ref().map(Scripts::take_requests);
        for request in requests.into_iter().flatten() {
            match request {
                ScriptRequest::Spawn(spawn) => self.start_script_child(spawn),
                ScriptRequest::Transfer(job) => self.start_script_transfer(job),
                ScriptRequest::Full(mirror) => self.next_inputs.push(Input::FullDue(mirror)),
                ScriptRequest::Refilter(number) => self.reload_filter(number),
                ScriptRequest::Observe { fd, read, write } => {
                    self.observe(fd, FdReadiness { read, write });
                }
                ScriptRequest::Forget(fd) => {
                    if let Some(descriptors) = &self.descriptors {
                        descriptors.forget(fd);
                    }
                }
            }
        }
    }

    fn start_script_child(&mut self, request: SpawnRequest) {
        let SpawnRequest { job, program, args, stdin } = request;
        let output = ChildOutput::Inherit(self.log.clone());
        let program = ChildProgram {
            binary: program,
            working_dir: base_dir(),
            environment: Vec::new(),
            output,
            parent_death_signal: Signal::TERM,
            inherited: None,
        };
        let call = CommandLine { args, stdin };
        self.jobs.start_child(ScriptProcess { job, program, call, log: self.log.clone() });
    }

    fn start_script_transfer(&mut self, job: Job) {
        let instance = self.registry.get(job.mirror);
        let executor = instance.and_then(|instance| instance.executor.as_ref().map(Arc::clone));
        // A sync without a built-in target was refused when it requested the transfer.
        if let Some(executor) = executor {
            self.jobs.start_transfer(job, executor, self.log.clone());
        }
    }

    /// Reloads the filter of a sync after a script has changed its exclusions. It applies to later
    /// changes.
    fn reload_filter(&mut self, number: usize) {
        let Some(scripts) = &self.scripts else { return };
        let Some(mirror) = scripts.mirror(number) else { return };
        let sync = scripts.reread(number);
        let on_synced = self.on_synced_sender();
        let Self { registry, tunnels, connections, log, .. } = self;
        let context = SyncContext { base_dir: base_dir(), connections, tunnels, on_synced, log };
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

    /// Lists a directory on a thread of its own, since the disk may be slow.
    pub(super) fn list_directory(&self, mirror: MirrorId, path: TreePath) {
        let Some(instance) = self.registry.get(mirror) else { return };
        let (source, inbox) = (Arc::clone(&instance.source), self.inbox.clone());
        let (name, log) = (instance.config.name.clone(), self.log.clone());
        let read = move || {
            let (entries, read) = read_entries(&source, &path);
            if let Err(error) = &read {
                log.say(Category::Error, format_args!("{name}: cannot list {path}: {error}"));
            }
            let listing = DirectoryListing { entries, is_complete: matches!(read, Ok(true)) };
            let answer = ScriptInput::DirectoryListed { mirror, path, listing };
            inbox.send(Message::Input(Input::Script(answer)));
        };
        let _ = thread::Builder::new().name("list".into()).spawn(read);
    }
}

/// Reads the entries of a source directory as far as possible, and returns true if its source was
/// present. A missing directory has no entries: an event of its own reports its deletion.
fn read_entries(
    source: &SourceRoot,
    path: &TreePath,
) -> (Vec<(Vec<u8>, EntryKind)>, io::Result<bool>) {
    let mut entries = Vec::new();
    let Ok(dir) = source.open().map(|root| root.open_below(path.as_bytes())) else {
        return (entries, Ok(false));
    };
    let read = dir.and_then(|dir| {
        dir.read(&mut ReadBuffer::new(), |entry| {
            let is_directory = entry.file_type == FileType::Directory;
            let kind = if is_directory { EntryKind::Directory } else { EntryKind::Other };
            entries.push((entry.name.to_vec(), kind));
            Ok(())
        })
    });
    let read = read.map(|()| true);
    (entries, read.or_else(|error| if is_gone(&error) { Ok(true) } else { Err(error) }))
}
