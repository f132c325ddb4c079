//! A fuzzer on stable Rust, without feedback about coverage.
//!
//! It is single-threaded and deterministic: an input follows from the seed of the run and the
//! number of the execution, so a run can start at any execution.

use std::{
    cell::{Cell, RefCell},
    collections::hash_map::DefaultHasher,
    fmt, fs,
    hash::{Hash, Hasher},
    io, panic,
    path::PathBuf,
    sync::Once,
    time::{Duration, Instant},
};

use crate::{mutate::MutationSource, random::FuzzRng, targets::FuzzTarget};

/// Time after which an input counts as too slow. Typical ones take microseconds.
const MAX_INPUT_TIME: Duration = Duration::from_secs(10);

/// Limits of the search for a smaller failing input.
const MAX_ATTEMPTS: usize = 2000;
const MAX_MINIMISING: Duration = Duration::from_secs(30);

/// Parameters of a run.
#[derive(Clone, Debug)]
pub struct FuzzRun {
    /// Seed of the mutations.
    pub seed: u64,
    /// Number of the first execution.
    pub start: u64,
    /// End of the run.
    pub limit: RunLimit,
    /// True to write each input to a file before it runs, for a target that hangs or aborts.
    pub record: bool,
}

/// End of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunLimit {
    /// This number of executions.
    Executions(u64),
    /// This time.
    Time(Duration),
}

/// Result of a run without a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// Number of executions, those of the seeds included.
    pub executions: u64,
    /// Duration of the run.
    pub elapsed: Duration,
}

/// An input that violates an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the target.
    pub target: &'static str,
    /// The input, minimised.
    pub input: Vec<u8>,
    /// Message of the panic.
    pub message: String,
    /// Seed and number of the execution. `None` for a seed of the corpus.
    pub execution: Option<(u64, u64)>,
    /// The file with the input. `None` if it could not be written.
    pub file: Option<PathBuf>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.target, self.message)?;
        match self.execution {
            Some((seed, number)) => writeln!(f, "  seed {seed}, execution {number}")?,
            None => writeln!(f, "  a file of the corpus")?,
        }
        writeln!(f, "  input: b\"{}\"", self.input.escape_ascii())?;
        match &self.file {
            Some(file) => write!(f, "  written to {}", file.display()),
            None => write!(f, "  it could not be written to a file"),
        }
    }
}

/// Reason for which a run ended early.
#[derive(Debug)]
pub enum FuzzError {
    /// An invariant is violated.
    Found(Finding),
    /// The seeds can't be read, or an input can't be recorded.
    Io(io::Error),
}

impl fmt::Display for FuzzError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(finding) => finding.fmt(f),
            Self::Io(error) => write!(f, "cannot access the inputs: {error}"),
        }
    }
}

impl std::error::Error for FuzzError {}

impl From<io::Error> for FuzzError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Failure of one input.
#[derive(Clone, Debug, PartialEq, Eq)]
struct InputFailure {
    /// Position of the violated assertion. Empty for an input that is too slow.
    location: String,
    message: String,
}

/// Runs all seeds of a target, then mutations of them.
///
/// # Errors
///
/// The first finding.
pub fn fuzz(target: &FuzzTarget, run: &FuzzRun) -> Result<RunSummary, FuzzError> {
    let begin = Instant::now();
    let (seeds, dictionary) = (target.seeds()?, (target.dictionary)());
    for seed in &seeds {
        execute(target, seed).map_err(|failure| found(target, seed.clone(), &failure, None))?;
    }
    let source =
        MutationSource { seeds: &seeds, dictionary: &dictionary, max_length: target.max_length };
    let mut number = run.start;
    while !run.is_over(number, begin) {
        let input = source.input(&mut FuzzRng::new(run.seed, number));
        if run.record {
            record(target, &input)?;
        }
        if let Err(failure) = execute(target, &input) {
            let (input, failure) = minimise(target, input, failure);
            return Err(found(target, input, &failure, Some((run.seed, number))));
        }
        number += 1;
    }
    let executions = number - run.start + seeds.len() as u64;
    Ok(RunSummary { executions, elapsed: begin.elapsed() })
}

/// Runs a target with one input again.
///
/// # Errors
///
/// The message of the panic.
pub fn replay(target: &FuzzTarget, input: &[u8]) -> Result<(), String> {
    execute(target, input).map_err(|failure| failure.message)
}

impl FuzzRun {
    fn is_over(&self, number: u64, begin: Instant) -> bool {
        match self.limit {
            RunLimit::Executions(executions) => number - self.start >= executions,
            RunLimit::Time(time) => begin.elapsed() >= time,
        }
    }
}

/// Writes an input to the file for the current one.
fn record(target: &FuzzTarget, input: &[u8]) -> io::Result<()> {
    fs::create_dir_all(target.artifacts())?;
    fs::write(target.artifacts().join("current"), input)
}

/// Creates the finding for an input, and writes the input to a file.
fn found(
    target: &FuzzTarget,
    input: Vec<u8>,
    failure: &InputFailure,
    execution: Option<(u64, u64)>,
) -> FuzzError {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let directory = target.artifacts();
    let file = directory.join(format!("finding-{:016x}", hasher.finish()));
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(&file, &input));
    FuzzError::Found(Finding {
        target: target.name,
        input,
        message: failure.message.clone(),
        execution,
        file: written.is_ok().then_some(file),
    })
}

/// Returns a smaller input that fails at the same assertion, if one is found: ranges are removed as
/// long as it still fails.
fn minimise(
    target: &FuzzTarget,
    mut input: Vec<u8>,
    mut failure: InputFailure,
) -> (Vec<u8>, InputFailure) {
    let begin = Instant::now();
    let mut attempts = 0;
    let mut length = input.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at < input.len() {
            if attempts == MAX_ATTEMPTS || begin.elapsed() > MAX_MINIMISING {
                return (input, failure);
            }
            attempts += 1;
            let mut shorter = input.clone();
            shorter.drain(at..(at + length).min(input.len()));
            match execute(target, &shorter) {
                Err(other) if other.location == failure.location => {
                    (input, failure) = (shorter, other);
                }
                _ => at += length,
            }
        }
        length /= 2;
    }
    (input, failure)
}

/// Runs a target with one input.
fn execute(target: &FuzzTarget, input: &[u8]) -> Result<(), InputFailure> {
    let begin = Instant::now();
    catch_panic(|| (target.run)(input))?;
    let elapsed = begin.elapsed();
    if elapsed > MAX_INPUT_TIME {
        let message = format!("too slow: {elapsed:?} for {} bytes", input.len());
        return Err(InputFailure { location: String::new(), message });
    }
    Ok(())
}

thread_local! {
    static IS_CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<Option<InputFailure>> = const { RefCell::new(None) };
}

/// Calls a function and returns its panic, which is not printed.
fn catch_panic(call: impl FnOnce() + panic::UnwindSafe) -> Result<(), InputFailure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_CATCHING.get() {
                return previous(info);
            }
            let location = info.location().map(ToString::to_string).unwrap_or_default();
            CAUGHT.set(Some(InputFailure { location, message: info.to_string() }));
        }));
    });
    IS_CATCHING.set(true);
    let result = panic::catch_unwind(call);
    IS_CATCHING.set(false);
    let caught = CAUGHT.take();
    let unknown = InputFailure { location: String::new(), message: "panic".into() };
    result.map_err(|_| caught.unwrap_or(unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(run: fn(&[u8])) -> FuzzTarget {
        let dictionary: fn() -> Vec<&'static [u8]> = || vec![b"bad"];
        FuzzTarget { name: "kernel_events", run, dictionary, max_length: 64, more_seeds: None }
    }

    #[test]
    fn a_violation_is_minimised_and_reproducible() {
        let target = target(|data| assert!(!data.windows(3).any(|part| part == b"bad"), "it is"));
        let mut run =
            FuzzRun { seed: 7, start: 0, limit: RunLimit::Executions(1000), record: false };
        let Err(FuzzError::Found(finding)) = fuzz(&target, &run) else { panic!("not found") };
        assert_eq!(finding.input, b"bad");
        assert!(finding.message.contains("it is"), "{finding}");
        assert_eq!(fs::read(finding.file.as_ref().unwrap()).unwrap(), b"bad");
        run.start = finding.execution.unwrap().1;
        run.limit = RunLimit::Executions(1);
        let Err(FuzzError::Found(again)) = fuzz(&target, &run) else { panic!("not found again") };
        assert_eq!(again, finding);
        fs::remove_file(finding.file.unwrap()).unwrap();
    }

    #[test]
    fn a_run_ends_at_its_limit() {
        let target = target(|_| {});
        let mut run = FuzzRun { seed: 1, start: 5, limit: RunLimit::Executions(30), record: false };
        let seeds = target.seeds().unwrap().len() as u64;
        assert_eq!(fuzz(&target, &run).unwrap().executions, 30 + seeds);
        run.limit = RunLimit::Time(Duration::ZERO);
        assert_eq!(fuzz(&target, &run).unwrap().executions, seeds);
    }
}
