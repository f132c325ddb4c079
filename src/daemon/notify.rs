//! Notifications to the service manager, in the protocol of `sd_notify(3)`.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::{
        ffi::OsStrExt,
        net::{SocketAddr, UnixDatagram},
    },
    process,
    time::Duration,
};

use mirror_core::path::Escaped;
use mirror_platform::{environment::take_variables, unix_socket};
use rustix::time::{ClockId, clock_gettime};

/// Time limit of one notification: a service manager that does not read must not block the daemon.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Connection to a service manager, which has started this process and waits for notifications.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

/// Notification to the service manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceNotification {
    /// The start or a reload is finished.
    Ready,
    /// A reload has begun.
    Reloading,
    /// The shutdown has begun.
    Stopping,
    /// One line about the state, for people.
    Status(String),
    /// The start may take this time from now on, even beyond its time limit.
    ExtendTimeout(Duration),
    /// The process works: the watchdog begins anew.
    Alive,
}

impl ServiceManager {
    /// Connects to the service manager that the environment names, and removes its variables from
    /// the environment. `None` if it names none. No thread may exist yet.
    ///
    /// # Errors
    ///
    /// If the address can't be used, or the variables can't be removed.
    pub fn from_environment() -> io::Result<Option<Self>> {
        let names = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
        let [address, interval, pid] = take_variables(names)?;
        let Some(address) = address.filter(|address| !address.is_empty()) else { return Ok(None) };
        let watchdog = watchdog(interval, pid, process::id());
        Self::connect(&address, watchdog).map(Some)
    }

    /// Connects to the socket with this address in the form of `NOTIFY_SOCKET`: an absolute path,
    /// or `@` and an abstract name.
    ///
    /// # Errors
    ///
    /// If the address has another form, or there can be no socket.
    pub fn connect(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => unix_socket::abstract_address(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            other => {
                let text = format!(
                    "NOTIFY_SOCKET={}: only absolute paths and abstract names are supported",
                    Escaped(other)
                );
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self { socket, address, watchdog })
    }

    /// The time within which the watchdog expects a notification. `None`: there is no watchdog.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends notifications in one message.
    ///
    /// # Errors
    ///
    /// If the service manager does not receive it.
    pub fn send(&self, notifications: &[ServiceNotification]) -> io::Result<()> {
        let lines: Vec<String> = notifications.iter().map(ServiceNotification::line).collect();
        self.socket.send_to_addr(lines.join("\n").as_bytes(), &self.address).map(drop)
    }
}

impl ServiceNotification {
    fn line(&self) -> String {
        match self {
            Self::Ready => "READY=1".into(),
            // The time shows that this answers the request and not an earlier one.
            Self::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()),
            Self::Stopping => "STOPPING=1".into(),
            Self::Status(text) => format!("STATUS={}", text.replace('\n', " ")),
            Self::ExtendTimeout(time) => format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()),
            Self::Alive => "WATCHDOG=1".into(),
        }
    }
}

fn monotonic_micros() -> u128 {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default().as_micros()
}

/// Returns the time limit of the watchdog from its variables, if it watches the process `own`.
fn watchdog(interval: Option<OsString>, pid: Option<OsString>, own: u32) -> Option<Duration> {
    let number = |value: OsString| value.to_str()?.parse::<u64>().ok();
    // Without the second variable it watches every process that has the first.
    if pid.is_some_and(|pid| number(pid) != Some(u64::from(own))) {
        return None;
    }
    interval.and_then(number).filter(|&micros| micros > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1000];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn notifications_reach_a_socket_by_path_and_by_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("lsyncd-test-{}", process::id());
        let by_name = unix_socket::abstract_address(name.as_bytes()).unwrap();
        let by_name = UnixDatagram::bind_addr(&by_name).unwrap();
        for (address, socket) in
            [(path.into_os_string(), by_path), (OsString::from(format!("@{name}")), by_name)]
        {
            let manager = ServiceManager::connect(&address, None).unwrap();
            let status = ServiceNotification::Status("a\nb".into());
            manager.send(&[ServiceNotification::Ready, status]).unwrap();
            assert_eq!(received(&socket), "READY=1\nSTATUS=a b");
            let time = Duration::from_secs(2);
            manager.send(&[ServiceNotification::ExtendTimeout(time)]).unwrap();
            assert_eq!(received(&socket), "EXTEND_TIMEOUT_USEC=2000000");
            let before = monotonic_micros();
            manager.send(&[ServiceNotification::Reloading]).unwrap();
            let text = received(&socket);
            let at = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            let at: u128 = at.parse().unwrap();
            assert!((before..=monotonic_micros()).contains(&at));
        }
    }

    #[test]
    fn a_service_manager_that_is_gone_is_an_error() {
        let manager = ServiceManager::connect("/nonexistent/socket".as_ref(), None).unwrap();
        assert!(manager.send(&[ServiceNotification::Ready]).is_err());
        let refused = ServiceManager::connect("vsock:2:1".as_ref(), None).unwrap_err();
        assert!(refused.to_string().starts_with("NOTIFY_SOCKET=vsock:2:1: only absolute"));
    }

    #[test]
    fn only_the_watchdog_of_this_process_counts() {
        let text = |value: &str| Some(OsString::from(value));
        let five = Some(Duration::from_secs(5));
        assert_eq!(watchdog(text("5000000"), None, 7), five);
        assert_eq!(watchdog(text("5000000"), text("7"), 7), five);
        assert_eq!(watchdog(text("5000000"), text("8"), 7), None);
        assert_eq!(watchdog(text("5000000"), text("x"), 7), None);
        assert_eq!(watchdog(text("0"), None, 7), None);
        assert_eq!(watchdog(text("often"), None, 7), None);
        assert_eq!(watchdog(None, text("7"), 7), None);
    }
}
