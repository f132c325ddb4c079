//! Responses with their security headers.

use bytes::Bytes;
use http_body_util::{Either, Full, channel::Channel};
use hyper::{
    Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};

/// The body of a response: complete, or a stream.
pub(super) type HttpReplyBody = Either<Full<Bytes>, Channel<Bytes>>;

/// A response.
pub(super) type HttpReply = Response<HttpReplyBody>;

/// The page loads only what this server has, and runs only its script file.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors \
     'none'";

/// The headers of all responses. `no-cache`: states of yesterday must not be shown as present.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Content type of JSON.
pub(super) const JSON: &str = "application/json";

/// Returns a response with a complete body.
pub(super) fn complete(status: StatusCode, content_type: &'static str, body: Bytes) -> HttpReply {
    with_headers(status, content_type, Either::Left(Full::new(body)))
}

/// Returns a response whose body is a stream of events.
pub(super) fn stream(body: Channel<Bytes>) -> HttpReply {
    let mut reply = with_headers(StatusCode::OK, "text/event-stream", Either::Right(body));
    // nginx would collect the events.
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    reply.headers_mut().insert(unbuffered, HeaderValue::from_static("no"));
    reply
}

/// Returns a short text, such as the reason of a refusal.
pub(super) fn text(status: StatusCode, text: &str) -> HttpReply {
    complete(status, "text/plain; charset=utf-8", Bytes::from(format!("{text}\n")))
}

/// Returns a value as JSON.
pub(super) fn json(status: StatusCode, value: &impl serde::Serialize) -> HttpReply {
    // Our documents have no maps with keys that are not strings.
    let body = serde_json::to_vec(value).unwrap_or_default();
    complete(status, JSON, body.into())
}

fn with_headers(status: StatusCode, content_type: &'static str, body: HttpReplyBody) -> HttpReply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}
