//! A world to try the deciding part in: all of it deterministic, none of it real.
//!
//! A script says what happens in it ([`script`]): changes of the source ([`change`], on a
//! [`tree`]), of which a [`witness`] tells late and badly; jobs, which a [`worker`] does step by
//! step and sometimes not to the end; and time, which stands still unless it is moved.

mod change;
mod converge;
mod crew;
mod guarded;
pub(crate) mod random;
mod script;
mod scripted;
mod tree;
mod witness;
mod worker;
mod world;
