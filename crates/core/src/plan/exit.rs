//! Classification of exit codes.

use alloc::collections::BTreeMap;

use crate::job::FatalReason;

/// Class of an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitClass {
    /// Everything was done.
    Ok,
    /// Some entries could not be transferred; the program reported which.
    Partial,
    /// Some entries vanished during the transfer; the program reported which.
    Vanished,
    /// The target is unavailable, or the result is unknown.
    Again,
    /// A retry is useless, at least at the start of a mirror.
    Fatal(FatalReason),
}

/// Meaning of an exit code in the user's `exitcodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitMeaning {
    /// `"ok"`: everything was done.
    Ok,
    /// `"again"`: the transfer is retried.
    Again,
    /// `"die"`: the daemon exits.
    Die,
}

/// Classes of the exit codes of a program, for one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitCodes {
    /// A missing code is unknown.
    classes: BTreeMap<i32, ExitClass>,
}

impl ExitCodes {
    /// Returns the classes of rsync's exit codes, as the original has them for the startup of a
    /// mirror. The original takes 23 (partial) and 24 (vanished) as ok; here the rest is retried.
    /// 15 and 16, with which rsync reports that one of its processes crashed or was killed, count
    /// as a crash of rsync itself.
    #[must_use]
    pub fn rsync() -> Self {
        let done = [(0, ExitClass::Ok), (23, ExitClass::Partial), (24, ExitClass::Vanished)];
        let fatal = [1, 2, 4, 25].map(|code| (code, ExitClass::Fatal(FatalReason::Program)));
        let again = [3, 5, 6, 10, 11, 12, 14, 15, 16, 20, 21, 22, 30, 35, 255];
        let again = again.map(|code| (code, ExitClass::Again));
        Self { classes: done.into_iter().chain(fatal).chain(again).collect() }
    }

    /// Returns the classes from a user's table, in place of rsync's. A code that is not listed is
    /// unknown; 0 is ok by default.
    ///
    /// A user who maps 23 and 24 to ok wants the mirror to continue. The entries that rsync left
    /// out are still retried.
    #[must_use]
    pub fn from_table(table: &[(i32, ExitMeaning)]) -> Self {
        let class = |&(code, meaning)| {
            let class = match (code, meaning) {
                (23, ExitMeaning::Ok) => ExitClass::Partial,
                (24, ExitMeaning::Ok) => ExitClass::Vanished,
                (_, ExitMeaning::Ok) => ExitClass::Ok,
                (_, ExitMeaning::Again) => ExitClass::Again,
                (_, ExitMeaning::Die) => ExitClass::Fatal(FatalReason::User),
            };
            (code, class)
        };
        let ok = [(0, ExitClass::Ok)];
        Self { classes: ok.into_iter().chain(table.iter().map(class)).collect() }
    }

    /// Returns the class of `code`.
    #[must_use]
    pub fn class(&self, code: i32) -> ExitClass {
        self.classes.get(&code).copied().unwrap_or(ExitClass::Fatal(FatalReason::Unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsync_exit_codes_are_classified_as_by_the_original() {
        let codes = ExitCodes::rsync();
        for (code, class) in [
            (0, ExitClass::Ok),
            (23, ExitClass::Partial),
            (24, ExitClass::Vanished),
            (12, ExitClass::Again),
            (16, ExitClass::Again),
            (255, ExitClass::Again),
            (1, ExitClass::Fatal(FatalReason::Program)),
            (25, ExitClass::Fatal(FatalReason::Program)),
            (13, ExitClass::Fatal(FatalReason::Unknown)),
            (127, ExitClass::Fatal(FatalReason::Unknown)),
        ] {
            assert_eq!(codes.class(code), class, "{code}");
        }
    }

    #[test]
    fn a_user_table_replaces_the_defaults() {
        let table = [
            (23, ExitMeaning::Ok),
            (5, ExitMeaning::Die),
            (13, ExitMeaning::Again),
            (99, ExitMeaning::Ok),
        ];
        let codes = ExitCodes::from_table(&table);
        assert_eq!(codes.class(0), ExitClass::Ok);
        assert_eq!(codes.class(23), ExitClass::Partial);
        assert_eq!(codes.class(99), ExitClass::Ok);
        assert_eq!(codes.class(13), ExitClass::Again);
        assert_eq!(codes.class(5), ExitClass::Fatal(FatalReason::User));
        assert_eq!(codes.class(12), ExitClass::Fatal(FatalReason::Unknown));
        assert_eq!(ExitCodes::from_table(&[(0, ExitMeaning::Again)]).class(0), ExitClass::Again);
    }
}
