//! The mirrors as the engine knows them: who carries out their jobs, and what they are called.

use std::{ffi::OsString, os::unix::ffi::OsStrExt, sync::Arc};

use mirror_core::{mirror::Settings, notice::MirrorId, path::Escaped};

use crate::exec::{Executor, source::SourceRoot};

/// What kind of sync it is, which decides the words of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `default.rsync`.
    Rsync,
    /// `default.direct`.
    Direct,
}

/// One mirror as the engine knows it.
pub struct Member {
    /// Its kind.
    pub kind: Kind,
    /// Where it comes from.
    pub source: Arc<SourceRoot>,
    /// Where it goes to, as it stands in the log.
    pub target: OsString,
    /// Who carries out its jobs.
    pub executor: Arc<dyn Executor>,
    /// What the core has to know of it.
    pub settings: Settings,
}

impl Member {
    /// The source as it stands in the log: with a slash at its end.
    #[must_use]
    pub fn source_text(&self) -> String {
        format!("{}/", Escaped(self.source.path().as_os_str().as_bytes()))
    }

    /// The target as it stands in the log.
    #[must_use]
    pub fn target_text(&self) -> String {
        Escaped(self.target.as_bytes()).to_string()
    }
}

/// All mirrors, by their names.
#[derive(Default)]
pub struct Roster(Vec<Member>);

impl Roster {
    /// A roster in which the names are the places in the list.
    #[must_use]
    pub const fn new(members: Vec<Member>) -> Self {
        Self(members)
    }

    /// The mirror of this name.
    #[must_use]
    pub fn get(&self, id: MirrorId) -> Option<&Member> {
        self.0.get(id.0 as usize)
    }

    /// The mirrors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.iter()
    }
}
