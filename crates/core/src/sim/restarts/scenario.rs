//! Scenarios with restarts of the daemon.

use alloc::{string::String, vec::Vec};
use core::{fmt, time::Duration};

use crate::sim::{
    change::{self, TreeChange},
    lossy_source::Loss,
    random::SimRng,
    restarts::disk::SimClock,
    scenario::{ScenarioStep, shorten},
    tree::SimTree,
    worker::JobFault,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RestartStep {
    /// A step that needs no snapshots.
    Other(ScenarioStep),
    /// Begins a snapshot, if one is due.
    Begin,
    /// Reads a part of the source, for the comparison or for a snapshot. The number chooses which.
    Read(u64),
    /// The watcher has reported everything that happened before the barrier.
    Barrier,
    /// The new snapshot replaces the last one.
    Commit,
    /// The present snapshot fails.
    Fail,
    /// The daemon is killed.
    Kill,
    /// The daemon writes the last snapshot and exits. The number chooses the changes meanwhile;
    /// 0: none.
    Stop(u64),
    /// The daemon starts.
    Start,
}

/// A list of steps and the parameters of its world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RestartScenario {
    /// Number of mirrors of the source.
    pub(super) mirrors: usize,
    /// Maximum number of concurrent jobs of each mirror.
    pub(super) jobs: usize,
    pub(super) loss: Loss,
    pub(super) clock: SimClock,
    /// True if deletions that were not observed are held until the end.
    pub(super) holds: bool,
    pub(super) steps: Vec<RestartStep>,
}

/// Generator of steps.
struct StepGenerator {
    random: SimRng,
    /// State of the source if unmounts are ignored.
    tree: SimTree,
    /// Reverse of the last change.
    undo: Option<TreeChange>,
    is_running: bool,
    steps: Vec<RestartStep>,
}

impl RestartScenario {
    /// Generates the scenario with this seed.
    pub(super) fn random(seed: u64) -> Self {
        let mut random = SimRng::new(seed);
        let (mirrors, jobs) = (1 + random.below(4) / 3, 1 + random.below(3));
        let loss = random.pick(&[Loss::Never, Loss::Never, Loss::Reported]);
        let clock = random.pick(&[SimClock::Exact, SimClock::Exact, SimClock::Coarse]);
        let holds = random.once_in(4);
        let length = 10 + random.below(60);
        let (tree, steps) = (SimTree::new(), Vec::new());
        let mut generator = StepGenerator { random, tree, undo: None, is_running: true, steps };
        if !generator.random.once_in(8) {
            generator.make_complete();
        }
        while generator.steps.len() < length {
            generator.add();
        }
        Self { mirrors, jobs, loss, clock, holds, steps: generator.steps }
    }

    /// Parses a scenario.
    pub(super) fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let header: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        let ["mirrors", mirrors, "jobs", jobs, "loss", loss, "clock", clock, "holds", holds] =
            *header
        else {
            panic!("no header: {header:?}")
        };
        Self {
            mirrors: mirrors.parse().unwrap(),
            jobs: jobs.parse().unwrap(),
            loss: if loss == "never" { Loss::Never } else { Loss::Reported },
            clock: if clock == "exact" { SimClock::Exact } else { SimClock::Coarse },
            holds: holds.parse().unwrap(),
            steps: lines.map(RestartStep::parse).collect(),
        }
    }

    /// Shrinks a scenario for which `fails` returns true: no part of the result can be left out.
    pub(super) fn shorten(self, fails: impl Fn(&Self) -> bool) -> Self {
        let with = |steps: &[RestartStep]| Self { steps: steps.to_vec(), ..self.clone() };
        let steps = shorten(self.steps.clone(), |steps| fails(&with(steps)));
        Self { steps, ..self }
    }
}

impl StepGenerator {
    fn push(&mut self, step: RestartStep) {
        self.steps.push(step);
    }

    fn seed(&mut self) -> u64 {
        u64::try_from(self.random.below(1_000_000)).unwrap()
    }

    fn add(&mut self) {
        if !self.is_running {
            if self.random.once_in(4) {
                self.push(RestartStep::Start);
                self.is_running = true;
                if !self.random.once_in(6) {
                    self.read_all();
                }
                return;
            }
            return self.change();
        }
        match self.random.below(24) {
            0..2 => self.snapshot(),
            2 if self.random.once_in(2) => self.stop(),
            2 => self.kill(),
            3 => self.make_complete(),
            4 => {
                let seed = self.seed();
                self.push(RestartStep::Read(seed));
            }
            5 => self.transfer(),
            _ => self.step(),
        }
    }

    fn stop(&mut self) {
        let seed = if self.random.once_in(2) { 0 } else { self.seed() };
        self.push(RestartStep::Stop(seed));
        self.is_running = false;
    }

    /// Lets the daemon do everything, so that there is a complete target.
    fn make_complete(&mut self) {
        let seed = self.seed();
        self.push(RestartStep::Other(ScenarioStep::Deliver(seed)));
        self.read_all();
        for _ in 0..2 {
            self.push(RestartStep::Other(ScenarioStep::Wait(Duration::from_secs(5))));
            self.push(RestartStep::Other(ScenarioStep::Work(60)));
        }
        if !self.random.once_in(4) {
            self.snapshot();
        }
    }

    fn read_all(&mut self) {
        for _ in 0..2 + self.random.below(4) {
            let seed = self.seed();
            self.push(RestartStep::Read(seed));
            self.interleave();
        }
    }

    fn snapshot(&mut self) {
        self.push(RestartStep::Begin);
        self.interleave();
        self.read_all();
        self.push(RestartStep::Barrier);
        self.interleave();
        let is_failing = self.random.once_in(4);
        self.push(if is_failing { RestartStep::Fail } else { RestartStep::Commit });
        if is_failing && self.random.once_in(2) {
            self.snapshot();
        } else if self.random.once_in(6) {
            self.kill();
        }
    }

    fn kill(&mut self) {
        self.push(RestartStep::Kill);
        self.is_running = false;
    }

    fn interleave(&mut self) {
        if self.random.once_in(8) {
            self.transfer();
        }
        while self.random.once_in(3) {
            self.step();
        }
    }

    /// A change that is transferred at once.
    fn transfer(&mut self) {
        self.change();
        let seed = self.seed();
        self.push(RestartStep::Other(ScenarioStep::Deliver(seed)));
        self.push(RestartStep::Other(ScenarioStep::Wait(Duration::from_secs(1))));
        self.push(RestartStep::Other(ScenarioStep::Work(20)));
    }

    fn change(&mut self) {
        let undo = self.undo.take().filter(|_| self.random.once_in(3));
        let change = undo.unwrap_or_else(|| match self.random.below(6) {
            0 => self.rename_directory(),
            _ => TreeChange::random(&self.tree, &mut self.random),
        });
        change.apply(&mut self.tree);
        self.undo = match change.clone() {
            TreeChange::Rename(from, to) => Some(TreeChange::Rename(to, from)),
            TreeChange::Write(path, _)
            | TreeChange::Link(path, _)
            | TreeChange::MakeDir(path)
            | TreeChange::MoveIn(path, _) => Some(TreeChange::MoveOut(path)),
            TreeChange::Mode(..)
            | TreeChange::Remove(_)
            | TreeChange::MoveOut(_)
            | TreeChange::Swap(..) => None,
        };
        self.push(RestartStep::Other(ScenarioStep::Change(change)));
    }

    fn rename_directory(&mut self) -> TreeChange {
        let directories: Vec<_> = self.tree.paths().filter(|it| self.tree.is_dir(it)).collect();
        let from = directories[self.random.below(directories.len())].clone();
        TreeChange::Rename(from, change::path(&mut self.random))
    }

    fn step(&mut self) {
        let seed = self.seed();
        let steps = self.random.below(8);
        let step = match self.random.below(28) {
            0..13 => return self.change(),
            13..17 => ScenarioStep::Deliver(seed),
            17..20 => {
                let wait = self.random.pick(&[10, 90, 200, 1_000, 5_000]);
                ScenarioStep::Wait(Duration::from_millis(wait))
            }
            20..24 => ScenarioStep::Work(1 + steps),
            24 => ScenarioStep::Fault(JobFault::Partly(seed)),
            25 => ScenarioStep::Fault(JobFault::Again(steps)),
            26 => self.random.pick(&[
                ScenarioStep::Fault(JobFault::Hook),
                ScenarioStep::Hangup,
                ScenarioStep::Hangup,
                ScenarioStep::Full,
                ScenarioStep::Pause(true),
                ScenarioStep::Pause(false),
                ScenarioStep::Pause(false),
            ]),
            _ => self.random.pick(&[
                ScenarioStep::Unmount,
                ScenarioStep::Mount,
                ScenarioStep::Mount,
                ScenarioStep::TargetLink(false),
                ScenarioStep::TargetLink(true),
                ScenarioStep::TargetLink(true),
                ScenarioStep::Deliver(seed),
                ScenarioStep::Deliver(seed),
            ]),
        };
        self.push(RestartStep::Other(step));
    }
}

impl RestartStep {
    fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split_whitespace().collect();
        match *words {
            ["begin"] => Self::Begin,
            ["read", seed] => Self::Read(seed.parse().unwrap()),
            ["barrier"] => Self::Barrier,
            ["commit"] => Self::Commit,
            ["fail"] => Self::Fail,
            ["kill"] => Self::Kill,
            ["stop", seed] => Self::Stop(seed.parse().unwrap()),
            ["start"] => Self::Start,
            _ => Self::Other(ScenarioStep::parse(line)),
        }
    }
}

impl fmt::Display for RestartStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(step) => write!(f, "{step}"),
            Self::Begin => f.write_str("begin"),
            Self::Read(seed) => write!(f, "read {seed}"),
            Self::Barrier => f.write_str("barrier"),
            Self::Commit => f.write_str("commit"),
            Self::Fail => f.write_str("fail"),
            Self::Kill => f.write_str("kill"),
            Self::Stop(seed) => write!(f, "stop {seed}"),
            Self::Start => f.write_str("start"),
        }
    }
}

impl fmt::Display for RestartScenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mirrors, jobs, loss, clock, holds, steps } = self;
        let loss = if *loss == Loss::Never { "never" } else { "reported" };
        let clock = match clock {
            SimClock::Exact => "exact",
            SimClock::Coarse => "coarse",
        };
        writeln!(f, "mirrors {mirrors} jobs {jobs} loss {loss} clock {clock} holds {holds}")?;
        steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// Formats the failure of a scenario.
pub(super) fn report(scenario: &RestartScenario, why: &str) -> String {
    alloc::format!("{why}\n{scenario}")
}
