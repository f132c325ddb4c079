//! When the status file is written, and where what is in it comes from.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use mirror_core::time::Moment;
use rustix::process::Pid;

use super::{Engine, roster::Roster};
use crate::{
    report::{
        self, Category,
        status::{self, Process, StatusFile, SyncStatus, Watches},
    },
    setup::Daemon,
    watch::Inventory,
};

/// How long the watcher may take to say what it watches. Then what it said last is written: a
/// status that is partly old is better than none. When it has said it, it is written again.
const PATIENCE: Duration = Duration::from_millis(500);

/// Writing the status takes at most this part of the time, whatever the interval is.
const SHARE: u32 = 20;

/// The status file, and when it is written.
///
/// It is written once when all begins, and after something has happened: an interval later, with
/// all that has happened meanwhile.
#[derive(Debug)]
pub(super) struct Status {
    file: StatusFile,
    interval: Duration,
    next: Next,
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
        Some(Self { file, interval, next: Next::At(now), rest: now, inventory })
    }

    /// Something has happened.
    pub(super) fn touch(&mut self, now: Moment) {
        if self.next == Next::Idle {
            self.next = Next::At((now + self.interval).max(self.rest));
        }
    }

    /// When there is something to do. `None`: not before something happens.
    pub(super) const fn due(&self) -> Option<Moment> {
        match self.next {
            Next::Idle => None,
            Next::At(at) | Next::Asked(at) => Some(at),
        }
    }

    /// What has to be done at `now`.
    pub(super) fn step(&mut self, now: Moment) -> Step {
        match self.next {
            Next::At(at) if at <= now => {
                self.next = Next::Asked(now + PATIENCE);
                Step::Ask
            }
            Next::Asked(until) if until <= now => Step::Write,
            Next::Idle | Next::At(_) | Next::Asked(_) => Step::Nothing,
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
        self.rest = now + cost * SHARE;
    }
}

/// The status of this engine.
impl Engine {
    /// Writes the status file if it is time. A daemon that ends has other things to do.
    pub(super) fn keep_status(&mut self) {
        let now = self.now();
        let Some(status) = self.status.as_mut().filter(|_| self.fleet.is_running()) else { return };
        match status.step(now) {
            Step::Nothing => {}
            Step::Ask => self.watch.list(),
            Step::Write => self.write_status(now),
        }
    }

    /// When the status file needs somebody.
    pub(super) fn status_due(&self) -> Option<Moment> {
        let status = self.status.as_ref().filter(|_| self.fleet.is_running());
        status.and_then(Status::due)
    }

    /// Something has happened that the status may tell.
    pub(super) fn touch_status(&mut self) {
        let now = self.now();
        if let Some(status) = &mut self.status {
            status.touch(now);
        }
    }

    fn write_status(&mut self, now: Moment) {
        let began = Instant::now();
        let Some(inventory) = self.status.as_ref().map(|status| &status.inventory) else { return };
        let text = self.status_text(inventory, now);
        let Some(status) = &mut self.status else { return };
        if let Err(Some(why)) = status.file.write(&text) {
            self.log.say(Category::Error, why);
        }
        status.written(now, began.elapsed());
    }

    fn status_text(&self, inventory: &Inventory, now: Moment) -> Vec<u8> {
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
        assert_eq!(status.step(at(millis)), Step::Ask);
        assert_eq!(status.step(at(millis)), Step::Nothing);
        status.hear(Inventory::default(), at(millis));
        assert_eq!(status.step(at(millis)), Step::Write);
        status.written(at(millis), Duration::ZERO);
    }

    #[test]
    fn it_is_written_at_once_then_an_interval_after_the_first_thing_that_happens() {
        let mut status = status(Duration::from_secs(2));
        write(&mut status, 0);
        assert_eq!(status.due(), None);
        status.touch(at(5500));
        status.touch(at(6000));
        assert_eq!(status.due(), Some(at(7500)));
        assert_eq!(status.step(at(7499)), Step::Nothing);
        write(&mut status, 7500);
        assert_eq!((status.due(), status.step(at(60_000))), (None, Step::Nothing));
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
        assert_eq!(status.step(at(0)), Step::Ask);
        status.written(at(0), Duration::from_millis(30));
        status.touch(at(1));
        assert_eq!(status.due(), Some(at(600)));
    }

    #[test]
    fn a_watcher_that_does_not_answer_is_not_waited_for() {
        let mut status = status(Duration::ZERO);
        assert_eq!(status.step(at(1)), Step::Ask);
        // What happens meanwhile is in what is written then.
        status.touch(at(100));
        assert_eq!(status.due(), Some(at(501)));
        assert_eq!(status.step(at(501)), Step::Write);
    }

    #[test]
    fn what_a_watcher_says_too_late_is_written_after_all() {
        let mut status = status(Duration::ZERO);
        let late = Inventory { watched: 2, ..Inventory::default() };
        // The second time it says nothing new.
        for (asked, due) in [(0, Some(at(700))), (700, None)] {
            assert_eq!(status.step(at(asked)), Step::Ask);
            assert_eq!(status.step(at(asked + 500)), Step::Write);
            status.written(at(asked + 500), Duration::ZERO);
            status.hear(late.clone(), at(asked + 700));
            assert_eq!(status.due(), due);
        }
    }

    #[test]
    fn without_a_name_there_is_no_file() {
        assert!(Status::new(&Daemon::default(), Moment::ORIGIN).is_none());
    }
}
