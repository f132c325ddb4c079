//! The two sources of a configuration: the command line ([`cli`]) and the configuration file
//! ([`lua`]). [`load`] merges them.

pub mod cli;
pub mod load;
pub mod lua;

use crate::{
    config::{Places, Setup},
    script::Scripts,
};

/// A configuration that was read and can be run.
#[derive(Debug)]
pub struct Loaded {
    /// The daemon's settings and the syncs; a configuration file alone may have no sync.
    pub setup: Setup,
    /// Sentences for people about what looks wrong, but is no reason to refuse the configuration.
    pub warnings: Vec<String>,
    /// Places of the syncs in the configuration file.
    pub places: Places,
    /// Scripts of the user; also present if a program runs that the file has started.
    pub scripts: Option<Scripts>,
}
