//! Child processes, as the standard library starts them.

use std::{
    io,
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::{Child, Command, ExitStatus},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::Pid,
};

use crate::child::{ChildSpec, signal_on_thread_exit};

/// A child process. It goes on running when this is dropped.
#[derive(Debug)]
pub struct ChildProcess {
    child: Child,
}

impl ChildProcess {
    /// Starts a program. It has an empty signal mask and the default action of `SIGPIPE`.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`].
    pub fn spawn(spec: &ChildSpec<'_>) -> io::Result<Self> {
        let [stdin, stdout, stderr] = &spec.streams;
        let mut command = Command::new(spec.program);
        command
            .args(&spec.args)
            .envs(spec.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(spec.working_dir)
            .stdin(stdin.try_clone()?)
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?);
        signal_on_thread_exit(&mut command, spec.parent_death_signal);
        if let Some(inherited) = spec.inherited {
            let inherited = inherited.as_fd().try_clone_to_owned()?;
            let hook = move || Ok(fcntl_setfd(&inherited, FdFlags::empty())?);
            // SAFETY: it makes one system call, and takes no lock and no memory.
            unsafe { command.pre_exec(hook) };
        }
        Ok(Self { child: command.spawn()? })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Kills it with `SIGKILL`, unless it was waited for.
    ///
    /// # Errors
    ///
    /// As `kill(2)`.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Waits for its exit. Returns the same status each time.
    ///
    /// # Errors
    ///
    /// As `waitpid(2)`.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}
