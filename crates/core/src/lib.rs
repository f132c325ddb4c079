//! The decisions of a mirror daemon, as a pure state machine.
//!
//! Nothing here touches a file, a process, a thread, a clock or the environment. Time is an
//! argument, events arrive as [`input::Input`]s, and actions leave as [`effect::Effect`]s. So a
//! recorded list of inputs replays a bug, and the whole daemon can be simulated.
//!
//! The entry point is [`fleet::Fleet`]. The modules, in the order in which one write passes them:
//!
//! | module | contents |
//! |---|---|
//! | [`fs_event`] | file system events, as a watch backend reports them |
//! | [`input`] | inputs to the state machine |
//! | [`fleet`] | all mirrors: shared limits, replacement at a reload, shutdown |
//! | [`mirror`] | the states of one sync, with a built-in target or [scripted](mirror::scripted) |
//! | [`filter`] | rsync's exclude and filter rules, matched on bytes |
//! | [`queue`] | the dirty paths of a mirror: debounce, batches, backoff |
//! | [`queue::event_queue`] | the events of a scripted mirror, in order |
//! | [`job`] | jobs for an executor, and their outcomes |
//! | [`effect`] | effects for the engine to perform |
//! | [`plan`] | command lines of rsync and ssh, exit codes, diagnostics |
//! | [`log_event`] | events for log and status |
//!
//! Used by several of them:
//!
//! | module | contents |
//! |---|---|
//! | [`path`], [`time`] | paths below a root; time as an argument |
//! | [`flush`] | requests to flush, and their answers |
//! | [`guard`] | deletion budgets, and the policy for a replaced source |
//! | [`snapshot`] | records of directories, by which a restart finds what changed |
//! | [`settings`] | the table of all settings of a configuration file |
//! | [`tunnel`] | the restart policy of tunnels |
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::wildcard_enum_match_arm, reason = "tests name what they expect"))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod path;
pub mod time;

pub mod settings;

pub mod flush;
pub mod fs_event;

pub mod input;

pub mod filter;
pub mod guard;
pub mod job;
pub mod plan;
pub mod queue;

pub mod effect;
pub mod log_event;

pub mod fleet;
pub mod mirror;
pub mod snapshot;

pub mod tunnel;

#[cfg(test)]
mod sim;
