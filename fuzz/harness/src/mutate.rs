//! Random changes of inputs.

use crate::random::FuzzRng;

/// Maximum number of changes in one mutation, as a power of two.
const MAX_CHANGES_LOG2: usize = 5;

/// Maximum length of a range that is inserted, deleted or duplicated, in most changes.
const SHORT_RANGE: usize = 16;

/// Numbers at which arithmetic goes wrong.
const INTERESTING_NUMBERS: [i64; 24] = [
    0,
    1,
    -1,
    2,
    -2,
    7,
    8,
    16,
    24,
    32,
    64,
    100,
    127,
    128,
    255,
    256,
    4095,
    4096,
    32767,
    32768,
    65535,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
];

/// Inputs and tokens from which new inputs are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MutationSource<'a> {
    /// Valid inputs.
    pub(crate) seeds: &'a [Vec<u8>],
    /// Tokens of the input language.
    pub(crate) dictionary: &'a [&'a [u8]],
    /// Maximum length of an input.
    pub(crate) max_length: usize,
}

impl MutationSource<'_> {
    /// Creates an input: a changed seed or, now and then, only tokens.
    pub(crate) fn input(&self, rng: &mut FuzzRng) -> Vec<u8> {
        let mut data = match rng.pick(self.seeds) {
            Some(seed) if !rng.once_in(32) => seed.clone(),
            _ => Vec::new(),
        };
        let changes = 1 << rng.below(MAX_CHANGES_LOG2 + 1);
        for _ in 0..changes {
            self.change(&mut data, rng);
            data.truncate(self.max_length);
        }
        data
    }

    /// Makes one change.
    fn change(&self, data: &mut Vec<u8>, rng: &mut FuzzRng) {
        match rng.below(16) {
            0 => flip_bit(data, rng),
            1 => replace_byte(data, rng),
            2 => insert_bytes(data, rng),
            3 => delete_range(data, rng),
            4 => duplicate_range(data, rng),
            5 => self.splice(data, rng),
            6 => write_number(data, rng),
            7 => write_digits(data, rng),
            8 => swap_lines(data, rng),
            9 => data.truncate(rng.below(data.len() + 1)),
            10 => self.overwrite_with_token(data, rng),
            _ => self.insert_token(data, rng),
        }
    }

    fn insert_token(&self, data: &mut Vec<u8>, rng: &mut FuzzRng) {
        let Some(token) = rng.pick(self.dictionary) else { return insert_bytes(data, rng) };
        let at = rng.below(data.len() + 1);
        data.splice(at..at, token.iter().copied());
    }

    fn overwrite_with_token(&self, data: &mut Vec<u8>, rng: &mut FuzzRng) {
        let Some(token) = rng.pick(self.dictionary) else { return replace_byte(data, rng) };
        let at = rng.below(data.len() + 1);
        let end = (at + token.len()).min(data.len());
        data.splice(at..end, token.iter().copied());
    }

    /// Replaces the end of the input by the end of another seed.
    fn splice(&self, data: &mut Vec<u8>, rng: &mut FuzzRng) {
        let Some(other) = rng.pick(self.seeds) else { return };
        data.truncate(rng.below(data.len() + 1));
        let from = rng.below(other.len() + 1);
        data.extend_from_slice(other.get(from..).unwrap_or_default());
    }
}

/// Returns a random range of `data`, which is mostly short.
fn random_range(data: &[u8], rng: &mut FuzzRng) -> std::ops::Range<usize> {
    let start = rng.below(data.len() + 1);
    let rest = data.len() - start;
    let longest = if rng.once_in(8) { rest } else { rest.min(SHORT_RANGE) };
    start..start + rng.below(longest + 1)
}

fn random_byte_of<'a>(data: &'a mut [u8], rng: &mut FuzzRng) -> Option<&'a mut u8> {
    let at = rng.below(data.len());
    data.get_mut(at)
}

fn flip_bit(data: &mut [u8], rng: &mut FuzzRng) {
    let bit = 1 << rng.below(8);
    if let Some(byte) = random_byte_of(data, rng) {
        *byte ^= bit;
    }
}

fn replace_byte(data: &mut [u8], rng: &mut FuzzRng) {
    let new = rng.byte();
    if let Some(byte) = random_byte_of(data, rng) {
        *byte = new;
    }
}

/// Inserts random bytes, or a run of one byte.
fn insert_bytes(data: &mut Vec<u8>, rng: &mut FuzzRng) {
    let at = rng.below(data.len() + 1);
    let length = 1 + rng.below(SHORT_RANGE);
    let run = rng.once_in(2).then(|| rng.byte());
    let new: Vec<u8> = (0..length).map(|_| run.unwrap_or_else(|| rng.byte())).collect();
    data.splice(at..at, new);
}

fn delete_range(data: &mut Vec<u8>, rng: &mut FuzzRng) {
    data.drain(random_range(data, rng));
}

/// Inserts a copy of a range somewhere, now and then many copies.
fn duplicate_range(data: &mut Vec<u8>, rng: &mut FuzzRng) {
    let range = random_range(data, rng);
    let copies = if rng.once_in(8) { 1 + rng.below(64) } else { 1 };
    let copy = data.get(range).unwrap_or_default().repeat(copies);
    let at = rng.below(data.len() + 1);
    data.splice(at..at, copy);
}

/// Overwrites 1, 2, 4 or 8 bytes with an interesting number in the byte order of this machine.
fn write_number(data: &mut [u8], rng: &mut FuzzRng) {
    let Some(number) = rng.pick(&INTERESTING_NUMBERS) else { return };
    let bytes = number.to_ne_bytes();
    let size = 1 << rng.below(4);
    let at = rng.below(data.len());
    // The low bytes come first on the machines that we build for.
    for (byte, new) in data.iter_mut().skip(at).zip(bytes).take(size) {
        *byte = new;
    }
}

/// Replaces a run of digits by an interesting number.
fn write_digits(data: &mut Vec<u8>, rng: &mut FuzzRng) {
    let Some(number) = rng.pick(&INTERESTING_NUMBERS) else { return };
    let from = rng.below(data.len() + 1);
    let rest = data.get(from..).unwrap_or_default();
    let Some(start) = rest.iter().position(u8::is_ascii_digit) else { return };
    let length = rest.iter().skip(start).take_while(|byte| byte.is_ascii_digit()).count();
    let start = from + start;
    data.splice(start..start + length, number.to_string().bytes());
}

fn swap_lines(data: &mut Vec<u8>, rng: &mut FuzzRng) {
    let mut lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    let (one, other) = (rng.below(lines.len()), rng.below(lines.len()));
    lines.swap(one, other);
    *data = lines.join(&b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_are_reproducible_and_bounded() {
        let seeds = [b"one 12\ntwo".to_vec(), b"three".to_vec()];
        let source = MutationSource { seeds: &seeds, dictionary: &[b"tok"], max_length: 20 };
        let inputs = |seed| -> Vec<Vec<u8>> {
            (0..2000).map(|number| source.input(&mut FuzzRng::new(seed, number))).collect()
        };
        let made = inputs(1);
        assert_eq!(made, inputs(1));
        assert_ne!(made, inputs(2));
        assert!(made.iter().all(|input| input.len() <= 20));
        let has =
            |part: &[u8]| made.iter().any(|input| input.windows(part.len()).any(|w| w == part));
        assert!(has(b"tok") && has(b"two\none 12") && has(b"32768"));
    }

    #[test]
    fn no_seeds_and_no_tokens_are_needed() {
        let source = MutationSource { seeds: &[], dictionary: &[], max_length: 9 };
        assert!((0..500).any(|number| source.input(&mut FuzzRng::new(0, number)).len() == 9));
    }
}
