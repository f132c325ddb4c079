//! Validation of a target that did not answer when the configuration was loaded.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use mirror_core::job::{Failure, Job, Outcome};

use super::{Executor, process::cancel::CancelToken};

/// Executor that validates the target before the first job, on the thread of the job. As long as
/// the target is refused, jobs fail.
pub(crate) struct WithTargetCheck<F> {
    inner: Arc<dyn Executor>,
    /// Fails with the reason why the target is refused.
    check: F,
    is_checked: AtomicBool,
}

impl<F: Fn() -> Result<(), String> + Send + Sync> WithTargetCheck<F> {
    pub(crate) const fn new(inner: Arc<dyn Executor>, check: F) -> Self {
        Self { inner, check, is_checked: AtomicBool::new(false) }
    }
}

impl<F: Fn() -> Result<(), String> + Send + Sync> Executor for WithTargetCheck<F> {
    fn run(&self, job: &mut Job, cancel: &CancelToken) -> Outcome {
        if !self.is_checked.load(Ordering::Relaxed) {
            if let Err(why) = (self.check)() {
                return Outcome::Retry(Failure::new(why));
            }
            self.is_checked.store(true, Ordering::Relaxed);
        }
        self.inner.run(job, cancel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::lock;
    use mirror_core::{
        fs_event::MirrorId,
        job::{JobId, Work},
    };
    use std::sync::Mutex;

    /// Executor that counts its jobs.
    #[derive(Default)]
    struct CountingExecutor(Mutex<usize>);

    impl Executor for CountingExecutor {
        fn run(&self, _: &mut Job, _: &CancelToken) -> Outcome {
            *lock(&self.0) += 1;
            Outcome::Done
        }
    }

    #[test]
    fn no_job_runs_before_the_target_is_accepted_and_then_it_is_not_validated_again() {
        let (inner, refused) = (Arc::new(CountingExecutor::default()), AtomicBool::new(true));
        let checked = Mutex::new(0);
        let check = || {
            *lock(&checked) += 1;
            if refused.load(Ordering::Relaxed) {
                Err("it contains its source".into())
            } else {
                Ok(())
            }
        };
        let executor = WithTargetCheck::new(Arc::clone(&inner) as Arc<dyn Executor>, check);
        let run = || {
            let mut job = Job::new(JobId(0), MirrorId(0), Work::full());
            executor.run(&mut job, &CancelToken::default())
        };
        let failure = Outcome::Retry(Failure::new("it contains its source"));
        assert_eq!([run(), run()], [failure.clone(), failure]);
        assert_eq!(*lock(&inner.0), 0);
        refused.store(false, Ordering::Relaxed);
        assert_eq!([run(), run()], [Outcome::Done, Outcome::Done]);
        assert_eq!((*lock(&inner.0), *lock(&checked)), (2, 3));
    }
}
