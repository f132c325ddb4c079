//! Memory that the allocator keeps for later.

use std::{ffi::c_void, ptr};

unsafe extern "C" {
    /// Declared in `malloc/malloc.h`.
    fn malloc_zone_pressure_relief(zone: *mut c_void, goal: libc::size_t) -> libc::size_t;
}

/// Returns memory that was freed to the kernel: `malloc_zone_pressure_relief`. The costs grow with
/// the size of the heap.
pub fn release_unused() {
    // SAFETY: a null pointer stands for all zones, and 0 for as much as possible. The call locks
    // the zones itself.
    unsafe { malloc_zone_pressure_relief(ptr::null_mut(), 0) };
}

/// Does nothing: the allocator of macOS has no heaps for threads that could be limited.
pub const fn limit_heaps() {}
