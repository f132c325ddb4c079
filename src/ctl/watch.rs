//! `lsyncctl status --watch`: a live view in the terminal.

use std::{
    io::{self, IsTerminal, PipeReader, Read, Write},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    stdio::{stdin, stdout},
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH},
    low_level::pipe,
};

use super::{
    args::CtlOptions,
    connection::ChosenDaemon,
    failure::{CtlFailure, Severity},
    output::{OutputStyle, Tint, TintedLine, TintedText, cut_line, print},
    status::StatusView,
};
use crate::{
    control::{client_error::ClientError, request::Request, status::StatusDocument},
    report::{now, os_error_text},
};

/// Selects the alternate screen and hides the cursor: `xterm` control sequences.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";

/// Undoes [`ENTER`].
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Keys that end the view: q, Escape, Ctrl-C and Ctrl-D.
const END_KEYS: &[u8] = b"qQ\x1b\x03\x04";

/// A request with its view, and the interval of its repetition.
#[derive(Clone, Debug)]
pub(super) struct LiveView {
    pub(super) request: Request,
    pub(super) view: StatusView,
    pub(super) interval: Duration,
}

/// Shows the view until the user ends it.
///
/// # Errors
///
/// If stdin or stdout is no terminal, or the terminal fails.
pub(super) fn run(options: &CtlOptions, live: LiveView) -> Result<Severity, CtlFailure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(CtlFailure::Usage(
            "--watch needs a terminal; run `lsyncctl status` regularly instead".to_owned(),
        ));
    }
    // A wrong option or a missing daemon is reported before the screen changes.
    ChosenDaemon::find(options)?;
    show(options, live).map(|()| Severity::Ok).map_err(|error| {
        CtlFailure::System(format!("the terminal failed: {}", os_error_text(&error)))
    })
}

fn show(options: &CtlOptions, live: LiveView) -> io::Result<()> {
    let (ended, end) = io::pipe()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        pipe::register(signal, end.try_clone()?)?;
    }
    let (resized, resize) = io::pipe()?;
    pipe::register(SIGWINCH, resize)?;
    let view = live.view;
    let feed = AnswerFeed::start(options.clone(), live)?;
    let _terminal = LiveTerminal::enter()?;
    let mut latest = None;
    loop {
        if let Some(latest) = &latest {
            draw(view, latest)?;
        }
        match wait(&ended, &resized, &feed.arrived)? {
            Wakeup::Key if !has_end_key()? => {}
            Wakeup::Key | Wakeup::End => return Ok(()),
            Wakeup::Resize => drain(&resized)?,
            Wakeup::Answer => {
                drain(&feed.arrived)?;
                latest = feed.answers.try_iter().last().or(latest);
            }
        }
    }
}

/// The answer to one request, or the reason why there is none.
type StatusAnswer = Result<StatusDocument, ClientError>;

/// Answers of the daemon, requested by a thread: the view reacts to keys while one is late.
struct AnswerFeed {
    answers: Receiver<StatusAnswer>,
    /// Has a byte for each answer.
    arrived: PipeReader,
}

impl AnswerFeed {
    fn start(options: CtlOptions, live: LiveView) -> io::Result<Self> {
        let (arrived, mut arrival) = io::pipe()?;
        let (sender, answers) = mpsc::channel();
        thread::Builder::new().name("answers".into()).spawn(move || {
            loop {
                // A restarted daemon may have another socket.
                let answer =
                    ChosenDaemon::find(&options).and_then(|daemon| daemon.ask(&live.request));
                // Either fails once the view has ended.
                if sender.send(answer).is_err() || arrival.write_all(b"a").is_err() {
                    return;
                }
                thread::sleep(live.interval);
            }
        })?;
        Ok(Self { answers, arrived })
    }
}

/// An event that the view waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wakeup {
    Key,
    End,
    Resize,
    Answer,
}

/// Waits for the first event.
fn wait(ended: &PipeReader, resized: &PipeReader, arrived: &PipeReader) -> io::Result<Wakeup> {
    let stdin = stdin();
    let mut events = [
        PollFd::new(ended, PollFlags::IN),
        PollFd::new(&stdin, PollFlags::IN),
        PollFd::new(resized, PollFlags::IN),
        PollFd::new(arrived, PollFlags::IN),
    ];
    loop {
        match poll(&mut events, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let wakeups = [Wakeup::End, Wakeup::Key, Wakeup::Resize, Wakeup::Answer];
        let ready = events.iter().zip(wakeups).find(|(event, _)| !event.revents().is_empty());
        if let Some((_, wakeup)) = ready {
            return Ok(wakeup);
        }
    }
}

/// Reads the pressed keys. Returns true if one of them ends the view, or the terminal is gone.
fn has_end_key() -> io::Result<bool> {
    let mut keys = [0; 64];
    let length = match rustix::io::read(stdin(), &mut keys) {
        Ok(length) => length,
        Err(Errno::INTR) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let keys = keys.get(..length).unwrap_or_default();
    // Escape also begins the sequence of a function key.
    let is_function_key = keys.len() > 1 && keys.starts_with(b"\x1b");
    Ok(keys.is_empty() || (!is_function_key && keys.iter().any(|key| END_KEYS.contains(key))))
}

/// Reads what is in a pipe.
fn drain(mut pipe: &PipeReader) -> io::Result<()> {
    pipe.read(&mut [0; 256]).map(drop)
}

/// Draws the view, cut to the size of the terminal.
fn draw(view: StatusView, latest: &StatusAnswer) -> io::Result<()> {
    let style = OutputStyle::of_stdout();
    let size = tcgetwinsize(stdout())?;
    let columns = style.width.unwrap_or(80);
    let rows = if size.ws_row == 0 { 24 } else { usize::from(size.ws_row) };
    let mut lines = match latest {
        Ok(document) => view.lines(document, style),
        Err(error) => {
            let error = error.to_string();
            error
                .lines()
                .map(|line| TintedLine(vec![TintedText::new(line, Tint::Critical)]))
                .collect()
        }
    };
    let foot = format!("{}  q: quit", now().strftime("%H:%M:%S"));
    lines.truncate(rows.saturating_sub(1));
    lines.push(TintedLine(vec![TintedText::new(&foot, Tint::Heading)]));
    let lines: Vec<String> =
        lines.iter().map(|line| style.line(&cut_line(line, columns)) + "\x1b[K").collect();
    print(&format!("\x1b[H{}\x1b[J", lines.join("\r\n")));
    Ok(())
}

/// The terminal in the mode of the view. It is restored at the end, also after a panic.
struct LiveTerminal {
    before: Termios,
}

impl LiveTerminal {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut modes = before.clone();
        // Signals of keys would leave the screen as it is.
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(stdin(), OptionalActions::Flush, &modes)?;
        print(ENTER);
        Ok(Self { before })
    }
}

impl Drop for LiveTerminal {
    fn drop(&mut self) {
        print(LEAVE);
        // Nothing else can be done about a terminal that is gone.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.before);
    }
}
