//! Runs a case, within a jail.

mod daemon;
mod directory;
mod edit;
mod observe;

use std::{
    fmt::Write,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

use crate::{
    call_log::POLL_INTERVAL,
    case::{Case, CaseStep},
    jail::JailRequest,
    step::{CaseAction, Observation, TreeEdit},
};
use daemon::CaseDaemon;
use directory::CaseDirectory;
use observe::ObservationResult;

/// Time limit of a case.
const TIME_LIMIT: Duration = Duration::from_mins(5);

/// Runs the case of a request. Without one, prints the version of the tested program.
///
/// # Errors
///
/// Returns a report of the step that failed and of everything that was observed.
pub fn run(request: &JailRequest, case: Option<&str>, syslog: UnixDatagram) -> Result<(), String> {
    let Some(case) = case else { return print_version(&request.directory) };
    exit_after_time_limit();
    let case = Case::parse(case)?;
    let directory = CaseDirectory::new(&request.directory, syslog)
        .map_err(|error| format!("cannot set up the directory: {error}"))?;
    let mut runner = CaseRunner { directory, daemon: None, timeout: request.timeout };
    for step in case.steps_for(request.tested) {
        runner.run(step).map_err(|error| runner.report(step.line, &error))?;
    }
    Ok(())
}

/// Prints the version line of the tested program.
fn print_version(directory: &Path) -> Result<(), String> {
    let output = Command::new(directory.join("program/lsyncd"))
        .arg("-version")
        .output()
        .map_err(|error| format!("cannot be run: {error}"))?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if output.status.success() { Ok(()) } else { Err(format!("{}", output.status)) }
}

/// Exits the jail after the time limit, whatever it waits for.
fn exit_after_time_limit() {
    thread::spawn(|| {
        thread::sleep(TIME_LIMIT);
        println!("it took more than {TIME_LIMIT:?}");
        process::exit(1);
    });
}

struct CaseRunner {
    directory: CaseDirectory,
    daemon: Option<CaseDaemon>,
    timeout: Duration,
}

impl CaseRunner {
    fn run(&mut self, step: &CaseStep) -> Result<(), String> {
        match &step.action {
            CaseAction::Edit(edit) => {
                let apply = || edit::apply(&self.directory, edit);
                let result = match (&self.daemon, edit) {
                    (Some(_), TreeEdit::Rename(..)) => CaseDaemon::while_stopped(apply),
                    _ => apply(),
                };
                result.map_err(|error| error.to_string())
            }
            CaseAction::Recorder { call, command } => {
                self.directory.calls().set(*call, command).map_err(|error| error.to_string())
            }
            CaseAction::Start(args) => {
                let daemon = CaseDaemon::start(&self.directory, args);
                self.daemon = Some(daemon.map_err(|error| format!("cannot be run: {error}"))?);
                Ok(())
            }
            CaseAction::Signal(signal) => {
                let daemon = self.daemon.as_mut().ok_or("nothing was started")?;
                daemon.signal(*signal).map_err(|error| format!("cannot be sent: {error}"))
            }
            CaseAction::Observe(observation) => self.wait_for(observation),
        }
    }

    /// Polls until the observation holds, can no longer hold, or times out.
    fn wait_for(&mut self, observation: &Observation) -> Result<(), String> {
        let deadline = Instant::now() + self.timeout;
        loop {
            // In this order: everything that a program does is visible once it has exited.
            let exited = self.daemon.as_mut().is_none_or(CaseDaemon::has_exited);
            match observe::check(observation, &self.directory, self.daemon.as_ref()) {
                ObservationResult::Holds => return Ok(()),
                ObservationResult::Failed(error) => return Err(error),
                ObservationResult::Pending(missing) if exited => {
                    return Err(format!("{missing}, and everything has exited"));
                }
                ObservationResult::Pending(missing) if Instant::now() > deadline => {
                    return Err(format!("{missing}, for {:?}", self.timeout));
                }
                ObservationResult::Pending(_) => thread::sleep(POLL_INTERVAL),
            }
        }
    }

    /// Formats an error of a line, and everything that was observed.
    fn report(&mut self, line: usize, error: &str) -> String {
        let mut report = format!("line {line}: {error}\n");
        for (call, number) in self.directory.calls().all().iter().zip(1..) {
            let _ = writeln!(report, "call {number}: {}", call.to_line());
        }
        for name in ["stdout", "stderr", "log", "status", "notes"] {
            let text = self.directory.read_file(name);
            for line in text.lines() {
                let _ = writeln!(report, "{name}: {line}");
            }
        }
        for line in self.directory.syslog() {
            let _ = writeln!(report, "syslog: {line}");
        }
        if let Some(daemon) = &mut self.daemon {
            let _ = writeln!(report, "{}", daemon.state());
        }
        report
    }
}
