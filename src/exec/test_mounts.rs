//! Mounts for tests.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Something that is mounted, until it is dropped.
pub(super) struct Mounted(PathBuf);

impl Mounted {
    /// A file system of its own in memory. `None` where nothing may be mounted; in CI it has to be.
    pub(super) fn tmpfs(at: &Path) -> Option<Self> {
        Self::mount(&["-t", "tmpfs", "-o", "size=10m", "tmpfs"], at)
    }

    /// The directory `from`.
    pub(super) fn bind(from: &Path, at: &Path) -> Option<Self> {
        Self::mount(&["--bind", from.to_str().unwrap()], at)
    }

    /// The file system in the file `image`. `None` also where there are no loop devices.
    pub(super) fn image(image: &Path, at: &Path) -> Option<Self> {
        run("mount", &["-o", "loop", image.to_str().unwrap()], at).then(|| Self(at.to_owned()))
    }

    /// The same, where a directory above it was renamed.
    pub(super) fn moved_to(mut self, at: &Path) -> Self {
        at.clone_into(&mut self.0);
        self
    }

    fn mount(words: &[&str], at: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mounted = run("mount", words, at);
        assert!(mounted || std::env::var_os("CI").is_none(), "cannot mount anything here");
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run("umount", &["-l"], &self.0);
    }
}

/// Makes a file system of this type in a new file. `false` where that is not possible.
pub(super) fn make_image(kind: &str, image: &Path) -> bool {
    std::fs::File::create(image).unwrap().set_len(20 << 20).unwrap();
    run(&format!("mkfs.{kind}"), &["-q"], image)
}

fn run(program: &str, words: &[&str], path: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(words).arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
