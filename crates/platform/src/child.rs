//! Children that do not outlive this process.

use std::{io, os::unix::process::CommandExt, process::Command};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Has the program get `signal` when the **thread** that starts it ends, however that comes about:
/// `PR_SET_PDEATHSIG`. So that thread has to stay as long as the program may run.
///
/// What the program starts is not reached, and a program that gets other rights when it is started
/// is not, either.
pub fn end_with_thread(command: &mut Command, signal: Signal) {
    let parent = getpid();
    let tie = move || {
        set_parent_process_death_signal(Some(signal))?;
        // It ended before.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: it makes two system calls, takes no lock and no memory: an error of this kind has no
    // text of its own.
    unsafe { command.pre_exec(tie) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::ExitStatusExt, thread};

    #[test]
    fn a_child_ends_with_the_thread_that_has_started_it() {
        let start = || {
            let mut command = Command::new("sleep");
            end_with_thread(command.arg("600"), Signal::TERM);
            command.spawn().unwrap()
        };
        let mut child = thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }
}
