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

/// Limits the number of heaps of the allocator, before threads are started. The GNU C library gives
/// threads heaps of their own, up to eight for each processor, and each of them keeps memory that
/// was freed: `mallopt(3)`. With another C library, this does nothing.
pub fn limit_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes two numbers. It fails for unknown ones only.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
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

    /// The number of heaps of threads. Each is at a multiple of 64 MiB, where it is reserved.
    fn heaps() -> usize {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let is_heap = |line: &&str| {
            let (start, _) = line.split_once('-').unwrap();
            let start = usize::from_str_radix(start, 16).unwrap();
            start.is_multiple_of(64 << 20) && line.contains(" rw-p 00000000 00:00 0")
        };
        maps.lines().filter(is_heap).count()
    }

    #[test]
    fn threads_share_heaps() {
        limit_heaps();
        let before = heaps();
        let threads: Vec<_> =
            (0..16).map(|_| std::thread::spawn(|| (vec![1_u8; 1000], heaps()))).collect();
        let kept: Vec<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
        assert!(kept.iter().all(|(_, heaps)| *heaps <= before.max(2)), "{before}");
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
