//! `cargo xtask torture`: a storm against the real daemon.
//!
//! Each round has a seed, from which it follows what is mirrored how, what is changed, and what
//! happens to the daemon meanwhile. When the daemon says that all is in sync, everything is
//! compared. The order in which threads come to their turn does not follow from the seed, so a
//! fault may need several runs of its seed to come again.

mod compare;
mod hands;
mod history;
mod plan;
mod random;
mod scene;
#[path = "../../../tests/live/support/snapshot.rs"]
mod snapshot;
mod storm;
mod subject;
mod trial;

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

use plan::{Ground, Kind, Plan};
use trial::{Means, Trouble};

use crate::{
    bench::{place::Arena, sshd::Sshd, tool::find},
    build::{self, Profile},
};

/// What the command line asks for.
#[derive(Debug, PartialEq)]
struct Request {
    time: Duration,
    seed: u64,
    /// At most so many rounds.
    rounds: u64,
    jobs: usize,
    keep_going: bool,
    program: Option<PathBuf>,
    directory: PathBuf,
    /// Only rounds whose description has all of these.
    only: Vec<String>,
}

/// What came of all rounds.
#[derive(Debug, Default)]
struct Results {
    rounds: AtomicU64,
    changes: AtomicU64,
    faults: Mutex<Vec<String>>,
    skipped: Mutex<Vec<String>>,
}

/// Plays rounds until the time is over or something is wrong.
///
/// # Errors
///
/// What is wrong, as reports, or what the command line lacks. With `CI=true` also what could not be
/// played.
pub(crate) fn run(arguments: &[String]) -> Result<(), Vec<String>> {
    let request = parse(arguments).map_err(|problem| vec![problem])?;
    let program = match &request.program {
        Some(program) => program.clone(),
        None => build::daemon(Profile::Debug).map_err(|problem| vec![problem])?,
    };
    let memory = Path::new("/dev/shm");
    let memory = if memory.is_dir() { memory } else { &*request.directory };
    let mut results = Results::default();
    // It ends with its arena, and after all rounds.
    let servers = Arena::named("torture-", memory).map_err(|error| vec![error.to_string()])?;
    let sshd = match Sshd::start(&servers, Duration::ZERO) {
        Ok(sshd) => Some(sshd),
        Err(error) => {
            results.skip(format!("rsyncssh: {error}"));
            None
        }
    };
    let has_rsync = find("rsync").is_some();
    if !has_rsync {
        results.skip("all kinds with rsync: it is missing".into());
    }
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        results.skip(
            "modules and ssh: their servers, and other owners, take the rights of root".into(),
        );
    }
    let can = |kind: Kind| match kind {
        Kind::Direct => true,
        Kind::Rsync => has_rsync,
        Kind::Module => has_rsync && is_root,
        Kind::Ssh => has_rsync && is_root && sshd.is_some(),
    };
    let means = Means { program: &program, memory, disk: &request.directory, sshd: sshd.as_ref() };
    play_all(&request, &means, &can, &results);
    results.tell(env::var_os("CI").is_some_and(|ci| ci == "true"))
}

fn play_all(
    request: &Request,
    means: &Means<'_>,
    can: &(dyn Fn(Kind) -> bool + Sync),
    results: &Results,
) {
    let until = Instant::now() + request.time;
    let next = AtomicU64::new(request.seed);
    let stop = AtomicBool::new(false);
    let wanted = |plan: &Plan| {
        let text = plan.to_string();
        request.only.iter().all(|word| text.contains(word.as_str()))
    };
    let turn = || {
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            let plan = Plan::new(next.fetch_add(1, Ordering::Relaxed));
            let played = plan.kinds.iter().take(plan.syncs()).all(|kind| can(*kind));
            if !wanted(&plan) || !played {
                continue;
            }
            if results.rounds.fetch_add(1, Ordering::Relaxed) >= request.rounds {
                results.rounds.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            let began = Instant::now();
            let mut played = trial::play(&plan, means);
            if plan.ground == Ground::Disk && matches!(played, Err(Trouble::Skipped(_))) {
                // Where temporary files are may be a file system that fanotify can't watch.
                played = trial::play(&Plan { ground: Ground::Memory, ..plan.clone() }, means);
            }
            println!("{plan}: {} ({:.1} s)", results.add(played), began.elapsed().as_secs_f64());
            if results.has_faults() && !request.keep_going {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..request.jobs {
            scope.spawn(turn);
        }
    });
}

impl Results {
    fn add(&self, played: Result<u64, Trouble>) -> &'static str {
        match played {
            Ok(changes) => {
                self.changes.fetch_add(changes, Ordering::Relaxed);
                "right"
            }
            Err(Trouble::Skipped(what)) => {
                self.skipped.lock().unwrap_or_else(PoisonError::into_inner).push(what);
                "skipped"
            }
            Err(Trouble::Fault(report)) => {
                println!("\n{report}\n");
                self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                "WRONG"
            }
        }
    }

    fn skip(&mut self, what: String) {
        self.skipped.get_mut().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn has_faults(&self) -> bool {
        !self.faults.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn tell(self, strict: bool) -> Result<(), Vec<String>> {
        let faults = self.faults.into_inner().unwrap_or_else(PoisonError::into_inner);
        let skipped = self.skipped.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (rounds, changes) = (self.rounds.into_inner(), self.changes.into_inner());
        println!("{rounds} rounds, {changes} changes, {} faults", faults.len());
        for what in &skipped {
            println!("not played: {what}");
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

fn parse(arguments: &[String]) -> Result<Request, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut request = Request {
        time: Duration::from_mins(1),
        seed: since.as_secs() % 1_000_000 * 100,
        rounds: u64::MAX,
        jobs: 2,
        keep_going: false,
        program: None,
        directory: env::temp_dir(),
        only: Vec::new(),
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--minutes" => {
                let minutes: f64 = number(value()?)?;
                request.time = Duration::try_from_secs_f64(minutes * 60.0)
                    .map_err(|error| format!("{minutes} minutes: {error}"))?;
            }
            "--seed" => request.seed = number(value()?)?,
            "--rounds" => request.rounds = number(value()?)?,
            "--jobs" => request.jobs = number(value()?)?,
            "--keep-going" => request.keep_going = true,
            "--binary" => request.program = Some(PathBuf::from(value()?)),
            "--directory" => request.directory = PathBuf::from(value()?),
            "--only" => request.only.push(value()?.clone()),
            _ => return Err(format!("{word} is no option of torture")),
        }
    }
    Ok(request)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_command_line_says_what_is_played() {
        let request = parse(&words("--minutes 0.5 --seed 7 --rounds 1 --jobs 4")).unwrap();
        assert_eq!(request.time, Duration::from_secs(30));
        assert_eq!((request.seed, request.rounds, request.jobs), (7, 1, 4));
        for wrong in ["--seed", "--seed x", "--minutes -1", "--storm"] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_or_a_strict_skip_or_nothing_at_all_is_a_failure() {
        let results = |rounds: u64| Results { rounds: rounds.into(), ..Results::default() };
        assert!(results(1).tell(true).is_ok());
        assert!(results(0).tell(false).is_err());
        let skipped = results(1);
        skipped.add(Err(Trouble::Skipped("no ssh".into())));
        assert!(skipped.tell(true).is_err());
        let faulty = results(1);
        faulty.add(Err(Trouble::Fault("seed 7\nmore".into())));
        assert_eq!(faulty.tell(false), Err(vec!["seed 7".to_owned()]));
    }
}
