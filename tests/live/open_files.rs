//! Files that are written and not yet closed.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::support::{Sandbox, TestDaemon, TransferMode, in_both_modes};

in_both_modes!(
    a_file_is_sent_when_it_is_closed,
    an_empty_open_file_is_not_sent,
    an_open_file_is_sent_after_the_quiet_period_or_the_maximum_wait,
    links_and_truncations_are_sent_without_a_close,
    fanotify_defers_open_files,
);

struct OpenFilesFixture {
    source: PathBuf,
    target: PathBuf,
    daemon: TestDaemon,
    _sandbox: Sandbox,
}

impl OpenFilesFixture {
    /// Starts with settings of the sync and global ones.
    fn start(sandbox: Sandbox, mode: TransferMode, settings: &str, global: &str) -> Self {
        let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
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

    /// Waits until all earlier changes are processed, which a new closed file shows by its arrival.
    fn flush(&self, name: &str) {
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

fn a_file_is_sent_when_it_is_closed(mode: TransferMode) {
    // The quiet period exceeds the duration of the test.
    let fixture =
        OpenFilesFixture::start(Sandbox::new(), mode, "openQuiet = 600, openMaxWait = 900", "");
    let (mut new, mut old) =
        (append(&fixture.source.join("new")), append(&fixture.source.join("old")));
    for part in 0..3 {
        new.write_all(b"half").unwrap();
        old.write_all(b"half").unwrap();
        fixture.flush(&format!("part{part}"));
        assert_eq!(
            (fixture.content("new"), fixture.content("old").as_deref()),
            (None, Some("whole"))
        );
    }
    let status = fs::read_to_string(fixture.target.with_file_name("status")).unwrap();
    assert!(status.contains("2 being written"), "{status}");
    // After a rename it is still open.
    fs::rename(fixture.source.join("new"), fixture.source.join("newer")).unwrap();
    drop((new, old));
    fixture.wait_for("newer", "halfhalfhalf");
    fixture.wait_for("old", "wholehalfhalfhalf");
    fixture.daemon.wait_until("nothing is left", || {
        let status = fs::read_to_string(fixture.target.with_file_name("status")).unwrap();
        status.contains("in sync")
    });
}

fn an_empty_open_file_is_not_sent(mode: TransferMode) {
    let fixture =
        OpenFilesFixture::start(Sandbox::new(), mode, "openQuiet = 600, openMaxWait = 900", "");
    let mut file = File::create(fixture.source.join("empty")).unwrap();
    fixture.flush("first");
    fixture.flush("second");
    assert_eq!(fixture.content("empty"), None);
    file.write_all(b"no more").unwrap();
    drop(file);
    fixture.wait_for("empty", "no more");
}

fn an_open_file_is_sent_after_the_quiet_period_or_the_maximum_wait(mode: TransferMode) {
    let fixture =
        OpenFilesFixture::start(Sandbox::new(), mode, "openQuiet = 0.3, openMaxWait = 2", "");
    let mut quiet = append(&fixture.source.join("quiet"));
    quiet.write_all(b"all").unwrap();
    fixture.wait_for("quiet", "all");
    drop(quiet);
    let path = fixture.source.join("log");
    let mut log = append(&path);
    fixture.daemon.wait_until("a log that grows all the time is sent", || {
        log.write_all(b"line\n").unwrap();
        fixture.content("log").is_some_and(|it| !it.is_empty())
    });
    fixture.daemon.wait_until("all of it arrives", || {
        fixture.content("log") == fs::read_to_string(&path).ok()
    });
    let fixture = OpenFilesFixture::start(
        Sandbox::new(),
        mode,
        "openQuiet = 600, openMaxWait = 900",
        "inotifyMode = 'Modify'",
    );
    let mut file = append(&fixture.source.join("file"));
    file.write_all(b"at once").unwrap();
    fixture.wait_for("file", "at once");
}

fn links_and_truncations_are_sent_without_a_close(mode: TransferMode) {
    let fixture =
        OpenFilesFixture::start(Sandbox::new(), mode, "openQuiet = 600, openMaxWait = 2", "");
    symlink("old", fixture.source.join("link")).unwrap();
    fs::hard_link(fixture.source.join("old"), fixture.source.join("other")).unwrap();
    fixture.daemon.wait_until("links are there", || {
        fixture.target.join("link").is_symlink() && fixture.target.join("other").exists()
    });
    let old = append(&fixture.source.join("old"));
    old.set_len(2).unwrap();
    fixture.wait_for("old", "wh");
    drop(old);
}

fn fanotify_defers_open_files(mode: TransferMode) {
    let settings = "openQuiet = 600, openMaxWait = 900";
    let fixture =
        OpenFilesFixture::start(Sandbox::for_fanotify(), mode, settings, "watch = 'fanotify'");
    let (mut new, mut old) =
        (append(&fixture.source.join("new")), append(&fixture.source.join("old")));
    new.write_all(b"half").unwrap();
    old.write_all(b"half").unwrap();
    fixture.flush("first");
    fixture.flush("second");
    assert_eq!((fixture.content("new"), fixture.content("old").as_deref()), (None, Some("whole")));
    drop((new, old));
    fixture.wait_for("new", "half");
    fixture.wait_for("old", "wholehalf");
}
