//! Places of the system.

/// The runtime directory of the system, which is empty after a boot.
pub const RUNTIME_DIRECTORY: &str = "/var/run";

/// The socket of the system's log: `syslog(3)`.
pub const SYSLOG_SOCKET: &str = "/var/run/syslog";
