//! A running program whose use of the machine is counted.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group,
    set_parent_process_death_signal, waitid,
};

use super::{
    place::Place,
    usage::{self, Usage},
};

/// This very program, also when its file was replaced meanwhile.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";
/// The task of the command line that runs a program on a leash.
const LEASH: &str = "on-a-leash";

/// How long a program may take for what it should do, before the run is given up.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);
/// How often files of `/proc` and logs are looked at.
const INTERVAL: Duration = Duration::from_millis(2);
/// How long a program has for its end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// A program with its children, all of which end when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    leader: Child,
    output: PathBuf,
}

impl Running {
    /// Starts `command`; what it says goes to `output`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(crate) fn start(command: &Command, output: &Place) -> io::Result<Self> {
        let file = File::create(output.path())?;
        // A group of its own, so that its children can be ended with it.
        let leader = leashed(command)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        Ok(Self { leader, output: output.path().to_owned() })
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    ///
    /// When the program ends before, or it takes too long.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> io::Result<()> {
        let started = Instant::now();
        loop {
            // Asked first, so that the last words of a program that ends count.
            let ended = self.has_ended();
            if condition(self) {
                return Ok(());
            }
            if ended || started.elapsed() > PATIENCE {
                let output = self.output();
                return Err(io::Error::other(format!("waited in vain until {what}:\n{output}")));
            }
            thread::sleep(INTERVAL);
        }
    }

    /// Waits until no child of the program is at work. A connection of ssh that is kept open for what
    /// is to come is none; who transfers something by ssh is a child itself.
    ///
    /// # Errors
    ///
    /// When it takes too long.
    pub(crate) fn wait_without_children(&mut self) -> io::Result<()> {
        self.wait_until("its children have ended", |this| {
            let is_connection = |pid: &u32| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "ssh\n")
            };
            usage::children(this.leader.id()).iter().all(is_connection)
        })
    }

    /// Everything that was said so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// What was used so far.
    ///
    /// # Errors
    ///
    /// When the program has ended.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        Usage::of_tree(self.leader.id())
    }

    /// The largest memory of the program without its children so far, in megabytes.
    ///
    /// # Errors
    ///
    /// When the program has ended.
    pub(crate) fn peak_memory(&self) -> io::Result<f64> {
        usage::peak_memory(self.leader.id())
    }

    /// How often its threads were woken up so far.
    ///
    /// # Errors
    ///
    /// When the program has ended.
    pub(crate) fn wake_ups(&self) -> io::Result<f64> {
        usage::wake_ups(self.leader.id())
    }

    /// Has it stand still, but not its children.
    ///
    /// # Errors
    ///
    /// When the program has ended.
    pub(crate) fn pause(&self) -> io::Result<()> {
        Ok(kill_process(self.pid(), Signal::STOP)?)
    }

    /// Has it go on.
    ///
    /// # Errors
    ///
    /// When the program has ended.
    pub(crate) fn resume(&self) -> io::Result<()> {
        Ok(kill_process(self.pid(), Signal::CONT)?)
    }

    /// Its number, which stays its own until this is dropped.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.leader)
    }

    /// Sends it a signal, but not its children. One that has ended takes no notice.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ending().is_some()
    }

    /// How it has ended, if it has.
    pub(crate) fn ending(&self) -> Option<String> {
        // It is not waited for: its number stays ours, and so does that of its group.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.pid()), options) {
            Ok(None) => None,
            Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or_default()),
            }),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// The command, run so that it ends when this process does, even if this process is killed.
fn leashed(command: &Command) -> Command {
    let mut leashed = Command::new(OWN_PROGRAM);
    leashed.arg(LEASH).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => leashed.env(name, value),
            None => leashed.env_remove(name),
        };
    }
    leashed
}

/// Becomes the program of a leashed command. Returns nothing when `task` is something else, and
/// otherwise only when it fails.
pub(crate) fn become_leashed(task: &str, words: &[OsString]) -> Option<io::Error> {
    let (program, arguments) = words.split_first().filter(|_| task == LEASH)?;
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return Some(error.into());
    }
    Some(Command::new(program).args(arguments).exec())
}

impl Drop for Running {
    fn drop(&mut self) {
        let leader = self.pid();
        if !self.has_ended() {
            let _ = kill_process_group(leader, Signal::TERM);
            // One that was paused hears of it only when it goes on.
            let _ = kill_process_group(leader, Signal::CONT);
            let asked = Instant::now();
            while asked.elapsed() < GRACE && !self.has_ended() {
                thread::sleep(INTERVAL);
            }
        }
        // Also those that have outlived the leader.
        let _ = kill_process_group(leader, Signal::KILL);
        let _ = self.leader.wait();
    }
}
