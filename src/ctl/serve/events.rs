//! The stream of changes for the page: server-sent events.
//!
//! An event `status` has the whole state; `tick` says that it has not changed. A client that is
//! slower than the changes misses intermediate states, and costs no memory.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use serde_json::json;

use super::{
    feed::{Feed, Viewer},
    progress::Progress,
    reply::{self, HttpReply},
};
use hyper::StatusCode;

/// Maximum number of clients that follow the state.
pub(super) const MAX_VIEWERS: usize = 32;

/// Maximum time between two events.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Starts a stream.
pub(super) fn stream(feed: &Feed, control: bool, progress: Progress) -> HttpReply {
    let Some(viewer) = feed.watch(MAX_VIEWERS) else {
        let reason = format!("{MAX_VIEWERS} clients watch already: close one of them");
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, &reason);
    };
    let (sender, body) = Channel::new(1);
    tokio::spawn(send_all(sender, viewer, control, progress));
    reply::stream(body)
}

/// Sends events until the client leaves.
async fn send_all(
    mut sender: Sender<Bytes>,
    mut viewer: Viewer,
    control: bool,
    progress: Progress,
) {
    let mut sent = None;
    let mut wait = Duration::ZERO;
    while let Some(state) = viewer.next(wait).await {
        wait = HEARTBEAT;
        let event = if sent == Some(state.revision) {
            let tick = json!({ "answers": state.error.is_none(), "age": state.age() });
            event("tick", tick.to_string().as_bytes())
        } else {
            event("status", &state.to_json(control))
        };
        if sender.send_data(event).await.is_err() {
            return;
        }
        sent = Some(state.revision);
        progress.note();
    }
}

/// Formats an event. JSON has no newlines outside of strings, and escapes them there.
fn event(name: &str, json: &[u8]) -> Bytes {
    [b"event: ", name.as_bytes(), b"\ndata: ", json, b"\n\n"].concat().into()
}
