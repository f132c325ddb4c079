//! A client that sends one request over a connection of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Maximum time for a part of a response.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A response.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl HttpAnswer {
    /// The value of a header field, or an empty text.
    pub(crate) fn field(&self, name: &str) -> &str {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(it, _)| it.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Sends a `GET`.
pub(crate) fn get(address: SocketAddr, path: &str) -> HttpAnswer {
    request(address, "GET", path, &[], "")
}

/// Sends a request with further header fields.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> HttpAnswer {
    let mut lines = vec![format!("{method} {path} HTTP/1.1"), "connection: close".to_owned()];
    if !fields.iter().any(|(name, _)| *name == "host") {
        lines.push(format!("host: {address}"));
    }
    lines.extend(fields.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.push(format!("content-length: {}", body.len()));
    send(address, format!("{}\r\n\r\n{body}", lines.join("\r\n")).as_bytes())
}

/// Sends any bytes, and reads one response.
pub(crate) fn send(address: SocketAddr, bytes: &[u8]) -> HttpAnswer {
    let mut stream = connect(address);
    // A server may refuse before it has read everything.
    let _ = stream.write_all(bytes);
    let mut reader = BufReader::new(stream);
    let head = read_head(&mut reader);
    let mut answer = HttpAnswer { status: status_of(&head), head, body: String::new() };
    let mut body = Vec::new();
    match answer.field("content-length").parse() {
        Ok(length) => drop(reader.take(length).read_to_end(&mut body).unwrap()),
        Err(_) => drop(reader.read_to_end(&mut body)),
    }
    answer.body = String::from_utf8(body).unwrap();
    answer
}

/// Opens a connection.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

fn read_head(reader: &mut impl BufRead) -> String {
    let mut head = String::new();
    while reader.read_line(&mut head).unwrap() > 2 {}
    head.replace("\r\n", "\n")
}

fn status_of(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap_or_else(|| panic!("no response: {head:?}")).parse().unwrap()
}

/// An open stream of events.
pub(crate) struct EventStream {
    pub(crate) status: u16,
    reader: BufReader<TcpStream>,
}

impl EventStream {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut stream = connect(address);
        write!(stream, "GET /events HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let status = status_of(&read_head(&mut reader));
        Self { status, reader }
    }

    /// Reads up to the next event of a kind, and returns its data.
    pub(crate) fn next(&mut self, kind: &str) -> serde_json::Value {
        let mut found = false;
        loop {
            let mut line = String::new();
            assert!(self.reader.read_line(&mut line).unwrap() > 0, "the stream has ended");
            found |= line.trim_end() == format!("event: {kind}");
            if found && let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}
