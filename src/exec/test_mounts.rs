//! Mounts for tests.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Mount that is unmounted on drop.
pub(super) struct TestMount(PathBuf);

impl TestMount {
    /// Mounts a new tmpfs. Returns `None` if mounting is not permitted, which is an error in CI.
    pub(super) fn tmpfs(at: &Path) -> Option<Self> {
        Self::mount(&["-t", "tmpfs", "-o", "size=10m", "tmpfs"], at)
    }

    /// Bind-mounts the directory `from`.
    pub(super) fn bind(from: &Path, at: &Path) -> Option<Self> {
        Self::mount(&["--bind", from.to_str().unwrap()], at)
    }

    /// Mounts the file system in the file `image`. Returns `None` also if there are no loop
    /// devices.
    pub(super) fn image(image: &Path, at: &Path) -> Option<Self> {
        run("mount", &["-o", "loop", image.to_str().unwrap()], at).then(|| Self(at.to_owned()))
    }

    /// Mounts a new file system that ignores case. Returns `None` if there is no loop device, or no
    /// program for exFAT.
    pub(super) fn ignoring_case(at: &Path) -> Option<Self> {
        let image = at.with_extension("exfat");
        fs::File::create(&image).unwrap().set_len(20 << 20).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let options = ["-t", "exfat-fuse", "-o", "loop", image.to_str().unwrap()];
        let is_mounted = is_root && run("mkfs.exfat", &[], &image) && run("mount", &options, at);
        if !is_mounted {
            println!("not tried: no exFAT can be mounted here");
        }
        is_mounted.then(|| Self(at.to_owned()))
    }

    /// Mounts the directory `from` by sshfs, which sets the attributes of what symbolic links lead
    /// to. Returns `None` if that program, or the sftp-server, is missing.
    #[cfg(target_os = "linux")]
    pub(super) fn following_links(from: &Path, at: &Path) -> Option<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let directories = ["/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh"];
        let servers = directories.map(|directory| Path::new(directory).join("sftp-server"));
        let server = servers.iter().find(|server| server.exists());
        let ssh = from.with_extension("ssh");
        let is_mounted = server.is_some_and(|server| {
            fs::write(&ssh, format!("#!/bin/sh\nexec {}\n", server.display())).unwrap();
            fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
            let command = format!("ssh_command={}", ssh.display());
            let remote = format!("none:{}", from.display());
            let is_root = rustix::process::geteuid().is_root();
            is_root && run("sshfs", &["-o", &command, &remote], at)
        });
        if !is_mounted {
            println!("not tried: no sshfs can be mounted here");
        }
        is_mounted.then(|| Self(at.to_owned()))
    }

    /// Updates the mount point after an ancestor was renamed.
    pub(super) fn moved_to(mut self, at: &Path) -> Self {
        at.clone_into(&mut self.0);
        self
    }

    fn mount(args: &[&str], at: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mounted = run("mount", args, at);
        assert!(mounted || std::env::var_os("CI").is_none(), "cannot mount anything here");
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for TestMount {
    fn drop(&mut self) {
        let _ = run("umount", &["-l"], &self.0);
    }
}

/// Creates a file system of this type in a new file. Returns false if that is not possible.
pub(super) fn make_image(kind: &str, image: &Path) -> bool {
    // btrfs needs more than 100 MiB.
    let size = if kind == "btrfs" { 256 << 20 } else { 20 << 20 };
    fs::File::create(image).unwrap().set_len(size).unwrap();
    run(&format!("mkfs.{kind}"), &["-q"], image)
}

fn run(program: &str, args: &[&str], path: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(args).arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Returns the paths below a directory with the contents of files.
pub(super) fn contents(root: &Path) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    let mut below = vec![root.to_owned()];
    while let Some(directory) = below.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                below.push(path);
                found.insert(name, None);
            } else {
                found.insert(name, Some(fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}

/// Writes a file below `root`. The driver of exFAT may remember its name for a moment after a
/// deletion, and then not create it.
pub(super) fn write_anew(root: &Path, path: &str, content: &str) {
    fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    fs::write(root.join("between"), content).unwrap();
    fs::rename(root.join("between"), root.join(path)).unwrap();
}

/// Renames an entry below `root` in two steps: some drivers refuse to change the case only.
pub(super) fn rename_in_steps(root: &Path, from: &str, to: &str) {
    fs::rename(root.join(from), root.join("between")).unwrap();
    fs::rename(root.join("between"), root.join(to)).unwrap();
}
