//! The two sources of a configuration: the command line ([`cli`]) and the configuration file
//! ([`lua`]). [`load`] merges them.

pub mod cli;
pub mod load;
pub mod lua;

use crate::{
    config::{Config, SyncPositions},
    script::Scripts,
};

/// A configuration that was read and can be run.
#[derive(Debug)]
pub struct Loaded {
    /// The daemon's settings and the syncs; a configuration file alone may have no sync.
    pub config: Config,
    /// Warnings: lines for people about doubtful settings.
    pub warnings: Vec<String>,
    /// Positions of the syncs in the configuration file.
    pub positions: SyncPositions,
    /// Scripts of the user; also present if a program runs that the file has started.
    pub scripts: Option<Scripts>,
    /// Hash of the configuration and its files, in hexadecimal digits.
    pub hash: String,
}
