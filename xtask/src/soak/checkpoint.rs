//! A checkpoint: everything is on the targets, and the daemon is quiet.

use std::{
    fmt, mem, thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{gauges::ProcessGauges, setup::SoakSetup, targets::SoakTarget};
use crate::{
    bench::process::MeteredProcess,
    damage::control::{self, is_complete, is_held},
    torture::{
        compare::differences,
        snapshot::{path_text, snapshot},
    },
};

/// Time limit for all targets to be complete.
const FLUSH_TIMEOUT: Duration = Duration::from_mins(3);
/// Time limit for any other condition.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Interval between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Number of samples of memory and descriptors.
const SAMPLES: usize = 10;
/// The obstacle in the answer to a flush during which a reload has replaced a sync.
const REPLACED: &str = "the sync was removed from the configuration";
/// Number of differences in a report.
const SHOWN: usize = 12;

/// The figures of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checkpoint {
    /// The time since the first transfer.
    pub(crate) at: Duration,
    /// The time until everything was on the targets.
    pub(crate) flushed: Duration,
    pub(crate) gauges: ProcessGauges,
}

impl Checkpoint {
    /// Returns the full minutes since the first transfer.
    pub(crate) const fn minute(&self) -> u64 {
        self.at.as_secs() / 60
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.flushed.as_secs_f64();
        write!(f, "minute {}: equal after {seconds:.1} s, {}", self.minute(), self.gauges)
    }
}

/// Sends a request to the daemon.
pub(crate) fn ask(setup: &SoakSetup, command: &str, fields: &str) -> Result<String, String> {
    let answer = control::ask(&setup.socket(), command, fields, FLUSH_TIMEOUT * 2);
    let answer = answer.map_err(|error| format!("{command} failed: {error}"))?;
    control::accepted(command, answer)
}

/// Waits until everything is on the targets. Where the documents say that an exchanged target needs
/// a person, it does what they say: `docs/decisions/0015-target-identity.md`.
pub(crate) fn flush(setup: &mut SoakSetup) -> Result<(), String> {
    let exchanged = mem::take(&mut setup.exchanged);
    let selection = |number: &usize| format!(",\"sync\":\"{}\"", SoakTarget::name_of(*number));
    for number in &exchanged {
        ask(setup, "resync", &selection(number))?;
    }
    let mut answer = ask_flush(setup)?;
    if is_held(&answer) && !exchanged.is_empty() {
        for number in &exchanged {
            // Not all of them hold something.
            let _ = ask(setup, "release", &selection(number));
        }
        answer = ask_flush(setup)?;
    }
    if is_complete(&answer) {
        return Ok(());
    }
    Err(format!("flush is incomplete: {answer}"))
}

/// Asks for a flush, and once more if a reload has replaced syncs meanwhile: those of scripts,
/// whose functions may be others. The daemon may get the signal of the last fault later.
fn ask_flush(setup: &SoakSetup) -> Result<String, String> {
    let timeout = format!(",\"timeout\":{}", FLUSH_TIMEOUT.as_secs());
    let answer = ask(setup, "flush", &timeout)?;
    if answer.contains(REPLACED) { ask(setup, "flush", &timeout) } else { Ok(answer) }
}

/// Compares each target with its source.
pub(crate) fn compare(setup: &SoakSetup) -> Result<(), String> {
    let read = |path| snapshot(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut wrong = Vec::new();
    for (number, source) in setup.sources.iter().enumerate() {
        let expected = read(source)?;
        for target in setup.targets.iter().filter(|target| target.source() == number) {
            let options = target.kind().compare_options();
            let found = differences(options, &expected, &read(target.directory.path())?);
            let count = found.len();
            let found = found.iter().take(SHOWN);
            let lines = found.map(|(path, why)| {
                format!("{} ({}) {}: {why}", target.name(), target.kind().name(), path_text(path))
            });
            wrong.extend(lines);
            if count > SHOWN {
                wrong.push(format!("{}: {count} differences", target.name()));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("after a flush:\n{}", wrong.join("\n"))) }
}

/// Waits until all syncs say that they are in sync, and until no transfer runs.
pub(crate) fn wait_until_quiet(
    setup: &SoakSetup,
    daemon: &mut MeteredProcess,
) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let others = syncs_without_sync(&ask(setup, "status", "")?)?;
        if others.is_empty() {
            break;
        }
        if start.elapsed() > TIMEOUT {
            return Err(format!("not in sync after a flush: {}", others.join(", ")));
        }
        thread::sleep(POLL_INTERVAL);
    }
    daemon.wait_without_children().map_err(|_| "a child does not end".to_owned())
}

/// Returns the syncs that are not in sync, with their states.
fn syncs_without_sync(answer: &str) -> Result<Vec<String>, String> {
    let parsed: Value = serde_json::from_str(answer).map_err(|error| error.to_string())?;
    let syncs = parsed.pointer("/ok/syncs").and_then(Value::as_array).ok_or("no syncs")?;
    let text = |sync: &Value, name: &str| {
        sync.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let others = syncs.iter().filter(|sync| text(sync, "state") != "in_sync");
    Ok(others.map(|sync| format!("{} {}", text(sync, "name"), text(sync, "state"))).collect())
}

/// Returns the least figures of some seconds in which nothing happens.
pub(crate) fn quiet_gauges(daemon: &MeteredProcess) -> Result<ProcessGauges, String> {
    let read = || ProcessGauges::read(&daemon.pid().to_string()).map_err(|error| error.to_string());
    let mut least = read()?;
    for _ in 0..SAMPLES {
        thread::sleep(POLL_INTERVAL);
        least = least.least(read()?);
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_in_another_state_are_named() {
        let answer =
            r#"{"ok":{"syncs":[{"name":"a","state":"in_sync"},{"name":"b","state":"held"}]}}"#;
        assert_eq!(syncs_without_sync(answer).unwrap(), ["b held"]);
        assert!(syncs_without_sync("{\"error\":{}}").is_err());
    }
}
