//! The daemon: everything that acts.
//!
//! [`run`] puts it together: the command line says what is wanted, [`watch`] tells the [`engine`]
//! what changes, the engine has it carried out by [`exec`], and [`report`] tells people.
#![forbid(unsafe_code)]

pub mod config;

pub mod check;
pub mod frontend;
pub mod run;
pub mod script;

pub mod watch;

pub mod engine;

pub mod exec;

pub mod report;

pub mod daemon;
