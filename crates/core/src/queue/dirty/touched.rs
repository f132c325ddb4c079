//! The paths that were reported to change since the last snapshot.

use core::mem;

use super::DirtySet;
use crate::{
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::{
        PathSet,
        pending::{PendingSet, Span},
    },
};

impl DirtySet {
    /// The queue, which tracks what is reported to change from now on if `tracks`.
    #[must_use]
    pub fn tracking(self, tracks: bool) -> Self {
        Self { touched: tracks.then(PendingSet::default), ..self }
    }

    /// Takes the paths that were reported to change since the last call.
    pub fn take_touched(&mut self) -> PathSet {
        self.touched.as_mut().map(mem::take).unwrap_or_default().paths
    }

    /// Notes a path whose changes were possibly not reported.
    pub fn touch(&mut self, path: &TreePath, scope: Scope) {
        if let Some(touched) = &mut self.touched {
            let dirty = DirtyPath { path: path.clone(), scope };
            let _ = touched.add(&dirty, Span::default(), &self.limits);
        }
    }
}
