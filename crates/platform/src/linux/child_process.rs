//! Child processes that share the memory of this process until they execute their program:
//! `CLONE_VM` and `CLONE_VFORK` of clone(2), as in `posix_spawn(3)`.
//!
//! `fork(2)` copies the page tables of the daemon, and each of its threads then copies the pages to
//! which it writes: a burst that starts twenty programs pays for that twenty times, and the more
//! the larger the daemon is. `posix_spawn(3)` has no parent-death signal.

use std::{
    env,
    ffi::{CStr, CString, OsStr, OsString},
    io, mem,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    },
    process::ExitStatus,
    ptr,
};

use rustix::{
    io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd},
    process::{
        Pid, Signal, WaitOptions, chdir, getpid, getppid, kill_process,
        set_parent_process_death_signal, waitpid,
    },
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use crate::child::ChildSpec;

/// A child process. It goes on running when this is dropped.
#[derive(Debug)]
pub struct ChildProcess {
    id: Pid,
    /// Once it was waited for.
    status: Option<ExitStatus>,
}

impl ChildProcess {
    /// Starts a program. It has an empty signal mask, the default action of `SIGPIPE`, and no
    /// signal handlers. Returns when the program is executed: like `execvp(3)`, it tries the
    /// directories of `PATH`, and runs a script without an interpreter by the shell.
    ///
    /// # Errors
    ///
    /// As `clone(2)`, `chdir(2)` and `execve(2)`; `InvalidInput` for a NUL in a text.
    pub fn spawn(spec: &ChildSpec<'_>) -> io::Result<Self> {
        let texts = ProgramTexts::new(spec)?;
        let [stdin, stdout, stderr] = &spec.streams;
        let streams = [above_stderr(stdin)?, above_stderr(stdout)?, above_stderr(stderr)?];
        let mut start = ProgramStart {
            candidates: &texts.candidates,
            argv: pointers(&[], &texts.args),
            shell_argv: pointers(&[c"/bin/sh", c""], texts.args.iter().skip(1)),
            envp: pointers(&[], &texts.environment),
            working_dir: &texts.working_dir,
            streams: streams.each_ref().map(OwnedFd::as_fd),
            inherited: spec.inherited,
            parent_death_signal: spec.parent_death_signal,
            parent: getpid(),
            error: None,
        };
        let id = start.clone_process()?;
        let mut child = Self { id, status: None };
        match start.error {
            None => Ok(child),
            Some(error) => {
                child.wait()?;
                Err(error.into())
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub const fn id(&self) -> Pid {
        self.id
    }

    /// Kills it with `SIGKILL`, unless it was waited for.
    ///
    /// # Errors
    ///
    /// As `kill(2)`.
    pub fn kill(&mut self) -> io::Result<()> {
        if self.status.is_none() {
            kill_process(self.id, Signal::KILL)?;
        }
        Ok(())
    }

    /// Waits for its exit. Returns the same status each time.
    ///
    /// # Errors
    ///
    /// As `waitpid(2)`.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            match waitpid(Some(self.id), WaitOptions::empty()) {
                Ok(ended) => {
                    self.status = ended.map(|(_, status)| ExitStatus::from_raw(status.as_raw()));
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Duplicates a descriptor to a number above the standard streams, which are replaced in turn.
fn above_stderr(stream: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(stream, libc::STDERR_FILENO + 1)?)
}

/// Returns the pointers of these texts and a null pointer. The texts must outlive them.
fn pointers<'a>(
    first: &[&CStr],
    others: impl IntoIterator<Item = &'a CString>,
) -> Vec<*const libc::c_char> {
    let first = first.iter().map(|text| text.as_ptr());
    first.chain(others.into_iter().map(|text| text.as_ptr())).chain([ptr::null()]).collect()
}

/// The texts of a start, as system calls need them.
struct ProgramTexts {
    /// The paths at which the program may be, in the order in which they are tried.
    candidates: Vec<CString>,
    args: Vec<CString>,
    environment: Vec<CString>,
    working_dir: CString,
}

impl ProgramTexts {
    /// The directories in which programs are looked up if there is no `PATH`, as in execvp(3).
    const DEFAULT_PATH: &str = "/bin:/usr/bin";

    fn new(spec: &ChildSpec<'_>) -> io::Result<Self> {
        let is_replaced = |name: &OsStr| spec.environment.iter().any(|(new, _)| new == name);
        let mut variables: Vec<(OsString, OsString)> =
            env::vars_os().filter(|(name, _)| !is_replaced(name)).collect();
        variables.extend(spec.environment.iter().cloned());
        let path = variables.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or(OsStr::new(Self::DEFAULT_PATH), |(_, value)| value);
        let variable =
            |(name, value): &(OsString, OsString)| c_text(&[name, OsStr::new("="), value]);
        let args = [spec.program].into_iter().chain(spec.args.iter().copied());
        Ok(Self {
            candidates: candidates(spec.program, path)?,
            args: args.map(|arg| c_text(&[arg])).collect::<io::Result<_>>()?,
            environment: variables.iter().map(variable).collect::<io::Result<_>>()?,
            working_dir: c_text(&[spec.working_dir.as_os_str()])?,
        })
    }
}

fn c_text(parts: &[&OsStr]) -> io::Result<CString> {
    let bytes: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    Ok(CString::new(bytes.concat())?)
}

/// Returns the paths at which `execvp(3)` looks for a program.
fn candidates(program: &OsStr, path: &OsStr) -> io::Result<Vec<CString>> {
    if program.is_empty() || program.as_bytes().contains(&b'/') {
        return Ok(vec![c_text(&[program])?]);
    }
    let directories = path.as_bytes().split(|&byte| byte == b':').map(OsStr::from_bytes);
    directories
        .map(|directory| {
            let is_current = directory.is_empty();
            let slash = OsStr::new(if is_current { "" } else { "/" });
            c_text(&[directory, slash, program])
        })
        .collect()
}

/// The work of the child until it executes the program. It takes no memory and no lock: all memory
/// is shared with this process, whose other threads go on running.
struct ProgramStart<'a> {
    candidates: &'a [CString],
    argv: Vec<*const libc::c_char>,
    /// Those for a script: the shell, a place for its path, and the arguments.
    shell_argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    working_dir: &'a CStr,
    streams: [BorrowedFd<'a>; 3],
    inherited: Option<BorrowedFd<'a>>,
    parent_death_signal: Signal,
    parent: Pid,
    /// Set by the child if it can't execute the program.
    error: Option<Errno>,
}

impl ProgramStart<'_> {
    /// The size of the child's stack in words of 16 bytes, to which it has to be aligned.
    const STACK_WORDS: usize = 4096;

    /// Creates the child, and waits until it has executed the program or failed.
    fn clone_process(&mut self) -> io::Result<Pid> {
        let mut stack = Vec::<u128>::with_capacity(Self::STACK_WORDS);
        let stack_end = stack.spare_capacity_mut().as_mut_ptr_range().end;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // No handler of this process may run in the child, which would share its memory.
        let before = set_mask(&all_signals())?;
        // SAFETY: the function gets a valid pointer. This thread waits until the child has executed
        // the program or exited, so that nobody else uses what it points to, nor the stack. The
        // child's descriptors, signal actions and working directory are its own.
        let id =
            unsafe { libc::clone(run_child, stack_end.cast(), flags, ptr::from_mut(self).cast()) };
        let error = io::Error::last_os_error();
        // Fails for an invalid argument only.
        let _ = set_mask(&before);
        drop(stack);
        Pid::from_raw(id).filter(|_| id > 0).ok_or(error)
    }

    /// Executes the program. Returns if that fails. Runs in the child.
    fn execute(&mut self) -> Errno {
        match self.prepare() {
            Ok(()) => self.execute_candidates(),
            Err(error) => error,
        }
    }

    fn prepare(&self) -> rustix::io::Result<()> {
        reset_signals();
        set_parent_process_death_signal(Some(self.parent_death_signal))?;
        // The parent may have exited before the signal was set.
        if getppid() != Some(self.parent) {
            return Err(Errno::SRCH);
        }
        let [stdin, stdout, stderr] = self.streams;
        dup2_stdin(stdin)?;
        dup2_stdout(stdout)?;
        dup2_stderr(stderr)?;
        if let Some(inherited) = self.inherited {
            fcntl_setfd(inherited, FdFlags::empty())?;
        }
        chdir(self.working_dir)
    }

    fn execute_candidates(&mut self) -> Errno {
        let mut denied = None;
        for path in self.candidates {
            let mut error = execute(path, &self.argv, &self.envp);
            if error == Errno::NOEXEC {
                if let Some(place) = self.shell_argv.get_mut(1) {
                    *place = path.as_ptr();
                }
                error = execute(c"/bin/sh", &self.shell_argv, &self.envp);
            }
            match error {
                Errno::ACCESS => denied = Some(error),
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::NAMETOOLONG
                | Errno::LOOP
                | Errno::STALE
                | Errno::NODEV
                | Errno::TIMEDOUT => {}
                other => return other,
            }
        }
        denied.unwrap_or(Errno::NOENT)
    }
}

/// Returns if the program can't be executed.
fn execute(path: &CStr, argv: &[*const libc::c_char], envp: &[*const libc::c_char]) -> Errno {
    // SAFETY: the path ends in a NUL, and both lists in a null pointer.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    last_error()
}

/// The error of the last call, without taking memory.
fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// Entry of the child, on a stack of its own.
extern "C" fn run_child(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `clone_process` passes a valid pointer, and waits until this process has ended or
    // executed a program.
    let start = unsafe { &mut *start.cast::<ProgramStart<'_>>() };
    start.error = Some(start.execute());
    // SAFETY: it runs nothing of this process.
    unsafe { libc::_exit(127) }
}

/// Removes all handlers, which are functions of the parent, and unblocks all signals.
fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: the structure is plain memory, for which zero is a valid value.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        // SAFETY: both pointers are valid or null. Fails for the numbers that the C library keeps,
        // and then the action stays zero, the default one.
        unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
        let is_ignored = action.sa_sigaction == libc::SIG_IGN;
        if action.sa_sigaction != libc::SIG_DFL && (!is_ignored || signal == libc::SIGPIPE) {
            // SAFETY: it installs no function.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    // Fails for an invalid argument only.
    let _ = set_mask(&no_signals());
}

fn all_signals() -> libc::sigset_t {
    // SAFETY: a signal set is plain memory, which the call fills in.
    let mut all = unsafe { mem::zeroed() };
    // SAFETY: the pointer is valid.
    unsafe { libc::sigfillset(&raw mut all) };
    all
}

fn no_signals() -> libc::sigset_t {
    // SAFETY: a signal set is plain memory, which the call fills in.
    let mut none = unsafe { mem::zeroed() };
    // SAFETY: the pointer is valid.
    unsafe { libc::sigemptyset(&raw mut none) };
    none
}

/// Sets the signal mask of this thread. Returns the mask before.
fn set_mask(mask: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    // SAFETY: a signal set is plain memory, which the call fills in.
    let mut before = unsafe { mem::zeroed() };
    // SAFETY: both pointers are valid.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, &raw mut before) } {
        0 => Ok(before),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::tests::{run, spec};
    use rustix::process::kill_current_process_group;
    use std::{
        sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering},
        thread,
    };

    #[test]
    fn a_child_gets_the_signal_when_its_thread_exits() {
        let sleeping = || ChildProcess::spawn(&spec("sleep", &["600"])).unwrap();
        let mut child = thread::spawn(sleeping).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }

    #[test]
    fn a_child_blocks_no_signals_and_does_not_ignore_sigpipe() {
        let mask = set_mask(&all_signals()).unwrap();
        let (status, text) = run(spec("grep", &["^Sig", "/proc/self/status"])).unwrap();
        let after = set_mask(&mask).unwrap();
        assert!(status.success());
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let sigpipe = 1 << (libc::SIGPIPE - 1);
        assert_eq!((value("SigBlk:"), value("SigIgn:") & sigpipe), (0, 0), "{text}");
        // SAFETY: the set is valid.
        assert_eq!(unsafe { libc::sigismember(&raw const after, libc::SIGHUP) }, 1);
    }

    #[test]
    fn no_handler_of_this_process_runs_in_a_child() {
        static PARENT: AtomicI32 = AtomicI32::new(0);
        static HANDLED: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];
        extern "C" fn handler(_: libc::c_int) {
            let is_child = getpid().as_raw_nonzero().get() != PARENT.load(Ordering::Relaxed);
            let [parent, child] = &HANDLED;
            let count = if is_child { child } else { parent };
            count.fetch_add(1, Ordering::Relaxed);
        }
        PARENT.store(getpid().as_raw_nonzero().get(), Ordering::Relaxed);
        // SAFETY: the function makes one system call and changes atomic numbers.
        unsafe { libc::signal(libc::SIGWINCH, handler as *const () as libc::sighandler_t) };
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    // The whole group, since the ids of the children are not known before. By
                    // default, nothing happens.
                    kill_current_process_group(Signal::WINCH).unwrap();
                }
            });
            for _ in 0..100 {
                assert!(run(spec("true", &[])).unwrap().0.success());
            }
            is_done.store(true, Ordering::Relaxed);
        });
        let [parent, child] = HANDLED.each_ref().map(|count| count.load(Ordering::Relaxed));
        assert!(parent > 0 && child == 0, "{child} of {}", parent + child);
    }
}
