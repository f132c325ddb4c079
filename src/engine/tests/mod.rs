//! The engine with real trees, and with configurations that change.

mod scripts;

use std::{
    collections::VecDeque,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use mirror_core::{plan::options::DeletePolicy, queue::Pace};
use tempfile::TempDir;

use super::*;
use crate::{
    config::{Kind, PACE, Places, Sync, place::with_slash},
    report::{Filter, Mode},
    watch::Preference,
};

/// What is read, one after the other.
type Readings = Arc<Mutex<VecDeque<Result<Setup, Vec<String>>>>>;

/// A configuration without scripts.
fn loaded(setup: Setup) -> Loaded {
    Loaded { setup, warnings: Vec::new(), places: Places::default(), scripts: None }
}

/// An engine that runs, and a place for its trees.
struct Running {
    place: Place,
    inbox: Inbox,
    readings: Readings,
    thread: Option<JoinHandle<()>>,
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for name in ["a", "b", "c"] {
            fs::create_dir_all(place.path(name)).unwrap();
            fs::create_dir_all(place.path(&format!("of-{name}"))).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    /// A sync from the directory `name` to `of-name`.
    fn sync(&self, name: &str) -> Sync {
        let target = with_slash(self.path(&format!("of-{name}")).as_os_str());
        Sync::new(name.to_owned(), Kind::Direct, self.path(name), target)
    }

    fn write(&self, name: &str) {
        fs::write(self.path(name), name).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    #[track_caller]
    fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_mins(3), "not {what}:\n{}", self.log());
            thread::park_timeout(Duration::from_millis(10));
        }
    }
}

fn setup(syncs: impl IntoIterator<Item = Sync>) -> Setup {
    Setup { daemon: Daemon::default(), syncs: syncs.into_iter().collect(), tunnels: Vec::new() }
}

impl Running {
    fn start(place: Place, syncs: impl IntoIterator<Item = Sync>) -> Self {
        let mut filter = Filter::default();
        filter.add(b"Info").unwrap();
        filter.add(b"Inotify").unwrap();
        let log = Log::new(filter);
        log.begin(Mode::Foreground, Some(place.path("log")), "--- Startup ---").unwrap();
        log.leave_terminal();
        let (inbox, receiver) = inbox();
        let (setup, to_engine, readings) = (setup(syncs), inbox.clone(), Readings::default());
        let read = Arc::clone(&readings);
        // What is called by the engine may stay on its thread.
        let run = move || {
            let load = Box::new(move || {
                let mut readings = read.lock().unwrap_or_else(PoisonError::into_inner);
                let setup = readings.pop_front().expect("it is read as often as somebody asks");
                Ok(loaded(setup?))
            });
            let reload = Reload { load, adapt: Box::new(|_, wanted| wanted.clone()) };
            let bell = to_engine.clone();
            let wake = Box::new(move || bell.send(Message::Watch));
            let watch = Watch::start(Preference::Inotify, log.clone(), wake).unwrap();
            let wanted = loaded(setup);
            let engine = Engine::new(wanted, Some(reload), watch, (to_engine, receiver), log);
            let _ = engine.unwrap().run();
        };
        let thread = Some(thread::spawn(run));
        Self { place, inbox, readings, thread }
    }

    /// Gives it something else to run.
    fn reload(&self, reading: Result<Setup, Vec<String>>) {
        self.readings.lock().unwrap().push_back(reading);
        self.inbox.signal(Signal::Hangup);
    }

    #[track_caller]
    fn wait_for_log(&self, text: &str) {
        self.place.wait_until(&format!("in the log: {text}"), || self.place.log().contains(text));
    }

    #[track_caller]
    fn wait_for_file(&self, name: &str) {
        self.place.wait_until(&format!("there: {name}"), || self.place.path(name).exists());
    }

    /// How often the log has a text.
    fn said(&self, text: &str) -> usize {
        self.place.log().matches(text).count()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.inbox.signal(Signal::Terminate);
        let _ = self.thread.take().unwrap().join();
    }
}

const STARTUP: &str = "Startup of \"";

#[test]
fn what_stays_the_same_is_kept_and_the_rest_is_exchanged() {
    let place = Place::new();
    let (a, b, c) = (place.sync("a"), place.sync("b"), place.sync("c"));
    place.write("a/old");
    let running = Running::start(place, [a.clone(), b]);
    running.place.wait_until("live", || running.said(STARTUP) == 2);
    // The names follow the order.
    running.reload(Ok(setup([Sync { name: "1".into(), ..c }, Sync { name: "2".into(), ..a }])));
    running.wait_for_log("--- HUP signal, resetting ---");
    running.wait_for_log("1 sync is kept as it is");
    running.wait_for_log("1 sync is new or changed: it starts");
    running.wait_for_log("1 sync is gone or changed: it ends");
    for name in ["b/new", "a/new", "c/new"] {
        running.place.write(name);
    }
    running.wait_for_file("of-a/new");
    running.wait_for_file("of-c/new");
    assert!(!running.place.path("of-b/new").exists());
    // Only the new one made a startup.
    running.place.wait_until("three startups", || running.said(STARTUP) == 3);
    assert!(running.place.log().contains(&format!("{STARTUP}{}/\"", path_of(&running, "c"))));
}

fn path_of(running: &Running, name: &str) -> String {
    running.place.path(name).to_str().unwrap().to_owned()
}

#[test]
fn what_cannot_be_run_changes_nothing() {
    let place = Place::new();
    let a = place.sync("a");
    let running = Running::start(place, [a]);
    running.place.wait_until("live", || running.said(STARTUP) == 1);
    running.reload(Err(vec!["line 3 is wrong".into(), "so is line 4".into()]));
    running.wait_for_log("Error: line 3 is wrong");
    running.wait_for_log("Error: so is line 4");
    running.wait_for_log("the one before stays in force");
    running.place.write("a/new");
    running.wait_for_file("of-a/new");
    assert_eq!(running.said(STARTUP), 1);
}

#[test]
fn of_two_equal_syncs_both_are_kept() {
    let place = Place::new();
    let a = place.sync("a");
    let running = Running::start(place, [a.clone(), a.clone()]);
    running.place.wait_until("live", || running.said(STARTUP) == 2);
    running.reload(Ok(setup([a.clone(), a])));
    running.wait_for_log("2 syncs are kept as they are");
    assert_eq!(running.said("syncs are gone"), 0);
}

#[test]
fn what_waited_in_a_sync_is_not_lost_when_it_is_changed() {
    let place = Place::new();
    // It would wait for an hour, and the next one begins without a full transfer.
    let delay = Duration::from_hours(1);
    let slow = Pace::Fixed { delay, max_waiting: 1000 };
    let a = Sync { init: false, pace: slow, ..place.sync("a") };
    let running = Running::start(place, [a.clone()]);
    running.wait_for_log(" is watched: ");
    running.place.write("a/new");
    running.reload(Ok(setup([Sync { pace: PACE, delete: DeletePolicy::Never, ..a }])));
    running.wait_for_file("of-a/new");
    running.wait_for_log(STARTUP);
}

#[test]
fn a_changed_sync_does_not_begin_before_the_running_job_has_ended() {
    let place = Place::new();
    // Asked to end, it goes on until it is allowed to.
    let script = format!(
        "#!/bin/sh\ncd '{}'\n\
         trap 'while [ ! -e may-end ]; do sleep 0.02; done; echo end >>calls; exit 20' TERM\n\
         echo begin >>calls\n\
         while [ -e hangs ]; do sleep 0.02; done\n\
         echo end >>calls\n",
        place.path("").display()
    );
    let binary = executable(&place.path("rsync.sh"), &script);
    place.write("hangs");
    let a = Sync { kind: Kind::Rsync, binary: binary.into(), ..place.sync("a") };
    let running = Running::start(place, [a.clone()]);
    let calls = || fs::read_to_string(running.place.path("calls")).unwrap_or_default();
    running.place.wait_until("begun", || calls() == "begin\n");
    running.reload(Ok(setup([Sync { init: false, delete: DeletePolicy::Never, ..a }])));
    running.wait_for_log("1 sync is new or changed: it starts");
    assert_eq!(calls(), "begin\n");
    running.place.write("may-end");
    fs::remove_file(running.place.path("hangs")).unwrap();
    running.place.wait_until("done", || calls().matches("end").count() == 2);
    assert_eq!(calls(), "begin\nend\nbegin\nend\n");
    running.wait_for_log("finished.");
}

#[test]
fn a_job_that_does_not_listen_is_killed_and_its_heir_begins() {
    let place = Place::new();
    let script = format!(
        "#!/bin/sh\ncd '{}'\n\
         if [ -e hangs ]; then trap '' TERM; rm hangs; exec sleep 600; fi\n",
        place.path("").display()
    );
    let binary = executable(&place.path("rsync.sh"), &script);
    place.write("hangs");
    let a = Sync { kind: Kind::Rsync, binary: binary.into(), ..place.sync("a") };
    let running = Running::start(place, [a.clone()]);
    running.place.wait_until("begun", || !running.place.path("hangs").exists());
    running.reload(Ok(setup([Sync { delete: DeletePolicy::Never, ..a }])));
    running.wait_for_log("finished.");
}

#[test]
fn a_name_that_leads_elsewhere_while_a_job_runs_is_followed_when_that_has_ended() {
    let place = Place::new();
    let script = format!(
        "#!/bin/sh\ncd '{}'\n\
         trap 'while [ ! -e may-end ]; do sleep 0.02; done; echo end >>calls; exit 20' TERM\n\
         echo begin $* >>calls\n\
         while [ -e hangs ]; do sleep 0.02; done\n\
         echo end >>calls\n",
        place.path("").display()
    );
    let binary = executable(&place.path("rsync.sh"), &script);
    place.write("hangs");
    let link = place.path("link");
    symlink("a", &link).unwrap();
    let delay = Duration::ZERO;
    let a = Sync {
        kind: Kind::Rsync,
        binary: binary.into(),
        given: link.clone(),
        init: false,
        pace: Pace::Fixed { delay, max_waiting: 1 },
        ..place.sync("a")
    };
    let direct = Sync { kind: Kind::Direct, name: "b".into(), ..a.clone() };
    let running = Running::start(place, [a, direct]);
    running.place.wait_until("watched", || running.said(" is watched: ") == 2);
    let calls = || fs::read_to_string(running.place.path("calls")).unwrap_or_default();
    running.place.write("a/new");
    running.place.wait_until("begun", || calls().starts_with("begin"));
    running.place.write("b/of b");
    let next = running.place.path("next");
    symlink("b", &next).unwrap();
    fs::rename(&next, &link).unwrap();
    running.place.wait_until("followed", || running.said(": it is followed (") == 2);
    assert_eq!(running.said("has changed (source) and begins anew"), 2);
    assert!(!calls().contains("/b/"));
    running.place.write("may-end");
    fs::remove_file(running.place.path("hangs")).unwrap();
    running.place.wait_until("done", || calls().contains("/b/") && calls().ends_with("end\n"));
    running.wait_for_file("of-a/of b");
    assert_eq!(running.said("is kept"), 0);
}

/// Writes a program. Were it written by this process, a test that forks meanwhile would keep it from
/// being run.
fn executable(path: &Path, text: &str) -> PathBuf {
    let write = "printf '%s' \"$1\" >\"$2\" && chmod 755 \"$2\"";
    let status = Command::new("sh").args(["-c", write, "sh", text]).arg(path).status();
    assert!(status.unwrap().success());
    path.to_owned()
}

#[test]
fn a_full_transfer_is_made_by_the_calendar() {
    let place = Place::new();
    place.write("a/old");
    let crontab = vec!["* * * * * *".parse().unwrap()];
    let a = Sync { init: false, crontab, ..place.sync("a") };
    let running = Running::start(place, [a]);
    running.wait_for_log("Info: Crontab triggered full sync");
    running.wait_for_log(&format!("Finished Full on {}/ = 0", path_of(&running, "a")));
    assert!(running.place.path("of-a/old").exists());
    assert_eq!(running.said(STARTUP), 0);
}
