//! `lsyncctl serve`: the status page, metrics and documents of a daemon over HTTP.
//!
//! A process of its own, without the rights of the daemon ([decision
//! 22](../../../docs/decisions/0022-http-in-another-process.md)). It asks the daemon through its
//! sockets. `docs/monitoring.md` describes it for users.
//!
//! | module | contents |
//! |---|---|
//! | `feed` | the thread that asks the daemon, and its latest answer |
//! | `lag_history` | the lag of each sync over the last hours |
//! | `connections`, `progress` | the listening socket, and limits of connections |
//! | `router` | the endpoints |
//! | `events` | the stream of changes |
//! | `control` | the endpoints that change something |
//! | `hosts`, `token` | the checks of requests |
//! | `reply` | responses with their security headers |

mod connections;
mod control;
mod events;
mod feed;
mod hosts;
mod lag_history;
mod link;
mod progress;
mod reply;
mod router;
mod token;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::{runtime, sync::oneshot};

use connections::accept_all;
pub use control::ControlAccess;
use feed::Feed;
use hosts::HostPolicy;
use link::DaemonLink;
use router::Router;
pub use token::{Token, TokenError};

/// Settings of the server.
#[derive(Debug)]
pub struct ServeOptions {
    /// Address and port to listen on. Port 0: any free port.
    pub listen: SocketAddr,
    /// The socket that is asked: the read-only one, unless it is missing and control is permitted.
    pub socket: PathBuf,
    /// Names of hosts by which browsers may address the server, besides addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// Permission to control the daemon.
    pub control: Option<ControlAccess>,
}

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, and serves on threads of its own.
    ///
    /// # Errors
    ///
    /// If the address is not available, would send the token over a network, or if a thread cannot
    /// be started. The text is for people.
    pub fn start(options: ServeOptions) -> Result<Self, String> {
        let ServeOptions { listen, socket, allowed_hosts, control } = options;
        if control.is_some() && !listen.ip().is_loopback() {
            return Err(format!(
                "--control on {listen} would send the token unencrypted over the network: listen \
                 on 127.0.0.1, behind a proxy with TLS"
            ));
        }
        let failed = |error: io::Error| format!("cannot serve on {listen}: {error}");
        let listener = TcpListener::bind(listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(router::MAX_DAEMON_REQUESTS)
            .build()
            .map_err(failed)?;
        let fallback = control.as_ref().map(|access| access.socket.clone());
        let link = DaemonLink::new(socket, fallback);
        let feed = Feed::start(link.clone()).map_err(failed)?;
        let router = Arc::new(Router::new(feed, link, HostPolicy::new(allowed_hosts), control));
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    match tokio::net::TcpListener::from_std(listener) {
                        Ok(listener) => drop(tokio::spawn(accept_all(listener, router))),
                        Err(error) => eprintln!("cannot serve on {listen}: {error}"),
                    }
                    // Also an error means the end: the owner is gone.
                    let _ = stopped.await;
                });
                // A request to the daemon may still run; its time is limited.
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it ends.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic is reported by its hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Without a receiver it has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic is reported by its hook.
            let _ = thread.join();
        }
    }
}
