//! When the status file is written, and where what is in it comes from.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use mirror_core::{fleet::Member, time::Moment};
use rustix::process::Pid;

use super::{Engine, roster::Roster, words};
use crate::{
    config::Daemon,
    report::{
        self, Category,
        status::{self, Process, StatusFile, SyncStatus, Watches},
    },
    watch::Inventory,
};

/// How long the watcher may take to say what it watches. Then what it said last is written: a
/// status that is partly old is better than none. When it has said it, it is written again.
const PATIENCE: Duration = Duration::from_millis(500);

/// Writing the status takes at most this part of the time, whatever the interval is.
const SHARE: u32 = 20;

/// How long it stays as it is at most, so that who reads it sees that the daemon lives, ..
const SIGN_OF_LIFE: Duration = Duration::from_mins(1);

/// .. and how long at least while a transfer runs and says nothing.
const WHILE_BUSY: Duration = Duration::from_secs(1);

/// The status file, and when it is written.
///
/// It is written once when all begins, and after something has happened: an interval later, with
/// all that has happened meanwhile. While jobs run that is all the time; and each minute, as a sign of
/// life.
#[derive(Debug)]
pub(super) struct Status {
    file: StatusFile,
    interval: Duration,
    next: Next,
    /// When it was written last.
    last: Moment,
    /// Before this it is not written again.
    rest: Moment,
    /// What was watched when somebody asked last.
    inventory: Inventory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing has happened since the last time.
    Idle,
    /// It is written then.
    At(Moment),
    /// The watcher was asked what it watches, and has time until then.
    Asked(Moment),
}

/// What has to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Ask the watcher what it watches.
    Ask,
    Write,
}

impl Status {
    /// The status file that the settings ask for. It is due at `now`.
    pub(super) fn new(daemon: &Daemon, now: Moment) -> Option<Self> {
        let file = StatusFile::new(daemon.status_file.clone()?);
        let (interval, inventory) = (daemon.status_interval, Inventory::default());
        Some(Self { file, interval, next: Next::At(now), last: now, rest: now, inventory })
    }

    /// Something has happened.
    pub(super) fn touch(&mut self, now: Moment) {
        if self.next == Next::Idle {
            self.next = Next::At((now + self.interval).max(self.rest));
        }
    }

    /// When there is something to do, while jobs run or not.
    pub(super) fn due(&self, is_busy: bool) -> Moment {
        let most = if is_busy { WHILE_BUSY } else { SIGN_OF_LIFE };
        match self.next {
            Next::Idle => (self.last + most.max(self.interval)).max(self.rest),
            Next::At(at) | Next::Asked(at) => at,
        }
    }

    /// What has to be done at `now`, while jobs run or not.
    pub(super) fn step(&mut self, now: Moment, is_busy: bool) -> Step {
        if now < self.due(is_busy) {
            return Step::Nothing;
        }
        match self.next {
            Next::Idle | Next::At(_) => {
                self.next = Next::Asked(now + PATIENCE);
                Step::Ask
            }
            Next::Asked(_) => Step::Write,
        }
    }

    /// The watcher has answered.
    pub(super) fn hear(&mut self, inventory: Inventory, now: Moment) {
        let was = std::mem::replace(&mut self.inventory, inventory);
        match &mut self.next {
            Next::Asked(until) => *until = now,
            // What was written without it is put right.
            Next::Idle if self.inventory != was => self.touch(now),
            Next::Idle | Next::At(_) => {}
        }
    }

    /// It was written at `now`, which took `cost`.
    fn written(&mut self, now: Moment, cost: Duration) {
        self.next = Next::Idle;
        self.last = now;
        self.rest = now + cost * SHARE;
    }
}

/// The status of this engine.
impl Engine {
    /// Writes the status file if it is time. A daemon that ends has other things to do.
    pub(super) fn keep_status(&mut self) {
        let now = self.now();
        let Some(status) = self.status.as_mut().filter(|_| self.fleet.is_running()) else { return };
        match status.step(now, self.jobs.are_running()) {
            Step::Nothing => {}
            Step::Ask => self.watch.list(),
            Step::Write => self.write_status(now, false),
        }
    }

    /// Writes the status file for the last time: what is in it does not hold any more.
    pub(super) fn close_status(&mut self) {
        self.write_status(self.now(), true);
    }

    /// When the status file needs somebody.
    pub(super) fn status_due(&self) -> Option<Moment> {
        let status = self.status.as_ref().filter(|_| self.fleet.is_running());
        status.map(|status| status.due(self.jobs.are_running()))
    }

    /// Something has happened that the status may tell.
    pub(super) fn touch_status(&mut self) {
        let now = self.now();
        if let Some(status) = &mut self.status {
            status.touch(now);
        }
    }

    fn write_status(&mut self, now: Moment, is_last: bool) {
        let began = Instant::now();
        let Some(inventory) = self.status.as_ref().map(|status| &status.inventory) else { return };
        let text = self.status_text(inventory, now, is_last);
        let Some(status) = &mut self.status else { return };
        if let Err(Some(why)) = status.file.write(&text) {
            self.log.say(Category::Error, why);
        }
        status.written(now, began.elapsed());
    }

    fn status_text(&self, inventory: &Inventory, now: Moment, is_last: bool) -> Vec<u8> {
        let members = self.fleet.members().iter();
        let syncs = members.filter_map(|mirror| {
            let sync = &self.roster.get(mirror.id())?.sync;
            Some(SyncStatus {
                name: &sync.name,
                source: &sync.source,
                filters: &sync.exclusions.filters,
                excludes: &sync.exclusions.excludes,
                target: &sync.target,
                mirror: mirror.into(),
                held: match mirror {
                    Member::Built(mirror) => mirror.held().iter().map(words::held).collect(),
                    Member::Scripted(_) => Vec::new(),
                },
            })
        });
        let process =
            |(pid, started): (Pid, u64)| Process { pid: pid.as_raw_nonzero().get(), started };
        let processes = self.jobs.children().into_iter().map(process);
        let status = status::Status {
            syncs: syncs.collect(),
            processes: processes.collect(),
            watches: Watches { count: inventory.watched, listed: &inventory.listed },
            notes: [notes(inventory, &self.roster), self.tunnels.notes()].concat(),
            is_last,
            now,
            clock: report::now(),
        };
        status.text()
    }

    /// From now on the files of our own are not told as changes of a source.
    pub(super) fn ignore_own_files(&self) {
        let status = self.status.as_ref();
        let status = status.map(|status| [status.file.path().to_owned(), status.file.draft()]);
        let daemon = &self.daemon;
        let own = [&daemon.logfile, &daemon.pidfile].into_iter().flatten().cloned();
        for path in own.chain(status.into_iter().flatten()) {
            if let Some(real) = real_path(&path) {
                self.watch.ignore(real);
            }
            self.watch.ignore(path);
        }
    }

    /// Takes over what the settings say of the status file.
    pub(super) fn renew_status(&mut self, was: &Daemon) {
        let daemon = &self.daemon;
        if (&was.status_file, was.status_interval) != (&daemon.status_file, daemon.status_interval)
        {
            if was.status_file != daemon.status_file
                && let Some(status) = &mut self.status
            {
                // What stands there does not hold any more, and there is nothing else to be done if
                // that can't be written.
                let text = status::farewell(daemon.status_file.as_deref(), &report::now());
                let _ = status.file.write(&text);
            }
            self.status = Status::new(daemon, self.now());
        }
    }
}

/// What else there is to say of the watching.
fn notes(inventory: &Inventory, roster: &Roster) -> Vec<String> {
    let name = |id| roster.get(id).map(|member| &*member.sync.name);
    let marked = inventory.marked.iter().filter_map(|&id| name(id));
    let marked = marked.map(|name| format!("Fanotify watching the file system of {name}"));
    let polled = inventory.polled.iter().filter_map(|&(id, count)| Some((name(id)?, count)));
    let polled = polled.map(|(name, count)| format!("Polling {count} directories of {name}"));
    marked.chain(polled).chain(inventory.advice.clone()).collect()
}

/// The path of a file by which the kernel knows it, where links lead to its directory.
fn real_path(path: &std::path::Path) -> Option<PathBuf> {
    let directory = path.parent()?.canonicalize().ok()?;
    Some(directory.join(path.file_name()?)).filter(|real| real != path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::new(Duration::from_millis(millis))
    }

    fn status(interval: Duration) -> Status {
        let daemon = Daemon {
            status_file: Some("/nonexistent/status".into()),
            status_interval: interval,
            ..Daemon::default()
        };
        Status::new(&daemon, Moment::ORIGIN).unwrap()
    }

    /// Asks, hears and writes at once.
    fn write(status: &mut Status, millis: u64) {
        assert_eq!(status.step(at(millis), false), Step::Ask);
        assert_eq!(status.step(at(millis), false), Step::Nothing);
        status.hear(Inventory::default(), at(millis));
        assert_eq!(status.step(at(millis), false), Step::Write);
        status.written(at(millis), Duration::ZERO);
    }

    #[test]
    fn it_is_written_at_once_then_an_interval_after_the_first_thing_that_happens() {
        let mut status = status(Duration::from_secs(2));
        write(&mut status, 0);
        assert_eq!(status.due(false), at(60_000));
        status.touch(at(5500));
        status.touch(at(6000));
        assert_eq!(status.due(false), at(7500));
        assert_eq!(status.step(at(7499), false), Step::Nothing);
        write(&mut status, 7500);
        assert_eq!(status.due(false), at(67_500));
        assert_eq!(status.due(true), at(9500));
    }

    #[test]
    fn without_an_interval_it_is_written_after_each_turn_in_which_something_happened() {
        let mut status = status(Duration::ZERO);
        write(&mut status, 0);
        for millis in [3, 4, 9] {
            status.touch(at(millis));
            write(&mut status, millis);
        }
    }

    #[test]
    fn it_is_not_written_all_the_time() {
        let mut status = status(Duration::ZERO);
        assert_eq!(status.step(at(0), false), Step::Ask);
        status.written(at(0), Duration::from_millis(30));
        status.touch(at(1));
        assert_eq!(status.due(false), at(600));
    }

    #[test]
    fn a_watcher_that_does_not_answer_is_not_waited_for() {
        let mut status = status(Duration::ZERO);
        assert_eq!(status.step(at(1), false), Step::Ask);
        // What happens meanwhile is in what is written then.
        status.touch(at(100));
        assert_eq!(status.due(false), at(501));
        assert_eq!(status.step(at(501), false), Step::Write);
    }

    #[test]
    fn what_a_watcher_says_too_late_is_written_after_all() {
        let mut status = status(Duration::ZERO);
        let late = Inventory { watched: 2, ..Inventory::default() };
        // The second time it says nothing new.
        for (asked, due) in [(0, at(700)), (700, at(61_200))] {
            assert_eq!(status.step(at(asked), false), Step::Ask);
            assert_eq!(status.step(at(asked + 500), false), Step::Write);
            status.written(at(asked + 500), Duration::ZERO);
            status.hear(late.clone(), at(asked + 700));
            assert_eq!(status.due(false), due);
        }
    }

    #[test]
    fn while_jobs_run_and_each_minute_it_is_written_though_nothing_happens() {
        for (interval, busy) in [(0, 1), (1, 1), (10, 10)] {
            let mut status = status(Duration::from_secs(interval));
            write(&mut status, 0);
            assert_eq!(status.due(true), at(busy * 1000));
            assert_eq!(status.step(at(busy * 1000 - 1), true), Step::Nothing);
            assert_eq!(status.step(at(busy * 1000), true), Step::Ask);
            status.hear(Inventory::default(), at(busy * 1000));
            assert_eq!(status.step(at(busy * 1000), true), Step::Write);
            status.written(at(busy * 1000), Duration::ZERO);
            assert_eq!(status.due(false), at(busy * 1000 + 60_000));
        }
        let mut rare = status(Duration::from_mins(5));
        write(&mut rare, 0);
        assert_eq!(rare.due(false), at(300_000));
    }

    #[test]
    fn without_a_name_there_is_no_file() {
        assert!(Status::new(&Daemon::default(), Moment::ORIGIN).is_none());
    }
}
