//! The daemon: everything that acts. The modules stand in the order in which a change passes.
#![forbid(unsafe_code)]

pub mod cli;
pub mod daemon;
pub mod exec;
pub mod report;
pub mod watch;
