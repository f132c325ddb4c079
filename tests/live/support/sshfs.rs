//! Directories that are mounted by sshfs, whose server can hang.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Signal, kill_process};

use super::Sandbox;

/// A directory that is mounted by sshfs until it is dropped.
pub(crate) struct MountedBySshfs {
    at: PathBuf,
    server: Pid,
}

impl MountedBySshfs {
    /// Mounts the directory `from`. The server runs without ssh.
    pub(crate) fn mount(sandbox: &Sandbox, from: &Path, at: &Path) -> Self {
        let (ssh, pid) = (sandbox.fresh_path("ssh"), sandbox.fresh_path("sftp-server.pid"));
        let directories = ["/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh"];
        let mut programs = directories.iter().map(|it| Path::new(it).join("sftp-server"));
        let program = programs.find(|it| it.exists()).expect("it belongs to sshd");
        let text = format!("#!/bin/sh\necho $$ > {}\nexec {}\n", pid.display(), program.display());
        fs::write(&ssh, text).unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
        let mounted = Command::new("sshfs")
            .args([
                "-o",
                &format!(
                    "ssh_command={},dir_cache=no,attr_timeout=0,entry_timeout=0",
                    ssh.display()
                ),
            ])
            .arg(format!("none:{}", from.display()))
            .arg(at)
            .status();
        assert!(mounted.unwrap().success());
        let server = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        Self { at: at.to_owned(), server: Pid::from_raw(server).unwrap() }
    }

    /// Stops the server: whoever asks for something that the kernel does not know waits until
    /// [`resume`](Self::resume).
    pub(crate) fn pause(&self) {
        kill_process(self.server, Signal::STOP).unwrap();
    }

    pub(crate) fn resume(&self) {
        kill_process(self.server, Signal::CONT).unwrap();
    }
}

impl Drop for MountedBySshfs {
    fn drop(&mut self) {
        let _ = kill_process(self.server, Signal::CONT);
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}
