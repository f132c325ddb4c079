//! The endpoints.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Method, Request as HttpRequest, StatusCode, body::Incoming, header};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::{
    control::{self, ControlAccess},
    events,
    feed::Feed,
    hosts::HostPolicy,
    link::DaemonLink,
    progress::Progress,
    reply::{self, HttpReply},
};
use crate::control::{
    client_error::ClientError,
    metrics,
    request::{HistoryDocument, Request, Selection},
};

/// Maximum number of simultaneous requests to the daemon, that of the state not counted.
pub(super) const MAX_DAEMON_REQUESTS: usize = 4;

/// Maximum number of batches in an answer.
const MAX_BATCHES: usize = 100;

/// Maximum time for the answer of the daemon to a question.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A file of the page.
struct PageFile {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const PAGE: [PageFile; 4] = [
    PageFile {
        path: "/",
        content_type: "text/html; charset=utf-8",
        text: include_str!("page/page.html"),
    },
    PageFile {
        path: "/page.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("page/page.css"),
    },
    PageFile {
        path: "/page.js",
        content_type: "text/javascript; charset=utf-8",
        text: include_str!("page/page.js"),
    },
    PageFile {
        path: "/icon.svg",
        content_type: "image/svg+xml",
        text: include_str!("page/icon.svg"),
    },
];

/// Everything that answers need.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) feed: Feed,
    link: DaemonLink,
    hosts: HostPolicy,
    pub(super) control: Option<ControlAccess>,
    daemon_requests: Arc<Semaphore>,
}

impl Router {
    pub(super) fn new(
        feed: Feed,
        link: DaemonLink,
        hosts: HostPolicy,
        control: Option<ControlAccess>,
    ) -> Self {
        let daemon_requests = Arc::new(Semaphore::new(MAX_DAEMON_REQUESTS));
        Self { feed, link, hosts, control, daemon_requests }
    }

    /// Answers a request.
    pub(super) async fn answer(
        &self,
        request: HttpRequest<Incoming>,
        progress: Progress,
    ) -> HttpReply {
        let host = header_text(&request, &header::HOST).unwrap_or_default();
        if !self.hosts.permits_host(host) {
            let reason = "this name of the server is not permitted: use its address, or start \
                          lsyncctl serve with --allow-host NAME";
            return reply::text(StatusCode::MISDIRECTED_REQUEST, reason);
        }
        if let Some(command) = request.uri().path().strip_prefix("/control/") {
            let command = command.to_owned();
            return self.answer_control(&command, request).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return not_allowed("GET, HEAD");
        }
        self.answer_question(&request, progress).await
    }

    async fn answer_control(&self, command: &str, request: HttpRequest<Incoming>) -> HttpReply {
        let Some(access) = &self.control else {
            let reason = "this server only shows: it runs without --control";
            return reply::text(StatusCode::FORBIDDEN, reason);
        };
        if request.method() != Method::POST {
            return not_allowed("POST");
        }
        if let Some(refusal) = control::refusal(&request, access, &self.hosts).await {
            return refusal;
        }
        let request = match control::parse(command, request).await {
            Ok(request) => request,
            Err(refusal) => return *refusal,
        };
        eprintln!("control: {}", serde_json::to_string(&request).unwrap_or_default());
        let link = DaemonLink::new(access.socket.clone(), None);
        let result = self.ask::<serde_json::Value>(link, request, control::TIMEOUT).await;
        self.feed.wake();
        answered(result)
    }

    async fn answer_question(
        &self,
        request: &HttpRequest<Incoming>,
        progress: Progress,
    ) -> HttpReply {
        let path = request.uri().path();
        match path {
            "/metrics" => {
                let state = self.feed.present().await;
                let text = match state.present() {
                    Some(document) => metrics::exposition(document),
                    None => metrics::exposition_without_daemon(),
                };
                reply::complete(StatusCode::OK, metrics::CONTENT_TYPE, text.into())
            }
            "/status.json" => {
                let state = self.feed.present().await;
                let body = state.to_json(self.control.is_some());
                reply::complete(StatusCode::OK, reply::JSON, body.into())
            }
            "/events" => events::stream(&self.feed, self.control.is_some(), progress),
            "/lag.json" => reply::json(StatusCode::OK, &self.feed.lag_chart()),
            "/history.json" => self.history(request.uri().query().unwrap_or_default()).await,
            "/healthz" => match &self.feed.present().await.error {
                None => reply::text(StatusCode::OK, "ok"),
                Some(error) => reply::text(StatusCode::SERVICE_UNAVAILABLE, error),
            },
            _ => match PAGE.iter().find(|file| file.path == path) {
                Some(PageFile { content_type, text, .. }) => reply::complete(
                    StatusCode::OK,
                    content_type,
                    Bytes::from_static(text.as_bytes()),
                ),
                None => reply::text(StatusCode::NOT_FOUND, "there is no such page"),
            },
        }
    }

    /// The recent batches: of all syncs, or of `sync`, and of each at most `limit`.
    async fn history(&self, query: &str) -> HttpReply {
        let mut selection = Selection::default();
        let mut limit = MAX_BATCHES;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "sync" => selection.sync = Some(value.into_owned()),
                "limit" => limit = value.parse().unwrap_or(limit).min(MAX_BATCHES),
                // As everywhere in the web, unknown parameters are ignored.
                _ => {}
            }
        }
        let request = Request::History { selection, limit: Some(limit) };
        answered(self.ask::<HistoryDocument>(self.link.clone(), request, TIMEOUT).await)
    }

    /// Asks the daemon on another thread.
    async fn ask<T: DeserializeOwned + Send + 'static>(
        &self,
        link: DaemonLink,
        request: Request,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let ended = || ClientError::Closed(PathBuf::new());
        // The semaphore is never closed.
        let slot = Arc::clone(&self.daemon_requests).acquire_owned().await;
        let slot = slot.map_err(|_| ended())?;
        let task = tokio::task::spawn_blocking(move || {
            let result = link.request(&request, timeout);
            drop(slot);
            result
        });
        task.await.map_err(|_| ended())?
    }
}

/// Returns the answer of the daemon.
fn answered<T: serde::Serialize>(result: Result<T, ClientError>) -> HttpReply {
    match result {
        Ok(value) => reply::json(StatusCode::OK, &value),
        Err(ClientError::Refused(error)) => reply::text(StatusCode::CONFLICT, &error.message),
        Err(error) => reply::text(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}

fn not_allowed(methods: &'static str) -> HttpReply {
    let mut reply = reply::text(StatusCode::METHOD_NOT_ALLOWED, &format!("only {methods}"));
    reply.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(methods));
    reply
}

/// The text of a header that occurs once.
pub(super) fn header_text<'a>(
    request: &'a HttpRequest<Incoming>,
    name: &header::HeaderName,
) -> Option<&'a str> {
    let mut values = request.headers().get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}
