//! The place of a target, and what can be seen of it without a transfer.

use std::{
    fs,
    net::{TcpStream, ToSocketAddrs as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use mirror_core::plan::{ssh::ssh_port, target::Target};
use mirror_platform::{dir::Dir, unnamed_file};
use rustix::fs::{Access, AtFlags, CWD, FallocateFlags, accessat, fallocate, statvfs};

use crate::{
    config::{SyncConfig, SyncKind},
    engine::remote_shell::shell_command,
    exec::ssh::is_ssh,
};

/// The time between two observations on this machine.
const LOCAL_INTERVAL: Duration = Duration::from_secs(1);

/// The time between two attempts to connect to another machine.
const REMOTE_INTERVAL: Duration = Duration::from_secs(15);

/// The time limit of a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The share of a file system that must have become free.
const FREED_SHARE: u64 = 100;

/// The number of bytes that must have become free.
const FREED_BYTES: u64 = 256 * 1024;

/// The sizes of a file that show how much of a quota is left: the file system tells only how much
/// is free for all users. Space that is reserved is missing elsewhere for that moment, so the sizes
/// are small.
const ROOM_SIZES: [u64; 4] = [256 << 10, 1 << 20, 4 << 20, 16 << 20];

/// The place of a target.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) enum TargetPlace {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A directory of this machine, in which a quota was exceeded.
    WithQuota(PathBuf),
    /// The port of an rsync daemon or of sshd.
    Port { host: String, port: u16 },
}

/// A state of a target.
#[derive(Debug)]
pub(super) enum TargetObservation {
    Directory {
        /// The number of the last components of its path that are missing. A transfer creates one.
        missing: usize,
        /// The device and inode of the part that exists.
        inode: Option<(u64, u64)>,
        is_writable: bool,
        free: FreeSpace,
        /// The bytes that a new file can have, as far as they were measured.
        room: u64,
    },
    Port {
        is_open: bool,
        /// True if it is one of this machine.
        is_local: bool,
    },
}

/// The free space of a file system.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FreeSpace {
    bytes: u64,
    total_bytes: u64,
    inodes: u64,
    total_inodes: u64,
}

impl TargetPlace {
    /// Returns the place of the target of a sync. `None` if it is unknown, or if a tunnel tells
    /// that the target is reachable.
    pub(in crate::engine) fn of(sync: &SyncConfig, base_dir: &Path) -> Option<Self> {
        if sync.tunnel.is_some() {
            return None;
        }
        match sync.kind {
            SyncKind::Script => None,
            SyncKind::Direct => Some(Self::Directory(base_dir.join(&sync.target))),
            SyncKind::Rsync | SyncKind::Rsyncssh => {
                let target = Target::new(sync.target.as_encoded_bytes()).ok()?;
                if target.local().is_some() {
                    return Some(Self::Directory(base_dir.join(&sync.target)));
                }
                let (host, port) = match target.host() {
                    None => target.daemon_address(sync.rsync.daemon_port())?,
                    Some(host) => {
                        let command = shell_command(&sync.rsync);
                        (host, is_ssh(&command).then(|| ssh_port(&command)).flatten()?)
                    }
                };
                let host = host.rsplit(|&byte| byte == b'@').next()?;
                let bracketed = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
                let host = str::from_utf8(bracketed.unwrap_or(host)).ok()?.to_owned();
                Some(Self::Port { host, port })
            }
        }
    }

    /// Returns this place, as one in which a quota was exceeded.
    pub(super) fn with_quota(self) -> Self {
        match self {
            Self::Directory(path) => Self::WithQuota(path),
            Self::WithQuota(_) | Self::Port { .. } => self,
        }
    }

    /// Observes the present state. This may block for long.
    pub(super) fn observe(&self) -> TargetObservation {
        match self {
            Self::Directory(path) => observe_directory(path, |_| 0),
            Self::WithQuota(path) => observe_directory(path, measure_room),
            Self::Port { host, port } => {
                let found = (host.as_str(), *port).to_socket_addrs();
                let addresses: Vec<_> = found.into_iter().flatten().collect();
                let connect = |it| TcpStream::connect_timeout(it, CONNECT_TIMEOUT).is_ok();
                TargetObservation::Port {
                    is_open: addresses.iter().any(connect),
                    is_local: !addresses.is_empty()
                        && addresses.iter().all(|address| address.ip().is_loopback()),
                }
            }
        }
    }
}

fn observe_directory(path: &Path, room: impl FnOnce(&Path) -> u64) -> TargetObservation {
    let (missing, existing) = path
        .ancestors()
        .enumerate()
        .find(|(_, path)| fs::symlink_metadata(path).is_ok())
        .unwrap_or((usize::MAX, path));
    let inode = fs::metadata(existing).ok().map(|it| (it.dev(), it.ino()));
    let is_writable =
        accessat(CWD, existing, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok();
    let free = statvfs(existing).map(|it| FreeSpace {
        bytes: it.f_bavail.saturating_mul(it.f_frsize),
        total_bytes: it.f_blocks.saturating_mul(it.f_frsize),
        inodes: it.f_favail,
        total_inodes: it.f_files,
    });
    let (free, room) = (free.unwrap_or_default(), room(existing));
    TargetObservation::Directory { missing, inode, is_writable, free, room }
}

/// Measures how large a file in this directory can become. Returns 0 if the file system has no
/// files without a name: these need not be removed, and do not change the time of the directory.
fn measure_room(directory: &Path) -> u64 {
    let file = Dir::open(directory).and_then(unnamed_file::create);
    let Ok(Some(file)) = file else { return 0 };
    let fits = |size: &u64| fallocate(&file, FallocateFlags::empty(), 0, *size).is_ok();
    ROOM_SIZES.into_iter().take_while(fits).last().unwrap_or(0)
}

impl TargetObservation {
    /// Returns the time to the next observation.
    pub(super) const fn interval(&self) -> Duration {
        match self {
            Self::Directory { .. } | Self::Port { is_local: true, .. } => LOCAL_INTERVAL,
            Self::Port { is_local: false, .. } => REMOTE_INTERVAL,
        }
    }

    /// Returns true if nothing is known that would make a transfer fail.
    pub(super) const fn is_usable(&self) -> bool {
        match self {
            Self::Directory { missing, is_writable, .. } => *missing <= 1 && *is_writable,
            Self::Port { is_open, .. } => *is_open,
        }
    }

    /// Returns true if another state may be better than this usable one.
    pub(super) const fn may_improve(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }

    /// Returns true if a transfer that failed at `before` may succeed now.
    pub(super) fn is_better_than(&self, before: &Self) -> bool {
        match (self, before) {
            (
                Self::Directory { missing, inode, is_writable, free, room },
                Self::Directory {
                    missing: were_missing,
                    inode: last_inode,
                    is_writable: was_writable,
                    free: last_free,
                    room: last_room,
                },
            ) => {
                (missing, inode) != (were_missing, last_inode)
                    || *is_writable && !was_writable
                    || free.exceeds(last_free)
                    || room > last_room
            }
            (Self::Port { is_open, .. }, Self::Port { is_open: was_open, .. }) => {
                *is_open && !was_open
            }
            (Self::Directory { .. } | Self::Port { .. }, _) => false,
        }
    }
}

impl FreeSpace {
    /// Returns true if much has become free since `before`.
    fn exceeds(&self, before: &Self) -> bool {
        let bytes = FREED_BYTES.max(self.total_bytes / FREED_SHARE);
        let inodes = 1.max(self.total_inodes / FREED_SHARE);
        self.bytes >= before.bytes.saturating_add(bytes)
            || self.inodes >= before.inodes.saturating_add(inodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, time::Instant};

    fn is_better(place: &TargetPlace, change: impl FnOnce()) -> bool {
        let before = place.observe();
        assert!(!place.observe().is_better_than(&before));
        change();
        place.observe().is_better_than(&before)
    }

    fn place_of(target: &str, long: &[&str]) -> Option<TargetPlace> {
        let mut sync =
            SyncConfig::new("s".into(), SyncKind::Rsync, "/source".into(), target.into());
        sync.rsync.long = long.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        TargetPlace::of(&sync, Path::new("/base"))
    }

    #[test]
    fn places_of_targets_are_found() {
        let directory = |path: &str| Some(TargetPlace::Directory(path.into()));
        let port = |host: &str, port| Some(TargetPlace::Port { host: host.into(), port });
        assert_eq!(place_of("/t/", &[]), directory("/t/"));
        assert_eq!(place_of("t/", &[]), directory("/base/t/"));
        assert_eq!(place_of("u@host::m/", &["--port=7"]), port("host", 7));
        assert_eq!(place_of("rsync://[::1]/m/", &[]), port("::1", 873));
        assert_eq!(place_of("u@[::1]:/t/", &["--rsh=/usr/bin/ssh -p 23"]), port("::1", 23));
        assert_eq!(place_of("host:", &["--rsh=plink"]), None);
        assert_eq!(place_of("host:", &["--rsh=ssh -J jump"]), None);
    }

    #[test]
    fn a_directory_that_comes_back_or_is_replaced_is_better() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/target");
        let place = TargetPlace::Directory(path.clone());
        assert!(is_better(&place, || fs::create_dir(scratch.path().join("a")).unwrap()));
        assert!(is_better(&place, || fs::create_dir(&path).unwrap()));
        assert!(!is_better(&place, || fs::write(path.join("file"), b"x").unwrap()));
        let other = scratch.path().join("other");
        assert!(is_better(&place, || {
            fs::rename(&path, &other).unwrap();
            fs::create_dir(&path).unwrap();
        }));
    }

    #[test]
    fn a_directory_that_becomes_writable_or_gets_room_is_better() {
        let with_room = |room, is_writable, bytes, inodes| TargetObservation::Directory {
            missing: 0,
            inode: Some((1, 2)),
            is_writable,
            free: FreeSpace { bytes, total_bytes: 1 << 30, inodes, total_inodes: 1_000 },
            room,
        };
        let observation = |is_writable, bytes, inodes| with_room(0, is_writable, bytes, inodes);
        let full = observation(true, 0, 0);
        assert!(observation(true, 0, 0).is_better_than(&observation(false, 0, 0)));
        assert!(!observation(false, 0, 0).is_better_than(&full));
        assert!(!observation(true, 10 << 20, 9).is_better_than(&full));
        assert!(observation(true, 11 << 20, 0).is_better_than(&full));
        assert!(observation(true, 0, 10).is_better_than(&full));
        // A quota was raised.
        let little = with_room(ROOM_SIZES[0], true, 0, 0);
        assert!(little.is_better_than(&full) && !full.is_better_than(&little));
        assert!(!little.is_better_than(&little));
        assert!(with_room(ROOM_SIZES[1], true, 0, 0).is_better_than(&little));
    }

    #[test]
    fn room_is_measured_where_a_quota_was_exceeded_and_leaves_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let time = fs::metadata(scratch.path()).unwrap().modified().unwrap();
        let room = |place: TargetPlace| match place.observe() {
            TargetObservation::Directory { room, .. } => room,
            other @ TargetObservation::Port { .. } => panic!("{other:?}"),
        };
        let place = || TargetPlace::Directory(scratch.path().into());
        assert_eq!(room(place()), 0);
        let has_unnamed_files =
            Dir::open(scratch.path()).and_then(unnamed_file::create).unwrap().is_some();
        assert_eq!(room(place().with_quota()), if has_unnamed_files { ROOM_SIZES[3] } else { 0 });
        assert_eq!(fs::metadata(scratch.path()).unwrap().modified().unwrap(), time);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_port_that_opens_is_better() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let place = TargetPlace::Port { host: "127.0.0.1".into(), port };
        let open = place.observe();
        drop(listener);
        // A child that another test forks has the socket open until it executes its program.
        let end = Instant::now() + Duration::from_mins(1);
        let closed = loop {
            let now = place.observe();
            if !now.is_usable() {
                break now;
            }
            assert!(Instant::now() < end, "nothing listens any more");
        };
        assert!(open.is_better_than(&closed) && !closed.is_better_than(&open));
        assert!(!place.observe().is_better_than(&closed));
        assert_eq!(closed.interval(), LOCAL_INTERVAL);
        let unknown = TargetPlace::Port { host: "host.invalid".into(), port };
        assert_eq!(unknown.observe().interval(), REMOTE_INTERVAL);
    }
}
