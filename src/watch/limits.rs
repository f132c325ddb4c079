//! Kernel limits, and the advice for users who reach them.

use std::io;

use mirror_platform::waker::Waker;
use rustix::io::Errno;

/// Greatest value of the limits per user, and their default in a user namespace.
const MAX_VALUE: u64 = i32::MAX as u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KernelLimit {
    /// Number of inotify watches per user.
    Watches,
    /// Number of inotify instances per user.
    Instances,
    /// Number of queued events of an inotify instance.
    InotifyQueue,
    /// Number of queued events of a fanotify group.
    FanotifyQueue,
}

/// User namespace of this process, as far as limits are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    /// The initial namespace of the machine.
    Initial,
    /// Another user namespace, with limits of its own in addition to those of the machine.
    User,
    /// Unknown, because `/proc` is not mounted.
    Unknown,
}

impl Namespace {
    fn ours() -> Self {
        std::fs::read_to_string("/proc/self/uid_map").map_or(Self::Unknown, |map| Self::of(&map))
    }

    /// Determines the namespace from a map of user ids; see `user_namespaces(7)`.
    fn of(map: &str) -> Self {
        if map.split_whitespace().eq(["0", "0", "4294967295"]) { Self::Initial } else { Self::User }
    }
}

impl KernelLimit {
    /// Returns the name of the sysctl.
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

    /// Returns the recommended minimum.
    const fn recommended(self) -> u64 {
        match self {
            Self::Watches => 524_288,
            Self::Instances => 512,
            Self::InotifyQueue | Self::FanotifyQueue => 65_536,
        }
    }

    fn current(self, namespace: Namespace) -> Option<u64> {
        let path = format!("/proc/sys/{}", self.sysctl(namespace).replace('.', "/"));
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// Returns the current value and advice, as a sentence without a full stop.
    pub(super) fn advice(self) -> String {
        let namespace = Namespace::ours();
        self.advice_for(namespace, self.current(namespace))
    }

    fn advice_for(self, namespace: Namespace, current: Option<u64>) -> String {
        let name = self.sysctl(namespace);
        let Some(current) = current else {
            return format!(
                "raise {name}; its value is unknown, as /proc is not mounted or incomplete"
            );
        };
        let wanted = self.recommended().max(current.saturating_mul(2)).min(MAX_VALUE);
        let host = Self::sysctl(self, Namespace::Initial);
        let beyond = match namespace {
            Namespace::User if current >= MAX_VALUE => {
                return format!(
                    "{name} is unlimited here: raise {host} of the machine, outside of the \
                     container"
                );
            }
            Namespace::User => format!(" (if that does not help, {host} outside of the container)"),
            Namespace::Initial | Namespace::Unknown => String::new(),
        };
        format!("{name} is {current}: raise it with: sysctl {name}={wanted}{beyond}")
    }

    /// Returns the two log lines for events lost at this limit: the original's line, and one with
    /// advice.
    pub(super) fn overflow_lines(self) -> [String; 2] {
        let namespace = Namespace::ours();
        let source = if self == Self::FanotifyQueue { "fanotify" } else { "inotify" };
        let name = self.sysctl(namespace);
        let now = self.current(namespace).map_or_else(|| "unknown".into(), |now| now.to_string());
        [
            "--- OVERFLOW in event queue ---".into(),
            format!("{source} queue overflow: rescanning; raise {name} (now {now})"),
        ]
    }
}

/// Explains an error of `inotify_init1(2)`.
pub(super) fn explain_no_instance(error: io::Error) -> io::Error {
    if Errno::from_io_error(&error) != Some(Errno::MFILE) {
        return error;
    }
    // The process limit of open files causes the same error.
    let is_process_full = Waker::new().is_err();
    let advice = if is_process_full {
        "the limit of open files is reached: raise ulimit -n, or LimitNOFILE of the service".into()
    } else {
        format!("the limit of inotify instances is reached: {}", KernelLimit::Instances.advice())
    };
    io::Error::new(error.kind(), advice)
}

/// Explains an error of opening the mount table.
pub(super) fn explain_no_mounts(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::NotFound {
        return error;
    }
    let text = format!("/proc/self/mountinfo: {error}: /proc must be mounted");
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_the_effective_limit() {
        assert_eq!(
            KernelLimit::Watches.advice_for(Namespace::Initial, Some(8192)),
            "fs.inotify.max_user_watches is 8192: raise it with: sysctl \
             fs.inotify.max_user_watches=524288"
        );
        assert_eq!(
            KernelLimit::Watches.advice_for(Namespace::User, Some(1_000_000)),
            "user.max_inotify_watches is 1000000: raise it with: sysctl \
             user.max_inotify_watches=2000000 (if that does not help, fs.inotify.max_user_watches \
             outside of the container)"
        );
        let unlimited = KernelLimit::Watches.advice_for(Namespace::User, Some(MAX_VALUE));
        assert_eq!(
            unlimited,
            "user.max_inotify_watches is unlimited here: raise fs.inotify.max_user_watches of the \
             machine, outside of the container"
        );
        let text = KernelLimit::Watches.advice_for(Namespace::Initial, Some(MAX_VALUE - 1));
        assert!(text.ends_with("max_user_watches=2147483647"), "{text}");
        let text = KernelLimit::Instances.advice_for(Namespace::Unknown, None);
        assert!(text.starts_with("raise fs.inotify.max_user_instances;"), "{text}");
        assert!(text.contains("/proc is not mounted"), "{text}");
    }

    #[test]
    fn a_user_namespace_is_detected_by_its_uid_map() {
        assert_eq!(Namespace::of("         0          0 4294967295\n"), Namespace::Initial);
        assert_eq!(Namespace::of("         0       1000          1\n"), Namespace::User);
        assert_eq!(Namespace::of("0 0 1\n1 100000 65536\n"), Namespace::User);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_overflow_logs_the_original_line_and_the_limit() {
        let [line, more] = KernelLimit::InotifyQueue.overflow_lines();
        assert_eq!(line, "--- OVERFLOW in event queue ---");
        let now = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let now = now.trim();
        let text = "inotify queue overflow: rescanning; raise fs.inotify.max_queued_events";
        assert_eq!(more, format!("{text} (now {now})"));
    }

    #[test]
    fn other_errors_are_unchanged() {
        let other = explain_no_instance(io::Error::from(Errno::NOMEM));
        assert_eq!(Errno::from_io_error(&other), Some(Errno::NOMEM));
        let limit = explain_no_instance(io::Error::from(Errno::MFILE)).to_string();
        assert!(limit.contains("max_user_instances") || limit.contains("max_inotify_instances"));
        assert!(
            explain_no_mounts(io::Error::from(Errno::NOENT)).to_string().contains("/proc must be")
        );
    }
}
