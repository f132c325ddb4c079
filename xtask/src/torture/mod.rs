//! `cargo xtask torture`: a stress test of the real daemon.
//!
//! The seed of a round determines the syncs, the changes, and the disturbances of the daemon. When
//! the daemon reports that everything is in sync, all trees are compared. The seed does not
//! determine the scheduling of threads, so a fault may need several runs of its seed to recur.

pub(crate) mod compare;
mod confined_tree;
pub(crate) mod daemon;
pub(crate) mod history;
pub(crate) mod mutator;
pub(crate) mod plan;
pub(crate) mod random;
pub(crate) mod round;
pub(crate) mod setup;
#[path = "../../../tests/live/support/snapshot.rs"]
pub(crate) mod snapshot;

use std::{
    env,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use plan::{RoundPlan, RoundStorage, TargetKind};
use round::{RoundEnvironment, RoundError};

use crate::{
    arguments::number,
    bench::{scratch::ScratchDir, sshd::Sshd},
    build::{self, BuildProfile},
};

/// Command line options.
#[derive(Debug, PartialEq)]
struct TortureOptions {
    time: Duration,
    seed: u64,
    /// Maximum number of rounds.
    rounds: u64,
    jobs: usize,
    keep_going: bool,
    program: Option<PathBuf>,
    directory: PathBuf,
    /// Run only rounds whose description contains all of these.
    only: Vec<String>,
}

/// Results of all rounds.
#[derive(Debug, Default)]
struct TortureResults {
    rounds: AtomicU64,
    changes: AtomicU64,
    faults: Mutex<Vec<String>>,
    skipped: Mutex<Vec<String>>,
}

/// Runs rounds until the time is over or a fault is found.
///
/// # Errors
///
/// Returns the reports of faults, or an error of the command line. With `CI=true` also the rounds
/// that could not run.
pub(crate) fn run(arguments: &[String]) -> Result<(), Vec<String>> {
    let options = parse(arguments).map_err(|problem| vec![problem])?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => build::daemon(BuildProfile::Debug).map_err(|problem| vec![problem])?,
    };
    let memory = Path::new("/dev/shm");
    let memory = if memory.is_dir() { memory } else { &*options.directory };
    let mut results = TortureResults::default();
    // The server outlives all rounds, and exits before its directory is deleted.
    let servers =
        ScratchDir::with_prefix("torture-", memory).map_err(|error| vec![error.to_string()])?;
    let sshd = match Sshd::start(&servers, Duration::ZERO) {
        Ok(sshd) => Some(sshd),
        Err(error) => {
            results.skip(format!("rsyncssh: {error}"));
            None
        }
    };
    let has_rsync = build::find_program("rsync").is_some();
    if !has_rsync {
        results.skip("all kinds with rsync: it is missing".into());
    }
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        results.skip(
            "modules and ssh: their servers, and other owners, take the rights of root".into(),
        );
    }
    let is_available = |kind: TargetKind| match kind {
        TargetKind::Direct => true,
        TargetKind::Rsync => has_rsync,
        TargetKind::Module => has_rsync && is_root,
        TargetKind::Ssh => has_rsync && is_root && sshd.is_some(),
    };
    let environment = RoundEnvironment {
        program: &program,
        memory,
        disk: &options.directory,
        sshd: sshd.as_ref(),
    };
    run_all(&options, &environment, &is_available, &results);
    results.report(env::var_os("CI").is_some_and(|ci| ci == "true"))
}

fn run_all(
    options: &TortureOptions,
    environment: &RoundEnvironment<'_>,
    is_available: &(dyn Fn(TargetKind) -> bool + Sync),
    results: &TortureResults,
) {
    let until = Instant::now() + options.time;
    let next = AtomicU64::new(options.seed);
    let stop = AtomicBool::new(false);
    let is_selected = |plan: &RoundPlan| {
        let text = plan.to_string();
        options.only.iter().all(|word| text.contains(word.as_str()))
    };
    let worker = || {
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            let plan = RoundPlan::new(next.fetch_add(1, Ordering::Relaxed));
            let available = plan.kinds.iter().take(plan.syncs()).all(|kind| is_available(*kind));
            if !is_selected(&plan) || !available {
                continue;
            }
            if results.rounds.fetch_add(1, Ordering::Relaxed) >= options.rounds {
                results.rounds.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            let start = Instant::now();
            let mut result = round::run(&plan, environment);
            if plan.storage == RoundStorage::Disk && matches!(result, Err(RoundError::Skipped(_))) {
                // The file system of temporary files may not support fanotify.
                let plan = RoundPlan { storage: RoundStorage::Memory, ..plan.clone() };
                result = round::run(&plan, environment);
            }
            println!("{plan}: {} ({:.1} s)", results.add(result), start.elapsed().as_secs_f64());
            if results.has_faults() && !options.keep_going {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(worker);
        }
    });
}

impl TortureResults {
    fn add(&self, result: Result<u64, RoundError>) -> &'static str {
        match result {
            Ok(changes) => {
                self.changes.fetch_add(changes, Ordering::Relaxed);
                "right"
            }
            Err(RoundError::Skipped(reason)) => {
                self.skipped.lock().unwrap_or_else(PoisonError::into_inner).push(reason);
                "skipped"
            }
            Err(RoundError::Fault(report)) => {
                println!("\n{report}\n");
                self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                "WRONG"
            }
        }
    }

    fn skip(&mut self, reason: String) {
        self.skipped.get_mut().unwrap_or_else(PoisonError::into_inner).push(reason);
    }

    fn has_faults(&self) -> bool {
        !self.faults.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn report(self, strict: bool) -> Result<(), Vec<String>> {
        let faults = self.faults.into_inner().unwrap_or_else(PoisonError::into_inner);
        let skipped = self.skipped.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (rounds, changes) = (self.rounds.into_inner(), self.changes.into_inner());
        println!("{rounds} rounds, {changes} changes, {} faults", faults.len());
        for reason in &skipped {
            println!("not played: {reason}");
        }
        let mut problems: Vec<String> =
            faults.iter().filter_map(|report| Some(report.lines().next()?.to_owned())).collect();
        if rounds == 0 {
            problems.push("no round was played".to_owned());
        }
        if strict && !skipped.is_empty() {
            problems.push("what is skipped counts as a failure, since CI=true".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

fn parse(arguments: &[String]) -> Result<TortureOptions, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut options = TortureOptions {
        time: Duration::from_mins(1),
        seed: since.as_secs() % 1_000_000 * 100,
        rounds: u64::MAX,
        jobs: 2,
        keep_going: false,
        program: None,
        directory: env::temp_dir(),
        only: Vec::new(),
    };
    let mut args = arguments.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--minutes" => {
                let minutes: f64 = number(value()?)?;
                options.time = Duration::try_from_secs_f64(minutes * 60.0)
                    .map_err(|error| format!("{minutes} minutes: {error}"))?;
            }
            "--seed" => options.seed = number(value()?)?,
            "--rounds" => options.rounds = number(value()?)?,
            "--jobs" => options.jobs = number(value()?)?,
            "--keep-going" => options.keep_going = true,
            "--binary" => options.program = Some(PathBuf::from(value()?)),
            "--directory" => options.directory = PathBuf::from(value()?),
            "--only" => options.only.push(value()?.clone()),
            _ => return Err(format!("{arg} is no option of torture")),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_are_parsed() {
        let options = parse(&args("--minutes 0.5 --seed 7 --rounds 1 --jobs 4")).unwrap();
        assert_eq!(options.time, Duration::from_secs(30));
        assert_eq!((options.seed, options.rounds, options.jobs), (7, 1, 4));
        for wrong in ["--seed", "--seed x", "--minutes -1", "--storm"] {
            assert!(parse(&args(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_a_strict_skip_or_no_round_at_all_is_a_failure() {
        let results =
            |rounds: u64| TortureResults { rounds: rounds.into(), ..TortureResults::default() };
        assert!(results(1).report(true).is_ok());
        assert!(results(0).report(false).is_err());
        let skipped = results(1);
        skipped.add(Err(RoundError::Skipped("no ssh".into())));
        assert!(skipped.report(true).is_err());
        let faulty = results(1);
        faulty.add(Err(RoundError::Fault("seed 7\nmore".into())));
        assert_eq!(faulty.report(false), Err(vec!["seed 7".to_owned()]));
    }
}
