//! Child processes: their end with their parent, and what they inherit.

use std::{
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::Command,
    sync::Arc,
};

use rustix::io::{FdFlags, fcntl_setfd};

pub use crate::parent_death::signal_on_thread_exit;

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
