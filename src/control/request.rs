//! Requests of the protocol, and their results.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use serde::{Deserialize, Serialize};

use crate::{hex, unhex};

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// Returns the state of the daemon and of the selected syncs: a
    /// [`StatusDocument`](super::status::StatusDocument).
    Status(Selection),
    /// Returns the metrics as Prometheus text: a [`TextResult`].
    Metrics,
    /// Returns the recent batches of the selected syncs: a [`HistoryDocument`].
    History {
        /// The syncs.
        #[serde(flatten)]
        selection: Selection,
        /// Maximum number of batches of each sync, the latest ones.
        #[serde(default)]
        limit: Option<usize>,
    },
    /// Explains the treatment of a path: an [`ExplainDocument`].
    Explain {
        /// Absolute path, in a source.
        path: ByteText,
    },
    /// Compares the targets with the sources without any change: a [`VerifyDocument`].
    Verify(Selection),
    /// Transfers everything that was written before the request, and answers when it is on the
    /// targets: a [`FlushResult`].
    Flush {
        /// The syncs. With a path, only what concerns it is waited for.
        #[serde(flatten)]
        selection: Selection,
        /// Further selections.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also: Vec<Selection>,
        /// Maximum waiting time in seconds. While it lasts, failures are retried. Without it the
        /// answer comes at the first obstacle that does not pass by itself.
        #[serde(default)]
        timeout: Option<f64>,
    },
    /// Starts no transfer until `resume`. Running ones end. The answer is a [`SyncNames`].
    Pause(Selection),
    /// Ends a pause: a [`SyncNames`].
    Resume(Selection),
    /// Starts a full transfer, or with a path one of all that is below it: a [`SyncNames`].
    Resync(Selection),
    /// Accepts what syncs are held for: deletions as they were counted, another source, a failed
    /// `onSynced`. The answer is a [`SyncNames`] with the syncs that were held.
    Release(Selection),
    /// Retries at once everything that is backing off: a [`SyncNames`].
    Retry(Selection),
    /// Reloads the configuration: a [`TextResult`] with the changes. It fails if the configuration
    /// is invalid; then the running one stays in force.
    Reload,
    /// Changes the level of the log until the daemon exits: a [`TextResult`].
    Log {
        /// An argument of `-log`: `all`, `scarce`, or a category.
        level: String,
    },
    /// Exits as with `SIGTERM`: a [`TextResult`], before the daemon exits.
    Stop,
}

impl Request {
    /// Returns true if the request changes nothing: the read-only socket accepts it.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        match self {
            Self::Status(_) | Self::Metrics | Self::History { .. } | Self::Explain { .. } => true,
            Self::Verify(_)
            | Self::Flush { .. }
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Resync(_)
            | Self::Release(_)
            | Self::Retry(_)
            | Self::Reload
            | Self::Log { .. }
            | Self::Stop => false,
        }
    }
}

/// The syncs that a request concerns: all, if neither is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The name or target of a sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<String>,
    /// Absolute path: the syncs whose source contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<ByteText>,
}

/// A byte string: a JSON string if it is UTF-8, otherwise `{"hex": ".."}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ByteText {
    /// Text.
    Text(String),
    /// Any bytes.
    Hex {
        /// Two hexadecimal digits per byte.
        hex: String,
    },
}

impl ByteText {
    /// The text of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex { hex: hex(bytes) },
        }
    }

    /// The bytes. `None` if the digits are invalid.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.as_bytes().to_owned()),
            Self::Hex { hex } => unhex(hex),
        }
    }
}

impl From<&OsStr> for ByteText {
    fn from(text: &OsStr) -> Self {
        Self::new(text.as_bytes())
    }
}

/// A result for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextResult {
    /// The text, with a newline at the end of each line but the last one.
    pub text: String,
}

/// The syncs that a request has concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncNames {
    /// Their names, in the order of the configuration.
    pub syncs: Vec<String>,
}

/// The result of a flush.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushResult {
    /// True if everything that was written before the request is on the targets.
    pub is_complete: bool,
    /// The syncs that were waited for.
    pub syncs: Vec<String>,
    /// The obstacles. Empty if it is complete.
    pub obstacles: Vec<SyncObstacle>,
}

/// An obstacle of a flush.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncObstacle {
    /// The sync.
    pub sync: String,
    /// The reason, for people: a sentence without a full stop.
    pub message: String,
}

/// Recent batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryDocument {
    /// The batches of all selected syncs, in the order of their ends.
    pub batches: Vec<BatchRecord>,
}

/// A batch that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchRecord {
    /// Its number, unique during the run of the daemon.
    pub number: u64,
    /// Its sync.
    pub sync: String,
    /// Its start, in seconds since the epoch.
    pub started: f64,
    /// Its duration in seconds.
    pub duration: f64,
    /// The age of its oldest change at its end in seconds, if it has one.
    pub lag: Option<f64>,
    /// True for a full transfer.
    pub is_full: bool,
    /// The number of its paths.
    pub paths: usize,
    /// The first of them, escaped.
    pub names: Vec<String>,
    /// `done`, `partial`, `failed`, `hook_failed` or `stopped`.
    pub outcome: String,
    /// The exit code of the program, if one has exited.
    pub code: Option<i32>,
    /// The reason of a failure.
    pub message: Option<String>,
    /// Sent bytes, if known.
    pub sent_bytes: Option<u64>,
    /// Deletions made on the target, if known.
    pub deleted: Option<u64>,
}

/// The explanation of a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainDocument {
    /// The path, escaped.
    pub path: String,
    /// Its type at the source: `file`, `directory`, `link`, `other` or `missing`.
    pub kind: String,
    /// The syncs whose source contains it.
    pub syncs: Vec<PathExplanation>,
}

/// The treatment of a path by one sync.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathExplanation {
    /// The sync.
    pub sync: String,
    /// Its target.
    pub target: String,
    /// The way in which the path is watched, for people.
    pub watched: String,
    /// The rule that excludes it, as configured, with its origin.
    pub excluded_by: Option<String>,
    /// Its present stage: `in_sync`, `waiting`, `in_flight`, `deferred`, `failed`, `held`,
    /// `excluded` or `unknown`.
    pub stage: String,
    /// The reason of its failure, or of a hold.
    pub message: Option<String>,
    /// The last batches that included it, latest first.
    pub batches: Vec<BatchRecord>,
}

/// The comparison of targets with their sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyDocument {
    /// The syncs.
    pub syncs: Vec<SyncDrift>,
}

/// The differences of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncDrift {
    /// The sync.
    pub sync: String,
    /// Its target.
    pub target: String,
    /// The reason why nothing could be compared.
    pub error: Option<String>,
    /// Number of entries that differ or are missing on the target.
    pub different: u64,
    /// Number of entries that only the target has.
    pub extra: u64,
    /// The first of both, escaped.
    pub names: Vec<String>,
}
