//! The clock that the original Lsyncd counts by: `times(3)`.

use std::mem;

/// Returns the ticks since some point in the past, the same for every process of this machine. A
/// second has [`ticks_per_second`] ticks.
#[must_use]
pub fn ticks() -> u64 {
    // SAFETY: `tms` is plain memory.
    let mut used: libc::tms = unsafe { mem::zeroed() };
    // SAFETY: the pointer is valid for the call, which fills the struct in.
    unsafe { libc::times(&raw mut used) }
}

/// Returns the number of ticks in a second: 100 on all machines in use today.
#[must_use]
pub fn ticks_per_second() -> u32 {
    // SAFETY: the call takes a number and returns one.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u32::try_from(ticks).ok().filter(|&ticks| ticks > 0).unwrap_or(100)
}
