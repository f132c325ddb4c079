//! The members of a fleet: mirrors with a built-in target and scripted ones.

use alloc::{boxed::Box, vec::Vec};
use core::ops::{Deref, DerefMut};

use crate::{
    effect::Effect,
    fs_event::MirrorId,
    mirror::{
        Mirror, MirrorSettings, SyncMember,
        scripted::{ScriptSettings, ScriptedMirror},
    },
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

    /// The mirror, if its target is built in.
    #[must_use]
    pub fn built_in(&self) -> Option<&Mirror> {
        match self {
            Self::BuiltIn(mirror) => Some(mirror),
            Self::Scripted(_) => None,
        }
    }

    /// As [`built_in`](Self::built_in), to be changed.
    pub(super) fn built_in_mut(&mut self) -> Option<&mut Mirror> {
        match self {
            Self::BuiltIn(mirror) => Some(mirror),
            Self::Scripted(_) => None,
        }
    }

    /// The mirror, if it is scripted.
    pub(super) fn scripted(&self) -> Option<&ScriptedMirror> {
        match self {
            Self::BuiltIn(_) => None,
            Self::Scripted(mirror) => Some(mirror),
        }
    }

    /// As [`scripted`](Self::scripted), to be changed.
    pub(super) fn scripted_mut(&mut self) -> Option<&mut ScriptedMirror> {
        match self {
            Self::BuiltIn(_) => None,
            Self::Scripted(mirror) => Some(mirror),
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

    /// Applies new settings. Those of a scripted mirror never change.
    pub(super) fn changed(mut self, settings: MirrorSettings, recount: bool, now: Moment) -> Self {
        if let Some(mirror) = self.built_in_mut() {
            mirror.change(settings, recount, now);
        }
        self
    }
}

/// The interface that both kinds have in common.
impl Deref for Member {
    type Target = dyn SyncMember;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::BuiltIn(mirror) => &**mirror,
            Self::Scripted(mirror) => &**mirror,
        }
    }
}

impl DerefMut for Member {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::BuiltIn(mirror) => &mut **mirror,
            Self::Scripted(mirror) => &mut **mirror,
        }
    }
}
