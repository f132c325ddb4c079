//! The states of a mirror.

use alloc::{borrow::ToOwned, string::String};

use super::LOOK_AGAIN;
use crate::time::Moment;

/// The state of a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The source is being watched, for the first time.
    Covering,
    /// The first full transfer is due or runs; changes gather behind it.
    Starting,
    /// Changes are carried out as they become due.
    Live,
    /// The target can't be reached, or what comes after it failed; it is tried again.
    Away(Away),
    /// The source is gone. Nothing is done, least of all a delete, until it is back.
    Held {
        /// What is wrong with it.
        why: String,
        /// How it is found out that it is back.
        look: Look,
        /// What goes on then.
        resume: Resume,
    },
}

/// A target that is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// When it is tried again. [`Moment::NEVER`]: when somebody says so.
    pub until: Moment,
    /// What is tried.
    pub resume: Resume,
    /// What was wrong.
    pub cause: Cause,
}

/// Why a target is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It can't be reached, or not be written.
    Target,
    /// What the user wants done after a batch has failed.
    Hook,
}

/// What goes on when a target or a source is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The first full transfer.
    Starting,
    /// What is made once that is done.
    Live,
}

/// How it is found out that a source is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It is looked at again at this time.
    At(Moment),
    /// Somebody is looking, and will tell.
    Asked,
}

impl State {
    /// The source is still gone, and looked at again later. Whether that has another reason than
    /// before; `None` if the source was not known to be gone.
    pub(super) fn still_gone(&mut self, why: &str, now: Moment) -> Option<bool> {
        let Self::Held { why: known, look, .. } = self else { return None };
        *look = Look::At(now + LOOK_AGAIN);
        let is_other = known != why;
        if is_other {
            why.clone_into(known);
        }
        Some(is_other)
    }
}

impl Look {
    /// Whether the time has come to ask somebody to look. From then on that is done.
    pub(super) fn is_to_be_asked(&mut self, now: Moment) -> bool {
        let is_due = matches!(self, Self::At(at) if *at <= now);
        if is_due {
            *self = Self::Asked;
        }
        is_due
    }
}

impl From<Resume> for State {
    fn from(resume: Resume) -> Self {
        match resume {
            Resume::Starting => Self::Starting,
            Resume::Live => Self::Live,
        }
    }
}
