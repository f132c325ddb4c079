//! TCP client: the part of the `socket` module that scripts use together with `observefd`.
//!
//! C modules can't be loaded (decision 9), and the real module is one. This one behaves as
//! documented in the manual of `LuaSocket` 3: errors are `nil` and a message, and a partial line or
//! number of bytes is returned with them.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, TcpStream, ToSocketAddrs},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    thread,
    time::{Duration, SystemTime},
};

use mlua::{
    Function, IntoLua, IntoLuaMulti, Lua, LuaString, MultiValue, Result, Table, UserData,
    UserDataMethods, Value,
};

/// Lets `require` find this module, unless the user has one of that name. The `LuaSocket` installed
/// on many machines does not count: it needs its C part.
pub(super) fn add_searcher(lua: &Lua) -> Result<()> {
    let searcher = lua.create_function(|lua, name: String| {
        if name != "socket" || has_user_module(lua)? {
            return Ok(Value::Nil);
        }
        let loader = lua.create_function(|lua, _: MultiValue| module(lua))?;
        Ok(Value::Function(loader))
    })?;
    let package: Table = lua.globals().get("package")?;
    // After the searcher for preloaded modules.
    package.get::<Table>("searchers")?.raw_insert(2, searcher)
}

fn has_user_module(lua: &Lua) -> Result<bool> {
    let package: Table = lua.globals().get("package")?;
    let search: Function = package.get("searchpath")?;
    let path: LuaString = package.get("path")?;
    let found: Option<LuaString> = search.call(("socket", path))?;
    let text = found.and_then(|file| fs::read(OsStr::from_bytes(&file.as_bytes())).ok());
    let is_own = |text: Vec<u8>| !text.windows(11).any(|part| part == b"socket.core");
    Ok(text.is_some_and(is_own))
}

/// Returns the result of `require "socket"`.
pub(super) fn module(lua: &Lua) -> Result<Table> {
    let table = lua.create_table()?;
    table.set(
        "connect",
        lua.create_function(|lua, (host, port): (String, u16)| {
            match TcpClient::connect(&host, port) {
                Ok(client) => lua.create_userdata(client)?.into_lua_multi(lua),
                Err(error) => failed(lua, &error, b""),
            }
        })?,
    )?;
    table.set(
        "gettime",
        lua.create_function(|_, ()| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            Ok(since.unwrap_or_default().as_secs_f64())
        })?,
    )?;
    table.set(
        "sleep",
        lua.create_function(|_, seconds: f64| {
            thread::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default());
            Ok(())
        })?,
    )?;
    table.set("dns", dns(lua)?)?;
    Ok(table)
}

fn dns(lua: &Lua) -> Result<Table> {
    let table = lua.create_table()?;
    table.set(
        "toip",
        lua.create_function(|lua, host: String| {
            let found = (&*host, 0).to_socket_addrs().map(|all| {
                let all = all.map(|address| address.ip()).filter(IpAddr::is_ipv4);
                all.map(|address| address.to_string()).collect::<BTreeSet<_>>()
            });
            let addresses: Vec<String> = found.unwrap_or_default().into_iter().collect();
            let Some(first) = addresses.first().cloned() else {
                return (Value::Nil, "host not found").into_lua_multi(lua);
            };
            let known = lua.create_table()?;
            known.set("name", host)?;
            known.set("alias", lua.create_table()?)?;
            known.set("ip", addresses)?;
            (first, known).into_lua_multi(lua)
        })?,
    )?;
    Ok(table)
}

/// TCP connection.
struct TcpClient {
    /// `None` after it was closed.
    stream: Option<TcpStream>,
    /// Received bytes that were not requested yet.
    buffered: Vec<u8>,
}

/// Requested amount of data.
enum ReceiveAmount {
    Line,
    All,
    Bytes(usize),
}

impl ReceiveAmount {
    fn of(pattern: &Value) -> Option<Self> {
        if let Value::Integer(count) = pattern {
            return usize::try_from(*count).ok().map(Self::Bytes);
        }
        if pattern.is_nil() {
            return Some(Self::Line);
        }
        match &*pattern.as_string()?.as_bytes() {
            b"*l" | b"l" => Some(Self::Line),
            b"*a" | b"a" => Some(Self::All),
            _ => None,
        }
    }

    /// Returns the end of the requested data in the received bytes, if it is complete.
    fn end_in(&self, buffered: &[u8]) -> Option<usize> {
        match self {
            Self::Line => buffered.iter().position(|&byte| byte == b'\n').map(|at| at + 1),
            Self::All => None,
            Self::Bytes(count) => (buffered.len() >= *count).then_some(*count),
        }
    }
}

impl TcpClient {
    fn connect(host: &str, port: u16) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect(address) {
                Ok(stream) => return Ok(Self { stream: Some(stream), buffered: Vec::new() }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn stream(&mut self) -> io::Result<&mut TcpStream> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Sets the timeout. `None`: unlimited.
    fn set_timeout(&mut self, seconds: Option<f64>) -> io::Result<()> {
        let stream = self.stream()?;
        let limit = seconds.filter(|seconds| *seconds >= 0.0);
        stream.set_nonblocking(limit == Some(0.0))?;
        let limit = limit.filter(|seconds| *seconds > 0.0);
        let limit = limit.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)
    }

    /// Receives the requested amount. An error includes the data received so far.
    fn receive(
        &mut self,
        amount: &ReceiveAmount,
    ) -> std::result::Result<Vec<u8>, (io::Error, Vec<u8>)> {
        let mut buffer = [0; 8192];
        loop {
            if let Some(end) = amount.end_in(&self.buffered) {
                let mut text: Vec<u8> = self.buffered.drain(..end).collect();
                if matches!(amount, ReceiveAmount::Line) {
                    text.retain(|byte| !matches!(byte, b'\r' | b'\n'));
                }
                return Ok(text);
            }
            match self.stream().and_then(|stream| stream.read(&mut buffer)) {
                Ok(0) if matches!(amount, ReceiveAmount::All) => {
                    return Ok(std::mem::take(&mut self.buffered));
                }
                Ok(0) => {
                    let closed = io::ErrorKind::UnexpectedEof.into();
                    return Err((closed, std::mem::take(&mut self.buffered)));
                }
                Ok(count) => {
                    self.buffered.extend_from_slice(buffer.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((error, std::mem::take(&mut self.buffered))),
            }
        }
    }

    /// Sends a text. Returns the number of sent bytes, and the error that stopped it.
    fn send(&mut self, text: &[u8]) -> (usize, Option<io::Error>) {
        let mut sent = 0;
        while let Some(rest) = text.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.stream().and_then(|stream| stream.write(rest)) {
                Ok(0) => return (sent, Some(io::ErrorKind::WriteZero.into())),
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (sent, Some(error)),
            }
        }
        (sent, None)
    }
}

impl UserData for TcpClient {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method_mut("settimeout", |_, client, seconds: Option<f64>| {
            Ok(client.set_timeout(seconds).is_ok())
        });
        methods.add_method_mut("receive", |lua, client, pattern: Value| {
            let Some(amount) = ReceiveAmount::of(&pattern) else {
                return Err(mlua::Error::runtime("receive takes \"*l\", \"*a\" or a number"));
            };
            match client.receive(&amount) {
                Ok(text) => lua.create_string(text)?.into_lua_multi(lua),
                Err((error, part)) => failed(lua, &error, &part),
            }
        });
        methods.add_method_mut("send", |lua, client, text: LuaString| {
            match client.send(&text.as_bytes()) {
                (sent, None) => sent.into_lua_multi(lua),
                (sent, Some(error)) => {
                    (Value::Nil, error_message(&error), sent).into_lua_multi(lua)
                }
            }
        });
        methods.add_method("getfd", |_, client, ()| {
            Ok(client.stream.as_ref().map_or(-1, AsRawFd::as_raw_fd))
        });
        methods.add_method_mut("close", |_, client, ()| {
            // Shuts the connection down even if another descriptor of it is still observed.
            if let Some(stream) = client.stream.take() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            Ok(true)
        });
    }
}

fn failed(lua: &Lua, error: &io::Error, part: &[u8]) -> Result<MultiValue> {
    let part = lua.create_string(part)?.into_lua(lua)?;
    (Value::Nil, error_message(error), part).into_lua_multi(lua)
}

/// Returns the error message that scripts compare with.
#[expect(clippy::wildcard_enum_match_arm, reason = "the errors of the system are many")]
fn error_message(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "timeout".into(),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::NotConnected
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => "closed".into(),
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_script_talks_to_a_server() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut text = [0; 6];
            peer.read_exact(&mut text).unwrap();
            assert_eq!(&text, b"hello\n");
            peer.write_all(b"one\r\ntwo\n12345rest").unwrap();
        });
        let lua = Lua::new();
        let socket = module(&lua).unwrap();
        lua.globals().set("socket", socket).unwrap();
        lua.globals().set("port", port).unwrap();
        lua.load(
            r#"
            local it = assert(socket.connect("127.0.0.1", port))
            it:settimeout(0)
            local text, why, part = it:receive("*l")
            assert(text == nil and why == "timeout" and part == "", why)
            it:settimeout(nil)
            assert(it:getfd() > 2)
            assert(it:send("hello\n") == 6)
            assert(it:receive() == "one")
            assert(it:receive("*l") == "two")
            assert(it:receive(5) == "12345")
            text, why, part = it:receive("*l")
            assert(text == nil and why == "closed" and part == "rest", part)
            it:close()
            text, why = it:receive()
            assert(text == nil and why == "closed" and it:getfd() == -1)
            assert(not pcall(it.receive, it, "*x"))
            "#,
        )
        .exec()
        .unwrap();
        server.join().unwrap();
        // No process listens at this port, and no other test is given it.
        let refused = lua.load(r#"return socket.connect("127.0.0.1", 1)"#);
        let (none, why): (Value, String) = refused.eval().unwrap();
        assert_eq!((none.is_nil(), &*why), (true, "connection refused"));
    }
}
