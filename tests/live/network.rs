//! Networks and hosts that break, hang and come back, for each way to another machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{
    Churn, Daemon, Mode, Need, Network, Sandbox, Server, Tmpfs, Weather, exit_code, needs,
    with_private_mounts,
};

/// The ways to another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// `default.rsyncssh`.
    Rsyncssh,
    /// `default.rsync` to a directory behind ssh.
    Ssh,
    /// `default.rsync` to a module of a daemon.
    Module,
}

/// Makes a test for each [`Line`] of each function.
macro_rules! on_each_line {
    ($($name:ident),+ $(,)?) => {
        mod rsyncssh { $(#[test] fn $name() { super::$name(super::Line::Rsyncssh); })+ }
        mod ssh { $(#[test] fn $name() { super::$name(super::Line::Ssh); })+ }
        mod module { $(#[test] fn $name() { super::$name(super::Line::Module); })+ }
    };
}

on_each_line!(
    random_changes_converge_in_bad_weather,
    a_transfer_that_breaks_off_is_made_again,
    a_line_that_passes_nothing_is_given_up_and_used_again,
    a_host_that_stands_still_is_given_up_and_used_again,
    a_full_disk_is_filled_once_there_is_room,
    a_target_that_was_removed_gets_everything_again,
);

/// A daemon that mirrors `src` to `dst`, by way of a server behind a network.
struct Mirror {
    source: PathBuf,
    target: PathBuf,
    // Dropped in this order: the daemon before that to which it talks.
    daemon: Daemon,
    network: Network,
    server: Server,
    /// How long its log was when the startup was finished.
    said: usize,
}

impl Mirror {
    /// Starts with a source that `fill` has filled, and rsync with these further settings.
    #[track_caller]
    fn start(sandbox: &Sandbox, line: Line, rsync: &str, fill: impl FnOnce(&Path)) -> Self {
        let (source, target) = (sandbox.directory("src"), sandbox.directory("dst"));
        fill(&source);
        let server = match line {
            Line::Rsyncssh | Line::Ssh => Server::ssh(sandbox),
            Line::Module => Server::rsync(sandbox, &target),
        };
        let network = Network::to(server.port());
        let server = server.behind(&network);
        let sync = match line {
            Line::Rsyncssh => server.sync_to_it(&format!("rsync = {{ {rsync} }}")),
            Line::Ssh => format!(
                "sync{{ default.rsync, source = '@/src', target = 'root\\x40127.0.0.1:' .. '@/dst'
                      , rsync = {{ rsh = [[{}]], {rsync} }} }}",
                server.remote_shell()
            ),
            Line::Module => format!(
                "sync{{ default.rsync, source = '@/src', target = 'rsync://127.0.0.1:{}/mirror'
                      , rsync = {{ {rsync} }} }}",
                server.port()
            ),
        };
        // A machine that is busy may be too slow for the time limit of a startup.
        let text = format!("settings{{ insist = true }} {sync}");
        let daemon = sandbox.daemon().config(&text, 1).start();
        daemon.wait_live();
        let said = daemon.log().len();
        Self { source, target, daemon, network, server, said }
    }

    fn write(&self, name: &str, length: usize) {
        fs::write(self.source.join(name), vec![b'x'; length]).unwrap();
    }

    #[track_caller]
    fn wait_for_retry(&self) {
        let is_told = || self.log().contains("next try in");
        self.daemon.wait_until("it will be tried again", is_told);
    }

    /// What was said after the startup.
    fn log(&self) -> String {
        self.daemon.log().split_off(self.said)
    }

    /// All is well again; who waits for a later try need not wait for it.
    #[track_caller]
    fn expect_mirrored(&self) {
        self.daemon.signal(Signal::HUP);
        self.daemon.wait_mirrored(Mode::Rsync, &self.source, &self.target);
    }
}

/// How many rounds there are, and how many changes in each.
const ROUNDS: (usize, usize) = (8, 40);

fn random_changes_converge_in_bad_weather(line: Line) {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let mut churn = None;
    let mirror = Mirror::start(&sandbox, line, "timeout = 2", |source| {
        churn.insert(Churn::new(source, 31 + line as u64)).change(50);
    });
    let mut churn = churn.unwrap();
    for _ in 0..ROUNDS.0 {
        mirror.network.set(match churn.below(4) {
            0 => Weather::Slow(std::time::Duration::from_millis(20)),
            1 => Weather::Stalled,
            2 => Weather::StallsAfter(churn.below(20_000)),
            _ => Weather::Refusing,
        });
        let said = mirror.daemon.log().len();
        churn.change(ROUNDS.1);
        mirror.daemon.wait_until("it is told or done", || mirror.daemon.log().len() > said);
        if churn.below(2) == 0 {
            mirror.network.cut();
        }
        mirror.network.set(Weather::Fine);
        // After eight failures in a row the next try would be minutes away.
        mirror.daemon.signal(Signal::HUP);
        churn.change(ROUNDS.1);
    }
    mirror.expect_mirrored();
}

fn a_transfer_that_breaks_off_is_made_again(line: Line) {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let mirror = Mirror::start(&sandbox, line, "", |_| ());
    mirror.network.set(Weather::StallsAfter(1 << 20));
    mirror.write("large", 8 << 20);
    let begun = || fs::read_dir(&mirror.target).unwrap().count() > 0;
    mirror.daemon.wait_until("a part is there", begun);
    mirror.network.cut();
    mirror.wait_for_retry();
    mirror.network.set(Weather::Fine);
    mirror.expect_mirrored();
}

fn a_line_that_passes_nothing_is_given_up_and_used_again(line: Line) {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let mirror = Mirror::start(&sandbox, line, "timeout = 2", |_| ());
    mirror.network.set(Weather::Stalled);
    mirror.write("file", 10);
    mirror.wait_for_retry();
    mirror.network.set(Weather::Fine);
    mirror.expect_mirrored();
}

fn a_host_that_stands_still_is_given_up_and_used_again(line: Line) {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let mirror = Mirror::start(&sandbox, line, "timeout = 2", |_| ());
    mirror.server.freeze();
    mirror.write("file", 10);
    mirror.wait_for_retry();
    mirror.server.thaw();
    mirror.expect_mirrored();
}

fn a_full_disk_is_filled_once_there_is_room(line: Line) {
    needs!(Need::Ssh, Need::Mounts);
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let target = sandbox.directory("dst");
        let _disk = Tmpfs::mount(&sandbox, &target, 12 << 20);
        let mirror = Mirror::start(&sandbox, line, "", |source| {
            fs::write(source.join("ballast"), vec![b'x'; 8 << 20]).unwrap();
        });
        mirror.write("large", 6 << 20);
        mirror.write("small", 10);
        mirror.daemon.wait_for_log("No space left");
        fs::remove_file(mirror.source.join("ballast")).unwrap();
        mirror.expect_mirrored();
    });
}

/// A directory behind ssh is made again by rsync, the path of a module is not.
fn a_target_that_was_removed_gets_everything_again(line: Line) {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let mirror = Mirror::start(&sandbox, line, "", |source| {
        fs::create_dir(source.join("d")).unwrap();
        fs::write(source.join("d/old"), "").unwrap();
    });
    fs::remove_dir_all(&mirror.target).unwrap();
    mirror.write("d/new", 10);
    mirror.daemon.wait_for_log("is gone: all of the source goes there again");
    if line == Line::Module {
        mirror.wait_for_retry();
        fs::create_dir(&mirror.target).unwrap();
    }
    mirror.expect_mirrored();
}

/// Below a module rsync makes a directory again, as it does behind ssh.
#[test]
fn a_directory_of_a_module_that_was_removed_gets_everything_again() {
    needs!(Mode::Rsync.need(), Need::Root);
    let sandbox = Sandbox::new();
    let (source, module) = (sandbox.directory("src"), sandbox.directory("module"));
    fs::write(source.join("old"), "").unwrap();
    fs::write(source.join("gone"), "").unwrap();
    let server = Server::rsync(&sandbox, &module);
    let to = format!("rsync://127.0.0.1:{}/mirror/dst", server.port());
    let daemon = sandbox.daemon().mirror_to_server(&source, &to).start();
    daemon.wait_live();
    let target = module.join("dst");
    for round in 1..=2 {
        fs::remove_dir_all(&target).unwrap();
        // Of what is gone rsync has nothing to send.
        fs::remove_file(source.join("gone")).unwrap();
        let told = || daemon.log().matches("is gone: all of the source goes there again").count();
        daemon.wait_until("it is told", || told() == round);
        daemon.wait_mirrored(Mode::Rsync, &source, &target);
        fs::write(source.join("gone"), "").unwrap();
        daemon.wait_mirrored(Mode::Rsync, &source, &target);
    }
}

/// Who looks at the last word of each command is none the wiser.
#[test]
fn a_key_for_one_directory_as_it_is_written_is_enough() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("src"), sandbox.path("dst"));
    fs::write(source.join("old"), "").unwrap();
    let server = Server::ssh(&sandbox);
    let asked = sandbox.path("asked");
    server.force(&format!(
        "echo \"$SSH_ORIGINAL_COMMAND\" >>'{}'; case $SSH_ORIGINAL_COMMAND in \
         'rsync --server'*' . {}/') exec $SSH_ORIGINAL_COMMAND ;; *) exit 1 ;; esac",
        asked.display(),
        target.display()
    ));
    let text = server.sync_to_it("onMove = false, rsync = { protect_args = false }");
    let daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    for name in ["one", "two", "three"] {
        fs::write(source.join(name), "").unwrap();
        daemon.wait_mirrored(Mode::Rsync, &source, &target);
    }
    let asked = fs::read_to_string(asked).unwrap();
    assert_eq!(asked.lines().filter(|line| line.ends_with("/.")).count(), 1, "{asked}");
    assert!(!daemon.log().contains("next try in"), "{}", daemon.log());
}

/// The master of a daemon: the ssh that is in the background.
fn master(daemon: &Daemon) -> Option<Pid> {
    let sockets = format!("lsyncd-{}-0", daemon.pid());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).find(
        |pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            words.contains(&sockets) && words.contains("ControlMaster=yes")
        },
    )
}

#[test]
fn a_master_that_hangs_is_made_anew() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let mirror = Mirror::start(&sandbox, Line::Rsyncssh, "", |_| ());
    let hanging = master(&mirror.daemon).unwrap();
    kill_process(hanging, Signal::STOP).unwrap();
    mirror.write("file", 10);
    mirror.daemon.wait_mirrored(Mode::Rsync, &mirror.source, &mirror.target);
    mirror.daemon.wait_for_log("hangs: it is made anew");
    assert_eq!(mirror.server.logins(), 2);
    mirror.daemon.wait_until("the old one is gone", || test_kill_process(hanging).is_err());
    assert!(master(&mirror.daemon).is_some());
}

/// Nobody gave rsync a time limit: it is ssh that notices.
#[test]
fn a_connection_that_passes_nothing_ends_and_the_words_of_the_user_say_when() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let server = Server::ssh(&sandbox);
    let network = Network::to(server.port());
    let server = server.behind(&network);
    let words = "_extra = { [[-o]], [[ServerAliveInterval=1]],";
    let text = server.sync_to_it("").replace("_extra = {", words);
    let daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    let old = master(&daemon).unwrap();
    network.set(Weather::Stalled);
    fs::write(source.join("file"), "").unwrap();
    daemon.wait_for_log("next try in");
    daemon.wait_until("the connection has ended", || test_kill_process(old).is_err());
    network.set(Weather::Fine);
    daemon.signal(Signal::HUP);
    daemon.wait_mirrored(Mode::Rsync, &source, &sandbox.path("dst"));
    assert_eq!(server.logins(), 2);
}

/// sshd takes ten sessions in one connection, and starts to refuse logins when ten are under way.
#[test]
fn many_syncs_to_a_host_log_in_once() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    fs::write(source.join("file"), "").unwrap();
    let server = Server::ssh(&sandbox);
    let sync = server.sync_to_it("").replace("'@/dst'", "'@/dst' .. i");
    let mut daemon = sandbox.daemon().config(&format!("for i = 1, 30 do {sync} end"), 30).start();
    daemon.wait_live();
    fs::write(source.join("more"), "").unwrap();
    for number in 1..=30 {
        daemon.wait_mirrored(Mode::Rsync, &source, &sandbox.path(&format!("dst{number}")));
    }
    assert_eq!(server.logins(), 1);
    let master = master(&daemon).unwrap();
    daemon.signal(Signal::TERM);
    assert_eq!(exit_code(daemon.wait_end()), 143);
    daemon.wait_until("the connection ends, too", || test_kill_process(master).is_err());
}

#[test]
fn many_syncs_to_a_host_that_is_away_try_it_once() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let server = Server::ssh(&sandbox);
    let network = Network::to(server.port());
    let server = server.behind(&network);
    network.set(Weather::Refusing);
    let sync = server.sync_to_it("").replace("'@/dst'", "'@/dst' .. i");
    let text = format!("settings{{ insist = true }} for i = 1, 30 do {sync} end");
    let daemon = sandbox.daemon().config(&text, 30).start();
    let told = || daemon.log().matches("Retrying startup").count();
    daemon.wait_until("all of them failed", || told() >= 30);
    assert!(network.callers() < 10, "{} tries: {}", network.callers(), daemon.log());
    network.set(Weather::Fine);
    daemon.signal(Signal::HUP);
    daemon.wait_live();
    for number in 1..=30 {
        daemon.wait_mirrored(Mode::Rsync, &source, &sandbox.path(&format!("dst{number}")));
    }
}

#[test]
fn without_insist_a_host_that_is_away_ends_the_daemon() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    sandbox.directory("src");
    let server = Server::ssh(&sandbox);
    let network = Network::to(server.port());
    let server = server.behind(&network);
    network.set(Weather::Refusing);
    let mut daemon = sandbox.daemon().config(&server.sync_to_it(""), 1).start();
    assert_eq!(exit_code(daemon.wait_end()), 255);
    daemon.wait_for_log("Terminating since \"insist\" is not set.");
    assert_eq!(network.callers(), 1);
}

#[test]
fn a_rename_that_meets_a_code_of_ssh_that_ends_the_daemon_ends_it() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    fs::write(source.join("old"), "").unwrap();
    let server = Server::ssh(&sandbox);
    let network = Network::to(server.port());
    let server = server.behind(&network);
    let text = server.sync_to_it("sshExitCodes = { [0] = 'ok', [255] = 'die' }");
    let mut daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    network.set(Weather::Refusing);
    network.cut();
    fs::write(source.join("file"), "").unwrap();
    daemon.wait_for_log("Retrying (list): 255");
    fs::rename(source.join("old"), source.join("new")).unwrap();
    assert_eq!(exit_code(daemon.wait_end()), 255);
    daemon.wait_for_log("Critical exitcode.");
}

/// What an older rsync at the other side says of deletions in a list, and what it means.
#[test]
fn a_receiver_that_cannot_delete_by_a_list_is_known_from_then_on() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let wrapper = sandbox.path("rsync-3.4.3");
    let calls = sandbox.path("calls");
    // It is asked for it with each list; it refuses where something is to be deleted.
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--delete-missing-args*) echo >>'{}'; if [ -e '{}' ]; then \
         echo 'invalid file mode 00 for x [Receiver]' >&2; exit 2; fi;; esac\nexec rsync \"$@\"\n",
        calls.display(),
        sandbox.path("breaks").display(),
    );
    fs::write(&wrapper, script).unwrap();
    // Words that are protected do not stand in its command.
    let path = format!("protect_args = false, rsync_path = [[sh {}]]", wrapper.display());
    let mirror = Mirror::start(&sandbox, Line::Rsyncssh, &path, |source| {
        for name in ["a", "b", "c", "keep"] {
            fs::write(source.join(name), "").unwrap();
        }
    });
    fs::write(sandbox.path("breaks"), "").unwrap();
    for name in ["a", "b", "c"] {
        fs::remove_file(mirror.source.join(name)).unwrap();
        mirror.daemon.wait_mirrored(Mode::Rsync, &mirror.source, &mirror.target);
    }
    let asked = fs::read_to_string(&calls).unwrap().lines().count();
    assert_eq!(asked, 1, "it is remembered: {}", mirror.daemon.log());
    assert_eq!(mirror.daemon.log().matches("can't delete by a list").count(), 1);
}

/// The waits between tries of a target that is away grow, a success ends that.
#[test]
fn a_target_that_is_away_is_tried_less_and_less_often() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let mirror = Mirror::start(&sandbox, Line::Module, "", |_| ());
    let callers = mirror.network.callers();
    mirror.network.set(Weather::Refusing);
    mirror.write("file", 10);
    let waits = || -> Vec<f64> {
        let log = mirror.log();
        let waits = log.split("next try in ").skip(1);
        waits.filter_map(|wait| wait.split_once(" seconds")?.0.parse().ok()).collect()
    };
    mirror.daemon.wait_until("it was tried three times", || waits().len() >= 3);
    let grown = waits();
    assert!(grown.windows(2).all(|pair| pair[1] > pair[0] * 1.4), "{grown:?}");
    assert!(mirror.network.callers() <= callers + grown.len() + 1, "no try in between");
    mirror.network.set(Weather::Fine);
    mirror.expect_mirrored();
    mirror.network.set(Weather::Refusing);
    mirror.write("other", 10);
    let before = grown.len();
    mirror.daemon.wait_until("it failed again", || {
        waits()[before..].iter().any(|wait| (wait - grown[0]).abs() < f64::EPSILON)
    });
}
