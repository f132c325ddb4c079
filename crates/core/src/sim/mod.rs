//! A world to try the deciding part in: all of it deterministic, none of it real.

pub(crate) mod random;
