//! Asks for the status all the time, and compares each answer with the target.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    control::{DamageControl, DamageStatus},
    facts::FactBook,
    matrix::DamageFault,
};

/// Interval between two requests.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The answers so far.
#[derive(Debug)]
pub(crate) struct StatusWatch<'a> {
    socket: PathBuf,
    book: &'a FactBook,
    /// The age of a change from which on it must be known: the kernel reports it, the watcher reads
    /// it and the engine takes it, on a busy machine.
    grace: Duration,
    answers: Mutex<StatusAnswers>,
}

#[derive(Debug, Default)]
struct StatusAnswers {
    last: Option<DamageStatus>,
    /// The number of answers with each state.
    states: BTreeMap<String, usize>,
    failures: usize,
    has_overflowed: bool,
    has_polled: bool,
    lie: Option<String>,
}

impl<'a> StatusWatch<'a> {
    pub(crate) fn new(socket: &Path, book: &'a FactBook, grace: Duration) -> Self {
        Self { socket: socket.to_owned(), book, grace, answers: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, StatusAnswers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks until `stop` is set.
    pub(crate) fn run(&self, stop: &AtomicBool) {
        let mut connection = None;
        while !stop.load(Ordering::Relaxed) {
            if connection.is_none() {
                connection = DamageControl::connect(&self.socket).ok();
            }
            let asked = Instant::now();
            let is_over = || stop.load(Ordering::Relaxed);
            // The connection is kept: a daemon without a free descriptor accepts no new one.
            let answer = connection.as_mut().map(|it| it.ask("status", "", is_over));
            if let Some(status) =
                answer.and_then(Result::ok).as_deref().and_then(DamageStatus::parse)
            {
                self.note(status, asked);
            } else {
                connection = None;
                let mut answers = self.lock();
                answers.failures += 1;
                answers.last = None;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn note(&self, status: DamageStatus, asked: Instant) {
        let lie = status
            .is_in_sync()
            .then(|| self.book.missing(asked.checked_sub(self.grace)?))
            .flatten()
            .map(|missing| format!("the status was in_sync, but {missing}"));
        let mut answers = self.lock();
        *answers.states.entry(status.state.clone()).or_default() += 1;
        answers.has_overflowed |= status.has_overflowed;
        answers.has_polled |= status.is_polling;
        answers.last = Some(status);
        if answers.lie.is_none() {
            answers.lie = lie;
        }
    }

    /// Returns true if the last answer was that everything is in sync.
    pub(crate) fn is_in_sync(&self) -> bool {
        self.lock().last.as_ref().is_some_and(DamageStatus::is_in_sync)
    }

    /// Returns the number of answers so far.
    pub(crate) fn answers(&self) -> usize {
        self.lock().states.values().sum()
    }

    /// Returns a message if a fault had no effect, as far as the answers show it.
    pub(crate) fn missed_effect(&self, fault: DamageFault) -> Option<&'static str> {
        let answers = self.lock();
        if fault == DamageFault::QueueOverflow && !answers.has_overflowed {
            return Some("the queue has not overflowed");
        }
        let is_unlimited = fault == DamageFault::WatchLimit && !answers.has_polled;
        is_unlimited.then_some("all directories could be watched")
    }

    /// Returns the first wrong answer.
    pub(crate) fn lie(&self) -> Option<String> {
        self.lock().lie.clone()
    }

    /// Returns the states so far, each with the number of answers.
    pub(crate) fn summary(&self) -> String {
        let answers = self.lock();
        let states: Vec<String> =
            answers.states.iter().map(|(state, count)| format!("{state} {count}")).collect();
        format!("{}, no answer {}", states.join(", "), answers.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::facts::FactState;

    #[test]
    fn only_an_answer_that_everything_is_in_sync_can_be_a_lie() {
        let target = tempfile::tempdir().unwrap();
        let book = FactBook::new(target.path());
        book.change("file", &[FactState::Length(3)], || Ok(())).unwrap();
        let lie_of = |state: &str, oldest: &str, grace: Duration| {
            let watch = StatusWatch::new(Path::new("/socket"), &book, grace);
            let answer = format!("\"state\":\"{state}\",\"oldest_change\":{oldest}");
            watch.note(DamageStatus::parse(&answer).unwrap(), Instant::now());
            watch.lie()
        };
        assert!(lie_of("in_sync", "null", Duration::ZERO).is_some());
        assert_eq!(lie_of("pending", "null", Duration::ZERO), None);
        assert_eq!(lie_of("in_sync", "0.1", Duration::ZERO), None);
        assert_eq!(lie_of("in_sync", "null", Duration::from_hours(1)), None, "it is too young");
        std::fs::write(target.path().join("file"), "abc").unwrap();
        assert_eq!(lie_of("in_sync", "null", Duration::ZERO), None);
    }
}
