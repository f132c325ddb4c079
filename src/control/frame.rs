//! Frames of the protocol: one JSON object per line, in both directions.

use mirror_core::path::Escaped;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::request::Request;

/// Version of the protocol. It changes only if a client of the previous one would misunderstand
/// something; new commands and new fields do not change it.
pub const VERSION: u32 = 1;

/// Maximum length of a request in bytes, with its newline.
pub const MAX_REQUEST: usize = 64 * 1024;

/// All fields of requests.
const FIELDS: [&str; 8] =
    ["version", "command", "sync", "path", "also", "limit", "timeout", "level"];

/// The fields of a selection.
const SELECTION_FIELDS: [&str; 2] = ["sync", "path"];

/// A request with the version of its protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestFrame {
    /// The version that the client speaks: [`VERSION`].
    pub version: u32,
    /// The request.
    #[serde(flatten)]
    pub request: Request,
}

impl RequestFrame {
    /// The frame of a request in the current version.
    #[must_use]
    pub const fn new(request: Request) -> Self {
        Self { version: VERSION, request }
    }

    /// Parses a line.
    ///
    /// # Errors
    ///
    /// If it is no request of this version.
    pub fn parse(line: &[u8]) -> Result<Request, RequestError> {
        /// Only the version: the rest depends on it.
        #[derive(Deserialize)]
        struct VersionOnly {
            version: u32,
        }
        let invalid = |error: serde_json::Error| {
            RequestError::new(ErrorKind::InvalidRequest, error.to_string())
        };
        let VersionOnly { version } = serde_json::from_slice(line).map_err(invalid)?;
        if version != VERSION {
            let text = format!("version {version} is not supported, only version {VERSION}");
            return Err(RequestError::new(ErrorKind::UnsupportedVersion, text));
        }
        let fields: Map<String, Value> = serde_json::from_slice(line).map_err(invalid)?;
        // A misspelled selection would select everything.
        if let Some(unknown) = unknown_field(&fields) {
            let text = format!("unknown field {}", Escaped(unknown.as_bytes()));
            return Err(RequestError::new(ErrorKind::InvalidRequest, text));
        }
        let frame: Self = serde_json::from_slice(line).map_err(invalid)?;
        Ok(frame.request)
    }
}

/// Returns the first field that a request does not have. `also` would be ignored by other commands.
fn unknown_field(fields: &Map<String, Value>) -> Option<&str> {
    let is_flush = fields.get("command").is_some_and(|command| command == "flush");
    let is_known = |name: &str| FIELDS.contains(&name) && (is_flush || name != "also");
    let also = fields.get("also").and_then(Value::as_array).into_iter().flatten();
    let nested = also.filter_map(Value::as_object).flat_map(Map::keys);
    let mut nested = nested.filter(|name| !SELECTION_FIELDS.contains(&name.as_str()));
    fields.keys().find(|name| !is_known(name)).or_else(|| nested.next()).map(String::as_str)
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// The request was carried out. The result depends on the command.
    Ok(T),
    /// The request was refused or has failed.
    Error(RequestError),
}

/// A refused or failed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestError {
    /// The kind, for programs.
    pub kind: ErrorKind,
    /// The reason, for people: a sentence without a full stop, names escaped.
    pub message: String,
}

impl RequestError {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// Kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The line is no valid request.
    InvalidRequest,
    /// The client speaks another version of the protocol.
    UnsupportedVersion,
    /// The read-only socket does not accept this command.
    NotPermitted,
    /// No sync matches the selection.
    NoSuchSync,
    /// The request does not apply to the sync or to its present state.
    NotApplicable,
    /// The daemon serves as many clients or requests as it accepts.
    Busy,
    /// The request failed.
    Failed,
    /// The daemon is exiting.
    Exiting,
}

/// Serializes a value as a line, with its newline.
///
/// # Panics
///
/// Never: our documents have no maps with keys that are not strings.
#[must_use]
pub fn to_line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Parses the line of an answer.
///
/// # Errors
///
/// If it is none with such a result.
pub fn parse_answer<T: DeserializeOwned>(line: &[u8]) -> Result<Answer<T>, String> {
    serde_json::from_slice(line).map_err(|error| format!("invalid answer: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_refused_at_each_level() {
        for (request, unknown) in [
            (r#"{"version":1,"command":"flush","also":[{"sync":"a"},{"path":"/b"}]}"#, None),
            (r#"{"version":1,"command":"flush","also":[{"snyc":"a"}]}"#, Some("snyc")),
            (r#"{"version":1,"command":"pause","also":[{"sync":"a"}]}"#, Some("also")),
            (r#"{"version":1,"command":"pause","snyc":"a"}"#, Some("snyc")),
        ] {
            let found = RequestFrame::parse(request.as_bytes()).map(drop);
            let expected = unknown.map(|name| {
                RequestError::new(ErrorKind::InvalidRequest, format!("unknown field {name}"))
            });
            assert_eq!(found, expected.map_or(Ok(()), Err), "{request}");
        }
    }
}
