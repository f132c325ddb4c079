//! What a test may need, and whether it is there.

use std::{
    env,
    path::{Path, PathBuf},
};

use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

/// Something that not every machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// The rights of root, for owners and other users.
    Root,
    /// The right to mount, in a mount namespace of our own.
    Mounts,
    /// Marks on whole file systems.
    Fanotify,
    /// All that it takes to mirror to an ssh server of one's own.
    Ssh,
    /// A program on the path.
    Program(&'static str),
}

/// The programs for an ssh server of one's own, and for what goes through it.
const SSH: [&str; 4] = ["rsync", "sshd", "ssh", "ssh-keygen"];

/// What of `needs` is not there, in words.
pub(crate) fn lacks(needs: &[Need]) -> Option<String> {
    needs.iter().find_map(|need| {
        let (there, name) = match need {
            Need::Root => (rustix::process::geteuid().is_root(), "the rights of root"),
            Need::Mounts => (may_mount(), "the right to mount"),
            Need::Fanotify => (fanotify_base().is_some(), "fanotify on a file system"),
            Need::Ssh => (has_ssh(), "the rights of root, rsync, sshd, ssh and ssh-keygen"),
            Need::Program(name) => (find_program(name).is_some(), *name),
        };
        (!there).then(|| format!("this needs {name}"))
    })
}

/// Ends the test with a `skipped:` line unless everything is there.
macro_rules! needs {
    ($($need:expr),+ $(,)?) => {
        if let Some(missing) = $crate::support::lacks(&[$($need),+]) {
            println!("skipped: {missing}");
            return;
        }
    };
}
pub(crate) use needs;

/// Where the program `name` is.
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
    // Tried in a thread of its own, which takes its namespace along when it ends.
    std::thread::spawn(super::mounts::enter_private_namespace)
        .join()
        .is_ok_and(|result| result.is_ok())
}

/// A directory for temporary files whose file system can be marked as a whole.
///
/// The usual one may lie on an overlay, which cannot.
pub(crate) fn fanotify_base() -> Option<PathBuf> {
    [env::temp_dir(), PathBuf::from("/dev/shm"), PathBuf::from(env!("CARGO_TARGET_TMPDIR"))]
        .into_iter()
        .find(|directory| can_mark(directory))
}

fn can_mark(directory: &Path) -> bool {
    // FAN_REPORT_FID | FAN_REPORT_DIR_FID | FAN_REPORT_NAME, which nix does not name.
    let names = InitFlags::from_bits_retain(0x0200 | 0x0400 | 0x0800);
    let init = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC | names;
    let marks = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
    Fanotify::init(init, EventFFlags::O_RDONLY).is_ok_and(|group| {
        group.mark(marks, MaskFlags::FAN_CREATE, rustix::fs::CWD, Some(directory)).is_ok()
    })
}
