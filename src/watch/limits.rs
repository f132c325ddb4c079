//! The limits of the kernel, and what to say to people who meet them.

use std::io;

use rustix::{event::EventfdFlags, io::Errno};

/// A limit of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// How many directories are watched by inotify for one user.
    Watches,
    /// How many inotify instances one user has.
    Instances,
    /// How many events of an inotify instance wait to be read.
    InotifyQueue,
    /// How many events of a fanotify group wait to be read.
    FanotifyQueue,
}

/// Where this process is, as far as it concerns limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    /// In that of the whole machine.
    Initial,
    /// In a user namespace, which has limits of its own beside those of the machine.
    User,
    /// There is no `/proc` to see it.
    Unknown,
}

impl Namespace {
    fn ours() -> Self {
        std::fs::read_to_string("/proc/self/uid_map").map_or(Self::Unknown, |map| Self::of(&map))
    }

    /// What this map of user ids means; see `user_namespaces(7)`.
    fn of(map: &str) -> Self {
        if map.split_whitespace().eq(["0", "0", "4294967295"]) { Self::Initial } else { Self::User }
    }
}

impl Limit {
    /// The name of the setting.
    const fn sysctl(self, namespace: Namespace) -> &'static str {
        match (self, namespace) {
            (Self::Watches, Namespace::User) => "user.max_inotify_watches",
            (Self::Watches, _) => "fs.inotify.max_user_watches",
            (Self::Instances, Namespace::User) => "user.max_inotify_instances",
            (Self::Instances, _) => "fs.inotify.max_user_instances",
            (Self::InotifyQueue, _) => "fs.inotify.max_queued_events",
            (Self::FanotifyQueue, _) => "fs.fanotify.max_queued_events",
        }
    }

    /// What it should be at least.
    const fn usual(self) -> u64 {
        match self {
            Self::Watches => 524_288,
            Self::Instances => 512,
            Self::InotifyQueue | Self::FanotifyQueue => 65_536,
        }
    }

    fn present(self, namespace: Namespace) -> Option<u64> {
        let path = format!("/proc/sys/{}", self.sysctl(namespace).replace('.', "/"));
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// What it is and what to do about it, as a sentence without a full stop.
    pub(super) fn advice(self) -> String {
        let namespace = Namespace::ours();
        self.advice_for(namespace, self.present(namespace))
    }

    fn advice_for(self, namespace: Namespace, present: Option<u64>) -> String {
        let name = self.sysctl(namespace);
        let Some(present) = present else {
            return format!(
                "raise {name}; what it is now can't be seen, as /proc is not mounted or not whole"
            );
        };
        let wanted = self.usual().max(present.saturating_mul(2));
        let host = Self::sysctl(self, Namespace::Initial);
        let beyond = match namespace {
            Namespace::User => format!(" (if that does not help, {host} outside of the container)"),
            Namespace::Initial | Namespace::Unknown => String::new(),
        };
        format!("{name} is {present}: raise it with: sysctl {name}={wanted}{beyond}")
    }

    /// What to say when events were lost because of it, as two lines: the one that the original
    /// writes, and one with more to it.
    pub(super) fn overflow(self) -> [String; 2] {
        let namespace = Namespace::ours();
        let source = if self == Self::FanotifyQueue { "fanotify" } else { "inotify" };
        let name = self.sysctl(namespace);
        let now = self.present(namespace).map_or_else(|| "unknown".into(), |now| now.to_string());
        [
            "--- OVERFLOW in event queue ---".into(),
            format!("{source} queue overflow: rescanning; raise {name} (now {now})"),
        ]
    }
}

/// The error of `inotify_init1(2)`, with what to do about it.
pub(super) fn no_instance(error: io::Error) -> io::Error {
    if Errno::from_io_error(&error) != Some(Errno::MFILE) {
        return error;
    }
    // The number of descriptors of this process is told by the same error.
    let is_process_full = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).is_err();
    let advice = if is_process_full {
        "this process may open no more files: see ulimit -n".into()
    } else {
        format!("there can be no other inotify instance: {}", Limit::Instances.advice())
    };
    io::Error::new(error.kind(), advice)
}

/// The error of opening the table of mounts, with what it means.
pub(super) fn no_mounts(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::NotFound {
        return error;
    }
    let text = format!("/proc/self/mountinfo: {error}: /proc has to be mounted");
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_that_counts_is_named() {
        assert_eq!(
            Limit::Watches.advice_for(Namespace::Initial, Some(8192)),
            "fs.inotify.max_user_watches is 8192: raise it with: sysctl \
             fs.inotify.max_user_watches=524288"
        );
        assert_eq!(
            Limit::Watches.advice_for(Namespace::User, Some(1_000_000)),
            "user.max_inotify_watches is 1000000: raise it with: sysctl \
             user.max_inotify_watches=2000000 (if that does not help, fs.inotify.max_user_watches \
             outside of the container)"
        );
        let text = Limit::Instances.advice_for(Namespace::Unknown, None);
        assert!(text.starts_with("raise fs.inotify.max_user_instances;"), "{text}");
        assert!(text.contains("/proc is not mounted"), "{text}");
    }

    #[test]
    fn a_user_namespace_is_known_by_its_map() {
        assert_eq!(Namespace::of("         0          0 4294967295\n"), Namespace::Initial);
        assert_eq!(Namespace::of("         0       1000          1\n"), Namespace::User);
        assert_eq!(Namespace::of("0 0 1\n1 100000 65536\n"), Namespace::User);
    }

    #[test]
    fn an_overflow_is_told_as_the_original_tells_it_and_with_the_limit() {
        let [line, more] = Limit::InotifyQueue.overflow();
        assert_eq!(line, "--- OVERFLOW in event queue ---");
        let now = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let now = now.trim();
        let text = "inotify queue overflow: rescanning; raise fs.inotify.max_queued_events";
        assert_eq!(more, format!("{text} (now {now})"));
    }

    #[test]
    fn other_errors_stay_what_they_are() {
        let other = no_instance(io::Error::from(Errno::NOMEM));
        assert_eq!(Errno::from_io_error(&other), Some(Errno::NOMEM));
        let limit = no_instance(io::Error::from(Errno::MFILE)).to_string();
        assert!(limit.contains("max_user_instances") || limit.contains("max_inotify_instances"));
        assert!(no_mounts(io::Error::from(Errno::NOENT)).to_string().contains("/proc has to be"));
    }
}
