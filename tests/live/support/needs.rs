//! Requirements of tests.

use std::{
    env,
    path::{Path, PathBuf},
};

/// A capability that not every machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Requirement {
    /// Root privileges, for owners and other users.
    Root,
    /// The privilege to mount in a private mount namespace.
    Mounts,
    /// Fanotify marks on whole file systems.
    Fanotify,
    /// Everything for a private ssh server as target.
    Ssh,
    /// A program in `PATH`.
    Program(&'static str),
}

/// The programs for a private ssh server and for transfers through it.
const SSH: [&str; 4] = ["rsync", "sshd", "ssh", "ssh-keygen"];

/// Returns a message for the first requirement that is not met.
pub(crate) fn unmet(requirements: &[Requirement]) -> Option<String> {
    requirements.iter().find_map(|requirement| {
        let (is_met, name) = match requirement {
            Requirement::Root => (rustix::process::geteuid().is_root(), "the rights of root"),
            Requirement::Mounts => (may_mount(), "the right to mount"),
            Requirement::Fanotify => (fanotify_base().is_some(), "fanotify on a file system"),
            Requirement::Ssh => (has_ssh(), "the rights of root, rsync, sshd, ssh and ssh-keygen"),
            Requirement::Program(name) => (find_program(name).is_some(), *name),
        };
        (!is_met).then(|| format!("this needs {name}"))
    })
}

/// Skips the test with a `skipped:` line unless all requirements are met.
macro_rules! needs {
    ($($requirement:expr),+ $(,)?) => {
        if let Some(missing) = $crate::support::unmet(&[$($requirement),+]) {
            println!("skipped: {missing}");
            return;
        }
    };
}
pub(crate) use needs;

/// Finds the program `name` in `PATH` or among the system's daemons.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

fn has_ssh() -> bool {
    let root = rustix::process::geteuid().is_root();
    root && SSH.iter().all(|program| find_program(program).is_some())
}

fn may_mount() -> bool {
    // Tried in a separate thread, whose namespace vanishes with it.
    std::thread::spawn(super::mounts::enter_private_namespace)
        .join()
        .is_ok_and(|result| result.is_ok())
}

/// Returns a directory for temporary files whose file system supports fanotify marks.
///
/// The default one may be on an overlay, which does not.
pub(crate) fn fanotify_base() -> Option<PathBuf> {
    [env::temp_dir(), PathBuf::from("/dev/shm"), PathBuf::from(env!("CARGO_TARGET_TMPDIR"))]
        .into_iter()
        .find(|directory| can_mark(directory))
}

#[cfg(target_os = "linux")]
fn can_mark(directory: &Path) -> bool {
    use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

    // FAN_REPORT_FID | FAN_REPORT_DIR_FID | FAN_REPORT_NAME, which nix does not define.
    let names = InitFlags::from_bits_retain(0x0200 | 0x0400 | 0x0800);
    let init = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC | names;
    let marks = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
    Fanotify::init(init, EventFFlags::O_RDONLY).is_ok_and(|group| {
        group.mark(marks, MaskFlags::FAN_CREATE, rustix::fs::CWD, Some(directory)).is_ok()
    })
}

#[cfg(target_os = "macos")]
const fn can_mark(_: &Path) -> bool {
    false
}
