//! Command lines of programs.

use alloc::vec::Vec;

/// A command line, without the name of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The arguments.
    pub args: Vec<Vec<u8>>,
    /// The standard input. `None` if it is empty.
    pub stdin: Option<Vec<u8>>,
}
