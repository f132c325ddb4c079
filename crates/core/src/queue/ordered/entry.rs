//! What an ordered queue holds.

use alloc::{
    format,
    string::{String, ToString as _},
    sync::Arc,
};

use crate::{
    notice::{Edit, Kind},
    path::TreePath,
    time::Moment,
};

/// The name of one event. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u64);

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Etype {
    /// Owner, mode, times or extended attributes have changed.
    Attrib,
    /// The entry came into being.
    Create,
    /// Its content has changed.
    Modify,
    /// It went.
    Delete,
    /// It got another name.
    Move,
    /// The mirror begins.
    Init,
    /// Asked for by a script: all that comes later waits for it.
    Blanket,
    /// Asked for by a script or by the calendar: it waits for nothing, and nothing for it.
    Full,
}

impl Etype {
    /// Its name in scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attrib => "Attrib",
            Self::Create => "Create",
            Self::Modify => "Modify",
            Self::Delete => "Delete",
            Self::Move => "Move",
            Self::Init => "Init",
            Self::Blanket => "Blanket",
            Self::Full => "Full",
        }
    }

    /// Whether everything that comes later waits for it.
    #[must_use]
    pub const fn is_barrier(self) -> bool {
        matches!(self, Self::Init | Self::Blanket)
    }
}

impl From<Edit> for Etype {
    fn from(edit: Edit) -> Self {
        match edit {
            Edit::Attrib => Self::Attrib,
            Edit::Create => Self::Create,
            Edit::Modify | Edit::Write => Self::Modify,
            Edit::Delete => Self::Delete,
        }
    }
}

/// How far an event has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It can be worked on when its time has come.
    Wait,
    /// It has to wait for another one.
    Block,
    /// It is being worked on.
    Active,
}

impl Status {
    /// Its name in scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Block => "block",
            Self::Active => "active",
        }
    }
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) etype: Etype,
    pub(super) path: TreePath,
    pub(super) kind: Kind,
    pub(super) to: Option<TreePath>,
}

/// One event that waits or is being worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(super) id: EventId,
    pub(super) subject: Subject,
    pub(super) status: Status,
    pub(super) alarm: Moment,
    pub(super) trouble: Option<Trouble>,
}

/// How often the work on an event has failed, and why the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// How often it failed alone, or as one that was named. 0 while only lists have failed in which it
    /// was one of several.
    pub tries: u32,
    /// Whether it is to be tried alone, since it failed alone.
    pub is_alone: bool,
    /// Why the last try failed.
    pub why: Arc<str>,
    /// When news of it may end its rest at the earliest.
    pub(super) soonest: Moment,
}

impl Entry {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> EventId {
        self.id
    }

    /// What it says.
    #[must_use]
    pub const fn etype(&self) -> Etype {
        self.subject.etype
    }

    /// Where it happened; of a move, the name before. The root for what concerns everything.
    #[must_use]
    pub const fn path(&self) -> &TreePath {
        &self.subject.path
    }

    /// The name now, of a move.
    #[must_use]
    pub const fn to(&self) -> Option<&TreePath> {
        self.subject.to.as_ref()
    }

    /// Whether it is about a directory: what the original says by a slash at the end.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.subject.kind
    }

    /// How far it has come.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// What it is about, for people.
    #[must_use]
    pub fn title(&self) -> String {
        let etype = self.etype().name();
        let named = |path: &TreePath| {
            let slash = self.kind() == Kind::Directory && !path.is_root();
            format!("{path}{}", if slash { "/" } else { "" })
        };
        match self.to() {
            Some(to) => format!("{etype} of {} to {}", named(self.path()), named(to)),
            None if self.etype().is_barrier() => etype.to_string(),
            None => format!("{etype} on {}", named(self.path())),
        }
    }

    /// Why it is tried again. `None` if it was not tried yet.
    #[must_use]
    pub const fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// When it is due; the origin of time if it is at once.
    #[must_use]
    pub const fn alarm(&self) -> Moment {
        self.alarm
    }
}
