//! The two ways of mirroring that every case is tried with.

use super::Need;

/// How a daemon carries changes to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By copying in its own process.
    Direct,
    /// By running rsync.
    Rsync,
}

impl Mode {
    /// The option of the command line.
    pub(crate) const fn option(self) -> &'static str {
        match self {
            Self::Direct => "-direct",
            Self::Rsync => "-rsync",
        }
    }

    /// What it needs on the machine.
    pub(crate) const fn need(self) -> Need {
        match self {
            // Without root the copier cannot give files to their owners.
            Self::Direct => Need::Root,
            Self::Rsync => Need::Program("rsync"),
        }
    }
}

/// Makes two tests of each function that takes a [`Mode`].
macro_rules! in_both_modes {
    ($($name:ident),+ $(,)?) => {
        mod direct {
            $(#[test] fn $name() {
                $crate::support::needs!($crate::support::Mode::Direct.need());
                super::$name($crate::support::Mode::Direct);
            })+
        }
        mod rsync {
            $(#[test] fn $name() {
                $crate::support::needs!($crate::support::Mode::Rsync.need());
                super::$name($crate::support::Mode::Rsync);
            })+
        }
    };
}
pub(crate) use in_both_modes;
