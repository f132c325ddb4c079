//! Child processes that do not outlive the thread that started them.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::Command,
    sync::Arc,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Signal, getpid, getppid, set_parent_process_death_signal},
};

/// Makes the kernel send `signal` to the program when the **thread** that starts it exits, for
/// whatever reason: `PR_SET_PDEATHSIG`. That thread must live as long as the program may run.
///
/// Processes that the program starts itself do not get the signal. A program that gains privileges
/// when it is executed does not get it either.
pub fn signal_on_thread_exit(command: &mut Command, signal: Signal) {
    let parent = getpid();
    let hook = move || {
        set_parent_process_death_signal(Some(signal))?;
        // The parent may have exited before the signal was set.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: the closure makes two system calls and takes no lock and no memory: an error of this
    // kind has no message of its own.
    unsafe { command.pre_exec(hook) };
}

/// Passes `descriptor` to the program, under its present number. All processes that the program
/// starts have it, too, unless they close it: a `flock(2)` lock of its open file description lasts
/// until the last of them has ended.
pub fn inherit_descriptor(command: &mut Command, descriptor: Arc<OwnedFd>) {
    let hook = move || Ok(fcntl_setfd(&descriptor, FdFlags::empty())?);
    // SAFETY: it makes one system call, and takes no lock and no memory.
    unsafe { command.pre_exec(hook) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::ExitStatusExt, thread};

    #[test]
    fn a_child_gets_the_signal_when_its_thread_exits() {
        let start = || {
            let mut command = Command::new("sleep");
            signal_on_thread_exit(command.arg("600"), Signal::TERM);
            command.spawn().unwrap()
        };
        let mut child = thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }

    #[test]
    fn an_inherited_lock_lasts_until_the_last_process_has_ended() {
        use rustix::fs::{FlockOperation, flock};
        use std::{io::Write, os::fd::AsRawFd, process::Stdio};

        let directory = tempfile::tempdir().unwrap();
        let open = || Arc::new(OwnedFd::from(std::fs::File::open(directory.path()).unwrap()));
        let ours = open();
        flock(&ours, FlockOperation::NonBlockingLockShared).unwrap();
        // The shell ends at once; its child reads to the end.
        let number = if ours.as_raw_fd() == 9 { 8 } else { 9 };
        let script = format!("exec {number}<&0; cat <&{number} >/dev/null 2>&1 & exit 0");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::piped());
        inherit_descriptor(&mut command, ours);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut input = child.stdin.take().unwrap();
        assert!(child.wait().unwrap().success());
        let refused = flock(&*open(), FlockOperation::NonBlockingLockExclusive);
        assert_eq!(refused, Err(rustix::io::Errno::WOULDBLOCK));
        input.write_all(b"end").unwrap();
        drop(input);
        flock(&*open(), FlockOperation::LockExclusive).unwrap();
    }
}
