//! The endpoints that change something: `POST /control/COMMAND` with `{"sync": NAME}` or
//! `{"all": true}`.

use std::{path::PathBuf, time::Duration};

use http_body_util::{BodyExt, Limited};
use hyper::{
    Request as HttpRequest, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use serde::Deserialize;
use tokio::time;

use super::{
    hosts::HostPolicy,
    reply::{self, HttpReply},
    token::Token,
};
use crate::control::request::{Request, Selection};

/// Maximum size of a body in bytes.
const MAX_BODY: usize = 8 * 1024;

/// Maximum time for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time of a flush.
const FLUSH_SECONDS: f64 = 15.0;

/// Maximum time for the answer of the daemon.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// Pause before a wrong token is refused.
const WRONG_TOKEN_PAUSE: Duration = Duration::from_millis(300);

/// Permission to control the daemon.
#[derive(Debug)]
pub struct ControlAccess {
    /// The control socket.
    pub socket: PathBuf,
    /// The secret that requests must have.
    pub token: Token,
}

/// The body of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlBody {
    sync: Option<String>,
    #[serde(default)]
    all: bool,
}

/// Returns the reply to a request without permission: one of another page, or without the token.
pub(super) async fn refusal(
    request: &HttpRequest<Incoming>,
    access: &ControlAccess,
    hosts: &HostPolicy,
) -> Option<HttpReply> {
    let text = |name: HeaderName| -> Option<&str> {
        request.headers().get(name).map(|value| value.to_str().unwrap_or("invalid"))
    };
    let host = text(header::HOST).unwrap_or_default();
    // Programs other than browsers send no origin.
    let is_foreign = text(header::ORIGIN).is_some_and(|origin| !hosts.permits_origin(origin, host))
        || text(HeaderName::from_static("sec-fetch-site"))
            .is_some_and(|site| site != "same-origin");
    if is_foreign {
        let reason = "the request is not from the page of this server";
        return Some(reply::text(StatusCode::FORBIDDEN, reason));
    }
    if text(header::AUTHORIZATION).is_some_and(|header| access.token.is_in(header)) {
        return None;
    }
    time::sleep(WRONG_TOKEN_PAUSE).await;
    let mut reply = reply::text(StatusCode::UNAUTHORIZED, "the token is missing or wrong");
    reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Some(reply)
}

/// Returns the request for the daemon, or the reply to an invalid one.
pub(super) async fn parse(
    command: &str,
    request: HttpRequest<Incoming>,
) -> Result<Request, Box<HttpReply>> {
    let refused = |status, reason: &str| Box::new(reply::text(status, reason));
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let body = match time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => {
            return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body: {error}")));
        }
        Err(_) => return Err(refused(StatusCode::REQUEST_TIMEOUT, "the body is not complete")),
    };
    let selection = match serde_json::from_slice(&body) {
        Ok(ControlBody { sync: Some(sync), all: false }) => {
            Selection { sync: Some(sync), path: None }
        }
        Ok(ControlBody { sync: None, all: true }) => Selection::default(),
        Ok(_) | Err(_) => {
            let reason = "the body must be {\"sync\": NAME} or {\"all\": true}";
            return Err(refused(StatusCode::BAD_REQUEST, reason));
        }
    };
    Ok(match command {
        "pause" => Request::Pause(selection),
        "resume" => Request::Resume(selection),
        "resync" => Request::Resync(selection),
        "release" => Request::Release(selection),
        "retry" => Request::Retry(selection),
        "flush" => Request::Flush { selection, also: Vec::new(), timeout: Some(FLUSH_SECONDS) },
        _ => return Err(refused(StatusCode::NOT_FOUND, "there is no such command")),
    })
}
