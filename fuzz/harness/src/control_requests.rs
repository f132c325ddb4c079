//! Target: requests to the control socket, and answers to its clients.
//!
//! An input is a line. What is a request stays one when it is written and read again, in one line,
//! and no part of it is one. An error is an answer that a client understands.

use lsyncd::control::{
    frame::{Answer, ErrorKind, RequestError, RequestFrame, parse_answer, to_line},
    request::{ByteText, Request, SyncNames},
};

/// Returns the tokens.
#[must_use]
pub fn dictionary() -> Vec<&'static [u8]> {
    const TOKENS: &[&[u8]] = &[
        b"{\"version\":1,",
        b"\"version\":2",
        b"\"command\":",
        b"\"status\"",
        b"\"metrics\"",
        b"\"history\"",
        b"\"explain\"",
        b"\"verify\"",
        b"\"flush\"",
        b"\"pause\"",
        b"\"resume\"",
        b"\"resync\"",
        b"\"release\"",
        b"\"retry\"",
        b"\"reload\"",
        b"\"log\"",
        b"\"stop\"",
        b"\"sync\":",
        b"\"path\":",
        b"\"limit\":",
        b"\"timeout\":",
        b"\"level\":",
        b"{\"hex\":\"2fff\"}",
        b"null",
        b"1e308",
        b"-1",
        b"\\u0000",
        b"\\ud800",
        b"[[[[",
        b"}",
        b"\n",
    ];
    TOKENS.to_vec()
}

/// Checks one line.
///
/// # Panics
///
/// If an invariant is violated.
pub fn run(data: &[u8]) {
    match RequestFrame::parse(data) {
        Ok(request) => check_request(data, &request),
        Err(error) => check_error(error),
    }
    if let Ok(text) = parse_answer::<SyncNames>(data) {
        let line = to_line(&text);
        assert_eq!(parse_answer(&line).as_ref(), Ok(&text), "another answer");
    }
    let text = ByteText::new(data);
    assert_eq!(text.bytes().as_deref(), Some(data), "other bytes");
    let line = to_line(&text);
    let again: ByteText = serde_json::from_slice(&line).expect("our own text is valid");
    assert_eq!(again.bytes().as_deref(), Some(data), "other bytes after a transmission");
}

fn check_request(data: &[u8], request: &Request) {
    let line = to_line(&RequestFrame::new(request.clone()));
    check_is_one_line(&line);
    let again = RequestFrame::parse(&line);
    // A number that is too large is written as none.
    let is_finite = match request {
        Request::Flush { timeout, .. } => timeout.is_none_or(f64::is_finite),
        _ => true,
    };
    if is_finite {
        assert_eq!(again.as_ref(), Ok(request), "another request");
    }
    let whole = data.trim_ascii_end();
    for length in 0..whole.len().min(256) {
        let part = whole.get(..length).unwrap_or_default();
        assert!(RequestFrame::parse(part).is_err(), "a part of a request is one");
    }
}

fn check_error(error: RequestError) {
    let is_known = matches!(error.kind, ErrorKind::InvalidRequest | ErrorKind::UnsupportedVersion);
    assert!(is_known, "{error:?}");
    let line = to_line(&Answer::<SyncNames>::Error(error.clone()));
    check_is_one_line(&line);
    assert_eq!(parse_answer::<SyncNames>(&line), Ok(Answer::Error(error)));
}

fn check_is_one_line(line: &[u8]) {
    let text = line.strip_suffix(b"\n").expect("a line ends");
    assert!(!text.contains(&b'\n'), "several lines");
}
