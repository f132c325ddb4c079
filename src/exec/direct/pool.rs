//! Work pool: threads that share a stack of tasks.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::exec::lock;

/// Stack of tasks shared by the worker threads.
///
/// The task that was pushed last is taken first. A tree is thus walked depth-first, and few
/// directories wait at a time.
#[derive(Debug)]
pub(super) struct WorkPool<T> {
    state: Mutex<State<T>>,
    wakeup: Condvar,
}

#[derive(Debug)]
struct State<T> {
    tasks: Vec<T>,
    /// Number of workers that run a task and may push more.
    busy: usize,
}

impl<T: Send> WorkPool<T> {
    /// Runs `work` for all `tasks` and for the tasks that they push, until none are left. The
    /// caller works alone as long as there is at most one task; then up to `workers - 1` threads
    /// help.
    ///
    /// # Panics
    ///
    /// If `work` panicked, after all other threads have ended.
    pub(super) fn run(workers: usize, tasks: Vec<T>, work: &(impl Fn(&Self, T) + Sync)) {
        let pool = Self { state: Mutex::new(State { tasks, busy: 0 }), wakeup: Condvar::new() };
        while let Some(task) = pool.take_alone(workers) {
            work(&pool, task);
        }
        thread::scope(|scope| {
            let helpers = if pool.state().tasks.is_empty() { 0 } else { workers - 1 };
            for _ in 0..helpers {
                let helper = thread::Builder::new().name("copier".into());
                // If a thread cannot be started, the job is only slower.
                let _ = helper.spawn_scoped(scope, || pool.work(work));
            }
            pool.work(work);
        });
    }

    /// Pushes tasks. The last one is run first.
    pub(super) fn push(&self, tasks: impl IntoIterator<Item = T>) {
        let mut state = self.state();
        let before = state.tasks.len();
        state.tasks.extend(tasks);
        match state.tasks.len() - before {
            0 => {}
            1 => self.wakeup.notify_one(),
            _ => self.wakeup.notify_all(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    /// Returns a task while the caller works alone; `None` if there is none, or enough to share.
    fn take_alone(&self, workers: usize) -> Option<T> {
        let mut state = self.state();
        if workers > 1 && state.tasks.len() > 1 { None } else { state.tasks.pop() }
    }

    fn work(&self, work: &(impl Fn(&Self, T) + Sync)) {
        while let Some(task) = self.take() {
            // Also dropped during a panic; otherwise the other threads would wait forever.
            let _busy = BusyGuard { pool: self };
            work(self, task);
        }
    }

    /// Waits for the next task. Returns `None` once no more can come.
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
            state = self.wakeup.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Marks a worker as busy while it runs a task.
struct BusyGuard<'a, T: Send> {
    pool: &'a WorkPool<T>,
}

impl<T: Send> Drop for BusyGuard<'_, T> {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.busy -= 1;
        if state.busy == 0 && state.tasks.is_empty() {
            self.pool.wakeup.notify_all();
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
    fn every_task_runs_once_with_all_tasks_that_it_pushes() {
        for workers in [1, 2, 5] {
            let done = AtomicUsize::new(0);
            // A task is a depth and pushes three tasks of the next depth.
            WorkPool::run(workers, vec![0], &|pool: &WorkPool<u32>, depth| {
                done.fetch_add(1, Ordering::Relaxed);
                if depth < 8 {
                    pool.push([depth + 1; 3]);
                }
            });
            assert_eq!(done.into_inner(), (3_usize.pow(9) - 1) / 2);
        }
    }

    #[test]
    fn an_empty_pool_returns_at_once() {
        WorkPool::run(4, Vec::<u32>::new(), &|_, _| unreachable!());
    }

    #[test]
    fn two_tasks_run_concurrently() {
        // No thread passes the barrier without another one.
        let barrier = Barrier::new(2);
        WorkPool::run(2, vec![(), ()], &|_, ()| {
            barrier.wait();
        });
    }

    #[test]
    fn a_panic_does_not_block_the_other_workers() {
        let run = || {
            WorkPool::run(3, vec![0, 1, 2, 3], &|_, task| assert_ne!(task, 2, "a bug"));
        };
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    }
}
