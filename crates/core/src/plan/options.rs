//! What the user says about the calls of rsync.

use alloc::vec::Vec;

use crate::path::TreePath;

/// When what the source does not have is deleted on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeletePolicy {
    /// Never.
    Never,
    /// At startup and while the mirror runs.
    #[default]
    Always,
    /// At startup only.
    Startup,
    /// While the mirror runs only.
    Running,
}

impl DeletePolicy {
    /// Whether something is deleted in this phase.
    #[must_use]
    pub const fn applies(self, phase: Phase) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Startup => matches!(phase, Phase::Startup),
            Self::Running => matches!(phase, Phase::Running),
        }
    }
}

/// When a whole tree is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// When the mirror starts.
    Startup,
    /// Since changes may have been missed.
    Running,
}

/// How a batch names its files to rsync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ListForm {
    /// By a list for `--files-from`, which rsync looks up one by one.
    #[default]
    FilesFrom,
    /// By filter rules, as the original does. It is slow, since rsync matches each entry of each
    /// directory with each rule; programs that stand in the place of rsync may expect it.
    Filter,
}

/// The user's exclusions, in the words of the user.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Rules {
    /// There are none.
    #[default]
    None,
    /// Patterns, one a line of rsync's `--exclude-from`.
    Excludes(Vec<Vec<u8>>),
    /// Rules such as `- *.tmp`, in their order.
    Filters(Vec<Vec<u8>>),
}

/// What the user said about how rsync is to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsyncOptions {
    /// The letters of the short options that are on. No word is made of none.
    pub short: Vec<u8>,
    /// The user's own words, which follow them.
    pub extra: Vec<Vec<u8>>,
    /// Long options with their values, which follow those, in the order of the original.
    pub long: Vec<Vec<u8>>,
    /// When to delete.
    pub delete: DeletePolicy,
    /// Whether a startup also deletes what is excluded.
    pub delete_excluded: bool,
    /// What is excluded.
    pub rules: Rules,
    /// How a batch names its files.
    pub form: ListForm,
}

/// Those of the command line: links, times, and names as they are.
impl Default for RsyncOptions {
    fn default() -> Self {
        Self {
            short: b"lts".to_vec(),
            extra: Vec::new(),
            long: Vec::new(),
            delete: DeletePolicy::Always,
            delete_excluded: false,
            rules: Rules::None,
            form: ListForm::FilesFrom,
        }
    }
}

impl RsyncOptions {
    /// Whether a call for some of these places, one at least, brings the attributes of the root.
    #[must_use]
    pub fn brings_root<'a>(&self, places: impl IntoIterator<Item = &'a TreePath>) -> bool {
        let mut places = places.into_iter();
        match self.form {
            ListForm::FilesFrom => places.any(is_in_root),
            // Rules lead through the root.
            ListForm::Filter => places.next().is_some(),
        }
    }

    /// The user's own words and the long options.
    pub(super) fn words(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.extra.iter().chain(&self.long)
    }
}

/// Whether it is an entry of the root, or the root.
pub(super) fn is_in_root(path: &TreePath) -> bool {
    !path.as_bytes().contains(&b'/')
}
