//! The members of a fleet: mirrors with a built-in target and scripted ones.

use alloc::{boxed::Box, string::String, vec::Vec};

use crate::{
    effect::Effect,
    fs_event::{FsEventKind, MirrorId},
    input::TargetLink,
    job::JobId,
    mirror::{
        Connection, Mirror, MirrorSettings, State,
        scripted::{ScriptSettings, ScriptedMirror},
    },
    path::TreePath,
    time::Moment,
};

/// Specification of a new mirror.
#[derive(Clone, Debug)]
pub enum MirrorSpec {
    /// A mirror with a built-in target.
    BuiltIn(MirrorSettings),
    /// A mirror whose changes are passed to a script.
    Scripted(ScriptSettings),
}

impl From<MirrorSettings> for MirrorSpec {
    fn from(settings: MirrorSettings) -> Self {
        Self::BuiltIn(settings)
    }
}

impl From<ScriptSettings> for MirrorSpec {
    fn from(settings: ScriptSettings) -> Self {
        Self::Scripted(settings)
    }
}

/// A mirror of a fleet.
#[derive(Debug)]
pub enum Member {
    /// A mirror with a built-in target.
    BuiltIn(Box<Mirror>),
    /// A mirror whose changes are passed to a script.
    Scripted(Box<ScriptedMirror>),
}

impl Member {
    pub(super) fn new(id: MirrorId, spec: MirrorSpec) -> Self {
        match spec {
            MirrorSpec::BuiltIn(settings) => Self::BuiltIn(Box::new(Mirror::new(id, settings))),
            MirrorSpec::Scripted(settings) => {
                Self::Scripted(Box::new(ScriptedMirror::new(id, settings)))
            }
        }
    }

    /// The id of the mirror.
    #[must_use]
    pub const fn id(&self) -> MirrorId {
        match self {
            Self::BuiltIn(mirror) => mirror.id(),
            Self::Scripted(mirror) => mirror.id(),
        }
    }

    /// The state of the mirror.
    #[must_use]
    pub const fn state(&self) -> &State {
        match self {
            Self::BuiltIn(mirror) => mirror.state(),
            Self::Scripted(mirror) => mirror.state(),
        }
    }

    /// The running jobs.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> {
        let (built, scripted) = match self {
            Self::BuiltIn(mirror) => (Some(mirror.jobs()), None),
            Self::Scripted(mirror) => (None, Some(mirror.jobs())),
        };
        built.into_iter().flatten().chain(scripted.into_iter().flatten())
    }

    /// Returns true if a job or a script of the mirror runs.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match self {
            Self::BuiltIn(mirror) => mirror.is_busy(),
            Self::Scripted(mirror) => mirror.is_busy(),
        }
    }

    pub(super) fn job_count(&self) -> usize {
        match self {
            Self::BuiltIn(mirror) => mirror.jobs().count(),
            Self::Scripted(mirror) => mirror.job_count(),
        }
    }

    pub(super) const fn connection(&self) -> Option<&Connection> {
        match self {
            Self::BuiltIn(mirror) => mirror.connection(),
            Self::Scripted(mirror) => mirror.connection(),
        }
    }

    pub(super) fn begin(&mut self, effects: &mut Vec<Effect>) {
        match self {
            Self::BuiltIn(mirror) => mirror.begin(effects),
            Self::Scripted(mirror) => mirror.begin(effects),
        }
    }

    pub(super) fn covered(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self {
            Self::BuiltIn(mirror) => mirror.covered(now, effects),
            Self::Scripted(mirror) => mirror.covered(effects),
        }
    }

    pub(super) fn cannot_cover(&mut self, reason: String, now: Moment, effects: &mut Vec<Effect>) {
        match self {
            Self::BuiltIn(mirror) => mirror.cannot_cover(reason, now, effects),
            Self::Scripted(mirror) => mirror.cannot_cover(reason, now, effects),
        }
    }

    pub(super) fn set_target_link(
        &mut self,
        link: TargetLink,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        match self {
            Self::BuiltIn(mirror) => mirror.set_target_link(link, now, effects),
            Self::Scripted(mirror) => mirror.set_target_link(link),
        }
    }

    pub(super) fn on_fs_event(
        &mut self,
        event: FsEventKind,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        match self {
            Self::BuiltIn(mirror) => mirror.on_fs_event(event, now, effects),
            Self::Scripted(mirror) => mirror.on_fs_event(event, now, effects),
        }
    }

    /// Handles an event of the predecessor.
    pub(super) fn on_predecessor_event(
        &mut self,
        event: FsEventKind,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        match self {
            Self::BuiltIn(mirror) => mirror.on_predecessor_event(event, now, effects),
            Self::Scripted(mirror) => mirror.on_predecessor_event(event, now, effects),
        }
    }

    /// Inherits the events that the predecessor, of the same kind, has not processed.
    pub(super) fn inherit(&mut self, other: &Self, now: Moment, effects: &mut Vec<Effect>) {
        match (self, other) {
            (Self::BuiltIn(successor), Self::BuiltIn(other)) => successor.inherit(other, now),
            (Self::Scripted(successor), Self::Scripted(other)) => {
                successor.inherit(other, now, effects);
            }
            (Self::BuiltIn(_), Self::Scripted(_)) | (Self::Scripted(_), Self::BuiltIn(_)) => {}
        }
    }

    pub(super) fn full_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self {
            Self::BuiltIn(mirror) => mirror.full_due(now, effects),
            Self::Scripted(mirror) => {
                mirror.push_full(TreePath::root());
            }
        }
    }

    pub(super) fn retry_now(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self {
            Self::BuiltIn(mirror) => mirror.retry_now(now, effects),
            Self::Scripted(mirror) => mirror.retry_now(effects),
        }
    }

    /// Applies new settings. Those of a scripted mirror never change.
    pub(super) fn changed(mut self, settings: MirrorSettings, recount: bool, now: Moment) -> Self {
        if let Self::BuiltIn(mirror) = &mut self {
            mirror.change(settings, recount, now);
        }
        self
    }

    pub(super) fn retire(self, effects: &mut Vec<Effect>) -> Vec<JobId> {
        match self {
            Self::BuiltIn(mirror) => mirror.retire(effects),
            Self::Scripted(mirror) => mirror.retire(effects),
        }
    }

    pub(super) fn next_wakeup(&self, may_start: bool) -> Option<Moment> {
        match self {
            Self::BuiltIn(mirror) => mirror.next_wakeup(may_start),
            Self::Scripted(mirror) => mirror.next_wakeup(may_start),
        }
    }
}
