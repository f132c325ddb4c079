//! Output of the programs of a tunnel, where they cannot write to the log by themselves.

use std::{
    io::{self, BufRead, BufReader, Read},
    process::Child,
    thread::{self, JoinHandle},
};

use crate::report::{Log, StdStream};

/// Length at which a line is split.
const MAX_LINE: u64 = 64 * 1024;

/// Forwards the piped output of a program to the log, until it is closed. Returns the threads that
/// do it.
///
/// # Errors
///
/// If a thread can't be started. The program then writes to a closed pipe.
pub(super) fn forward(child: &mut Child, log: &Log) -> io::Result<Vec<JoinHandle<()>>> {
    let out = child.stdout.take().map(|pipe| forward_lines(pipe, StdStream::Out, log.clone()));
    let err = child.stderr.take().map(|pipe| forward_lines(pipe, StdStream::Err, log.clone()));
    out.into_iter().chain(err).collect()
}

fn forward_lines(
    pipe: impl Read + Send + 'static,
    stream: StdStream,
    log: Log,
) -> io::Result<JoinHandle<()>> {
    let forward = move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            log.forward(stream, &line);
            line.clear();
        }
    };
    thread::Builder::new().name("tunnel".into()).spawn(forward)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::report::{LogFormat, RunMode};

    #[test]
    fn the_output_of_a_program_reaches_a_log_in_json() {
        let dir = tempfile::tempdir().unwrap();
        let (path, log) = (dir.path().join("log"), Log::default());
        log.set_format(LogFormat::Json);
        log.begin(RunMode::Daemon, Some(path.clone()), "--- Startup, daemonizing ---").unwrap();
        log.leave_terminal();
        let mut command = Command::new("sh");
        command.args(["-c", "printf 'one\\n'; printf 'two' >&2"]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let threads = forward(&mut child, &log).unwrap();
        child.wait().unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        for part in ["\"stdout\",\"message\":\"one\"", "\"stderr\",\"message\":\"two\""] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
