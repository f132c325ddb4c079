//! Deterministic simulation of the decision logic.
//!
//! A [`scenario`] is a list of steps: changes of the source ([`change`], on a [`tree`]), which a
//! [`lossy_source`] reports late and imprecisely; jobs, which a [`worker`] executes in small steps
//! and sometimes abandons; and time, which only advances by such a step.

mod change;
mod concurrent;
mod converge;
mod flush;
mod guarded;
mod late_files;
mod lossy_source;
pub(crate) mod random;
mod restarts;
mod scenario;
mod scripted;
mod tree;
mod worker;
mod world;

use alloc::string::String;

use crate::time::Moment;

/// Result of a check of the simulated world; the error describes the violation.
pub(crate) type CheckResult = Result<(), String>;

/// Lets a simulated world wake up as often as it wants to until `end`.
fn wake_until<W>(
    world: &mut W,
    end: Moment,
    next_wakeup: impl Fn(&W) -> Option<Moment>,
    wake_up: impl Fn(&mut W, Moment) -> CheckResult,
) -> CheckResult {
    for _ in 0..1_000 {
        let Some(at) = next_wakeup(world).filter(|&at| at <= end) else { return Ok(()) };
        wake_up(world, at)?;
    }
    Err("it wakes up all the time".into())
}
