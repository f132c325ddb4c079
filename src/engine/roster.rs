//! The mirrors as the engine knows them: who carries out their jobs, and what they are called.

use std::{os::unix::ffi::OsStrExt, sync::Arc};

use mirror_core::{mirror::Settings, notice::MirrorId, path::Escaped};

use crate::{
    exec::{Executor, source::SourceRoot},
    setup::Sync,
};

/// One mirror as the engine knows it.
pub struct Member {
    /// What was said of it.
    pub sync: Sync,
    /// Where it comes from.
    pub source: Arc<SourceRoot>,
    /// Who carries out its jobs.
    pub executor: Arc<dyn Executor>,
}

impl Member {
    /// What the core has to know of it.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let Sync { pace, insist, filter, .. } = &self.sync;
        Settings { pace: *pace, insist: *insist, filter: Arc::clone(filter) }
    }

    /// The source as it stands in the log: with a slash at its end.
    #[must_use]
    pub fn source_text(&self) -> String {
        format!("{}/", Escaped(self.source.path().as_os_str().as_bytes()))
    }

    /// The target as it stands in the log.
    #[must_use]
    pub fn target_text(&self) -> String {
        Escaped(self.sync.target.as_bytes()).to_string()
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
