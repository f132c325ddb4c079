//! Children of a parent that dies: `PR_SET_PDEATHSIG` of `prctl(2)`.

use std::{io, os::unix::process::CommandExt, process::Command};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

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
}
