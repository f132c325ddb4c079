//! Checks of flushes: after a successful one, the target has each entry as it was at the request,
//! or as it became later.

use alloc::{collections::BTreeMap, format, vec::Vec};

use crate::{
    flush::FlushEnd,
    fs_event::MirrorId,
    path::TreePath,
    sim::{
        CheckResult,
        tree::{SimNode, SimTree},
    },
};

/// The flushes that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct SimFlushes {
    next: u64,
    pending: BTreeMap<u64, SimFlush>,
    /// Number of those that were successful.
    pub(crate) complete: usize,
}

/// A flush of one mirror.
#[derive(Debug)]
pub(crate) struct SimFlush {
    mirror: MirrorId,
    path: TreePath,
    /// The states of each entry of the source since the request.
    states: BTreeMap<TreePath, Vec<Option<SimNode>>>,
    /// True after the states at the request were noted.
    has_begun: bool,
}

impl SimFlushes {
    /// Begins a flush at and below `path`, and returns its number.
    pub(crate) fn begin(&mut self, mirror: MirrorId, path: TreePath, source: &SimTree) -> u64 {
        self.next += 1;
        let mut flush = SimFlush { mirror, path, states: BTreeMap::new(), has_begun: false };
        flush.note(source);
        self.pending.insert(self.next, flush);
        self.next
    }

    /// Notes the present state of the source.
    pub(crate) fn note(&mut self, source: &SimTree) {
        self.pending.values_mut().for_each(|flush| flush.note(source));
    }

    /// Checks the answer of a flush, if it is successful.
    ///
    /// # Errors
    ///
    /// If it is wrong.
    pub(crate) fn end(
        &mut self,
        end: &FlushEnd,
        check: impl FnOnce(&SimFlush) -> CheckResult,
    ) -> CheckResult {
        let flush = self.pending.remove(&end.id).ok_or("an answer without a flush")?;
        if !end.obstacles.is_empty() {
            return Ok(());
        }
        self.complete += 1;
        check(&flush)
    }

    /// The mirror of a flush that is not answered.
    pub(crate) fn mirror(&self, id: u64) -> Option<MirrorId> {
        self.pending.get(&id).map(|flush| flush.mirror)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

impl SimFlush {
    fn note(&mut self, source: &SimTree) {
        for path in source.paths().filter(|path| self.path.contains(path)) {
            // An entry that is created after the request was missing before.
            let missing = if self.has_begun { Vec::from([None]) } else { Vec::new() };
            self.states.entry(path.clone()).or_insert(missing);
        }
        self.has_begun = true;
        for (path, states) in &mut self.states {
            let state = source.get(path);
            if states.last() != Some(&state) {
                states.push(state);
            }
        }
    }

    /// Checks that the target has each entry that has not changed since the request.
    pub(crate) fn check_unchanged(&self, target: &SimTree) -> CheckResult {
        for (path, states) in self.states.iter().filter(|(path, _)| !path.is_root()) {
            let has = target.get(path);
            if let [state] = &**states
                && *state != has
            {
                return Err(format!("flushed, but {path} is {has:?}, and was {state:?}"));
            }
        }
        Ok(())
    }

    /// Checks that the target has each entry as it was at the request or later. One that has
    /// changed since may also have the state of another one, which was renamed.
    pub(crate) fn check(&self, target: &SimTree) -> CheckResult {
        for (path, states) in &self.states {
            let has = target.get(path);
            let is_moved = || self.states.values().any(|states| states.contains(&has));
            if !states.contains(&has) && (states.len() == 1 || !is_moved()) {
                return Err(format!("flushed, but {path} is {has:?}, and was {states:?}"));
            }
        }
        let is_extra =
            |path: &TreePath| self.path.contains(path) && !self.states.contains_key(path);
        let extra = target.paths().find(|path| is_extra(path));
        extra.map_or(Ok(()), |path| Err(format!("flushed, but {path} is still there")))
    }
}
