//! Pending paths that are dispatched together, and their age.

use crate::{
    job::{DirtyPath, Rename, Scope},
    path::TreePath,
    queue::{Debounce, Inserted, PathSet, QueueLimits, rename_hints::RenameHints},
    time::Moment,
};

/// The time span of a set of marks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    /// The time of the first mark. `None` if the set contains only paths whose backoff has ended:
    /// their age is kept with their failure.
    pub(super) first: Option<Moment>,
    /// The time of the last mark.
    newest: Moment,
    /// The time at which the marks are due if the last one looked as if no other one followed.
    early_due: Option<Moment>,
    /// Since when the set is due regardless of the debounce.
    due_since: Option<Moment>,
}

impl Span {
    /// The span of one mark.
    pub(super) const fn mark(at: Moment) -> Self {
        Self::mark_due_at(at, None)
    }

    /// The span of one mark that is due at once.
    pub(super) const fn due_now(at: Moment) -> Self {
        Self { due_since: Some(at), ..Self::mark(at) }
    }

    /// The span of a path whose backoff ended at `now`.
    pub(super) const fn retry(now: Moment) -> Self {
        Self { first: None, newest: Moment::ORIGIN, early_due: None, due_since: Some(now) }
    }

    /// The span of a mark that looks like the last one for a while if it is due at `due`.
    pub(super) const fn mark_due_at(at: Moment, due: Option<Moment>) -> Self {
        Self { first: Some(at), newest: at, early_due: due, due_since: None }
    }

    /// Returns true if it does not wait for the debounce.
    pub(super) const fn is_urgent(self) -> bool {
        self.due_since.is_some()
    }

    /// The time of the last mark.
    pub(super) const fn newest(self) -> Moment {
        self.newest
    }

    pub(super) fn join(&mut self, other: Self) {
        // The last mark knows best whether others follow.
        if other.first.is_some() && other.newest >= self.newest {
            self.early_due = other.early_due;
        }
        self.first = self.first.into_iter().chain(other.first).min();
        self.newest = self.newest.max(other.newest);
        self.due_since = self.due_since.into_iter().chain(other.due_since).min();
    }
}

/// Tells whether paths were replaced by larger ones that were not marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Collapsed {
    No,
    Yes,
}

/// Dirty paths that wait for the same event.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingSet {
    pub(super) paths: PathSet,
    pub(super) span: Span,
    /// Renames with both ends covered by `paths`.
    pub(super) hints: RenameHints,
}

impl PendingSet {
    /// Adds a path. Beyond the limits, in a directory or in all, paths are replaced by larger ones.
    pub(super) fn add(&mut self, dirty: &DirtyPath, span: Span, limits: &QueueLimits) -> Collapsed {
        self.span.join(span);
        let mut collapsed = Collapsed::No;
        let mut inserted = self.paths.insert(&dirty.path, dirty.scope);
        let mut path = dirty.path.parent();
        while let (Inserted::Added { siblings }, Some(directory)) = (inserted, path)
            && siblings > limits.per_directory
        {
            inserted = self.paths.insert(&directory, Scope::Tree);
            path = directory.parent();
            collapsed = Collapsed::Yes;
        }
        if self.paths.len() > limits.paths {
            self.paths.collapse(limits.paths / 2, limits.per_directory);
            collapsed = Collapsed::Yes;
        }
        collapsed
    }

    /// Adds a hint. Its ends must be among the paths already.
    pub(super) fn add_hint(&mut self, hint: Rename, limits: &QueueLimits) {
        self.hints.add(hint, limits.hints);
    }

    /// Adds all of `other`, whose marks are older.
    pub(super) fn append_older(&mut self, mut other: Self, limits: &QueueLimits) {
        for hint in self.hints.iter() {
            other.add_hint(hint.clone(), limits);
        }
        self.hints = other.hints;
        if self.paths.len() < other.paths.len() {
            core::mem::swap(&mut self.paths, &mut other.paths);
        }
        self.span.join(other.span);
        for dirty in &other.paths {
            let _ = self.add(&dirty, Span::default(), limits);
        }
    }

    /// The scope in which this end of a hint is covered.
    pub(super) fn scope_of(&self, path: &TreePath) -> Scope {
        if self.paths.covers(path, Scope::Tree) { Scope::Tree } else { Scope::Entry }
    }

    /// Makes the set due at once.
    pub(super) fn make_due(&mut self, now: Moment) {
        if !self.paths.is_empty() {
            self.span.join(Span::retry(now));
        }
    }

    /// The time at which the set is due. `None` if it is empty.
    pub(super) fn due(&self, debounce: Debounce) -> Option<Moment> {
        self.due_after(debounce, Moment::ORIGIN)
    }

    /// Like [`due`](Self::due), but not before `earliest`, except for what does not wait for the
    /// debounce.
    pub(super) fn due_after(&self, debounce: Debounce, earliest: Moment) -> Option<Moment> {
        if self.paths.is_empty() {
            return None;
        }
        let span = self.span;
        let debounced = span.first.map(|first| debounce.due(first, span.newest, self.paths.len()));
        let debounced = debounced.into_iter().chain(span.early_due).min();
        let debounced = debounced.map(|due| due.max(earliest));
        debounced.into_iter().chain(span.due_since).min()
    }
}
