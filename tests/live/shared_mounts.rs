//! File systems inside a source whose content others may change.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{Requirement, Sandbox, TransferMode, needs, with_private_mounts};

/// A directory that is mounted by sshfs until it is dropped.
struct MountedBySshfs(PathBuf);

impl MountedBySshfs {
    /// Mounts the directory `from`. The server runs without ssh.
    fn mount(sandbox: &Sandbox, from: &Path, at: &Path) -> Self {
        let ssh = sandbox.path("ssh");
        let directories = ["/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh"];
        let mut programs = directories.iter().map(|it| Path::new(it).join("sftp-server"));
        let program = programs.find(|it| it.exists()).expect("it belongs to sshd");
        fs::write(&ssh, format!("#!/bin/sh\nexec {}\n", program.display())).unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
        let mounted = Command::new("sshfs")
            .args(["-o", &format!("ssh_command={},dir_cache=no", ssh.display())])
            .arg(format!("none:{}", from.display()))
            .arg(at)
            .status();
        assert!(mounted.unwrap().success());
        Self(at.to_owned())
    }
}

impl Drop for MountedBySshfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn changes_that_others_make_in_a_mount_inside_the_source_arrive() {
    needs!(Requirement::Mounts, Requirement::Ssh, Requirement::Program("sshfs"));
    with_private_mounts(|| {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
        let served = ["first", "second"].map(|name| sandbox.create_dir(name));
        let places = ["first", "second"].map(|name| source.join(name));
        for place in &places {
            fs::create_dir(place).unwrap();
        }
        let _first = MountedBySshfs::mount(&sandbox, &served[0], &places[0]);
        let daemon = sandbox.daemon().mirror(TransferMode::Direct, &source, &target).start();
        daemon.wait_live();
        fs::write(served[0].join("behind"), "1").unwrap();
        daemon.wait_until("the change arrives", || target.join("first/behind").exists());
        // Mounted later.
        let _second = MountedBySshfs::mount(&sandbox, &served[1], &places[1]);
        fs::write(served[1].join("early"), "1").unwrap();
        daemon.wait_until("the mount arrives", || target.join("second/early").exists());
        fs::write(served[1].join("behind"), "1").unwrap();
        daemon.wait_until("the change arrives", || target.join("second/behind").exists());
    });
}
