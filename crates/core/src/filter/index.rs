//! Rules that are found by looking bytes up.

use alloc::{boxed::Box, vec::Vec};

use hashbrown::HashMap;

use super::{
    class::ByteSet,
    rule::{Action, Rule},
};
use crate::notice::Kind;

/// A rule that matches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// Its place in the list of rules.
    pub(super) number: usize,
    /// What it does.
    pub(super) action: Action,
}

/// Finds the first rule for some bytes, in a time that hardly depends on how many rules there are.
///
/// The keys come from the configuration, so that nobody who names a file can make them collide.
#[derive(Debug, Default)]
pub(super) struct Index {
    firsts: HashMap<Box<[u8]>, First>,
    /// The bytes with which keys end: most questions are answered by them.
    last_bytes: ByteSet,
    /// How long the keys are, in whatever counts: each length once, in order.
    lengths: Vec<usize>,
}

/// The first rules with one key.
#[derive(Clone, Copy, Debug, Default)]
struct First {
    for_any: Option<Hit>,
    for_directories: Option<Hit>,
}

impl Index {
    /// Adds a rule after all that were added before.
    pub(super) fn add(&mut self, key: &[u8], length: usize, hit: Hit, rule: &Rule) {
        let Some(&last) = key.last() else { return };
        self.last_bytes.insert(last);
        if let Err(at) = self.lengths.binary_search(&length) {
            self.lengths.insert(at, length);
        }
        let first = self.firsts.entry_ref(key).or_default();
        let slot = if rule.pattern().is_for_directories() {
            &mut first.for_directories
        } else {
            &mut first.for_any
        };
        slot.get_or_insert(hit);
    }

    /// The first rule whose key is a part of `bytes`: the one of each length that `part` gives,
    /// until it gives none. All parts end where `bytes` do.
    pub(super) fn find<'a>(
        &self,
        bytes: &'a [u8],
        kind: Kind,
        part: impl Fn(&'a [u8], usize) -> Option<&'a [u8]>,
    ) -> Option<Hit> {
        if !bytes.last().is_some_and(|&last| self.last_bytes.contains(last)) {
            return None;
        }
        let parts = self.lengths.iter().map_while(|&length| part(bytes, length));
        let hits = parts.filter_map(|part| self.firsts.get(part)?.hit(kind));
        hits.min_by_key(|hit| hit.number)
    }
}

impl First {
    fn hit(self, kind: Kind) -> Option<Hit> {
        let for_directories = self.for_directories.filter(|_| kind == Kind::Directory);
        self.for_any.into_iter().chain(for_directories).min_by_key(|hit| hit.number)
    }
}
