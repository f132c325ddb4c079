//! Threads that share a stack of tasks.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

/// A stack of tasks, and who works on it.
///
/// The last task that was pushed is taken first, so that a tree is walked in depth and few
/// directories wait at a time.
#[derive(Debug)]
pub(super) struct Crew<T> {
    state: Mutex<State<T>>,
    news: Condvar,
}

#[derive(Debug)]
struct State<T> {
    tasks: Vec<T>,
    /// How many are at work, and may push more.
    busy: usize,
}

impl<T: Send> Crew<T> {
    /// Works on `tasks` and all that they push, until nothing is left. The caller works alone as
    /// long as there is nothing to share; then up to `workers - 1` threads help.
    ///
    /// # Panics
    ///
    /// If `work` did, after all others have ended.
    pub(super) fn run(workers: usize, tasks: Vec<T>, work: &(impl Fn(&Self, T) + Sync)) {
        let crew = Self { state: Mutex::new(State { tasks, busy: 0 }), news: Condvar::new() };
        while let Some(task) = crew.take_alone(workers) {
            work(&crew, task);
        }
        thread::scope(|scope| {
            let helpers = if crew.state().tasks.is_empty() { 0 } else { workers - 1 };
            for _ in 0..helpers {
                let helper = thread::Builder::new().name("copier".into());
                // One that can't be started is no more than a slower job.
                let _ = helper.spawn_scoped(scope, || crew.work(work));
            }
            crew.work(work);
        });
    }

    /// Adds tasks, of which the last is done first.
    pub(super) fn push(&self, tasks: impl IntoIterator<Item = T>) {
        let mut state = self.state();
        let before = state.tasks.len();
        state.tasks.extend(tasks);
        match state.tasks.len() - before {
            0 => {}
            1 => self.news.notify_one(),
            _ => self.news.notify_all(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task for the caller while it is alone; `None` if there is none, or enough to share.
    fn take_alone(&self, workers: usize) -> Option<T> {
        let mut state = self.state();
        if workers > 1 && state.tasks.len() > 1 { None } else { state.tasks.pop() }
    }

    fn work(&self, work: &(impl Fn(&Self, T) + Sync)) {
        while let Some(task) = self.take() {
            // Dropped in a panic as well, or the others would wait for ever.
            let _busy = Busy { crew: self };
            work(self, task);
        }
    }

    /// The next task, as soon as there is one; `None` once there can't be any more.
    fn take(&self) -> Option<T> {
        let mut state = self.state();
        loop {
            if let Some(task) = state.tasks.pop() {
                state.busy += 1;
                return Some(task);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The time during which a task is worked on.
struct Busy<'a, T: Send> {
    crew: &'a Crew<T>,
}

impl<T: Send> Drop for Busy<'_, T> {
    fn drop(&mut self) {
        let mut state = self.crew.state();
        state.busy -= 1;
        if state.busy == 0 && state.tasks.is_empty() {
            self.crew.news.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{
            Barrier,
            atomic::{AtomicUsize, Ordering},
        },
    };

    #[test]
    fn every_task_is_done_once_with_all_that_come_of_it() {
        for workers in [1, 2, 5] {
            let done = AtomicUsize::new(0);
            // A task is a depth; each makes three of the next depth.
            Crew::run(workers, vec![0], &|crew: &Crew<u32>, depth| {
                done.fetch_add(1, Ordering::Relaxed);
                if depth < 8 {
                    crew.push([depth + 1; 3]);
                }
            });
            assert_eq!(done.into_inner(), (3_usize.pow(9) - 1) / 2);
        }
    }

    #[test]
    fn nothing_to_do_ends_at_once() {
        Crew::run(4, Vec::<u32>::new(), &|_, _| unreachable!());
    }

    #[test]
    fn two_work_at_the_same_time() {
        // Neither gets past the barrier without the other.
        let barrier = Barrier::new(2);
        Crew::run(2, vec![(), ()], &|_, ()| {
            barrier.wait();
        });
    }

    #[test]
    fn a_panic_does_not_leave_the_others_waiting() {
        let run = || {
            Crew::run(3, vec![0, 1, 2, 3], &|_, task| assert_ne!(task, 2, "a bug"));
        };
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    }
}
