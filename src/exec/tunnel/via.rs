//! Transfers through a tunnel whose programs have addresses of their own.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use mirror_core::job::{Failure, Job, Outcome};

use super::{
    super::{Executor, process::cancel::Stop},
    Tunnel, Way,
};

/// The most ways of which it is remembered who carries out jobs on them.
const MOST_WAYS: usize = 64;

/// Makes who carries out jobs on a way; if that can't be done, a sentence for people.
type Make = dyn Fn(&Way) -> Result<Arc<dyn Executor>, String> + Send + Sync;

/// Carries out each job on the next way through a tunnel.
pub struct Through {
    tunnel: Arc<Tunnel>,
    make: Box<Make>,
    made: Mutex<BTreeMap<Way, Arc<dyn Executor>>>,
}

impl fmt::Debug for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Through").field("tunnel", &self.tunnel).finish_non_exhaustive()
    }
}

impl Through {
    /// One for this tunnel.
    #[must_use]
    pub fn new(
        tunnel: Arc<Tunnel>,
        make: impl Fn(&Way) -> Result<Arc<dyn Executor>, String> + Send + Sync + 'static,
    ) -> Self {
        Self { tunnel, make: Box::new(make), made: Mutex::default() }
    }

    /// What is learnt of a target on one way counts for the next job there.
    fn executor(&self, way: Way) -> Result<Arc<dyn Executor>, String> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(executor) = made.get(&way) {
            return Ok(Arc::clone(executor));
        }
        if made.len() >= MOST_WAYS {
            made.clear();
        }
        let executor = (self.make)(&way)?;
        made.insert(way, Arc::clone(&executor));
        Ok(executor)
    }
}

impl Executor for Through {
    fn run(&self, job: &mut Job, stop: &Stop) -> Outcome {
        let Some(way) = self.tunnel.next_way() else {
            let why = format!("the tunnel {} is down", self.tunnel.plan().name);
            return Outcome::Again(Failure::new(why));
        };
        match self.executor(way) {
            Ok(executor) => executor.run(job, stop),
            Err(why) => Outcome::Again(Failure::new(why)),
        }
    }
}
