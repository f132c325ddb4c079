//! Reproducible pseudo-random numbers.

/// A generator by splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct TortureRng(u64);

impl TortureRng {
    /// Creates the generator of a seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// Returns a number below `limit`, or 0 if there is none.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    /// Returns true with a probability of one in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Returns an index of a list with this length, or 0 if it is empty.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// Picks an element.
    ///
    /// # Panics
    ///
    /// If the slice is empty.
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        *all.get(self.index(all.len())).expect("there is something to choose from")
    }

    pub(crate) fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length.div_ceil(8))
            .flat_map(|_| self.next().to_ne_bytes())
            .take(usize::try_from(length).unwrap_or(0))
            .collect()
    }
}
