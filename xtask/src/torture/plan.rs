//! What a round is about: all of it follows from its seed.

use std::{fmt, time::Duration};

use super::random::Random;

/// How a sync reaches its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `default.direct`.
    Direct,
    /// `default.rsync` to a directory.
    Rsync,
    /// `default.rsync` to a module of an rsync daemon.
    Module,
    /// `default.rsyncssh`.
    Ssh,
}

/// How syncs lie beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One source, one target.
    Single,
    /// One source, two targets of two kinds.
    Shared,
    /// The second source lies in the first.
    Nested,
    /// The first target is the second source.
    Chain,
}

/// What happens to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing.
    Calm,
    /// It and its children stand still now and then, and transfers are killed.
    Pauses,
    /// It reads its configuration again.
    Reloads,
    /// It is killed, or ended, and started again.
    Kills,
    /// It misses events.
    Overflows,
}

/// The file system of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    Memory,
    Disk,
}

/// What limits the deletions that nobody saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Nothing: `maxDelete = false`.
    Off,
    /// The default, with so many files that stay that it never holds anything.
    Default,
}

/// How many directories the daemon may watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watches {
    /// All.
    All,
    /// A few: it has to poll the others.
    Few,
}

/// One round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Where all of it comes from.
    pub(crate) seed: u64,
    /// The kinds of the first and the second sync.
    pub(crate) kinds: [Kind; 2],
    /// The word for `settings.watch`.
    pub(crate) watch: &'static str,
    /// Where it is played.
    pub(crate) ground: Ground,
    pub(crate) layout: Layout,
    pub(crate) weather: Weather,
    pub(crate) guard: Guard,
    /// The `delay`, if one is set.
    pub(crate) delay: Option<&'static str>,
    /// Whether something is left out.
    pub(crate) excludes: bool,
    /// Whether files get second names. If not, trees are moved out of the source and in again: what
    /// has a name outside changes without being heard.
    pub(crate) links: bool,
    /// Whether rsync keeps everything, or what it keeps by default.
    pub(crate) archive: bool,
    pub(crate) watches: Watches,
    /// More settings of each sync.
    pub(crate) more: &'static str,
    pub(crate) bursts: u32,
    pub(crate) burst: Duration,
    pub(crate) threads: u64,
}

const KINDS: [Kind; 4] = [Kind::Direct, Kind::Rsync, Kind::Module, Kind::Ssh];
const WEATHERS: [Weather; 5] =
    [Weather::Kills, Weather::Pauses, Weather::Calm, Weather::Overflows, Weather::Reloads];
const LAYOUTS: [Layout; 6] =
    [Layout::Single, Layout::Shared, Layout::Single, Layout::Nested, Layout::Chain, Layout::Single];

/// The settings that a sync may have beside the others, most have none.
const MORE: [&str; 6] =
    ["", "", "", "batchSizeLimit = 2000, maxProcesses = 3", "maxDelays = 5", "listForm = 'filter'"];
/// The same for ssh, which has one process.
const MORE_FOR_SSH: [&str; 4] =
    ["", "batchSizeLimit = 2000", "maxDelays = 5", "listForm = 'filter'"];

impl Plan {
    /// What follows from a seed. Seeds that follow each other take kinds, watchers, layouts and
    /// weathers in turn, so that a few rounds see much.
    pub(crate) fn new(seed: u64) -> Self {
        let turn = |all: u64, every: u64| usize::try_from(seed / every % all).unwrap_or(0);
        let mut random = Random::new(seed);
        let kind = KINDS.get(turn(4, 1)).copied().unwrap_or(Kind::Direct);
        let weather = WEATHERS.get(turn(5, 1)).copied().unwrap_or(Weather::Calm);
        let watch = if (seed + seed / 4).is_multiple_of(2) { "inotify" } else { "fanotify" };
        let layout = LAYOUTS.get(turn(6, 1)).copied().unwrap_or(Layout::Single);
        // A shell of its own for each is no other case than the same once.
        let other = random.pick(&[Kind::Direct, Kind::Rsync, Kind::Module]);
        let excludes = random.once_in(3);
        // In a user namespace, that has its own limit: who logs in there is somebody else.
        let few = watch == "inotify"
            && [kind, other].iter().all(|kind| matches!(kind, Kind::Direct | Kind::Rsync))
            && random.once_in(2);
        Self {
            seed,
            kinds: [kind, other],
            watch,
            ground: random.pick(&[Ground::Memory, Ground::Memory, Ground::Disk]),
            layout,
            weather,
            guard: random.pick(&[Guard::Off, Guard::Default]),
            delay: random.pick(&[None, None, Some("0"), Some("0.3"), Some("1")]),
            excludes,
            // What changes by a name that no sync hears of stays old: they don't go together.
            links: random.once_in(2) && layout != Layout::Nested && !excludes,
            archive: !random.once_in(4),
            watches: if few { Watches::Few } else { Watches::All },
            more: if kind == Kind::Ssh { random.pick(&MORE_FOR_SSH) } else { random.pick(&MORE) },
            bursts: 4,
            burst: Duration::from_millis(300 + random.below(900)),
            threads: 3,
        }
    }

    /// How many syncs there are.
    pub(crate) fn syncs(&self) -> usize {
        if self.layout == Layout::Single { 1 } else { 2 }
    }

    /// Whether content may change without a trace in size and time: only if every event is heard,
    /// as nothing else tells of it.
    pub(crate) fn disguises(&self) -> bool {
        matches!(self.weather, Weather::Calm | Weather::Pauses) && self.watches == Watches::All
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {:?}", self.seed, self.kinds[0])?;
        if self.syncs() > 1 {
            write!(f, " {:?} {:?}", self.layout, self.kinds[1])?;
        }
        write!(f, ", {}, {:?}, {:?}", self.watch, self.ground, self.weather)?;
        write!(f, ", guard {:?}, delay {:?}", self.guard, self.delay)?;
        for (is, what) in [
            (self.excludes, "excludes"),
            (self.links, "hard links"),
            (self.archive, "archive"),
            (self.watches == Watches::Few, "few watches"),
        ] {
            if is {
                write!(f, ", {what}")?;
            }
        }
        if !self.more.is_empty() {
            write!(f, ", {}", self.more)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dozen_rounds_see_all_kinds_with_both_watchers() {
        let plans: Vec<Plan> = (0..12).map(Plan::new).collect();
        for kind in KINDS {
            for watch in ["inotify", "fanotify"] {
                let sees = |plan: &Plan| plan.kinds[0] == kind && plan.watch == watch;
                assert!(plans.iter().any(sees), "{kind:?} {watch}");
            }
        }
        for weather in WEATHERS {
            assert!(plans.iter().any(|plan| plan.weather == weather), "{weather:?}");
        }
        assert!((0..60).map(Plan::new).any(|plan| plan.watches == Watches::Few));
        for layout in LAYOUTS {
            assert!(plans.iter().any(|plan| plan.layout == layout), "{layout:?}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_plan() {
        assert_eq!(Plan::new(77), Plan::new(77));
    }
}
