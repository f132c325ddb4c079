//! Connections and shells, with a program of our own in the place of ssh.

use super::{
    channel::{Broken, Channel},
    sockets::LONGEST,
    *,
};
use mirror_core::plan::shell::quoted;
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
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The socket of the connection for this program.
fn socket(connections: &Connections, text: &str, host: &str) -> Option<PathBuf> {
    let master = connections.master(&command(text), host.as_bytes(), &Log::default())?;
    let words = master.words();
    let path = words.iter().find_map(|word| word.strip_prefix(b"ControlPath="));
    Some(PathBuf::from(str::from_utf8(path.unwrap()).unwrap()))
}

#[test]
fn the_sockets_are_in_a_directory_of_our_own_that_goes_with_us() {
    let connections = Connections::new(true);
    let path = socket(&connections, "ssh -p 1", "u@h").unwrap();
    let directory = path.parent().unwrap().to_owned();
    let mode = fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(directory.as_os_str().len() <= LONGEST);
    let other = Connections::new(true);
    assert_ne!(socket(&other, "ssh -p 1", "u@h").unwrap(), path);
    drop(connections);
    assert!(!directory.exists());
}

#[test]
fn all_syncs_to_a_host_have_one_connection_unless_the_user_shares_them() {
    let connections = Connections::new(true);
    let one = socket(&connections, "ssh -p 1", "u@h").unwrap();
    assert_eq!(socket(&connections, "ssh -p 1", "u@h").unwrap(), one);
    assert_ne!(socket(&connections, "ssh -p 2", "u@h").unwrap(), one);
    assert_ne!(socket(&connections, "ssh -p 1", "h").unwrap(), one);
    for users in ["-S none", "-M", "-o ControlPath=/x", "-oControlMaster=auto", "-o controlpath /x"]
    {
        assert_eq!(socket(&connections, &format!("ssh {users}"), "h"), None, "{users}");
    }
    assert_eq!(socket(&Connections::new(false), "ssh", "h"), None);
}

/// What an ssh that logs in does here.
fn master(connections: &Connections, place: &TempDir, script: &str) -> Arc<Master> {
    let home = place.path().display();
    fs::write(place.path().join("ssh"), format!("cd '{home}'; {script}")).unwrap();
    let text = format!("sh {home}/ssh");
    connections.master(&command(&text), b"h", &Log::default()).unwrap()
}

#[test]
fn so_many_that_want_a_connection_try_once_if_it_fails() {
    let (connections, place) = (Connections::new(true), tempfile::tempdir().unwrap());
    let master = master(
        &connections,
        &place,
        "echo >>tries; until [ -e go ]; do sleep 0.01; done; echo no >&2; exit 255",
    );
    let all = Barrier::new(21);
    thread::scope(|scope| {
        let try_ = || {
            all.wait();
            master.enter(&Stop::default()).map(drop)
        };
        let tries: Vec<_> = (0..20).map(|_| scope.spawn(try_)).collect();
        all.wait();
        // What comes later than the end of the try may try by itself, but not at once.
        fs::write(place.path().join("go"), "").unwrap();
        for try_ in tries {
            assert_eq!(try_.join().unwrap().unwrap_err(), "no");
        }
    });
    let tries = || fs::read_to_string(place.path().join("tries")).unwrap().lines().count();
    assert_eq!(tries(), 1);
    master.forget_failures();
    assert!(master.enter(&Stop::default()).is_err());
    assert_eq!(tries(), 2);
}

#[test]
fn who_waits_for_a_connection_can_be_stopped() {
    let (connections, place) = (Connections::new(true), tempfile::tempdir().unwrap());
    let master = master(&connections, &place, "echo $$ >new; mv new pid; exec sleep 600");
    let stops = [Stop::default(), Stop::default()];
    let pid = || fs::read_to_string(place.path().join("pid")).ok();
    let child = thread::scope(|scope| {
        let tries = stops.each_ref().map(|stop| scope.spawn(|| master.enter(stop).map(drop)));
        // Only one of them logs in.
        let child = loop {
            if let Some(pid) = pid() {
                break pid;
            }
            thread::yield_now();
        };
        stops.iter().for_each(Stop::ask);
        for waits in tries {
            assert!(waits.join().unwrap().is_err());
        }
        child
    });
    while fs::exists(format!("/proc/{}", child.trim())).unwrap() {
        thread::yield_now();
    }
}

/// A program that says how it is set up for each host.
struct Setups {
    place: TempDir,
    connections: Connections,
}

impl Setups {
    fn new(asking: Asking) -> Self {
        let place = tempfile::tempdir().unwrap();
        let script = "#!/bin/sh\nfor host; do :; done\ncase $host in own) echo 'controlpath /x';; \
                      none) echo 'controlpath none';; bad) echo 'controlpath /x'; exit 255;; \
                      slow) test -e \"${0%/*}/quick\" || { : > \"${0%/*}/began\"; exec sleep 600; }; \
                      echo 'controlpath /x';; esac\n";
        let ssh = place.path().join("ssh");
        // By another process: what this one has open for writing, a child that some other test starts
        // meanwhile keeps open for a moment, and nobody can run it.
        let write = format!("cat > '{0}' && chmod 755 '{0}'", ssh.display());
        let mut shell = Command::new("sh");
        let mut shell = shell.args(["-c", &write]).stdin(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        let mut connections = Connections::new(true);
        connections.asking = asking;
        Self { place, connections }
    }

    fn are_users(&self, host: &str, stop: &Stop) -> Option<bool> {
        let (program, log) = (self.place.path().join("ssh").display().to_string(), Log::default());
        let master = self.connections.master(&command(&program), host.as_bytes(), &log).unwrap();
        self.connections.are_shared_by_user(&master, stop, &log)
    }
}

#[test]
fn nobody_waits_for_a_login_when_all_ends() {
    let (connections, place) = (Connections::new(true), tempfile::tempdir().unwrap());
    let master = master(&connections, &place, "exec sleep 600");
    let stop = Stop::default();
    stop.hurry();
    assert_eq!(master.enter(&stop).map(drop), Err("the job was stopped".into()));
}

#[test]
fn where_the_user_shares_connections_ours_keep_out() {
    let setups = Setups::new(Asking::STANDARD);
    for (host, users) in [("own", true), ("none", false), ("else", false), ("bad", false)] {
        assert_eq!(setups.are_users(host, &Stop::default()), Some(users), "{host}");
    }
}

#[test]
fn an_ssh_that_does_not_say_how_it_is_set_up_in_time_is_asked_again() {
    let setups = Setups::new(Asking { limit: Duration::from_millis(50), again: Duration::ZERO });
    assert_eq!(setups.are_users("slow", &Stop::default()), Some(false));
    fs::write(setups.place.path().join("quick"), "").unwrap();
    let is_users = || setups.are_users("slow", &Stop::default()).unwrap();
    // On a slow machine that may not be in time, either.
    while !is_users() {
        thread::yield_now();
    }
}

#[test]
fn an_ssh_that_says_nothing_keeps_no_other_host_waiting_and_is_left_when_the_job_ends() {
    let endless = Duration::from_hours(1);
    let setups = Setups::new(Asking { limit: endless, again: endless });
    let (stop, other) = (Stop::default(), Stop::default());
    thread::scope(|scope| {
        let asks = scope.spawn(|| setups.are_users("slow", &stop));
        while !setups.place.path().join("began").exists() {
            thread::yield_now();
        }
        assert_eq!(setups.are_users("own", &other), Some(true));
        other.ask();
        let waits = scope.spawn(|| setups.are_users("slow", &other));
        stop.ask();
        assert_eq!((asks.join().unwrap(), waits.join().unwrap()), (None, None));
    });
    // Nothing is known by that.
    fs::write(setups.place.path().join("quick"), "").unwrap();
    assert_eq!(setups.are_users("slow", &Stop::default()), Some(true));
    setups.connections.try_again();
    fs::remove_file(setups.place.path().join("ssh")).unwrap();
    assert_eq!(setups.are_users("slow", &Stop::default()), Some(false));
}

/// A machine that is a directory: what stands in the place of ssh runs the command there.
struct Machine {
    place: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { place: tempfile::tempdir().unwrap() };
        fs::create_dir(machine.at("target")).unwrap();
        machine.answers("exec sh -c \"$command\"");
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    /// From now on whoever logs in gets this, a script that finds what is wanted in `$command`.
    fn answers(&self, script: &str) {
        let home = self.place.path().display();
        let script =
            format!("cd '{home}'; export TMPDIR='{home}'; for command; do :; done\n{script}\n");
        fs::write(self.at("login"), script).unwrap();
    }

    fn route(&self) -> Route {
        let command = vec!["sh".into(), self.at("login").into_os_string()];
        Route { command, host: "host".into() }
    }

    fn shell(&self) -> Shell {
        Shell::new(self.route(), Log::default())
    }

    /// Makes steps such as `other a>b`, and gives a letter for each: `y` if it was made, and a
    /// number behind it if directories were.
    fn renames(&self, steps: &str) -> String {
        let steps: Vec<Step> = steps.split(", ").map(step).collect();
        let done = self.shell().rename(b"target", &steps, &Stop::default()).unwrap().unwrap();
        let letter = |done: &Done| {
            let made = done.made.map(|made| made.to_string()).unwrap_or_default();
            format!("{}{made}", if done.renamed { 'y' } else { 'n' })
        };
        done.iter().map(letter).collect::<Vec<_>>().join(" ")
    }

    /// Makes the entries `name=content`, `name/` and `name->goal` in the target.
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

    /// What is in the target, in the form of `fill`.
    fn holds(&self) -> String {
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

fn step(text: &str) -> Step {
    let (kind, names) = text.split_once(' ').unwrap();
    let (from, to) = names.split_once('>').unwrap();
    let kind = match kind {
        "directory" => StepKind::Directory,
        "swap" => StepKind::Swap,
        _ => StepKind::Other,
    };
    Step { kind, from: from.into(), to: to.into() }
}

#[test]
fn what_is_there_is_renamed_and_what_makes_no_sense_is_left_alone() {
    for (before, steps, done, after) in [
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
        let machine = Machine::new();
        machine.fill(before);
        assert_eq!(machine.renames(steps), done, "{before}: {steps}");
        assert_eq!(machine.holds(), after, "{before}: {steps}");
    }
}

#[test]
fn nobody_is_led_out_of_the_target() {
    let machine = Machine::new();
    fs::create_dir(machine.at("outside")).unwrap();
    fs::write(machine.at("outside/theirs"), "x").unwrap();
    machine.fill("a=1 link->../outside");
    let steps = "other a>link/a, other link/theirs>mine, other a>link/deep/a, swap a>link/theirs";
    assert_eq!(machine.renames(steps), "n n n n");
    assert_eq!(machine.holds(), "a=1 link->../outside");
    assert_eq!(fs::read_dir(machine.at("outside")).unwrap().count(), 1);
}

#[test]
fn what_else_a_login_says_does_not_matter() {
    let machine = Machine::new();
    machine.answers("echo 'lsyncd 1 welcome'; printf hello; echo x >&2; exec sh -c \"$command\"");
    machine.fill("a=1");
    assert_eq!(machine.renames("other a>b"), "y");
}

#[test]
fn more_steps_than_fit_at_once_are_all_made() {
    let machine = Machine::new();
    let names: Vec<String> = (0..300).map(|number| format!("{number:0>200}")).collect();
    machine.fill(&names.iter().map(|name| format!("{name}=")).collect::<Vec<_>>().join(" "));
    let steps: Vec<_> = names.iter().map(|name| format!("other {name}>to/{name}")).collect();
    let done = machine.renames(&steps.join(", "));
    assert_eq!(done.matches('y').count(), 300);
    assert_eq!(fs::read_dir(machine.at("target/to")).unwrap().count(), 300);
}

#[test]
fn without_a_shell_nothing_is_renamed_and_nothing_fails() {
    let machine = Machine::new();
    machine.fill("a=1");
    let restricted = ["echo no >&2; exit 1", "exit 0", "head -n 80; exit 1", "exit 255"];
    for script in restricted {
        machine.answers(script);
        let shell = machine.shell();
        for _ in 0..2 {
            let done = shell.rename(b"target", &[step("other a>b")], &Stop::default());
            assert_eq!(done.unwrap(), None, "{script}");
        }
    }
    assert_eq!(machine.holds(), "a=1");
}

#[test]
fn a_target_that_is_not_there_is_not_entered() {
    let machine = Machine::new();
    fs::write(machine.at("a"), "1").unwrap();
    let steps = [step("other a>b")];
    let done = machine.shell().rename(b"nowhere", &steps, &Stop::default()).unwrap().unwrap();
    assert_eq!(done, [Done { renamed: false, made: None }]);
    assert!(machine.at("a").exists());
}

#[test]
fn a_shell_that_is_lost_in_the_middle_must_be_settled_first() {
    let machine = Machine::new();
    machine.fill("a=1");
    // It hears the first lines up to the greeting, and no more.
    machine.answers("sed -u '/^hello [0-9]/q' | { sh -c \"$command\"; }; sleep 1; exit 255");
    let shell = machine.shell();
    let steps = [step("other a>b")];
    assert!(shell.rename(b"target", &steps, &Stop::default()).is_err());
    machine.answers("exit 255");
    assert!(shell.settle(&Stop::default()).is_err(), "as long as it is away");
    machine.answers("exec sh -c \"$command\"");
    shell.settle(&Stop::default()).unwrap();
    let done = shell.rename(b"target", &steps, &Stop::default()).unwrap().unwrap();
    assert!(done[0].renamed);
}

#[test]
fn a_shell_whose_token_was_taken_away_does_nothing_more() {
    let machine = Machine::new();
    machine.fill("a=1");
    let (route, stop) = (machine.route(), Stop::default());
    let mut lost = Channel::open(&route, None, &stop).unwrap();
    let mut next = Channel::open(&route, Some(lost.token()), &stop).unwrap();
    let late = lost.carry_out(b"target", &[step("other a>b")], &stop);
    assert!(matches!(late, Err(Broken::Fenced)), "{late:?}");
    assert_eq!(machine.holds(), "a=1");
    assert!(next.carry_out(b"target", &[step("other a>c")], &stop).unwrap()[0].renamed);
    for mut channel in [lost, next] {
        assert!(channel.end(Duration::from_mins(3)).is_some(), "it hears of its end");
    }
    let left = fs::read_dir(machine.place.path()).unwrap();
    let left =
        left.filter(|entry| entry.as_ref().unwrap().file_name().as_bytes().starts_with(b"lsyncd."));
    assert_eq!(left.count(), 0, "tokens go with their shells");
}

#[test]
fn a_machine_that_says_nothing_is_left_when_the_job_ends() {
    let machine = Machine::new();
    machine.answers("exec sleep 1000");
    let stop = Stop::default();
    stop.ask();
    assert_eq!(machine.shell().rename(b"target", &[step("other a>b")], &stop).unwrap(), None);
}

/// Names of any bytes but NUL and the slash, most of which mean something to a shell.
fn odd_names(count: usize) -> Vec<Vec<u8>> {
    let special = b"'\"\\$`!*?[]{}()<>|&;#~=% \t\n\r\x01\x7f\x80\xff-a0.";
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
            // Each is there once.
            name.extend(number.to_string().into_bytes());
            name
        })
        .collect()
}

#[test]
fn no_name_means_anything_to_a_shell() {
    let names = odd_names(2000);
    for program in ["sh", "bash", "dash", "busybox"] {
        let mut command = Command::new(program);
        if program == "busybox" {
            command.arg("sh");
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else { continue };
        let words: Vec<_> = names.iter().map(|name| quoted(name)).collect();
        let script = [b"printf '%s/' ", words.join(&b' ').as_slice()].concat();
        child.stdin.take().unwrap().write_all(&script).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.stdout == [names.join(&b'/'), b"/".to_vec()].concat(), "{program}");
    }
}

#[test]
fn names_of_any_bytes_are_renamed_as_they_are() {
    let machine = Machine::new();
    let names = odd_names(200);
    let at = |name: &[u8]| machine.at("target").join(OsStr::from_bytes(name));
    for name in &names {
        fs::write(at(name), name).unwrap();
    }
    let to = |name: &[u8]| [b"-", name, b"'"].concat();
    let steps: Vec<Step> = names
        .iter()
        .map(|name| Step { kind: StepKind::Other, from: name.clone(), to: to(name) })
        .collect();
    let done = machine.shell().rename(b"target", &steps, &Stop::default()).unwrap().unwrap();
    assert!(done.iter().all(|done| done.renamed));
    for name in &names {
        assert_eq!(fs::read(at(&to(name))).unwrap(), *name);
    }
    assert_eq!(fs::read_dir(machine.at("target")).unwrap().count(), names.len());
}

#[test]
fn all_syncs_to_a_host_have_one_shell() {
    let connections = Connections::new(false);
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
