//! The system's log: `syslog(3)`.
//!
//! `nix` has it too, but does not know all facilities.

use std::ffi::CStr;

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// `LOG_ERR`
    Error,
    /// `LOG_WARNING`
    Warning,
    /// `LOG_NOTICE`
    Notice,
    /// `LOG_DEBUG`
    Debug,
}

impl Severity {
    const fn code(self) -> libc::c_int {
        match self {
            Self::Error => libc::LOG_ERR,
            Self::Warning => libc::LOG_WARNING,
            Self::Notice => libc::LOG_NOTICE,
            Self::Debug => libc::LOG_DEBUG,
        }
    }
}

/// From now on the messages of this process come from a program of this name.
pub fn open(ident: &'static CStr) {
    // SAFETY: the name is kept by the C library, and lives as long as the process.
    unsafe { libc::openlog(ident.as_ptr(), 0, libc::LOG_USER) }
}

/// Writes a message, as a program of the class `facility`: its number in RFC 5424, at most 23.
///
/// Nobody learns whether somebody reads it.
pub fn write(facility: u8, severity: Severity, message: &CStr) {
    let priority = libc::c_int::from(facility.min(23)) << 3 | severity.code();
    // SAFETY: the format takes one string, and gets one.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), message.as_ptr()) }
}
