//! Scenarios: generated, parsed, replayed and shrunk lists of steps.

use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};
use core::{fmt, time::Duration};

use crate::{
    path::TreePath,
    sim::{
        change::{self, TreeChange},
        random::SimRng,
        tree::SimTree,
        worker::JobFault,
    },
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScenarioStep {
    /// Changes the source.
    Change(TreeChange),
    /// The lossy sources report their events, as imprecisely as this seed determines.
    Deliver(u64),
    /// Advances the time.
    Wait(Duration),
    /// Each worker executes this number of steps.
    Work(usize),
    /// Injects a fault into a later job.
    Fault(JobFault),
    /// Unmounts the source.
    Unmount,
    /// Mounts the source again, unchanged.
    Mount,
    /// Mounts another disk, of this number, in place of the source: as it was left there, at first
    /// empty.
    Disk(usize),
    /// Replaces the source by another directory on its disk, derived from it by this seed.
    Exchange(u64),
    /// The user accepts the current disk.
    Accept,
    /// Connects or disconnects the targets.
    TargetLink(bool),
    /// Sends `SIGHUP`.
    Hangup,
    /// A full transfer is due.
    Full,
    /// Replaces some mirrors, chosen by this seed.
    Replace(u64),
    /// Requests a flush of this path, with patience for this time, after all events are reported.
    Flush(TreePath, Duration),
    /// An operator pauses or resumes all mirrors.
    Pause(bool),
}

/// A list of steps and the parameters of its world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// Number of mirrors of the source.
    pub(crate) mirrors: usize,
    /// Maximum number of concurrent jobs.
    pub(crate) max_jobs: Option<usize>,
    /// Maximum number of concurrent jobs of each mirror.
    pub(crate) jobs_per_mirror: usize,
    /// True if the mirrors begin with a full transfer.
    pub(crate) init: bool,
    pub(crate) steps: Vec<ScenarioStep>,
}

impl Scenario {
    /// Generates the scenario with this seed.
    pub(crate) fn random(seed: u64) -> Self {
        let mut random = SimRng::new(seed);
        let mirrors = 1 + random.below(2);
        let max_jobs = random.pick(&[None, Some(1)]);
        let init = !random.once_in(4);
        let jobs_per_mirror = 1 + random.below(4);
        // State of the source if unmounts are ignored, so that most changes are possible.
        let mut tree = SimTree::new();
        let mut steps = Vec::new();
        for _ in 0..10 + random.below(50) {
            let step = ScenarioStep::random(&tree, &mut random);
            if let ScenarioStep::Change(change) = &step {
                change.apply(&mut tree);
            }
            steps.push(step);
        }
        Self { mirrors, max_jobs, jobs_per_mirror, init, steps }
    }

    /// Parses a scenario.
    pub(crate) fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let header: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        let ["mirrors", mirrors, "jobs", jobs, "per-mirror", jobs_per_mirror, "init", init] =
            *header
        else {
            panic!("no header: {header:?}")
        };
        Self {
            mirrors: mirrors.parse().unwrap(),
            max_jobs: jobs.parse().ok(),
            jobs_per_mirror: jobs_per_mirror.parse().unwrap(),
            init: init.parse().unwrap(),
            steps: lines.map(ScenarioStep::parse).collect(),
        }
    }

    /// Shrinks a scenario for which `fails` returns true: no part of the result can be left out.
    pub(crate) fn shorten(self, fails: impl Fn(&Self) -> bool) -> Self {
        let with = |steps: &[ScenarioStep]| Self { steps: steps.to_vec(), ..self.clone() };
        let steps = shorten(self.steps.clone(), |steps| fails(&with(steps)));
        Self { steps, ..self }
    }
}

/// Shrinks a list of steps for which `fails` returns true: no part of the result can be left out.
pub(crate) fn shorten<T: Clone>(mut steps: Vec<T>, fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut part = steps.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut shorter = steps.clone();
            shorter.drain(at..(at + part).min(steps.len()));
            if fails(&shorter) {
                steps = shorter;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    steps
}

impl ScenarioStep {
    fn random(tree: &SimTree, random: &mut SimRng) -> Self {
        let seed = u64::try_from(random.below(1_000_000)).unwrap();
        let steps = random.below(8);
        match random.below(36) {
            0..16 => Self::Change(TreeChange::random(tree, random)),
            16..21 => Self::Deliver(seed),
            21..25 => {
                let wait = random.pick(&[10, 90, 200, 1_000, 5_000, 40_000]);
                Self::Wait(Duration::from_millis(wait))
            }
            25..28 => Self::Work(1 + steps),
            28 => Self::Fault(JobFault::Partly(seed)),
            29 if seed % 4 == 0 => Self::Fault(JobFault::Late(steps)),
            29 => Self::Fault(JobFault::Again(steps)),
            30 => random.pick(&[
                Self::Hangup,
                Self::Full,
                Self::Replace(seed),
                Self::Fault(JobFault::Fatal(steps)),
                Self::Fault(JobFault::None),
                Self::Fault(JobFault::Hook),
            ]),
            31 => Self::TargetLink(random.once_in(2)),
            32 | 33 => {
                let path = if random.once_in(2) { TreePath::root() } else { change::path(random) };
                Self::Flush(path, Duration::from_millis(random.pick(&[0, 500, 20_000])))
            }
            34 => Self::Pause(random.once_in(3)),
            _ if random.once_in(2) => Self::Unmount,
            _ => match seed % 8 {
                0 => Self::Disk(1),
                1 => Self::Disk(2),
                2 => Self::Exchange(seed),
                3 => Self::Accept,
                _ => Self::Mount,
            },
        }
    }

    pub(crate) fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split_whitespace().collect();
        match *words {
            ["deliver", seed] => Self::Deliver(seed.parse().unwrap()),
            ["wait", wait] => Self::Wait(Duration::from_millis(wait.parse().unwrap())),
            ["work", steps] => Self::Work(steps.parse().unwrap()),
            ["fault", "none"] => Self::Fault(JobFault::None),
            ["fault", "hook"] => Self::Fault(JobFault::Hook),
            ["fault", "partly", seed] => Self::Fault(JobFault::Partly(seed.parse().unwrap())),
            ["fault", "again", steps] => Self::Fault(JobFault::Again(steps.parse().unwrap())),
            ["fault", "late", steps] => Self::Fault(JobFault::Late(steps.parse().unwrap())),
            ["fault", "fatal", steps] => Self::Fault(JobFault::Fatal(steps.parse().unwrap())),
            ["unmount"] => Self::Unmount,
            ["mount"] => Self::Mount,
            ["disk", number] => Self::Disk(number.parse().unwrap()),
            ["exchange", seed] => Self::Exchange(seed.parse().unwrap()),
            ["accept"] => Self::Accept,
            ["target", "up"] => Self::TargetLink(true),
            ["target", "down"] => Self::TargetLink(false),
            ["hup"] => Self::Hangup,
            ["full"] => Self::Full,
            ["flush", path, wait] => {
                Self::Flush(change::parse_path(path), Duration::from_millis(wait.parse().unwrap()))
            }
            ["pause"] => Self::Pause(true),
            ["resume"] => Self::Pause(false),
            ["replace", seed] => Self::Replace(seed.parse().unwrap()),
            _ => match change::parse(&words) {
                Some(change) => Self::Change(change),
                None => panic!("no step: {line}"),
            },
        }
    }
}

impl fmt::Display for ScenarioStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(change) => write!(f, "{change}"),
            Self::Deliver(seed) => write!(f, "deliver {seed}"),
            Self::Wait(wait) => write!(f, "wait {}", wait.as_millis()),
            Self::Work(steps) => write!(f, "work {steps}"),
            Self::Fault(JobFault::None) => f.write_str("fault none"),
            Self::Fault(JobFault::Hook) => f.write_str("fault hook"),
            Self::Fault(JobFault::Partly(seed)) => write!(f, "fault partly {seed}"),
            Self::Fault(JobFault::Again(steps)) => write!(f, "fault again {steps}"),
            Self::Fault(JobFault::Late(steps)) => write!(f, "fault late {steps}"),
            Self::Fault(JobFault::Fatal(steps)) => write!(f, "fault fatal {steps}"),
            Self::Unmount => f.write_str("unmount"),
            Self::Mount => f.write_str("mount"),
            Self::Disk(number) => write!(f, "disk {number}"),
            Self::Exchange(seed) => write!(f, "exchange {seed}"),
            Self::Accept => f.write_str("accept"),
            Self::TargetLink(true) => f.write_str("target up"),
            Self::TargetLink(false) => f.write_str("target down"),
            Self::Hangup => f.write_str("hup"),
            Self::Full => f.write_str("full"),
            Self::Replace(seed) => write!(f, "replace {seed}"),
            Self::Flush(path, wait) => write!(f, "flush {path} {}", wait.as_millis()),
            Self::Pause(true) => f.write_str("pause"),
            Self::Pause(false) => f.write_str("resume"),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let jobs = self.max_jobs.map_or(String::from("any"), |most| most.to_string());
        writeln!(
            f,
            "mirrors {} jobs {jobs} per-mirror {} init {}",
            self.mirrors, self.jobs_per_mirror, self.init
        )?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}
