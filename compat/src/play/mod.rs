//! Plays a case, within a jail.

mod change;
mod daemon;
mod look;
mod stage;

use std::{
    fmt::Write,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

use crate::{
    call::INTERVAL,
    case::{Case, Line},
    jail::Errand,
    step::{Change, Sight, Step},
};
use daemon::Daemon;
use look::Look;
use stage::Stage;

/// The longest that a case may take.
const TIME_LIMIT: Duration = Duration::from_mins(5);

/// Plays the errand's case, or prints the version of the tested program if there is none.
///
/// # Errors
///
/// What was not as the case says, with all that was seen.
pub fn play(errand: &Errand, case: Option<&str>, syslog: UnixDatagram) -> Result<(), String> {
    let Some(case) = case else { return tell_version(&errand.place) };
    end_in_time();
    let case = Case::parse(case)?;
    let stage = Stage::new(&errand.place, syslog).map_err(|error| format!("no stage: {error}"))?;
    let mut player = Player { stage, daemon: None, patience: errand.patience };
    for line in case.lines_for(errand.side) {
        player.step(line).map_err(|what| player.report(line.number, &what))?;
    }
    Ok(())
}

/// Prints what the program says of its version.
fn tell_version(place: &Path) -> Result<(), String> {
    let output = Command::new(place.join("program/lsyncd"))
        .arg("-version")
        .output()
        .map_err(|error| format!("cannot be run: {error}"))?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if output.status.success() { Ok(()) } else { Err(format!("{}", output.status)) }
}

/// Ends the jail when its time is over, whatever it waits for.
fn end_in_time() {
    thread::spawn(|| {
        thread::sleep(TIME_LIMIT);
        println!("it took more than {TIME_LIMIT:?}");
        process::exit(1);
    });
}

struct Player {
    stage: Stage,
    daemon: Option<Daemon>,
    patience: Duration,
}

impl Player {
    fn step(&mut self, line: &Line) -> Result<(), String> {
        match &line.step {
            Step::Change(change) => {
                let act = || change::make(&self.stage, change);
                let result = match (&self.daemon, change) {
                    (Some(_), Change::Rename(..)) => Daemon::while_it_stands_still(act),
                    _ => act(),
                };
                result.map_err(|error| error.to_string())
            }
            Step::Order { call, order } => {
                self.stage.calls().tell(*call, order).map_err(|error| error.to_string())
            }
            Step::Start(words) => {
                let daemon = Daemon::start(&self.stage, words);
                self.daemon = Some(daemon.map_err(|error| format!("cannot be run: {error}"))?);
                Ok(())
            }
            Step::Signal(signal) => {
                let daemon = self.daemon.as_mut().ok_or("nothing was started")?;
                daemon.signal(*signal).map_err(|error| format!("cannot be sent: {error}"))
            }
            Step::See(sight) => self.see(sight),
        }
    }

    /// Looks until the sight is there, can never come, or took too long.
    fn see(&mut self, sight: &Sight) -> Result<(), String> {
        let deadline = Instant::now() + self.patience;
        loop {
            // In this order: what a program does before it ends is there when it has ended.
            let ended = self.daemon.as_mut().is_none_or(Daemon::has_ended);
            match look::at(sight, &self.stage, self.daemon.as_ref()) {
                Look::Seen => return Ok(()),
                Look::Never(what) => return Err(what),
                Look::NotYet(what) if ended => return Err(format!("{what}, and all has ended")),
                Look::NotYet(what) if Instant::now() > deadline => {
                    return Err(format!("{what}, for {:?}", self.patience));
                }
                Look::NotYet(_) => thread::sleep(INTERVAL),
            }
        }
    }

    /// What was wrong in a line, and all that was seen.
    fn report(&mut self, number: usize, what: &str) -> String {
        let mut report = format!("line {number}: {what}\n");
        for (call, number) in self.stage.calls().all().iter().zip(1..) {
            let _ = writeln!(report, "call {number}: {}", call.shown());
        }
        for name in ["stdout", "stderr", "log", "status", "told"] {
            let text = self.stage.text(name);
            for line in text.lines() {
                let _ = writeln!(report, "{name}: {line}");
            }
        }
        for line in self.stage.syslog() {
            let _ = writeln!(report, "syslog: {line}");
        }
        if let Some(daemon) = &mut self.daemon {
            let _ = writeln!(report, "{}", daemon.state());
        }
        report
    }
}
