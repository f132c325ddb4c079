//! What a master is asked, in the words of `PROTOCOL.mux` of OpenSSH.

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

/// The longest answer: it has some numbers, and names of extensions.
const LONGEST: u32 = 64 * 1024;

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is this process.
    Alive(Pid),
    /// Nobody is there.
    Gone,
    /// Somebody is there, and says nothing that makes sense.
    Silent,
}

/// Asks the master behind `socket` who it is, and waits so long for each word.
pub(super) fn ask(socket: &Path, patience: Duration) -> Answer {
    let Ok(stream) = UnixStream::connect(socket) else { return Answer::Gone };
    match converse(&stream, patience) {
        Ok(Some(pid)) => Answer::Alive(pid),
        // It ended in this moment.
        Err(error) if has_ended(&error) => Answer::Gone,
        Ok(None) | Err(_) => Answer::Silent,
    }
}

/// Has the master behind `socket` end, and waits no longer than that for its answer.
pub(super) fn end(socket: &Path, patience: Duration) {
    let Ok(mut stream) = UnixStream::connect(socket) else { return };
    let words = [8, HELLO, VERSION, 8, TERMINATE, 0].map(u32::to_be_bytes).concat();
    // Who does not listen is left alone.
    let _ = stream.set_read_timeout(Some(patience));
    let _ = stream.set_write_timeout(Some(patience));
    let _ = stream.write_all(&words).and_then(|()| packet(&stream)).and_then(|_| packet(&stream));
}

fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn converse(mut stream: &UnixStream, patience: Duration) -> io::Result<Option<Pid>> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let words = [8, HELLO, VERSION, 8, ARE_YOU_ALIVE, 0];
    stream.write_all(&words.map(u32::to_be_bytes).concat())?;
    let hello = packet(stream)?;
    let [HELLO, VERSION, ..] = *hello else { return Ok(None) };
    let [ALIVE, 0, pid, ..] = *packet(stream)? else { return Ok(None) };
    Ok(i32::try_from(pid).ok().and_then(Pid::from_raw))
}

/// The numbers with which a packet begins.
fn packet(mut stream: &UnixStream) -> io::Result<Vec<u32>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    stream.take(length.into()).read_to_end(&mut bytes)?;
    Ok(bytes.as_chunks().0.iter().map(|&number| u32::from_be_bytes(number)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixListener, thread};

    #[test]
    fn who_says_nothing_is_told_apart_from_who_is_not_there() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("socket");
        let moment = Duration::from_millis(20);
        assert_eq!(ask(&socket, moment), Answer::Gone);
        let listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(ask(&socket, moment), Answer::Silent);
        drop(listener);
        assert_eq!(ask(&socket, moment), Answer::Gone);
    }

    #[test]
    fn a_master_says_who_it_is() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let words = |numbers: &[u32]| -> Vec<u8> {
            numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
        };
        let hello = [words(&[20, HELLO, VERSION, 4]), b"info".to_vec(), words(&[0])].concat();
        for (answer, expected) in [
            ([hello.clone(), words(&[12, ALIVE, 0, 77])].concat(), Pid::from_raw(77)),
            ([hello.clone(), words(&[12, ALIVE + 1, 0, 77])].concat(), None),
            (words(&[u32::MAX]), None),
        ] {
            let listener = listener.try_clone().unwrap();
            let master = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(&answer).unwrap();
                stream
            });
            let expected = expected.map_or(Answer::Silent, Answer::Alive);
            assert_eq!(ask(&socket, Duration::from_mins(1)), expected);
            drop(master.join().unwrap());
        }
    }
}
