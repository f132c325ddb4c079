//! What the exit codes of a program mean.

use alloc::collections::BTreeMap;

/// What an exit code of a program means while a mirror runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitClass {
    /// All of it was done.
    Ok,
    /// Something could not be transferred; the program said what.
    Partial,
    /// Something vanished while it was looked at; the program said what.
    Vanished,
    /// The target is away, or nothing is known. So is every code without a class: one that we do
    /// not know must not end a mirror.
    Again,
    /// To try again is of no use.
    Fatal,
}

/// What the exit codes of a program mean to one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitCodes {
    classes: BTreeMap<i32, ExitClass>,
}

impl ExitCodes {
    /// rsync's: 0 is ok, 23 is partial and 24 vanished; all else is tried again.
    #[must_use]
    pub fn rsync() -> Self {
        let classes = [(0, ExitClass::Ok), (23, ExitClass::Partial), (24, ExitClass::Vanished)];
        Self { classes: classes.into() }
    }

    /// Says what `code` means, as the user does in a configuration.
    pub fn set(&mut self, code: i32, class: ExitClass) {
        self.classes.insert(code, class);
    }

    /// What `code` means.
    #[must_use]
    pub fn class(&self, code: i32) -> ExitClass {
        self.classes.get(&code).copied().unwrap_or(ExitClass::Again)
    }
}

/// What the original makes of an exit code of rsync that is not ok.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It tries again.
    Again,
    /// It ends.
    Die,
    /// It does not know the code, and ends.
    Unknown,
}

/// What an rsync that fails with `code` means at the *startup* of a mirror, where users expect the
/// daemon to end. `None` if it does not fail.
#[must_use]
pub const fn rsync_severity(code: i32) -> Option<Severity> {
    Some(match code {
        0 | 23 | 24 => return None,
        1 | 2 | 4 | 25 => Severity::Die,
        3 | 5 | 6 | 10 | 11 | 12 | 14 | 20 | 21 | 22 | 30 | 35 | 255 => Severity::Again,
        _ => Severity::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_code_is_tried_again_until_the_user_says_otherwise() {
        let mut codes = ExitCodes::rsync();
        assert_eq!(codes.class(0), ExitClass::Ok);
        assert_eq!(codes.class(24), ExitClass::Vanished);
        assert_eq!(codes.class(13), ExitClass::Again);
        codes.set(13, ExitClass::Fatal);
        assert_eq!(codes.class(13), ExitClass::Fatal);
    }

    #[test]
    fn at_startup_the_codes_mean_what_they_mean_to_the_original() {
        assert_eq!(rsync_severity(24), None);
        assert_eq!(rsync_severity(25), Some(Severity::Die));
        assert_eq!(rsync_severity(255), Some(Severity::Again));
        assert_eq!(rsync_severity(127), Some(Severity::Unknown));
    }
}
