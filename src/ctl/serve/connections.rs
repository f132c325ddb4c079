//! The listening socket, and the limits of connections.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::AbortHandle,
    time,
};

use super::{progress::Progress, router::Router};
use crate::lock;

/// Maximum number of connections. For a further one, the oldest without a request is closed; if all
/// have one, it waits.
const MAX_CONNECTIONS: usize = 64;

/// Maximum time for the header of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval of the check for progress.
const CHECK: Duration = Duration::from_secs(5);

/// Maximum size of the header of a request, and of what is read ahead.
const MAX_HEADER: usize = 16 * 1024;

/// Maximum number of header fields.
const MAX_FIELDS: usize = 64;

/// Connections that have not sent the header of a request, by their numbers.
#[derive(Clone, Debug, Default)]
struct IdleConnections(Arc<Mutex<BTreeMap<u64, AbortHandle>>>);

impl IdleConnections {
    fn add(&self, number: u64, task: AbortHandle) {
        lock(&self.0).insert(number, task);
    }

    fn remove(&self, number: u64) {
        lock(&self.0).remove(&number);
    }

    /// Closes the oldest connection.
    fn close_oldest(&self) {
        if let Some((_, task)) = lock(&self.0).pop_first() {
            task.abort();
        }
    }
}

/// Accepts connections until the runtime ends.
pub(super) async fn accept_all(listener: TcpListener, router: Arc<Router>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let idle = IdleConnections::default();
    for number in 0.. {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        if slots.available_permits() == 0 {
            idle.close_oldest();
        }
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let (router, idle_here) = (Arc::clone(&router), idle.clone());
        let task = tokio::spawn(async move {
            serve_one(stream, router, move || idle_here.remove(number)).await;
            drop(slot);
        });
        // The task has not begun: the runtime has a single thread.
        idle.add(number, task.abort_handle());
    }
}

/// Waits after an error that does not pass at once, such as too many open files.
async fn pause_after(error: &io::Error) {
    let is_of_client =
        matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
    if !is_of_client {
        eprintln!("cannot accept a connection: {error}");
        time::sleep(Duration::from_secs(1)).await;
    }
}

/// Serves the single request of a connection. Calls `stop_idling` when its header is there, and at
/// the end.
async fn serve_one(stream: TcpStream, router: Arc<Router>, stop_idling: impl Fn() + Sync) {
    let progress = Progress::new();
    let of_service = progress.clone();
    let service = service_fn(|request| {
        stop_idling();
        let router = Arc::clone(&router);
        let progress = of_service.clone();
        async move { Ok::<_, Infallible>(router.answer(request, progress).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(MAX_HEADER)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // An error is that of the client: it left, or sent something invalid and was told so.
    while time::timeout(CHECK, connection.as_mut()).await.is_err() {
        if progress.is_stalled() {
            break;
        }
    }
    stop_idling();
}
