//! Files that somebody writes and has not closed.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::support::{Daemon, Mode, Sandbox, in_both_modes};

in_both_modes!(
    a_file_is_sent_when_it_is_closed,
    a_new_file_is_not_sent_before_something_is_written,
    a_file_that_stays_open_is_sent_when_it_is_quiet_or_has_waited_long,
    links_have_nobody_who_closes_them_and_what_is_cut_off_counts,
    fanotify_tells_what_is_open,
);

struct Played {
    source: PathBuf,
    target: PathBuf,
    daemon: Daemon,
    _sandbox: Sandbox,
}

impl Played {
    /// `settings` are those of the sync.
    fn start(sandbox: Sandbox, mode: Mode, settings: &str, global: &str) -> Self {
        let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
        fs::write(source.join("old"), "whole").unwrap();
        let kind = mode.option().trim_start_matches('-');
        let text = format!(
            "settings{{ statusFile = '@/status', statusInterval = 0, {global} }}
             sync{{ default.{kind}, source = '@/source', target = '@/target', {settings} }}"
        );
        let daemon = sandbox.daemon().config(&text, 1).start();
        daemon.wait_live();
        Self { source, target, daemon, _sandbox: sandbox }
    }

    /// Waits until what happened up to now has had its turn: a file that is closed arrives.
    fn pass(&self, name: &str) {
        fs::write(self.source.join(name), name).unwrap();
        self.wait_for(name, name);
    }

    fn wait_for(&self, name: &str, content: &str) {
        let is_there = || self.content(name).as_deref() == Some(content);
        self.daemon.wait_until(&format!("{name} is there"), is_there);
    }

    fn content(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.target.join(name)).ok()
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

fn a_file_is_sent_when_it_is_closed(mode: Mode) {
    // Nothing is quiet for so long here.
    let played = Played::start(Sandbox::new(), mode, "openQuiet = 600, openMaxWait = 900", "");
    let (mut new, mut old) =
        (append(&played.source.join("new")), append(&played.source.join("old")));
    for part in 0..3 {
        new.write_all(b"half").unwrap();
        old.write_all(b"half").unwrap();
        played.pass(&format!("part{part}"));
        assert_eq!(
            (played.content("new"), played.content("old").as_deref()),
            (None, Some("whole"))
        );
    }
    let status = fs::read_to_string(played.target.with_file_name("status")).unwrap();
    assert!(status.contains("2 being written"), "{status}");
    // Under another name it is open still.
    fs::rename(played.source.join("new"), played.source.join("newer")).unwrap();
    drop((new, old));
    played.wait_for("newer", "halfhalfhalf");
    played.wait_for("old", "wholehalfhalfhalf");
    played.daemon.wait_until("nothing is left", || {
        let status = fs::read_to_string(played.target.with_file_name("status")).unwrap();
        status.contains("in sync")
    });
}

fn a_new_file_is_not_sent_before_something_is_written(mode: Mode) {
    let played = Played::start(Sandbox::new(), mode, "openQuiet = 600, openMaxWait = 900", "");
    let mut file = File::create(played.source.join("empty")).unwrap();
    played.pass("first");
    played.pass("second");
    assert_eq!(played.content("empty"), None);
    file.write_all(b"no more").unwrap();
    drop(file);
    played.wait_for("empty", "no more");
}

fn a_file_that_stays_open_is_sent_when_it_is_quiet_or_has_waited_long(mode: Mode) {
    let played = Played::start(Sandbox::new(), mode, "openQuiet = 0.3, openMaxWait = 2", "");
    let mut quiet = append(&played.source.join("quiet"));
    quiet.write_all(b"all").unwrap();
    played.wait_for("quiet", "all");
    drop(quiet);
    let path = played.source.join("log");
    let mut log = append(&path);
    played.daemon.wait_until("a log that grows all the time is sent", || {
        log.write_all(b"line\n").unwrap();
        played.content("log").is_some_and(|it| !it.is_empty())
    });
    played.daemon.wait_until("all of it arrives", || {
        played.content("log") == fs::read_to_string(&path).ok()
    });
    let played = Played::start(
        Sandbox::new(),
        mode,
        "openQuiet = 600, openMaxWait = 900",
        "inotifyMode = 'Modify'",
    );
    let mut file = append(&played.source.join("file"));
    file.write_all(b"at once").unwrap();
    played.wait_for("file", "at once");
}

fn links_have_nobody_who_closes_them_and_what_is_cut_off_counts(mode: Mode) {
    let played = Played::start(Sandbox::new(), mode, "openQuiet = 600, openMaxWait = 2", "");
    symlink("old", played.source.join("link")).unwrap();
    fs::hard_link(played.source.join("old"), played.source.join("other")).unwrap();
    played.daemon.wait_until("links are there", || {
        played.target.join("link").is_symlink() && played.target.join("other").exists()
    });
    let old = append(&played.source.join("old"));
    old.set_len(2).unwrap();
    played.wait_for("old", "wh");
    drop(old);
}

fn fanotify_tells_what_is_open(mode: Mode) {
    let settings = "openQuiet = 600, openMaxWait = 900";
    let played = Played::start(Sandbox::for_fanotify(), mode, settings, "watch = 'fanotify'");
    let (mut new, mut old) =
        (append(&played.source.join("new")), append(&played.source.join("old")));
    new.write_all(b"half").unwrap();
    old.write_all(b"half").unwrap();
    played.pass("first");
    played.pass("second");
    assert_eq!((played.content("new"), played.content("old").as_deref()), (None, Some("whole")));
    drop((new, old));
    played.wait_for("new", "half");
    played.wait_for("old", "wholehalf");
}
