//! Scripts of the user: they are called, and what they want done is done.

use std::{io, os::fd::RawFd, sync::Arc, thread};

use mirror_core::{
    effect::Call,
    input::{ChildExit, Input, Listed},
    job::{Failure, Job, JobId, Outcome},
    notice::{Kind, MirrorId},
    path::TreePath,
    plan::rsync::Call as Words,
};

use rustix::process::Signal;

use super::{Engine, Inbox, Message, here, jobs::Spawn, member::Ground};
use mirror_platform::entries::ReadBuffer;
use rustix::fs::FileType;

use crate::{
    exec::{
        process::child::{ChildOutput, Program},
        source_root::{SourceRoot, is_gone},
    },
    report::{Category, Log},
    script::{Called, Descriptors, Order, Ready, Scripts, Seat, Spawn as Wanted},
};

impl Engine {
    /// The mirrors of the syncs, in their order, are these. A script whose mirror begins late, as
    /// after a reload, tries its beginning again if that fails, as nobody looks on.
    pub(super) fn seat_scripts(
        &mut self,
        mirrors: &[MirrorId],
        is_late: impl Fn(MirrorId) -> bool,
    ) {
        let Some(scripts) = &mut self.scripts else { return };
        for (number, &mirror) in (1..).zip(mirrors) {
            let insists = self.roster.get(mirror).is_some_and(|member| member.sync.insists());
            scripts.assign(number, Seat { mirror, insists: insists || is_late(mirror) });
        }
    }

    /// From now on these scripts are called.
    pub(super) fn adopt(
        scripts: Option<Scripts>,
        inbox: &Inbox,
        log: &Log,
    ) -> Result<Option<Scripts>, String> {
        let Some(mut scripts) = scripts else { return Ok(None) };
        let watched = scripts.watch_over(log.clone(), inbox.ending());
        watched.map_err(|error| format!("cannot run scripts: {error}"))?;
        Ok(Some(scripts))
    }

    /// A child has ended. A script that is not called for that keeps nothing of it.
    pub(super) fn child_ended(&mut self, job: JobId, exit: &ChildExit) {
        let now = self.now();
        if let (Some(scripts), ChildExit::Signal(_) | ChildExit::Partly(_)) = (&self.scripts, exit)
        {
            scripts.forget(&mut self.fleet, job, now);
        }
    }

    /// Calls the script of a mirror.
    pub(super) fn call_script(&mut self, mirror: MirrorId, call: &Call) {
        let Some(scripts) = &self.scripts else { return };
        let now = self.now();
        let member = self.roster.get(mirror);
        // What is due may be the deletion of what lies on a disk that is gone.
        if let Some(Err(Outcome::SourceGone(Failure { why, .. }))) =
            member.filter(|_| !matches!(call, Call::Collect { .. })).map(|it| it.source.open())
        {
            self.answers.push(Input::CannotCover { mirror, why });
            let has_plans = self.has_plans();
            self.answers.push(Input::Called { mirror, result: Ok(()), has_plans });
            return;
        }
        let sync = member.map(|member| &*member.sync.name);
        let about = (mirror, sync.unwrap_or_default());
        let called = scripts.call(&mut self.fleet, about, call, now);
        self.carry_out_orders();
        self.answers.push(match called {
            Called::Done(result) => Input::Called { mirror, result, has_plans: self.has_plans() },
            Called::Collected(job, result) => Input::Collected { job, result },
        });
    }

    /// Whether a script waits for an alarm, or for a descriptor.
    fn has_plans(&self) -> bool {
        self.scripts.as_ref().is_some_and(Scripts::has_plans)
            || self.descriptors.as_ref().is_some_and(|it| !it.is_empty())
    }

    /// Calls the alarms that are due.
    pub(super) fn ring_alarms(&mut self) {
        let is_due = |wait: std::time::Duration| wait.is_zero();
        let Some(scripts) = self.scripts.as_ref().filter(|it| it.next_alarm().is_some_and(is_due))
        else {
            return;
        };
        if self.fleet.is_running() {
            let now = self.now();
            let rung = scripts.ring(&mut self.fleet, now);
            self.after("an alarm", rung);
        }
    }

    /// A descriptor is ready that scripts observe.
    pub(super) fn descriptor_ready(&mut self, fd: RawFd, what: Ready) {
        let Some(scripts) = &self.scripts else { return };
        if self.fleet.is_running() {
            let now = self.now();
            let told = scripts.ready(&mut self.fleet, (fd, what), now);
            let is_well = told.is_ok();
            self.after("a function for a descriptor", told);
            if self.descriptors.as_ref().is_some_and(|it| it.rearm(fd, is_well)) {
                let text = "is at its end, and its function neither closes nor forgets it: from now \
                            on that is called once a second";
                self.log
                    .say(Category::Warn, format_args!("observefd({fd}): the descriptor {text}"));
            }
        }
    }

    fn after(&mut self, what: &str, result: Result<(), Failure>) {
        // Who asked to end has failed at nothing.
        let goes_on = self.scripts.as_ref().is_some_and(|scripts| scripts.exit().is_none());
        if let (true, Err(failure)) = (goes_on, result) {
            self.log.say(Category::Error, format_args!("{what}: {}", failure.why));
        }
        self.carry_out_orders();
    }

    /// Does what scripts want done. At the start that is what the files wanted while they ran.
    pub(super) fn carry_out_orders(&mut self) {
        let orders = self.scripts.as_ref().map(Scripts::take_orders);
        for order in orders.into_iter().flatten() {
            match order {
                Order::Spawn(spawn) => self.spawn(spawn),
                Order::Transfer(job) => self.transfer(job),
                Order::Full(mirror) => self.answers.push(Input::FullDue(mirror)),
                Order::Refilter(number) => self.refilter(number),
                Order::Observe { fd, read, write } => self.observe(fd, Ready { read, write }),
                Order::Forget(fd) => {
                    if let Some(descriptors) = &self.descriptors {
                        descriptors.forget(fd);
                    }
                }
            }
        }
    }

    fn spawn(&mut self, spawn: Wanted) {
        let Wanted { job, program, words, stdin } = spawn;
        let output = ChildOutput::Inherit(self.log.clone());
        let program = Program {
            binary: program,
            directory: here(),
            environment: Vec::new(),
            output,
            at_our_end: Signal::TERM,
        };
        let call = Words { args: words, stdin };
        self.jobs.spawn(Spawn { job, program, call, log: self.log.clone() });
    }

    fn transfer(&mut self, job: Job) {
        let member = self.roster.get(job.mirror);
        let executor = member.and_then(|member| member.executor.as_ref().map(Arc::clone));
        // Who has no target of ours was told so when it asked.
        if let Some(executor) = executor {
            self.jobs.transfer(job, executor, self.log.clone());
        }
    }

    /// A script has changed what its sync leaves out: that holds for what comes.
    fn refilter(&mut self, number: usize) {
        let Some(scripts) = &self.scripts else { return };
        let Some(mirror) = scripts.mirror(number) else { return };
        let sync = scripts.reread(number);
        let synced = self.synced();
        let Self { roster, tunnels, connections, log, .. } = self;
        let ground = Ground { here: here(), connections, tunnels, synced, log };
        let Some(member) = roster.get_mut(mirror) else { return };
        match sync.and_then(|sync| member.renew(sync, &ground)) {
            Ok(()) => {
                let filter = Arc::clone(&member.sync.filter);
                if let Some(mirror) = self.fleet.scripted(mirror) {
                    mirror.set_filter(filter);
                }
            }
            Err(why) => self.log.say(Category::Error, format_args!("{}: {why}", member.sync.name)),
        }
    }

    fn observe(&mut self, fd: RawFd, wanted: Ready) {
        if self.descriptors.is_none() {
            let inbox = self.inbox.clone();
            let tell = move |fd, what| inbox.send(Message::Descriptor(fd, what));
            match Descriptors::start(tell) {
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

    /// Reads what a directory lists, on a thread of its own, as a disk may be slow.
    pub(super) fn list(&self, mirror: MirrorId, path: TreePath) {
        let Some(member) = self.roster.get(mirror) else { return };
        let (source, inbox) = (Arc::clone(&member.source), self.inbox.clone());
        let (name, log) = (member.sync.name.clone(), self.log.clone());
        let read = move || {
            let (entries, read) = entries(&source, &path);
            if let Err(error) = &read {
                log.say(Category::Error, format_args!("{name}: cannot list {path}: {error}"));
            }
            let listed = Listed { entries, is_whole: matches!(read, Ok(true)) };
            inbox.send(Message::Input(Input::Listed { mirror, path, listed }));
        };
        let _ = thread::Builder::new().name("list".into()).spawn(read);
    }
}

/// What a directory of a source lists, as far as it can be read, and whether its source was there.
/// Nothing, if it is not there: that is told by an event of its own.
fn entries(source: &SourceRoot, path: &TreePath) -> (Vec<(Vec<u8>, Kind)>, io::Result<bool>) {
    let mut entries = Vec::new();
    let Ok(dir) = source.open().map(|root| root.open_below(path.as_bytes())) else {
        return (entries, Ok(false));
    };
    let read = dir.and_then(|dir| {
        dir.read(&mut ReadBuffer::new(), |entry| {
            let is_directory = entry.file_type == FileType::Directory;
            let kind = if is_directory { Kind::Directory } else { Kind::Other };
            entries.push((entry.name.to_vec(), kind));
            Ok(())
        })
    });
    let read = read.map(|()| true);
    (entries, read.or_else(|error| if is_gone(&error) { Ok(true) } else { Err(error) }))
}
