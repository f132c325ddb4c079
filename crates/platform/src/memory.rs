//! Memory that the allocator keeps for later.

/// Returns memory that was freed to the kernel. The GNU C library keeps freed memory between pieces
/// that are in use, however much it is. With another C library, this does nothing. The costs grow
/// with the size of the heap: `malloc_trim(3)`.
pub fn release_unused() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes a number, and locks the heap itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;
    use std::fs;

    fn resident_pages() -> usize {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn freed_memory_below_a_piece_in_use_is_returned() {
        let mut all: Vec<Vec<u8>> = (0..400_000).map(|_| vec![1; 100]).collect();
        let last = all.pop();
        drop(all);
        let before = resident_pages();
        release_unused();
        let after = resident_pages();
        assert!(after + 5000 < before, "{before} pages, then {after}");
        assert_eq!(last.map(|it| it.len()), Some(100));
    }
}
