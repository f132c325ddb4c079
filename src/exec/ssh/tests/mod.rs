//! Connections and shells, with a script in place of ssh.

use super::{
    channel::{ChannelBroken, ShellChannel},
    socket_dir::MAX_DIR_LEN,
    *,
};
use mirror_core::plan::shell::quoted;
use rustix::process::{Pid, test_kill_process};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Barrier,
    thread,
    time::Duration,
};
use tempfile::TempDir;

fn command(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|arg| arg.as_bytes().to_vec()).collect()
}

/// Returns the socket of the connection for this program.
fn socket(connections: &SshConnections, text: &str, host: &str) -> Option<PathBuf> {
    let master = connections.master(&command(text), host.as_bytes(), &Log::default())?;
    let args = master.args();
    let path = args.iter().find_map(|arg| arg.strip_prefix(b"ControlPath="));
    Some(PathBuf::from(str::from_utf8(path.unwrap()).unwrap()))
}

#[test]
fn the_socket_directory_is_private_and_removed_on_drop() {
    let connections = SshConnections::new(true);
    let path = socket(&connections, "ssh -p 1", "u@h").unwrap();
    let directory = path.parent().unwrap().to_owned();
    let mode = fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(directory.as_os_str().len() <= MAX_DIR_LEN);
    let other = SshConnections::new(true);
    assert_ne!(socket(&other, "ssh -p 1", "u@h").unwrap(), path);
    // Another test of this process may get the name of the directory at once.
    let mark = directory.join("mark");
    fs::write(&mark, "").unwrap();
    drop(connections);
    assert!(!mark.exists());
}

#[test]
fn syncs_to_one_host_share_a_connection_unless_the_users_arguments_do() {
    let connections = SshConnections::new(true);
    let one = socket(&connections, "ssh -p 1", "u@h").unwrap();
    assert_eq!(socket(&connections, "ssh -p 1", "u@h").unwrap(), one);
    assert_ne!(socket(&connections, "ssh -p 2", "u@h").unwrap(), one);
    assert_ne!(socket(&connections, "ssh -p 1", "h").unwrap(), one);
    for users in ["-S none", "-M", "-o ControlPath=/x", "-oControlMaster=auto", "-o controlpath /x"]
    {
        assert_eq!(socket(&connections, &format!("ssh {users}"), "h"), None, "{users}");
    }
    assert_eq!(socket(&SshConnections::new(false), "ssh", "h"), None);
}

/// Creates a connection whose ssh runs `script`.
fn master(connections: &SshConnections, place: &TempDir, script: &str) -> Arc<ControlMaster> {
    let home = place.path().display();
    fs::write(place.path().join("ssh"), format!("cd '{home}'; {script}")).unwrap();
    let text = format!("sh {home}/ssh");
    connections.master(&command(&text), b"h", &Log::default()).unwrap()
}

#[test]
fn concurrent_jobs_make_one_login_attempt() {
    let (connections, place) = (SshConnections::new(true), tempfile::tempdir().unwrap());
    let master = master(
        &connections,
        &place,
        "echo >>tries; until [ -e go ]; do sleep 0.01; done; echo no >&2; exit 255",
    );
    let all = Barrier::new(21);
    thread::scope(|scope| {
        let try_ = || {
            all.wait();
            master.acquire_slot(&CancelToken::default()).map(drop)
        };
        let tries: Vec<_> = (0..20).map(|_| scope.spawn(try_)).collect();
        all.wait();
        // An attempt that starts after the end of the first may log in by itself, but not at once.
        fs::write(place.path().join("go"), "").unwrap();
        for try_ in tries {
            assert_eq!(try_.join().unwrap().unwrap_err(), "no");
        }
    });
    let tries = || fs::read_to_string(place.path().join("tries")).unwrap().lines().count();
    assert_eq!(tries(), 1);
    assert_eq!(connections.status(&master), ConnectionStatus::Failed("no".into()));
    master.forget_failures();
    assert_eq!(connections.status(&master), ConnectionStatus::Unused);
    assert!(master.acquire_slot(&CancelToken::default()).is_err());
    assert_eq!(tries(), 2);
}

#[test]
fn a_job_that_waits_for_a_login_can_be_cancelled() {
    let (connections, place) = (SshConnections::new(true), tempfile::tempdir().unwrap());
    let master = master(&connections, &place, "echo $$ >new; mv new pid; exec sleep 600");
    let stops = [CancelToken::default(), CancelToken::default()];
    let pid = || fs::read_to_string(place.path().join("pid")).ok();
    let child = thread::scope(|scope| {
        let tries =
            stops.each_ref().map(|cancel| scope.spawn(|| master.acquire_slot(cancel).map(drop)));
        // Only one of them logs in.
        let child = loop {
            if let Some(pid) = pid() {
                break pid;
            }
            thread::yield_now();
        };
        stops.iter().for_each(CancelToken::cancel);
        for waits in tries {
            assert!(waits.join().unwrap().is_err());
        }
        child
    });
    let child = Pid::from_raw(child.trim().parse().unwrap()).unwrap();
    while test_kill_process(child).is_ok() {
        thread::yield_now();
    }
}

/// A program that prints the ssh configuration of each host.
struct FakeSshConfig {
    place: TempDir,
    connections: SshConnections,
}

impl FakeSshConfig {
    fn new(probe_timing: ProbeTiming) -> Self {
        let place = tempfile::tempdir().unwrap();
        let script = "#!/bin/sh\nfor host; do :; done\ncase $host in own) echo 'controlpath /x';; \
                      none) echo 'controlpath none';; bad) echo 'controlpath /x'; exit 255;; \
                      slow) test -e \"${0%/*}/quick\" || { : > \"${0%/*}/began\"; exec sleep 600; }; \
                      echo 'controlpath /x';; esac\n";
        let ssh = place.path().join("ssh");
        // Another process writes the file: a descriptor open for writing here could be inherited
        // for a moment by a child of another test, and exec would fail with ETXTBSY.
        let write = format!("cat > '{0}' && chmod 755 '{0}'", ssh.display());
        let mut shell = Command::new("sh");
        let mut shell = shell.args(["-c", &write]).stdin(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        let mut connections = SshConnections::new(true);
        connections.probe_timing = probe_timing;
        Self { place, connections }
    }

    fn are_users(&self, host: &str, cancel: &CancelToken) -> Option<bool> {
        let (program, log) = (self.place.path().join("ssh").display().to_string(), Log::default());
        let master = self.connections.master(&command(&program), host.as_bytes(), &log).unwrap();
        self.connections.are_shared_by_user(&master, cancel, &log)
    }
}

#[test]
fn a_shutdown_ends_the_wait_for_a_login() {
    let (connections, place) = (SshConnections::new(true), tempfile::tempdir().unwrap());
    let master = master(&connections, &place, "exec sleep 600");
    let cancel = CancelToken::default();
    cancel.announce_shutdown();
    assert_eq!(master.acquire_slot(&cancel).map(drop), Err("the job was stopped".into()));
}

#[test]
fn a_control_path_of_the_user_disables_the_shared_connection() {
    let config = FakeSshConfig::new(ProbeTiming::STANDARD);
    for (host, users) in [("own", true), ("none", false), ("else", false), ("bad", false)] {
        assert_eq!(config.are_users(host, &CancelToken::default()), Some(users), "{host}");
    }
}

#[test]
fn a_query_of_the_ssh_configuration_is_retried_after_a_timeout() {
    let config = FakeSshConfig::new(ProbeTiming {
        timeout: Duration::from_millis(50),
        retry_after: Duration::ZERO,
    });
    assert_eq!(config.are_users("slow", &CancelToken::default()), Some(false));
    fs::write(config.place.path().join("quick"), "").unwrap();
    let is_users = || config.are_users("slow", &CancelToken::default()).unwrap();
    // A slow machine may exceed the timeout again.
    while !is_users() {
        thread::yield_now();
    }
}

#[test]
fn a_blocked_query_delays_no_other_host_and_ends_with_its_job() {
    let endless = Duration::from_hours(1);
    let config = FakeSshConfig::new(ProbeTiming { timeout: endless, retry_after: endless });
    let (cancel, other) = (CancelToken::default(), CancelToken::default());
    thread::scope(|scope| {
        let asks = scope.spawn(|| config.are_users("slow", &cancel));
        while !config.place.path().join("began").exists() {
            thread::yield_now();
        }
        assert_eq!(config.are_users("own", &other), Some(true));
        other.cancel();
        let waits = scope.spawn(|| config.are_users("slow", &other));
        cancel.cancel();
        assert_eq!((asks.join().unwrap(), waits.join().unwrap()), (None, None));
    });
    // The cancelled query leaves no answer behind.
    fs::write(config.place.path().join("quick"), "").unwrap();
    assert_eq!(config.are_users("slow", &CancelToken::default()), Some(true));
    config.connections.reset_failures();
    fs::remove_file(config.place.path().join("ssh")).unwrap();
    assert_eq!(config.are_users("slow", &CancelToken::default()), Some(false));
}

/// A directory that stands for a machine: a script in place of ssh runs the command there.
struct FakeHost {
    place: TempDir,
}

impl FakeHost {
    fn new() -> Self {
        let host = Self { place: tempfile::tempdir().unwrap() };
        fs::create_dir(host.at("target")).unwrap();
        host.set_login("exec sh -c \"$command\"");
        host
    }

    fn at(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    /// Sets the login script. It finds the remote command in `$command`.
    fn set_login(&self, script: &str) {
        let home = self.place.path().display();
        let script =
            format!("cd '{home}'; export TMPDIR='{home}'; for command; do :; done\n{script}\n");
        fs::write(self.at("login"), script).unwrap();
    }

    fn route(&self) -> SshRoute {
        let command = vec!["sh".into(), self.at("login").into_os_string()];
        SshRoute { command, host: "host".into() }
    }

    fn shell(&self) -> SshShell {
        SshShell::new(self.route(), Log::default())
    }

    /// Makes renames such as `other a>b`, and returns a letter for each: `y` if it was made,
    /// followed by the depth of the first directory that was created.
    fn renames(&self, renames: &str) -> String {
        let renames: Vec<RemoteRename> = renames.split(", ").map(rename).collect();
        let done =
            self.shell().rename(b"target", &renames, &CancelToken::default()).unwrap().unwrap();
        let letter = |done: &RenameResult| {
            let made = done.created_depth.map(|depth| depth.to_string()).unwrap_or_default();
            format!("{}{made}", if done.renamed { 'y' } else { 'n' })
        };
        done.iter().map(letter).collect::<Vec<_>>().join(" ")
    }

    /// Creates the entries `name=content`, `name/` and `name->goal` in the target.
    fn fill(&self, entries: &str) {
        for entry in entries.split(' ') {
            let path = |name: &str| self.at("target").join(name);
            if let Some((name, goal)) = entry.split_once("->") {
                symlink(goal, path(name)).unwrap();
            } else if let Some((name, content)) = entry.split_once('=') {
                fs::create_dir_all(path(name).parent().unwrap()).unwrap();
                fs::write(path(name), content).unwrap();
            } else {
                fs::create_dir_all(path(entry)).unwrap();
            }
        }
    }

    /// Returns the content of the target, in the notation of `fill`.
    fn contents(&self) -> String {
        let mut found = Vec::new();
        let mut left = vec![self.at("target")];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.at("target")).unwrap().display();
                if path.is_symlink() {
                    found.push(format!("{name}->{}", fs::read_link(&path).unwrap().display()));
                } else if path.is_dir() {
                    left.push(path.clone());
                    if fs::read_dir(&path).unwrap().next().is_none() {
                        found.push(format!("{name}/"));
                    }
                } else {
                    found.push(format!("{name}={}", fs::read_to_string(&path).unwrap()));
                }
            }
        }
        found.sort();
        found.join(" ")
    }
}

fn rename(text: &str) -> RemoteRename {
    let (kind, names) = text.split_once(' ').unwrap();
    let (from, to) = names.split_once('>').unwrap();
    let kind = match kind {
        "directory" => RemoteRenameKind::Directory,
        "swap" => RemoteRenameKind::Swap,
        _ => RemoteRenameKind::Other,
    };
    RemoteRename { kind, from: from.into(), to: to.into() }
}

#[test]
fn applicable_renames_are_made_and_others_are_skipped() {
    for (before, renames, done, after) in [
        ("a=1", "other a>b", "y", "b=1"),
        ("a=1 b=2", "other a>b", "y", "b=1"),
        ("a=1", "other a>b, other b>c, other a>d", "y y n", "c=1"),
        ("d/a=1", "directory d>e", "y", "e/a=1"),
        ("d/a=1 e/", "directory d>e", "n", "d/a=1 e/"),
        ("d/a=1 e=2", "directory d>e", "n", "d/a=1 e=2"),
        ("a=1 d/", "other a>d", "n", "a=1 d/"),
        ("a=1 d/ l->d", "other a>l", "n", "a=1 d/ l->d"),
        ("d/a=1", "other d>e", "n", "d/a=1"),
        ("a=1", "directory a>b", "n", "a=1"),
        ("l->nowhere", "other l>m", "y", "m->nowhere"),
        ("a=1", "other a>x/y/b", "y1", "x/y/b=1"),
        ("a=1 x/k=2", "other a>x/y/z/b", "y2", "x/k=2 x/y/z/b=1"),
        ("x/", "other a>x/y/b", "n", "x/"),
        ("a=1 b=2", "swap a>b", "y", "a=2 b=1"),
        ("d/a=1 b=2", "swap b>d", "y", "b/a=1 d=2"),
        ("a=1", "swap a>b", "n", "a=1"),
    ] {
        let host = FakeHost::new();
        host.fill(before);
        assert_eq!(host.renames(renames), done, "{before}: {renames}");
        assert_eq!(host.contents(), after, "{before}: {renames}");
    }
}

#[test]
fn renames_never_follow_links_out_of_the_target() {
    let host = FakeHost::new();
    fs::create_dir(host.at("outside")).unwrap();
    fs::write(host.at("outside/theirs"), "x").unwrap();
    host.fill("a=1 link->../outside");
    let renames = "other a>link/a, other link/theirs>mine, other a>link/deep/a, swap a>link/theirs";
    assert_eq!(host.renames(renames), "n n n n");
    assert_eq!(host.contents(), "a=1 link->../outside");
    assert_eq!(fs::read_dir(host.at("outside")).unwrap().count(), 1);
}

#[test]
fn login_banners_are_ignored() {
    let host = FakeHost::new();
    host.set_login("echo 'lsyncd 1 welcome'; printf hello; echo x >&2; exec sh -c \"$command\"");
    host.fill("a=1");
    assert_eq!(host.renames("other a>b"), "y");
}

#[test]
fn more_renames_than_the_window_are_all_made() {
    let host = FakeHost::new();
    let names: Vec<String> = (0..300).map(|number| format!("{number:0>200}")).collect();
    host.fill(&names.iter().map(|name| format!("{name}=")).collect::<Vec<_>>().join(" "));
    let renames: Vec<_> = names.iter().map(|name| format!("other {name}>to/{name}")).collect();
    let done = host.renames(&renames.join(", "));
    assert_eq!(done.matches('y').count(), 300);
    assert_eq!(fs::read_dir(host.at("target/to")).unwrap().count(), 300);
}

#[test]
fn without_a_shell_renames_are_skipped() {
    let host = FakeHost::new();
    host.fill("a=1");
    let restricted = ["echo no >&2; exit 1", "exit 0", "head -n 80; exit 1", "exit 255"];
    for script in restricted {
        host.set_login(script);
        let shell = host.shell();
        for _ in 0..2 {
            let done = shell.rename(b"target", &[rename("other a>b")], &CancelToken::default());
            assert_eq!(done.unwrap(), None, "{script}");
        }
    }
    assert_eq!(host.contents(), "a=1");
}

#[test]
fn a_missing_target_skips_its_renames() {
    let host = FakeHost::new();
    fs::write(host.at("a"), "1").unwrap();
    let renames = [rename("other a>b")];
    let done = host.shell().rename(b"nowhere", &renames, &CancelToken::default()).unwrap().unwrap();
    assert_eq!(done, [RenameResult { renamed: false, created_depth: None }]);
    assert!(host.at("a").exists());
}

#[test]
fn a_lost_shell_must_be_settled_before_the_next_rename() {
    let host = FakeHost::new();
    host.fill("a=1");
    // Passes on the first lines up to the greeting, and no more.
    host.set_login("sed -u '/^hello [0-9]/q' | { sh -c \"$command\"; }; sleep 1; exit 255");
    let shell = host.shell();
    let renames = [rename("other a>b")];
    assert!(shell.rename(b"target", &renames, &CancelToken::default()).is_err());
    host.set_login("exit 255");
    assert!(shell.settle(&CancelToken::default()).is_err(), "as long as it is away");
    host.set_login("exec sh -c \"$command\"");
    shell.settle(&CancelToken::default()).unwrap();
    let done = shell.rename(b"target", &renames, &CancelToken::default()).unwrap().unwrap();
    assert!(done[0].renamed);
}

#[test]
fn a_fenced_shell_makes_no_renames() {
    let host = FakeHost::new();
    host.fill("a=1");
    let (route, cancel) = (host.route(), CancelToken::default());
    let mut lost = ShellChannel::open(&route, None, &cancel).unwrap();
    let mut next = ShellChannel::open(&route, Some(lost.token()), &cancel).unwrap();
    let late = lost.rename(b"target", &[rename("other a>b")], &cancel);
    assert!(matches!(late, Err(ChannelBroken::Fenced)), "{late:?}");
    assert_eq!(host.contents(), "a=1");
    assert!(next.rename(b"target", &[rename("other a>c")], &cancel).unwrap()[0].renamed);
    for mut channel in [lost, next] {
        assert!(
            channel.close(Duration::from_mins(3)).is_some(),
            "it exits at the end of its input"
        );
    }
    let left = fs::read_dir(host.place.path()).unwrap();
    let left =
        left.filter(|entry| entry.as_ref().unwrap().file_name().as_bytes().starts_with(b"lsyncd."));
    assert_eq!(left.count(), 0, "tokens go with their shells");
}

#[test]
fn a_silent_host_is_abandoned_when_the_job_is_cancelled() {
    let host = FakeHost::new();
    host.set_login("exec sleep 1000");
    let cancel = CancelToken::default();
    cancel.cancel();
    assert_eq!(host.shell().rename(b"target", &[rename("other a>b")], &cancel).unwrap(), None);
}

/// Names of any bytes but NUL and the slash, most of them special to a shell.
fn special_names(count: usize) -> Vec<Vec<u8>> {
    let special = b"'\"\\$`!*?[]{}()<>|&;#~=% \t\n\r\x01\x7f\x80\xff-a0.";
    // The file systems of macOS refuse what is no UTF-8.
    let is_possible = |byte: &u8| cfg!(target_os = "linux") || byte.is_ascii();
    let special: Vec<u8> = special.iter().copied().filter(is_possible).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap()
    };
    (0..count)
        .map(|number| {
            let length = 1 + next() % 12;
            let mut name: Vec<u8> = (0..length).map(|_| special[next() % special.len()]).collect();
            // Makes each name unique.
            name.extend(number.to_string().into_bytes());
            name
        })
        .collect()
}

#[test]
fn quoted_names_have_no_special_meaning_in_any_shell() {
    let names = special_names(2000);
    for program in ["sh", "bash", "dash", "busybox"] {
        let mut command = Command::new(program);
        if program == "busybox" {
            command.arg("sh");
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else { continue };
        let args: Vec<_> = names.iter().map(|name| quoted(name)).collect();
        let script = [b"printf '%s/' ", args.join(&b' ').as_slice()].concat();
        child.stdin.take().unwrap().write_all(&script).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.stdout == [names.join(&b'/'), b"/".to_vec()].concat(), "{program}");
    }
}

#[test]
fn names_of_any_bytes_are_renamed() {
    let host = FakeHost::new();
    let names = special_names(200);
    let at = |name: &[u8]| host.at("target").join(OsStr::from_bytes(name));
    for name in &names {
        fs::write(at(name), name).unwrap();
    }
    let to = |name: &[u8]| [b"-", name, b"'"].concat();
    let renames: Vec<RemoteRename> = names
        .iter()
        .map(|name| RemoteRename {
            kind: RemoteRenameKind::Other,
            from: name.clone(),
            to: to(name),
        })
        .collect();
    let done = host.shell().rename(b"target", &renames, &CancelToken::default()).unwrap().unwrap();
    assert!(done.iter().all(|done| done.renamed));
    for name in &names {
        assert_eq!(fs::read(at(&to(name))).unwrap(), *name);
    }
    assert_eq!(fs::read_dir(host.at("target")).unwrap().count(), names.len());
}

#[test]
fn syncs_to_one_host_share_a_shell() {
    let connections = SshConnections::new(false);
    let shell = |command: &str, host: &str| {
        connections.shell(&self::command(command), host.as_bytes(), &Log::default())
    };
    let one = shell("ssh -p 1", "u@h").unwrap();
    assert!(Arc::ptr_eq(&one, &shell("ssh -p 1", "u@h").unwrap()));
    assert!(!Arc::ptr_eq(&one, &shell("ssh -p 2", "u@h").unwrap()));
    assert!(!Arc::ptr_eq(&one, &shell("ssh -p 1", "h").unwrap()));
    assert!(Arc::ptr_eq(&shell("ssh", "::1").unwrap(), &shell("ssh", "[::1]").unwrap()));
    assert!(shell("ssh", "-oProxyCommand=x").is_none());
}
