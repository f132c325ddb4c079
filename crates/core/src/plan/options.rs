//! What the user says about the calls of rsync.

use alloc::vec::Vec;
use core::str;

use super::args::{Arg, Args};
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

    /// Whether what is excluded is deleted by a transfer of everything, and all that the source does
    /// not have with it.
    #[must_use]
    pub const fn deletes_excluded(&self, phase: Phase) -> bool {
        self.delete_excluded && matches!(phase, Phase::Startup)
    }

    /// The most deletions of one call that the user allows, in rsync's own words.
    #[must_use]
    pub fn max_delete(&self) -> Option<u64> {
        let mut words = self.words().peekable();
        let mut most = None;
        while let Some(word) = words.next() {
            let Some(rest) = word.strip_prefix(b"--max-delete") else { continue };
            let value = match rest.strip_prefix(b"=") {
                Some(value) => Some(value),
                None if rest.is_empty() => words.peek().map(|word| word.as_slice()),
                None => None,
            };
            let number = value.and_then(|value| str::from_utf8(value).ok()?.parse().ok());
            most = number.or(most);
        }
        most
    }

    /// Whether the user says which times are equal.
    #[must_use]
    pub fn has_window(&self) -> bool {
        self.words().any(|word| word.starts_with(b"--modify-window") || word.starts_with(b"-@"))
    }

    /// Whether hard links are kept.
    #[must_use]
    pub fn keeps_links(&self) -> bool {
        self.has(b'H', b"--hard-links")
    }

    /// Returns true if files get the times that they have at the source.
    #[must_use]
    pub fn keeps_times(&self) -> bool {
        self.has(b't', b"--times") || self.has(b'a', b"--archive")
    }

    /// Returns true if what is mounted in the source is not to be entered.
    #[must_use]
    pub fn stays_on_device(&self) -> bool {
        self.has(b'x', b"--one-file-system")
    }

    /// Returns true if the option of this letter and of this long word is on: as the last of the words
    /// says that speaks of it, else by the short options.
    fn has(&self, letter: u8, long: &[u8]) -> bool {
        let words: Vec<&[u8]> = self.words().map(Vec::as_slice).collect();
        let long = long.strip_prefix(b"--").unwrap_or(long);
        let said = Args::new(&words).filter_map(|arg| match arg {
            Arg::Option { name, .. } if name == long => Some(true),
            Arg::Option { name, .. } if name.strip_prefix(b"no-") == Some(long) => Some(false),
            Arg::Option { .. } | Arg::Operand(_) => None,
        });
        said.last().unwrap_or_else(|| self.short.contains(&letter))
    }

    /// Whether the user wants to see more of what rsync does than its complaints.
    #[must_use]
    pub fn tells(&self) -> bool {
        const LONG: [&[u8]; 8] = [
            b"--verbose",
            b"--info",
            b"--debug",
            b"--progress",
            b"--itemize",
            b"--out-format",
            b"--log-format",
            b"--stats",
        ];
        let in_short = |letters: &[u8]| letters.iter().any(|b| b"viP".contains(b));
        in_short(&self.short)
            || self.words().any(|word| {
                LONG.iter().any(|long| word.starts_with(long))
                    || matches!(word.as_slice(), [b'-', b, ..] if *b != b'-' && in_short(word))
            })
    }

    /// Whether the user wants to see how much was transferred.
    #[must_use]
    pub fn tells_numbers(&self) -> bool {
        self.words().any(|word| {
            word == b"--stats"
                || word.starts_with(b"--info=") && word.windows(5).any(|it| it == b"stats")
        })
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
