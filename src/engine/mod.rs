//! The one loop: receive, handle, perform.
//!
//! The engine's thread owns the fleet, so there is no lock. It decides nothing: the fleet does.

mod calendar;
mod follow;
mod jobs;
mod line;
mod member;
mod reload;
mod roster;
mod scripts;
mod status;
mod synced;
#[cfg(test)]
mod tests;
mod tunnels;
mod words;

use std::{
    env,
    os::fd::RawFd,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use jiff::Zoned;

use mirror_core::{
    effect::Effect,
    event::Event,
    fleet::{self, Fleet, Limits},
    input::{Input, Signal},
    notice::{Change, Edit, Kind, MirrorId, News, Notice},
    path::TreePath,
    time::Moment,
};

use crate::{
    config::{Daemon, Setup},
    frontend::Loaded,
    report::{Category, Log},
    script::{Descriptors, Ready, Scripts},
    watch::{Told, Tree, Watch},
};

use crate::exec::{source_root::Succession, ssh::Connections};
use calendar::Calendar;
use jobs::Jobs;
use member::{Ground, Member};
pub use reload::{Adapt, Load, Reload};
use roster::Roster;
use status::Status;
pub use synced::Question;
use synced::Synced;
use tunnels::Tunnels;

/// The most messages that are taken in before what is due is done.
const MOST_AT_ONCE: usize = 1024;

/// What comes into the inbox of the engine.
#[derive(Debug)]
pub enum Message {
    /// The watcher has something to tell. It says so once until it is asked.
    Watch,
    /// Something that the fleet takes in as it is.
    Input(Input),
    /// A child of a job began or ended, as the status tells.
    Child,
    /// A tunnel came up or went down.
    Tunnel,
    /// A descriptor is ready that scripts observe.
    Descriptor(RawFd, Ready),
    /// A function is to be called for a batch that is on the target.
    Synced(Question),
    /// The name of the source of this mirror may lead elsewhere.
    Elsewhere(MirrorId),
}

/// The door to the engine, for those that have something to tell.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: Sender<Message>,
    /// Whether somebody has asked the daemon to end, for those who can't read messages meanwhile.
    ending: Arc<AtomicBool>,
}

impl Inbox {
    /// Sends a message. The engine hangs up only when it ends; then nobody needs it.
    pub fn send(&self, message: Message) {
        let _ = self.sender.send(message);
    }

    /// Passes a signal on.
    pub fn signal(&self, signal: Signal) {
        if signal != Signal::Hangup {
            self.ending.store(true, Ordering::Relaxed);
        }
        self.send(Message::Input(Input::Signal(signal)));
    }
}

impl Inbox {
    fn ending(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ending)
    }
}

/// An inbox and its receiving end.
#[must_use]
pub fn inbox() -> (Inbox, Receiver<Message>) {
    let (sender, receiver) = channel();
    (Inbox { sender, ending: Arc::default() }, receiver)
}

/// The engine.
pub struct Engine {
    fleet: Fleet,
    roster: Roster,
    /// The settings of the process that are in force.
    daemon: Daemon,
    reload: Option<Reload>,
    calendar: Calendar,
    status: Option<Status>,
    watch: Watch,
    jobs: Jobs,
    receiver: Receiver<Message>,
    /// What performing an effect has answered at once.
    answers: Vec<Input>,
    /// Through which the syncs behind ssh go. Behind `roster`, whose shells end before them.
    connections: Arc<Connections>,
    tunnels: Tunnels,
    scripts: Option<Scripts>,
    /// How often the configuration was exchanged.
    generation: u64,
    /// What scripts observe, once there is something.
    descriptors: Option<Descriptors>,
    inbox: Inbox,
    log: Log,
    started: Instant,
}

impl Engine {
    /// An engine for what is to be run. The two ends of `channel` belong together.
    ///
    /// # Errors
    ///
    /// If one of the syncs can't be run: a sentence for people.
    pub fn new(
        loaded: Loaded,
        reload: Option<Reload>,
        watch: Watch,
        channel: (Inbox, Receiver<Message>),
        log: Log,
    ) -> Result<Self, String> {
        let Loaded { setup: Setup { daemon, syncs, tunnels }, scripts, .. } = loaded;
        let (inbox, receiver) = channel;
        let scripts = Self::adopt(scripts, &inbox, &log)?;
        let connections = Arc::new(Connections::new(daemon.share_connections));
        let tunnels = Tunnels::start(&tunnels, &Tunnels::default(), &inbox, &log)?;
        let synced = Synced { inbox: inbox.clone(), generation: 0 };
        let (connections_of, here) = (&connections, here());
        let ground =
            Ground { here, connections: connections_of, tunnels: &tunnels, synced, log: &log };
        let members = syncs.into_iter().map(|sync| Member::new(sync, &ground));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let limits = Limits { max_jobs: daemon.max_processes, onepass: daemon.onepass };
        let fleet = Fleet::new(members.iter().map(Member::charter).collect(), limits);
        let mut roster = Roster::default();
        let names: Vec<_> = fleet.members().iter().map(fleet::Member::id).collect();
        names.iter().zip(members).for_each(|(&name, member)| roster.add(name, member));
        roster.line_up(names.clone());
        let status = Status::new(&daemon, Moment::ORIGIN);
        let mut engine = Self {
            fleet,
            roster,
            daemon,
            reload,
            calendar: Calendar::new(Zoned::now()),
            status,
            watch,
            jobs: Jobs::new(limits.max_jobs, inbox.clone(), log.clone()),
            receiver,
            answers: Vec::new(),
            connections,
            tunnels,
            scripts,
            generation: 0,
            descriptors: None,
            inbox,
            log,
            started: Instant::now(),
        };
        engine.seat_scripts(&names, |_| false);
        engine.carry_out_orders();
        engine.plan_calendar();
        engine.ignore_own_files();
        Ok(engine)
    }

    /// Runs until the fleet says with which code to end.
    #[must_use]
    pub fn run(mut self) -> ExitCode {
        let code = self.run_until_the_end();
        self.close_status();
        // To close it, Lua would wait for all programs that scripts read from or write to.
        std::mem::forget(self.scripts.take());
        code
    }

    fn run_until_the_end(&mut self) -> ExitCode {
        let mut effects = Vec::new();
        self.fleet.begin(&mut effects);
        loop {
            if !effects.is_empty() {
                self.touch_status();
            }
            if let Some(code) = self.perform(&mut effects) {
                return code.into();
            }
            self.keep_status();
            if self.answers.is_empty() && !self.wait(&mut effects) {
                return ExitCode::FAILURE;
            }
            // Also while scripts have much to do, signals and the ends of children are heard.
            self.receive(&mut effects);
            self.jobs.fill();
            let now = self.now();
            for input in std::mem::take(&mut self.answers) {
                self.fleet.handle(input, now, &mut effects);
            }
            self.ring(&mut effects);
            self.ring_alarms();
            if let Some(code) = self.end_by_script() {
                return code.into();
            }
            self.fleet.advance(now, &mut effects);
        }
    }

    /// The exit code with which a script wants the daemon to end, of which the log is told.
    fn end_by_script(&self) -> Option<u8> {
        let code = self.scripts.as_ref()?.exit()?;
        let text = format_args!("--- A script has called terminate({code}), ending the daemon ---");
        self.log.say(Category::Normal, text);
        Some(code)
    }

    fn now(&self) -> Moment {
        Moment::new(self.started.elapsed())
    }

    /// Waits for the next message, which it takes in, or wake-up. `false` if nothing can ever come
    /// again.
    fn wait(&mut self, effects: &mut Vec<Effect>) -> bool {
        let first = match self.next_wait() {
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => self.receiver.recv_timeout(wait),
        };
        match first {
            Ok(message) => self.take_in(message, effects),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    /// Takes in what has come.
    fn receive(&mut self, effects: &mut Vec<Effect>) {
        for _ in 1..MOST_AT_ONCE {
            let Ok(message) = self.receiver.try_recv() else { break };
            self.take_in(message, effects);
        }
    }

    /// How long there is nothing to do unless something comes. `None`: for ever.
    fn next_wait(&self) -> Option<Duration> {
        let wakeup = self.fleet.next_wakeup().into_iter().chain(self.status_due()).min();
        let wakeup = wakeup.map(|at| at - self.now());
        let calendar =
            if self.calendar.is_empty() { None } else { self.calendar.wait(&Zoned::now()) };
        let alarm = self.scripts.as_ref().and_then(Scripts::next_alarm);
        let alarm = alarm.filter(|_| self.fleet.is_running());
        wakeup.into_iter().chain(calendar).chain(alarm).chain(self.jobs.wait()).min()
    }

    fn take_in(&mut self, message: Message, effects: &mut Vec<Effect>) {
        let now = self.now();
        match message {
            Message::Watch => {
                let mut elsewhere = Vec::new();
                for told in self.watch.take() {
                    if let Told::Elsewhere(mirror) = told {
                        elsewhere.push(mirror);
                    } else if let Some(input) = self.translate(told) {
                        self.touch_status();
                        self.fleet.handle(input, now, effects);
                    }
                }
                if !elsewhere.is_empty() {
                    self.follow(&elsewhere, effects);
                }
            }
            Message::Elsewhere(mirror) => self.follow(&[mirror], effects),
            Message::Input(Input::Signal(Signal::Hangup))
                if self.reload.is_some() && self.fleet.is_running() =>
            {
                self.reload(effects);
            }
            Message::Child => self.touch_status(),
            Message::Synced(question) => self.ask_synced(question),
            Message::Descriptor(fd, what) => self.descriptor_ready(fd, what),
            Message::Tunnel => {
                self.touch_status();
                for gate in self.pass_gates() {
                    self.fleet.handle(gate, now, effects);
                }
            }
            Message::Input(input) => {
                self.touch_status();
                if let Input::JobEnded { job, .. } | Input::ChildEnded { job, .. } = &input {
                    self.jobs.ended(*job);
                }
                if let Input::ChildEnded { job, exit } = &input {
                    self.child_ended(*job, exit);
                }
                self.fleet.handle(input, now, effects);
            }
        }
    }

    /// Tells the fleet which full transfers are due by the calendar.
    fn ring(&mut self, effects: &mut Vec<Effect>) {
        if self.calendar.is_empty() {
            return;
        }
        let now = self.now();
        for mirror in self.calendar.take_due(Zoned::now()) {
            self.fleet.handle(Input::FullDue(mirror), now, effects);
        }
    }

    fn plan_calendar(&mut self) {
        let rules = self.roster.iter().map(|(id, member)| (id, member.sync.crontab.as_slice()));
        self.calendar.plan(rules);
    }

    fn translate(&mut self, told: Told) -> Option<Input> {
        match told {
            Told::Notice(notice) => Some(Input::Notice(notice)),
            Told::Covered { mirror, coverage } => {
                if let Some(member) = self.roster.get(mirror) {
                    let source = member.source_text();
                    let text = format_args!("{source} is watched: {}", coverage.reason);
                    self.log.say(Category::Debug("Inotify"), text);
                }
                Some(Input::Covered(mirror))
            }
            Told::CannotCover { mirror, why } => Some(Input::CannotCover { mirror, why }),
            Told::Drained(_) | Told::Elsewhere(_) => None,
            Told::Listed(inventory) => {
                let now = self.now();
                self.status.as_mut()?.hear(inventory, now);
                None
            }
        }
    }

    /// Pins the root of a mirror and has it watched: in this order, so that what is watched is what
    /// the executor will accept.
    fn cover(&self, id: MirrorId) -> Result<Succession, String> {
        let member = self.roster.get(id).ok_or_else(|| String::from("there is no such sync"))?;
        let found = member.source.pin()?;
        words::say_found(&self.log, member, &found);
        let filter = Arc::clone(&member.sync.filter);
        let script = member.sync.script.as_ref();
        let only_root = script.is_some_and(|script| !script.subdirectories);
        let given = &member.sync.given;
        let has_links = !self.daemon.onepass && given != member.source.path();
        let tree = Tree {
            mirror: id,
            root: member.source.path().to_owned(),
            skip: Arc::new(move |path: &TreePath| {
                (only_root && !path.is_root()) || filter.prunes(path)
            }),
            exact: script.map(|script| script.writes),
        };
        self.watch.cover(tree, has_links.then(|| given.clone()));
        Ok(found)
    }

    /// Has a mirror covered. Where that can't be, it is told.
    fn cover_or_tell(&mut self, mirror: MirrorId) {
        match self.cover(mirror) {
            // Somebody put all of it there: equal size and time prove nothing.
            Ok(Succession::Replaced | Succession::Accepted) => {
                let (kind, path) = (Kind::Directory, TreePath::root());
                let news = News::Changed(Change { edit: Edit::Create, kind, path });
                self.answers.push(Input::Notice(Notice { mirror, news }));
            }
            Ok(_) => {}
            Err(why) => {
                self.answers.push(Input::CannotCover { mirror, why });
                // Nobody watches over its name now.
                self.inbox.send(Message::Elsewhere(mirror));
            }
        }
    }

    /// Performs effects. The exit code, if one of them ends the process.
    fn perform(&mut self, effects: &mut Vec<Effect>) -> Option<u8> {
        for effect in effects.drain(..) {
            match effect {
                Effect::Cover(mirror) => {
                    self.cover_or_tell(mirror);
                }
                Effect::Uncover(mirror) => self.watch.uncover(mirror),
                Effect::Start(job) => {
                    let member = self.roster.get(job.mirror);
                    if let Some(executor) = member.and_then(|member| member.executor.as_ref()) {
                        self.jobs.start(job, Arc::clone(executor));
                    }
                }
                Effect::Script(mirror, call) => {
                    self.call_script(mirror, &call);
                    if let Some(code) = self.end_by_script() {
                        return Some(code);
                    }
                }
                Effect::List { mirror, path } => self.list(mirror, path),
                Effect::Stop(job) => self.jobs.stop(job),
                Effect::Dismiss(mirror) => self.roster.dismiss(mirror),
                Effect::Report(event) => {
                    if matches!(event, Event::Draining(..)) {
                        self.jobs.hurry();
                    }
                    words::say(&self.log, &self.roster, &event);
                }
                Effect::Exit(code) => return Some(code),
            }
        }
        None
    }
}

/// The directory from which relative targets count.
fn here() -> PathBuf {
    env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}
