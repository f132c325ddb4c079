//! Histories of a world as text, and how they are made up, played again and made shorter.

use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};
use core::{fmt, time::Duration};

use crate::sim::{
    change::{self, Change},
    random::Random,
    tree::Tree,
    worker::Fate,
};

/// One thing that happens in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Somebody changes the source.
    Change(Change),
    /// The witnesses tell what they saw, as badly as this seed says.
    Tell(u64),
    /// Time goes by.
    Wait(Duration),
    /// The workers do so many steps.
    Work(usize),
    /// A job that begins later will end so.
    Fate(Fate),
    /// The source goes away.
    Unmount,
    /// It comes back as it was.
    Mount,
    /// Another disk, of this number, stands in the place of the source: as somebody left it there,
    /// in the beginning a blank one.
    Disk(usize),
    /// Another directory, which this seed makes of it, takes the place of the source on its disk.
    Exchange(u64),
    /// A person accepts what stands there now.
    Accept,
    /// The way to the targets is open, or is lost.
    Way(bool),
    /// Somebody sends `SIGHUP`.
    Hangup,
    /// The time for a full transfer has come.
    Full,
    /// Some mirrors are replaced, as this seed says.
    Replace(u64),
}

/// A history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// How many mirrors of the source there are.
    pub(crate) mirrors: usize,
    /// How many jobs may run at once.
    pub(crate) max_jobs: Option<usize>,
    /// How many jobs each mirror may have.
    pub(crate) hands: usize,
    /// Whether they begin with a full transfer.
    pub(crate) init: bool,
    pub(crate) steps: Vec<Step>,
}

impl Script {
    /// The history number `seed`.
    pub(crate) fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mirrors = 1 + random.below(2);
        let max_jobs = random.pick(&[None, Some(1)]);
        let init = !random.once_in(4);
        let hands = 1 + random.below(4);
        // What the source is like without unmounts, so that most changes are possible.
        let mut tree = Tree::new();
        let mut steps = Vec::new();
        for _ in 0..10 + random.below(50) {
            let step = Step::random(&tree, &mut random);
            if let Step::Change(change) = &step {
                change.apply(&mut tree);
            }
            steps.push(step);
        }
        Self { mirrors, max_jobs, hands, init, steps }
    }

    /// The history that is written so.
    pub(crate) fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let header: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        let ["mirrors", mirrors, "jobs", jobs, "hands", hands, "init", init] = *header else {
            panic!("no header: {header:?}")
        };
        Self {
            mirrors: mirrors.parse().unwrap(),
            max_jobs: jobs.parse().ok(),
            hands: hands.parse().unwrap(),
            init: init.parse().unwrap(),
            steps: lines.map(Step::parse).collect(),
        }
    }

    /// A shorter history of which `fails` is true as well: no part of it can be left out.
    pub(crate) fn shorten(mut self, fails: impl Fn(&Self) -> bool) -> Self {
        let mut part = self.steps.len().div_ceil(2);
        while part > 0 {
            let mut at = 0;
            while at < self.steps.len() {
                let mut shorter = self.clone();
                shorter.steps.drain(at..(at + part).min(self.steps.len()));
                if fails(&shorter) {
                    self = shorter;
                } else {
                    at += part;
                }
            }
            part /= 2;
        }
        self
    }
}

impl Step {
    fn random(tree: &Tree, random: &mut Random) -> Self {
        let seed = u64::try_from(random.below(1_000_000)).unwrap();
        let steps = random.below(8);
        match random.below(33) {
            0..16 => Self::Change(Change::random(tree, random)),
            16..21 => Self::Tell(seed),
            21..25 => {
                let wait = random.pick(&[10, 90, 200, 1_000, 5_000]);
                Self::Wait(Duration::from_millis(wait))
            }
            25..28 => Self::Work(1 + steps),
            28 => Self::Fate(Fate::Partly(seed)),
            29 => Self::Fate(Fate::Again(steps)),
            30 => random.pick(&[
                Self::Hangup,
                Self::Full,
                Self::Replace(seed),
                Self::Fate(Fate::Fatal(steps)),
                Self::Fate(Fate::Good),
                Self::Fate(Fate::Hook),
            ]),
            31 => Self::Way(random.once_in(2)),
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

    fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split_whitespace().collect();
        match *words {
            ["tell", seed] => Self::Tell(seed.parse().unwrap()),
            ["wait", wait] => Self::Wait(Duration::from_millis(wait.parse().unwrap())),
            ["work", steps] => Self::Work(steps.parse().unwrap()),
            ["fate", "good"] => Self::Fate(Fate::Good),
            ["fate", "hook"] => Self::Fate(Fate::Hook),
            ["fate", "partly", seed] => Self::Fate(Fate::Partly(seed.parse().unwrap())),
            ["fate", "again", steps] => Self::Fate(Fate::Again(steps.parse().unwrap())),
            ["fate", "fatal", steps] => Self::Fate(Fate::Fatal(steps.parse().unwrap())),
            ["unmount"] => Self::Unmount,
            ["mount"] => Self::Mount,
            ["disk", number] => Self::Disk(number.parse().unwrap()),
            ["exchange", seed] => Self::Exchange(seed.parse().unwrap()),
            ["accept"] => Self::Accept,
            ["way", "open"] => Self::Way(true),
            ["way", "lost"] => Self::Way(false),
            ["hup"] => Self::Hangup,
            ["full"] => Self::Full,
            ["replace", seed] => Self::Replace(seed.parse().unwrap()),
            _ => match change::parse(&words) {
                Some(change) => Self::Change(change),
                None => panic!("no step: {line}"),
            },
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(change) => write!(f, "{change}"),
            Self::Tell(seed) => write!(f, "tell {seed}"),
            Self::Wait(wait) => write!(f, "wait {}", wait.as_millis()),
            Self::Work(steps) => write!(f, "work {steps}"),
            Self::Fate(Fate::Good) => f.write_str("fate good"),
            Self::Fate(Fate::Hook) => f.write_str("fate hook"),
            Self::Fate(Fate::Partly(seed)) => write!(f, "fate partly {seed}"),
            Self::Fate(Fate::Again(steps)) => write!(f, "fate again {steps}"),
            Self::Fate(Fate::Fatal(steps)) => write!(f, "fate fatal {steps}"),
            Self::Unmount => f.write_str("unmount"),
            Self::Mount => f.write_str("mount"),
            Self::Disk(number) => write!(f, "disk {number}"),
            Self::Exchange(seed) => write!(f, "exchange {seed}"),
            Self::Accept => f.write_str("accept"),
            Self::Way(true) => f.write_str("way open"),
            Self::Way(false) => f.write_str("way lost"),
            Self::Hangup => f.write_str("hup"),
            Self::Full => f.write_str("full"),
            Self::Replace(seed) => write!(f, "replace {seed}"),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let jobs = self.max_jobs.map_or(String::from("any"), |most| most.to_string());
        writeln!(
            f,
            "mirrors {} jobs {jobs} hands {} init {}",
            self.mirrors, self.hands, self.init
        )?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}
