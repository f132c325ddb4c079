//! Results of commands and their exit codes.

use std::{fmt, process::ExitCode};

use crate::control::{client_error::ClientError, frame::ErrorKind};

/// The result of a command. The codes are those of a Nagios plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Success.
    Ok,
    /// A negative result, or a state that needs attention.
    Warning,
    /// A failure, or a state that needs an operator.
    Critical,
    /// The result is unknown: wrong usage, or an answer that is not understood.
    Unknown,
}

impl Severity {
    /// Returns the exit code.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        })
    }

    /// Returns its name in the output of a plugin.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Failure of a command.
#[derive(Debug)]
pub enum CtlFailure {
    /// The command line is wrong, for this reason.
    Usage(String),
    /// The daemon gave no result.
    Client(ClientError),
    /// This machine refused something, for this reason.
    System(String),
}

impl CtlFailure {
    /// Returns the severity that the exit code tells.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Usage(_) => Severity::Unknown,
            Self::System(_) => Severity::Critical,
            Self::Client(error) => client_severity(error),
        }
    }
}

impl From<ClientError> for CtlFailure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl fmt::Display for CtlFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(reason) | Self::System(reason) => f.write_str(reason),
            Self::Client(error) => error.fmt(f),
        }
    }
}

const fn client_severity(error: &ClientError) -> Severity {
    match error {
        ClientError::NoDaemon(_)
        | ClientError::NoSocket(_)
        | ClientError::Dead(_)
        | ClientError::Timeout { .. }
        | ClientError::Closed(_)
        | ClientError::Io { .. } => Severity::Critical,
        // A daemon may be in a good state nevertheless.
        ClientError::PermissionDenied(_)
        | ClientError::Several(_)
        | ClientError::TooLong(_)
        | ClientError::InvalidAnswer { .. } => Severity::Unknown,
        ClientError::Refused(error) => match error.kind {
            ErrorKind::InvalidRequest
            | ErrorKind::UnsupportedVersion
            | ErrorKind::NotPermitted
            | ErrorKind::NoSuchSync => Severity::Unknown,
            ErrorKind::NotApplicable | ErrorKind::Busy | ErrorKind::Failed | ErrorKind::Exiting => {
                Severity::Critical
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::frame::RequestError;

    #[test]
    fn failures_have_the_codes_of_a_plugin() {
        let refused = |kind| ClientError::Refused(RequestError::new(kind, "no"));
        for (error, severity) in [
            (ClientError::NoDaemon(Vec::new()), Severity::Critical),
            (ClientError::Dead(Vec::new()), Severity::Critical),
            (ClientError::Closed("s".into()), Severity::Critical),
            (ClientError::PermissionDenied("s".into()), Severity::Unknown),
            (ClientError::TooLong(1), Severity::Unknown),
            (refused(ErrorKind::UnsupportedVersion), Severity::Unknown),
            (refused(ErrorKind::NoSuchSync), Severity::Unknown),
            (refused(ErrorKind::Busy), Severity::Critical),
        ] {
            assert_eq!(CtlFailure::from(error).severity(), severity);
        }
        assert!(Severity::Ok < Severity::Warning && Severity::Warning < Severity::Critical);
    }
}
