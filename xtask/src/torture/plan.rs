//! The plan of a round, which its seed determines.

use std::{fmt, time::Duration};

use super::random::TortureRng;

/// The transport of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// `default.direct`.
    Direct,
    /// `default.rsync` to a directory.
    Rsync,
    /// `default.rsync` to a module of an rsync daemon.
    Module,
    /// `default.rsyncssh`.
    Ssh,
}

/// The arrangement of several syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncLayout {
    /// One source, one target.
    Single,
    /// One source, two targets of two kinds.
    Shared,
    /// The second source lies in the first.
    Nested,
    /// The first target is the second source.
    Chain,
}

/// The disturbances of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// None.
    None,
    /// It and its children are stopped for a while now and then, and transfers are killed.
    Pauses,
    /// It reloads its configuration.
    Reloads,
    /// It is killed or terminated, and restarted.
    Kills,
    /// Its event queue overflows.
    Overflows,
}

/// The file system of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundStorage {
    Memory,
    Disk,
}

/// The limit of unobserved deletions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeletionBudget {
    /// None: `maxDelete = false`.
    Unlimited,
    /// The default, with enough stable files that no deletion is ever held.
    Default,
}

/// The number of directories that the daemon may watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchLimit {
    /// Unlimited.
    Unlimited,
    /// A few: it has to poll the others.
    Few,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoundPlan {
    /// The seed that determines everything else.
    pub(crate) seed: u64,
    /// The kinds of the first and the second sync.
    pub(crate) kinds: [TargetKind; 2],
    /// The value of `settings.watch`.
    pub(crate) watch: &'static str,
    /// The file system of its directories.
    pub(crate) storage: RoundStorage,
    pub(crate) layout: SyncLayout,
    pub(crate) disturbance: Disturbance,
    pub(crate) deletions: DeletionBudget,
    /// The `delay`, if one is set.
    pub(crate) delay: Option<&'static str>,
    /// True if the syncs have excludes.
    pub(crate) excludes: bool,
    /// True if files get hard links. Otherwise trees are moved out of the source and in again: a
    /// file with a name outside changes without an event.
    pub(crate) links: bool,
    /// True if rsync preserves all metadata, instead of its default.
    pub(crate) archive: bool,
    pub(crate) watch_limit: WatchLimit,
    /// Further settings of each sync.
    pub(crate) settings: &'static str,
    pub(crate) bursts: u32,
    pub(crate) burst_duration: Duration,
    pub(crate) threads: u64,
}

const KINDS: [TargetKind; 4] =
    [TargetKind::Direct, TargetKind::Rsync, TargetKind::Module, TargetKind::Ssh];
const DISTURBANCES: [Disturbance; 5] = [
    Disturbance::Kills,
    Disturbance::Pauses,
    Disturbance::None,
    Disturbance::Overflows,
    Disturbance::Reloads,
];
const LAYOUTS: [SyncLayout; 6] = [
    SyncLayout::Single,
    SyncLayout::Shared,
    SyncLayout::Single,
    SyncLayout::Nested,
    SyncLayout::Chain,
    SyncLayout::Single,
];

/// Candidates for further settings; most syncs have none.
const SETTINGS: [&str; 6] =
    ["", "", "", "batchSizeLimit = 2000, maxProcesses = 3", "maxDelays = 5", "listForm = 'filter'"];
/// Candidates for syncs over ssh, which have one process.
const SSH_SETTINGS: [&str; 4] =
    ["", "batchSizeLimit = 2000", "maxDelays = 5", "listForm = 'filter'"];

impl RoundPlan {
    /// Derives the plan from a seed. Consecutive seeds cycle through kinds, watchers, layouts and
    /// disturbances, so that a few rounds cover many combinations.
    pub(crate) fn new(seed: u64) -> Self {
        let turn = |all: u64, every: u64| usize::try_from(seed / every % all).unwrap_or(0);
        let mut random = TortureRng::new(seed);
        let kind = KINDS.get(turn(4, 1)).copied().unwrap_or(TargetKind::Direct);
        let disturbance = DISTURBANCES.get(turn(5, 1)).copied().unwrap_or(Disturbance::None);
        let watch = if (seed + seed / 4).is_multiple_of(2) { "inotify" } else { "fanotify" };
        let layout = LAYOUTS.get(turn(6, 1)).copied().unwrap_or(SyncLayout::Single);
        // A second sync over ssh would test nothing new.
        let other = random.pick(&[TargetKind::Direct, TargetKind::Rsync, TargetKind::Module]);
        let excludes = random.once_in(3);
        // The limit applies to a user namespace, in which logging in by ssh is impossible.
        let few = watch == "inotify"
            && [kind, other]
                .iter()
                .all(|kind| matches!(kind, TargetKind::Direct | TargetKind::Rsync))
            && random.once_in(2);
        Self {
            seed,
            kinds: [kind, other],
            watch,
            storage: random.pick(&[RoundStorage::Memory, RoundStorage::Memory, RoundStorage::Disk]),
            layout,
            disturbance,
            deletions: random.pick(&[DeletionBudget::Unlimited, DeletionBudget::Default]),
            delay: random.pick(&[None, None, Some("0"), Some("0.3"), Some("1")]),
            excludes,
            // A change by an unwatched name stays unnoticed: nested or excluded names rule out
            // links.
            links: random.once_in(2) && layout != SyncLayout::Nested && !excludes,
            archive: !random.once_in(4),
            watch_limit: if few { WatchLimit::Few } else { WatchLimit::Unlimited },
            settings: if kind == TargetKind::Ssh {
                random.pick(&SSH_SETTINGS)
            } else {
                random.pick(&SETTINGS)
            },
            bursts: 4,
            burst_duration: Duration::from_millis(300 + random.below(900)),
            threads: 3,
        }
    }

    pub(crate) fn syncs(&self) -> usize {
        if self.layout == SyncLayout::Single { 1 } else { 2 }
    }

    /// Returns true if content may change without a trace in size and time. That requires that no
    /// event is lost, because nothing else reveals such a change.
    pub(crate) fn allows_unnoticed_writes(&self) -> bool {
        matches!(self.disturbance, Disturbance::None | Disturbance::Pauses)
            && self.watch_limit == WatchLimit::Unlimited
    }
}

impl fmt::Display for RoundPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {:?}", self.seed, self.kinds[0])?;
        if self.syncs() > 1 {
            write!(f, " {:?} {:?}", self.layout, self.kinds[1])?;
        }
        write!(f, ", {}, {:?}, {:?}", self.watch, self.storage, self.disturbance)?;
        write!(f, ", deletions {:?}, delay {:?}", self.deletions, self.delay)?;
        for (applies, name) in [
            (self.excludes, "excludes"),
            (self.links, "hard links"),
            (self.archive, "archive"),
            (self.watch_limit == WatchLimit::Few, "few watches"),
        ] {
            if applies {
                write!(f, ", {name}")?;
            }
        }
        if !self.settings.is_empty() {
            write!(f, ", {}", self.settings)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dozen_rounds_cover_all_kinds_with_both_watchers() {
        let plans: Vec<RoundPlan> = (0..12).map(RoundPlan::new).collect();
        for kind in KINDS {
            for watch in ["inotify", "fanotify"] {
                let covers = |plan: &RoundPlan| plan.kinds[0] == kind && plan.watch == watch;
                assert!(plans.iter().any(covers), "{kind:?} {watch}");
            }
        }
        for disturbance in DISTURBANCES {
            assert!(plans.iter().any(|plan| plan.disturbance == disturbance), "{disturbance:?}");
        }
        assert!((0..60).map(RoundPlan::new).any(|plan| plan.watch_limit == WatchLimit::Few));
        for layout in LAYOUTS {
            assert!(plans.iter().any(|plan| plan.layout == layout), "{layout:?}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_plan() {
        assert_eq!(RoundPlan::new(77), RoundPlan::new(77));
    }
}
