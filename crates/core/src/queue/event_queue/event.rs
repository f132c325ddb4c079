//! Events in the queue of a scripted mirror.

use alloc::{
    format,
    string::{String, ToString as _},
    sync::Arc,
};

use crate::{
    fs_event::{Edit, EntryKind},
    path::TreePath,
    time::Moment,
};

/// The id of an event. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u64);

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Etype {
    /// Owner, mode, times or extended attributes were changed.
    Attrib,
    /// The entry was created.
    Create,
    /// Its content was changed.
    Modify,
    /// It was deleted.
    Delete,
    /// It was renamed.
    Move,
    /// The mirror starts.
    Init,
    /// Requested by a script: blocks all later events.
    Blanket,
    /// Requested by a script or by the calendar: neither blocks nor is blocked.
    Full,
}

impl Etype {
    /// The name in scripts.
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

    /// Returns true if it blocks all later events.
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

/// The status of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStatus {
    /// It can be activated when it is due.
    Wait,
    /// It is blocked by another one.
    Block,
    /// It is in progress.
    Active,
}

impl EventStatus {
    /// The name in scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Block => "block",
            Self::Active => "active",
        }
    }
}

/// The subject of an event: its type and its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventSubject {
    pub(super) etype: Etype,
    pub(super) path: TreePath,
    pub(super) kind: EntryKind,
    pub(super) to: Option<TreePath>,
}

/// A queued event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedEvent {
    pub(super) id: EventId,
    pub(super) subject: EventSubject,
    pub(super) status: EventStatus,
    pub(super) alarm: Moment,
    pub(super) queued: Moment,
    pub(super) failure: Option<EventFailure>,
}

/// The failures of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFailure {
    /// The number of failures of this event alone, or with certainty. 0 while it failed only as a
    /// part of lists.
    pub tries: u32,
    /// True if it is retried alone, because it failed alone.
    pub is_alone: bool,
    /// The error of the last try.
    pub message: Arc<str>,
    /// The earliest retry after a new change of the entry.
    pub(super) earliest_retry: Moment,
}

impl QueuedEvent {
    /// The id.
    #[must_use]
    pub const fn id(&self) -> EventId {
        self.id
    }

    /// The type.
    #[must_use]
    pub const fn etype(&self) -> Etype {
        self.subject.etype
    }

    /// The path; of a move, the old name. The root for events that concern everything.
    #[must_use]
    pub const fn path(&self) -> &TreePath {
        &self.subject.path
    }

    /// The new name of a move.
    #[must_use]
    pub const fn to(&self) -> Option<&TreePath> {
        self.subject.to.as_ref()
    }

    /// The kind of the entry: the original marks directories by a trailing slash.
    #[must_use]
    pub const fn kind(&self) -> EntryKind {
        self.subject.kind
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> EventStatus {
        self.status
    }

    /// The title for people.
    #[must_use]
    pub fn title(&self) -> String {
        let etype = self.etype().name();
        let named = |path: &TreePath| {
            let slash = self.kind() == EntryKind::Directory && !path.is_root();
            format!("{path}{}", if slash { "/" } else { "" })
        };
        match self.to() {
            Some(to) => format!("{etype} of {} to {}", named(self.path()), named(to)),
            None if self.etype().is_barrier() => etype.to_string(),
            None => format!("{etype} on {}", named(self.path())),
        }
    }

    /// The failure of the last try. `None` if it has not failed.
    #[must_use]
    pub const fn failure(&self) -> Option<&EventFailure> {
        self.failure.as_ref()
    }

    /// The time at which its change was reported. [`Moment::ORIGIN`] if it stands for no change.
    #[must_use]
    pub const fn queued(&self) -> Moment {
        self.queued
    }

    /// The time at which it is due; [`Moment::ORIGIN`] if it is due at once.
    #[must_use]
    pub const fn alarm(&self) -> Moment {
        self.alarm
    }
}
