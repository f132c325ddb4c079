//! Transfers through a tunnel whose programs have endpoints of their own.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use mirror_core::job::{Failure, Job, Outcome};

use super::{
    super::{Executor, lock, process::cancel::CancelToken},
    TunnelEndpoint, TunnelHandle,
};

/// Limit on cached executors, one for each endpoint.
const MAX_ENDPOINTS: usize = 64;

/// Creates the executor of an endpoint, or returns the reason for the log.
type ExecutorFactory = dyn Fn(&TunnelEndpoint) -> Result<Arc<dyn Executor>, String> + Send + Sync;

/// Executor that runs each job through the next endpoint of a tunnel.
pub(crate) struct ViaTunnel {
    tunnel: Arc<TunnelHandle>,
    factory: Box<ExecutorFactory>,
    executors: Mutex<BTreeMap<TunnelEndpoint, Arc<dyn Executor>>>,
}

impl fmt::Debug for ViaTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViaTunnel").field("tunnel", &self.tunnel).finish_non_exhaustive()
    }
}

impl ViaTunnel {
    /// Creates an executor for this tunnel.
    #[must_use]
    pub(crate) fn new(
        tunnel: Arc<TunnelHandle>,
        create: impl Fn(&TunnelEndpoint) -> Result<Arc<dyn Executor>, String> + Send + Sync + 'static,
    ) -> Self {
        Self { tunnel, factory: Box::new(create), executors: Mutex::default() }
    }

    /// Returns the executor of an endpoint. It is cached, so that facts about the target serve the
    /// next job, too.
    fn executor(&self, endpoint: TunnelEndpoint) -> Result<Arc<dyn Executor>, String> {
        let mut executors = lock(&self.executors);
        if let Some(executor) = executors.get(&endpoint) {
            return Ok(Arc::clone(executor));
        }
        if executors.len() >= MAX_ENDPOINTS {
            executors.clear();
        }
        let executor = (self.factory)(&endpoint)?;
        executors.insert(endpoint, Arc::clone(&executor));
        Ok(executor)
    }
}

impl Executor for ViaTunnel {
    fn run(&self, job: &mut Job, cancel: &CancelToken) -> Outcome {
        let Some(endpoint) = self.tunnel.next_endpoint() else {
            let why = format!("the tunnel {} is down", self.tunnel.plan().name);
            return Outcome::Retry(Failure::new(why));
        };
        match self.executor(endpoint) {
            Ok(executor) => executor.run(job, cancel),
            Err(why) => Outcome::Retry(Failure::new(why)),
        }
    }
}
