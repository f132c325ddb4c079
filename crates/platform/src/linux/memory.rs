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

/// Size in bytes from which a piece of memory has its own pages, and from which the free end of a
/// heap is returned.
#[cfg(target_env = "gnu")]
const THRESHOLD: libc::c_int = 256 << 10;

/// Limits what the heaps of the allocator keep, before threads are started. The GNU C library gives
/// threads heaps of their own, up to eight for each processor. Each of them keeps memory that was
/// freed: at its end as much as twice the largest piece that was freed, up to 64 MiB, which
/// [`release_unused`] returns for the first heap only. See `mallopt(3)`. With another C library,
/// this does nothing.
pub fn limit_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the calls take two numbers. They fail for unknown ones only.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD);
        libc::mallopt(libc::M_TRIM_THRESHOLD, THRESHOLD);
    }
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;
    use std::{
        fs,
        sync::{Mutex, PoisonError},
    };

    /// Held by each test that measures the memory of the process.
    static ALONE: Mutex<()> = Mutex::new(());

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
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        limit_heaps();
        let before = heaps();
        let threads: Vec<_> =
            (0..16).map(|_| std::thread::spawn(|| (vec![1_u8; 1000], heaps()))).collect();
        let kept: Vec<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
        assert!(kept.iter().all(|(_, heaps)| *heaps <= before.max(2)), "{before}");
    }

    #[test]
    fn freed_memory_below_a_piece_in_use_is_returned() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Vec<u8>> = (0..400_000).map(|_| vec![1; 100]).collect();
        let last = all.pop();
        drop(all);
        let before = resident_pages();
        release_unused();
        let after = resident_pages();
        assert!(after + 5000 < before, "{before} pages, then {after}");
        assert_eq!(last.map(|it| it.len()), Some(100));
    }

    #[test]
    fn the_free_end_of_each_heap_is_returned() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        limit_heaps();
        // A large piece that is freed raises the limits that are not set.
        drop(std::hint::black_box(vec![1_u8; 30 << 20]));
        let before = resident_pages();
        // At least one of two threads has the second heap.
        let threads = [(); 2].map(|()| {
            std::thread::spawn(|| {
                let first = vec![1_u8; 300];
                let all: Vec<Vec<u8>> = (0..60_000).map(|_| vec![1; 300]).collect();
                drop(std::hint::black_box(all));
                first
            })
        });
        let _first = threads.map(|thread| thread.join().unwrap());
        release_unused();
        let after = resident_pages();
        assert!(after < before + 3000, "{before} pages, then {after}");
    }
}
