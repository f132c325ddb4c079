//! Client of an ssh master's control socket, according to `PROTOCOL.mux` of OpenSSH.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use rustix::process::Pid;

const HELLO: u32 = 0x0000_0001;
const VERSION: u32 = 4;
const ARE_YOU_ALIVE: u32 = 0x1000_0004;
const ALIVE: u32 = 0x8000_0005;
const TERMINATE: u32 = 0x1000_0005;

/// Limit on a reply: it consists of some numbers, and names of extensions.
const MAX_PACKET: u32 = 64 * 1024;

/// Status of a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MuxStatus {
    /// It runs as this process.
    Alive(Pid),
    /// Nothing listens on its socket.
    Gone,
    /// It accepts connections and sends no valid reply.
    Unresponsive,
}

/// Queries the status of the master behind `socket`. The timeout applies to each read and write.
pub(super) fn check(socket: &Path, timeout: Duration) -> MuxStatus {
    let Ok(stream) = UnixStream::connect(socket) else { return MuxStatus::Gone };
    match query_pid(&stream, timeout) {
        Ok(Some(pid)) => MuxStatus::Alive(pid),
        // The master exited during the query.
        Err(error) if is_disconnect(&error) => MuxStatus::Gone,
        Ok(None) | Err(_) => MuxStatus::Unresponsive,
    }
}

/// Asks the master behind `socket` to terminate. The timeout applies to each read and write.
pub(super) fn terminate(socket: &Path, timeout: Duration) {
    let Ok(mut stream) = UnixStream::connect(socket) else { return };
    let request = [8, HELLO, VERSION, 8, TERMINATE, 0].map(u32::to_be_bytes).concat();
    // An unresponsive master is left alone.
    let _ = stream.set_read_timeout(Some(timeout));
    let _ = stream.set_write_timeout(Some(timeout));
    let _ = stream
        .write_all(&request)
        .and_then(|()| read_packet(&stream))
        .and_then(|_| read_packet(&stream));
}

fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn query_pid(mut stream: &UnixStream, timeout: Duration) -> io::Result<Option<Pid>> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let request = [8, HELLO, VERSION, 8, ARE_YOU_ALIVE, 0];
    stream.write_all(&request.map(u32::to_be_bytes).concat())?;
    let hello = read_packet(stream)?;
    let [HELLO, VERSION, ..] = *hello else { return Ok(None) };
    let [ALIVE, 0, pid, ..] = *read_packet(stream)? else { return Ok(None) };
    Ok(i32::try_from(pid).ok().and_then(Pid::from_raw))
}

/// Reads a packet and returns its leading numbers.
fn read_packet(mut stream: &UnixStream) -> io::Result<Vec<u32>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_PACKET {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    stream.take(length.into()).read_to_end(&mut bytes)?;
    Ok(bytes.as_chunks().0.iter().map(|&number| u32::from_be_bytes(number)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixListener, thread, time::Instant};

    #[test]
    fn an_unresponsive_master_differs_from_a_missing_one() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("socket");
        let timeout = Duration::from_millis(20);
        assert_eq!(check(&socket, timeout), MuxStatus::Gone);
        let listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(check(&socket, timeout), MuxStatus::Unresponsive);
        drop(listener);
        // A child that another test forks has the socket open until it executes its program.
        let end = Instant::now() + Duration::from_mins(1);
        while check(&socket, timeout) != MuxStatus::Gone {
            assert!(Instant::now() < end, "nothing listens any more");
        }
    }

    #[test]
    fn a_master_reports_its_pid() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let encode = |numbers: &[u32]| -> Vec<u8> {
            numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
        };
        let hello = [encode(&[20, HELLO, VERSION, 4]), b"info".to_vec(), encode(&[0])].concat();
        for (answer, expected) in [
            ([hello.clone(), encode(&[12, ALIVE, 0, 77])].concat(), Pid::from_raw(77)),
            ([hello.clone(), encode(&[12, ALIVE + 1, 0, 77])].concat(), None),
            (encode(&[u32::MAX]), None),
        ] {
            let listener = listener.try_clone().unwrap();
            let master = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(&answer).unwrap();
                stream
            });
            let expected = expected.map_or(MuxStatus::Unresponsive, MuxStatus::Alive);
            assert_eq!(check(&socket, Duration::from_mins(1)), expected);
            drop(master.join().unwrap());
        }
    }
}
