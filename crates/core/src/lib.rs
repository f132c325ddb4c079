//! Decides what a mirror daemon does.
//!
//! Nothing here touches a file, a process, a thread, a clock or the environment: time comes in as
//! an argument, what happened comes in as an [`input::Input`], and what is to be done goes out as
//! [`effect::Effect`]s. So a recorded list of inputs replays a bug, and the whole daemon can be
//! simulated.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod path;
pub mod time;

pub mod settings;

pub mod notice;

pub mod input;

pub mod filter;
pub mod guard;
pub mod job;
pub mod plan;
pub mod queue;

pub mod effect;
pub mod event;

pub mod fleet;
pub mod mirror;

pub mod tunnel;

#[cfg(test)]
mod sim;
