//! The required state of a target, at a given time.
//!
//! Each path goes through a sequence of states that are all different. A target that has everything
//! up to some time shows a path in the last state of that time, or in a later one.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// The observable state of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FactState {
    Absent,
    /// A file of this length.
    Length(u64),
}

/// A state, and when it was complete. `None`: the change is not known to be complete.
type TimedState = (Option<Instant>, FactState);

/// The history of some paths below a source.
#[derive(Debug)]
pub(crate) struct FactBook {
    target: PathBuf,
    start: Instant,
    inner: Mutex<FactBookState>,
}

#[derive(Debug, Default)]
struct FactBookState {
    by_path: BTreeMap<String, Vec<TimedState>>,
    changes: u64,
    exchange: Option<TargetExchange>,
}

/// Another directory in the place of the target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetExchange {
    /// The time before which nothing is required of the target.
    pub(crate) at: Instant,
    /// True if a later change reveals the exchange to the daemon, so that everything is required.
    pub(crate) is_revealed_by_changes: bool,
}

impl FactBook {
    pub(crate) fn new(target: &Path) -> Self {
        Self { target: target.to_owned(), start: Instant::now(), inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, FactBookState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change of a path, and notes it. The states are those that the path may have
    /// meanwhile, and the final one.
    pub(crate) fn change(
        &self,
        path: &str,
        states: &[FactState],
        change: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let first = || vec![(Some(self.start), FactState::Absent)];
        self.lock()
            .by_path
            .entry(path.to_owned())
            .or_insert_with(first)
            .extend(states.iter().map(|state| (None, *state)));
        change()?;
        let mut inner = self.lock();
        inner.changes += 1;
        if let Some(last) = inner.by_path.get_mut(path).and_then(|states| states.last_mut()) {
            last.0 = Some(Instant::now());
        }
        Ok(())
    }

    /// Returns the number of changes.
    pub(crate) fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Exchanges the target while nobody compares it.
    pub(crate) fn exchange_target(
        &self,
        is_revealed_by_changes: bool,
        exchange: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut inner = self.lock();
        let result = exchange();
        inner.exchange = Some(TargetExchange { at: Instant::now(), is_revealed_by_changes });
        result
    }

    /// Returns a message for the first path in which the target lacks a change that was complete
    /// at `cutoff`.
    pub(crate) fn missing(&self, cutoff: Instant) -> Option<String> {
        let inner = self.lock();
        let since = inner.exchange.and_then(|exchange| {
            let is_revealed =
                exchange.is_revealed_by_changes
                    && inner.by_path.values().flatten().any(|(time, _)| {
                        time.is_some_and(|time| time > exchange.at && time <= cutoff)
                    });
            (!is_revealed).then_some(exchange.at)
        });
        inner.by_path.iter().find_map(|(path, states)| {
            let is_complete = |state: &TimedState| state.0.is_some_and(|time| time <= cutoff);
            let last = states.iter().rposition(is_complete)?;
            let required = states.get(last..).unwrap_or_default();
            let (time, state) = required.first()?;
            if since.is_some_and(|since| time.is_some_and(|time| time <= since)) {
                return None;
            }
            let found = observe(&self.target.join(path));
            let is_right = required.iter().any(|(_, state)| Some(*state) == found);
            let age = time.map_or(0.0, |time| time.elapsed().as_secs_f64());
            (!is_right).then(|| {
                format!("{path} has been {state:?} for {age:.1} s, and is {found:?} on the target")
            })
        })
    }
}

/// Returns the state of a path, or `None` if it cannot be known.
fn observe(path: &Path) -> Option<FactState> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Some(FactState::Length(found.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(FactState::Absent),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, length: usize) -> io::Result<()> {
        fs::write(path, vec![b'x'; length])
    }

    #[test]
    fn a_target_may_be_ahead_but_not_behind() {
        let target = tempfile::tempdir().unwrap();
        let book = FactBook::new(target.path());
        let ok = || Ok(());
        book.change("a", &[FactState::Length(0), FactState::Length(3)], ok).unwrap();
        let first = Instant::now();
        assert!(book.missing(first).is_some(), "it is absent");
        write(target.path().join("a"), 0).unwrap();
        assert!(book.missing(first).is_some(), "it is incomplete");
        write(target.path().join("a"), 3).unwrap();
        assert_eq!(book.missing(first), None);
        book.change("a", &[FactState::Length(5)], ok).unwrap();
        assert_eq!(book.missing(first), None);
        assert!(book.missing(Instant::now()).is_some(), "it is behind");
        write(target.path().join("a"), 5).unwrap();
        assert_eq!(book.missing(first), None, "it is ahead");
        book.change("a", &[FactState::Absent], ok).unwrap();
        assert_eq!(book.missing(first), None);
        assert!(book.missing(Instant::now()).is_some(), "its deletion is missing");
        assert_eq!(book.changes(), 3);
    }

    #[test]
    fn an_exchanged_target_lacks_older_changes_until_a_change_reveals_it() {
        for is_revealed in [false, true] {
            let target = tempfile::tempdir().unwrap();
            let book = FactBook::new(target.path());
            book.change("old", &[FactState::Length(3)], || Ok(())).unwrap();
            book.exchange_target(is_revealed, || Ok(())).unwrap();
            assert_eq!(book.missing(Instant::now()), None);
            book.change("new", &[FactState::Length(1)], || Ok(())).unwrap();
            assert!(book.missing(Instant::now()).is_some());
            write(target.path().join("new"), 1).unwrap();
            assert_eq!(book.missing(Instant::now()).is_some(), is_revealed);
        }
    }
}
