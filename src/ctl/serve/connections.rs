//! The listening socket, and the limits of connections.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time,
};

use super::{progress::Progress, router::Router};

/// Maximum number of connections. Further ones wait in the queue of the kernel.
const MAX_CONNECTIONS: usize = 64;

/// Maximum time for the header of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval of the check for progress.
const CHECK: Duration = Duration::from_secs(5);

/// Maximum size of the header of a request, and of what is read ahead.
const MAX_HEADER: usize = 16 * 1024;

/// Maximum number of header fields.
const MAX_FIELDS: usize = 64;

/// Accepts connections until the runtime ends.
pub(super) async fn accept_all(listener: TcpListener, router: Arc<Router>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = Arc::clone(&router);
                tokio::spawn(async move {
                    serve_one(stream, router).await;
                    drop(slot);
                });
            }
            Err(error) => pause_after(&error).await,
        }
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

/// Serves the single request of a connection.
async fn serve_one(stream: TcpStream, router: Arc<Router>) {
    let progress = Progress::new();
    let of_service = progress.clone();
    let service = service_fn(move |request| {
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
            return;
        }
    }
}
