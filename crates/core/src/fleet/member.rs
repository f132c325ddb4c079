//! The mirrors of a fleet, of whichever sort.

use alloc::{boxed::Box, string::String, vec::Vec};

use crate::{
    effect::Effect,
    input::Gate,
    job::JobId,
    mirror::{
        Connection, Mirror, Settings, State,
        scripted::{ScriptSettings, Scripted},
    },
    notice::{MirrorId, News},
    path::TreePath,
    time::Moment,
};

/// What a new mirror has to know.
#[derive(Clone, Debug)]
pub enum Charter {
    /// One with a target of ours.
    Built(Settings),
    /// One whose changes are told to a script.
    Scripted(ScriptSettings),
}

impl From<Settings> for Charter {
    fn from(settings: Settings) -> Self {
        Self::Built(settings)
    }
}

impl From<ScriptSettings> for Charter {
    fn from(settings: ScriptSettings) -> Self {
        Self::Scripted(settings)
    }
}

/// A mirror of a fleet.
#[derive(Debug)]
pub enum Member {
    /// One with a target of ours.
    Built(Box<Mirror>),
    /// One whose changes are told to a script.
    Scripted(Box<Scripted>),
}

impl Member {
    pub(super) fn new(id: MirrorId, charter: Charter) -> Self {
        match charter {
            Charter::Built(settings) => Self::Built(Box::new(Mirror::new(id, settings))),
            Charter::Scripted(settings) => Self::Scripted(Box::new(Scripted::new(id, settings))),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> MirrorId {
        match self {
            Self::Built(mirror) => mirror.id(),
            Self::Scripted(mirror) => mirror.id(),
        }
    }

    /// The state it is in.
    #[must_use]
    pub const fn state(&self) -> &State {
        match self {
            Self::Built(mirror) => mirror.state(),
            Self::Scripted(mirror) => mirror.state(),
        }
    }

    /// The jobs that run.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> {
        let (built, scripted) = match self {
            Self::Built(mirror) => (Some(mirror.jobs()), None),
            Self::Scripted(mirror) => (None, Some(mirror.jobs())),
        };
        built.into_iter().flatten().chain(scripted.into_iter().flatten())
    }

    /// Whether something runs.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Built(mirror) => mirror.is_busy(),
            Self::Scripted(mirror) => mirror.is_busy(),
        }
    }

    pub(super) fn load(&self) -> usize {
        match self {
            Self::Built(mirror) => mirror.jobs().count(),
            Self::Scripted(mirror) => mirror.load(),
        }
    }

    pub(super) const fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Built(mirror) => mirror.connection(),
            Self::Scripted(mirror) => mirror.connection(),
        }
    }

    pub(super) fn begin(&mut self, effects: &mut Vec<Effect>) {
        match self {
            Self::Built(mirror) => mirror.begin(effects),
            Self::Scripted(mirror) => mirror.begin(effects),
        }
    }

    pub(super) fn covered(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self {
            Self::Built(mirror) => mirror.covered(now, effects),
            Self::Scripted(mirror) => mirror.covered(effects),
        }
    }

    pub(super) fn cannot_cover(&mut self, why: String, now: Moment, effects: &mut Vec<Effect>) {
        match self {
            Self::Built(mirror) => mirror.cannot_cover(why, now, effects),
            Self::Scripted(mirror) => mirror.cannot_cover(why, now, effects),
        }
    }

    pub(super) fn set_gate(&mut self, gate: Gate, now: Moment, effects: &mut Vec<Effect>) {
        match self {
            Self::Built(mirror) => mirror.set_gate(gate, now, effects),
            Self::Scripted(mirror) => mirror.set_gate(gate),
        }
    }

    pub(super) fn hear(&mut self, news: News, now: Moment, effects: &mut Vec<Effect>) {
        match self {
            Self::Built(mirror) => mirror.hear(news, now, effects),
            Self::Scripted(mirror) => mirror.hear(news, now, effects),
        }
    }

    /// Takes in what is told of the one before.
    pub(super) fn overhear(&mut self, news: News, now: Moment, effects: &mut Vec<Effect>) {
        match self {
            Self::Built(mirror) => mirror.overhear(news, now, effects),
            Self::Scripted(mirror) => mirror.overhear(news, now, effects),
        }
    }

    /// Takes over what the one before, of the same sort, has not done.
    pub(super) fn take_over(&mut self, other: &Self, now: Moment, effects: &mut Vec<Effect>) {
        match (self, other) {
            (Self::Built(heir), Self::Built(other)) => heir.inherit(other, now),
            (Self::Scripted(heir), Self::Scripted(other)) => heir.take_over(other, now, effects),
            (Self::Built(_), Self::Scripted(_)) | (Self::Scripted(_), Self::Built(_)) => {}
        }
    }

    pub(super) fn full_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self {
            Self::Built(mirror) => mirror.full_due(now, effects),
            Self::Scripted(mirror) => {
                mirror.push_full(TreePath::root());
            }
        }
    }

    pub(super) fn hangup(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self {
            Self::Built(mirror) => mirror.hangup(now, effects),
            Self::Scripted(mirror) => mirror.hangup(effects),
        }
    }

    /// The same with other settings. Those of a script never change.
    pub(super) fn changed(mut self, settings: Settings, recount: bool, now: Moment) -> Self {
        if let Self::Built(mirror) = &mut self {
            mirror.change(settings, recount, now);
        }
        self
    }

    pub(super) fn retire(self, effects: &mut Vec<Effect>) -> Vec<JobId> {
        match self {
            Self::Built(mirror) => mirror.retire(effects),
            Self::Scripted(mirror) => mirror.retire(effects),
        }
    }

    pub(super) fn next_wakeup(&self, may_start: bool) -> Option<Moment> {
        match self {
            Self::Built(mirror) => mirror.next_wakeup(may_start),
            Self::Scripted(mirror) => mirror.next_wakeup(may_start),
        }
    }
}
