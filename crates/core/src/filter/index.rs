//! Index of rules that are found by lookup.

use alloc::{boxed::Box, vec::Vec};

use hashbrown::HashMap;

use super::{
    class::ByteSet,
    rule::{FilterRule, RuleAction},
};
use crate::fs_event::EntryKind;

/// A matching rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct RuleHit {
    /// Its position in the rule list.
    pub(super) number: usize,
    pub(super) action: RuleAction,
}

/// Finds the first rule for some bytes, in time nearly independent of the number of rules.
///
/// The keys come from the configuration, so file names can't provoke hash collisions.
#[derive(Debug, Default)]
pub(super) struct RuleIndex {
    firsts: HashMap<Box<[u8]>, FirstRules>,
    /// Last bytes of all keys: they answer most lookups.
    last_bytes: ByteSet,
    /// Lengths of the keys in the caller's unit, sorted and unique.
    lengths: Vec<usize>,
}

/// The first rules for one key.
#[derive(Clone, Copy, Debug, Default)]
struct FirstRules {
    for_any: Option<RuleHit>,
    for_directories: Option<RuleHit>,
}

impl RuleIndex {
    /// Adds a rule after all previously added ones.
    pub(super) fn add(&mut self, key: &[u8], length: usize, hit: RuleHit, rule: &FilterRule) {
        let Some(&last) = key.last() else { return };
        self.last_bytes.insert(last);
        if let Err(at) = self.lengths.binary_search(&length) {
            self.lengths.insert(at, length);
        }
        let first = self.firsts.entry_ref(key).or_default();
        let slot = if rule.pattern().matches_directories_only() {
            &mut first.for_directories
        } else {
            &mut first.for_any
        };
        slot.get_or_insert(hit);
    }

    /// Returns the first rule whose key is a suffix of `bytes`. `part` returns the suffix of a
    /// given length, or `None` if `bytes` are too short. All suffixes end where `bytes` end.
    pub(super) fn find<'a>(
        &self,
        bytes: &'a [u8],
        kind: EntryKind,
        part: impl Fn(&'a [u8], usize) -> Option<&'a [u8]>,
    ) -> Option<RuleHit> {
        if !bytes.last().is_some_and(|&last| self.last_bytes.contains(last)) {
            return None;
        }
        let parts = self.lengths.iter().map_while(|&length| part(bytes, length));
        let hits = parts.filter_map(|part| self.firsts.get(part)?.hit(kind));
        hits.min_by_key(|hit| hit.number)
    }
}

impl FirstRules {
    fn hit(self, kind: EntryKind) -> Option<RuleHit> {
        let for_directories = self.for_directories.filter(|_| kind == EntryKind::Directory);
        self.for_any.into_iter().chain(for_directories).min_by_key(|hit| hit.number)
    }
}
