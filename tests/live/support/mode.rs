//! The two ways of local mirroring that most tests cover.

use super::Requirement;

/// The way in which a daemon transfers changes to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransferMode {
    /// By copying in its own process.
    Direct,
    /// By running rsync.
    Rsync,
}

impl TransferMode {
    /// Returns the option of the command line.
    pub(crate) const fn option(self) -> &'static str {
        match self {
            Self::Direct => "-direct",
            Self::Rsync => "-rsync",
        }
    }

    /// Returns its requirement.
    pub(crate) const fn requirement(self) -> Requirement {
        match self {
            // Only root can set the owners of copies.
            Self::Direct => Requirement::Root,
            Self::Rsync => Requirement::Program("rsync"),
        }
    }
}

/// Creates two tests of each function that takes a [`TransferMode`].
macro_rules! in_both_modes {
    ($($name:ident),+ $(,)?) => {
        mod direct {
            $(#[test] fn $name() {
                $crate::support::needs!($crate::support::TransferMode::Direct.requirement());
                super::$name($crate::support::TransferMode::Direct);
            })+
        }
        mod rsync {
            $(#[test] fn $name() {
                $crate::support::needs!($crate::support::TransferMode::Rsync.requirement());
                super::$name($crate::support::TransferMode::Rsync);
            })+
        }
    };
}
pub(crate) use in_both_modes;
