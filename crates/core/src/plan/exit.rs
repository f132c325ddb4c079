//! What the exit codes of a program mean.

use alloc::collections::BTreeMap;

use crate::job::Grounds;

/// What an exit code of a program means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitClass {
    /// All of it was done.
    Ok,
    /// Something could not be transferred; the program said what.
    Partial,
    /// Something vanished while it was looked at; the program said what.
    Vanished,
    /// The target is away, or nothing is known.
    Again,
    /// To try again is of no use, at least at the start of a mirror.
    Fatal(Grounds),
}

/// What a user can say of an exit code: `exitcodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// `"ok"`: all of it was done.
    Ok,
    /// `"again"`: it is tried again.
    Again,
    /// `"die"`: the daemon ends.
    Die,
}

/// What the exit codes of a program mean to one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitCodes {
    /// A code that is not here is unknown.
    classes: BTreeMap<i32, ExitClass>,
}

impl ExitCodes {
    /// rsync's, with the meaning that they have to the original at the startup of a mirror; but of
    /// 23 (partial) and 24 (vanished), which are ok to it, the rest is tried again. And it is as if
    /// rsync itself had crashed or been killed where it says so of one of its processes: 15 and 16.
    #[must_use]
    pub fn rsync() -> Self {
        let done = [(0, ExitClass::Ok), (23, ExitClass::Partial), (24, ExitClass::Vanished)];
        let fatal = [1, 2, 4, 25].map(|code| (code, ExitClass::Fatal(Grounds::Program)));
        let again = [3, 5, 6, 10, 11, 12, 14, 15, 16, 20, 21, 22, 30, 35, 255];
        let again = again.map(|code| (code, ExitClass::Again));
        Self { classes: done.into_iter().chain(fatal).chain(again).collect() }
    }

    /// Those of a user, in place of rsync's: a code that is not named is unknown. Only 0 is ok
    /// unless it is said to be something else.
    ///
    /// Who calls 23 and 24 ok wants the mirror to go on. What rsync left out is tried again all
    /// the same.
    #[must_use]
    pub fn from_table(table: &[(i32, Meaning)]) -> Self {
        let class = |&(code, meaning)| {
            let class = match (code, meaning) {
                (23, Meaning::Ok) => ExitClass::Partial,
                (24, Meaning::Ok) => ExitClass::Vanished,
                (_, Meaning::Ok) => ExitClass::Ok,
                (_, Meaning::Again) => ExitClass::Again,
                (_, Meaning::Die) => ExitClass::Fatal(Grounds::User),
            };
            (code, class)
        };
        let ok = [(0, ExitClass::Ok)];
        Self { classes: ok.into_iter().chain(table.iter().map(class)).collect() }
    }

    /// What `code` means.
    #[must_use]
    pub fn class(&self, code: i32) -> ExitClass {
        self.classes.get(&code).copied().unwrap_or(ExitClass::Fatal(Grounds::Unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_rsync_mean_what_they_mean_to_the_original() {
        let codes = ExitCodes::rsync();
        for (code, class) in [
            (0, ExitClass::Ok),
            (23, ExitClass::Partial),
            (24, ExitClass::Vanished),
            (12, ExitClass::Again),
            (16, ExitClass::Again),
            (255, ExitClass::Again),
            (1, ExitClass::Fatal(Grounds::Program)),
            (25, ExitClass::Fatal(Grounds::Program)),
            (13, ExitClass::Fatal(Grounds::Unknown)),
            (127, ExitClass::Fatal(Grounds::Unknown)),
        ] {
            assert_eq!(codes.class(code), class, "{code}");
        }
    }

    #[test]
    fn the_table_of_a_user_takes_the_place_of_all() {
        let table = [(23, Meaning::Ok), (5, Meaning::Die), (13, Meaning::Again), (99, Meaning::Ok)];
        let codes = ExitCodes::from_table(&table);
        assert_eq!(codes.class(0), ExitClass::Ok);
        assert_eq!(codes.class(23), ExitClass::Partial);
        assert_eq!(codes.class(99), ExitClass::Ok);
        assert_eq!(codes.class(13), ExitClass::Again);
        assert_eq!(codes.class(5), ExitClass::Fatal(Grounds::User));
        assert_eq!(codes.class(12), ExitClass::Fatal(Grounds::Unknown));
        assert_eq!(ExitCodes::from_table(&[(0, Meaning::Again)]).class(0), ExitClass::Again);
    }
}
