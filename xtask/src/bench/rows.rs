//! The rows of the benchmark table.

use std::{io, time::Duration};

use super::{
    measure::{
        BenchEnv,
        burst::{BurstBench, BurstFloor},
        idle::{self, ExclusionBench},
        latency,
        restart::RestartBench,
        scripts::ScriptBench,
        ssh::SshBench,
        startup::StartupBench,
        targets::TargetsBench,
    },
    metric::{Metric, MetricBound, MetricLimit, Sample},
    tool::{BenchMode, Tool},
    workload::Workload,
};

#[derive(Debug)]
pub(crate) struct BenchRow {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// A description for the table.
    pub(crate) title: &'static str,
    kind: RowKind,
    /// The delay of the syncs in seconds. `None`: ours uses its default and the others no delay.
    pub(crate) delay: Option<u32>,
    /// The tools to compare.
    pub(crate) tools: &'static [Tool],
    /// The bounds of our metrics.
    pub(crate) bounds: &'static [MetricBound],
}

#[derive(Debug)]
enum RowKind {
    Burst(BurstBench),
    Startup(StartupBench),
    Restart(RestartBench),
    Latency,
    Ssh(SshBench),
    Targets(TargetsBench),
    Script(ScriptBench),
    Excluded(ExclusionBench),
    Idle,
}

impl BenchRow {
    /// Measures one run of `tool`.
    ///
    /// # Errors
    ///
    /// If it fails, or the target is wrong in the end.
    pub(crate) fn measure(&self, bench: &BenchEnv, tool: Tool) -> io::Result<Sample> {
        match &self.kind {
            RowKind::Burst(burst) => burst.measure(bench, tool, self.delay),
            RowKind::Startup(startup) => startup.measure(bench, tool),
            RowKind::Restart(restart) => restart.measure(bench, tool),
            RowKind::Latency => latency::measure(bench, tool),
            RowKind::Ssh(ssh) => ssh.measure(bench, tool, self.delay),
            RowKind::Targets(targets) => targets.measure(bench),
            RowKind::Script(script) => script.measure(bench, tool),
            RowKind::Excluded(excluded) => excluded.measure(bench, tool),
            RowKind::Idle => idle::measure_idle(bench, tool),
        }
    }
}

const MAIN: &[Tool] = &[Tool::Floor, Tool::Original, Tool::Ours];
const DAEMONS: &[Tool] = &[Tool::Original, Tool::Ours];
const ALL: &[Tool] = &[Tool::Floor, Tool::Original, Tool::Ours, Tool::Watchman, Tool::InotifyLoop];

const fn bound(metric: Metric, limit: MetricLimit) -> MetricBound {
    MetricBound { metric, limit }
}

/// The smallest CPU time that the kernel can show, in seconds.
const ONE_TICK: f64 = 0.01;

const CREATE: &[MetricBound] = &[
    bound(Metric::Wall, MetricLimit::TimesPlusDelay(1.5, Tool::Floor)),
    bound(Metric::OwnCpu, MetricLimit::Times(5.0, Tool::Floor)),
    bound(Metric::Overflows, MetricLimit::AtMost(0.0)),
];

const NO_SLOWER: &[MetricBound] = &[
    bound(Metric::Wall, MetricLimit::Times(1.0, Tool::Original)),
    bound(Metric::OwnCpu, MetricLimit::Times(1.0, Tool::Original)),
];

const fn create(name: &'static str, title: &'static str, files: usize) -> BenchRow {
    BenchRow {
        name,
        title,
        kind: RowKind::Burst(rsync(Workload::Create(files), BurstFloor::Rsync)),
        delay: Some(1),
        tools: ALL,
        bounds: CREATE,
    }
}

const fn rsync(workload: Workload, floor: BurstFloor) -> BurstBench {
    BurstBench { workload, mode: BenchMode::Rsync, floor, targets: 1, unavailable: false }
}

const fn direct(workload: Workload) -> BurstBench {
    BurstBench {
        workload,
        mode: BenchMode::Direct,
        floor: BurstFloor::SameCalls,
        targets: 1,
        unavailable: false,
    }
}

const SSH_CHANGES: &[MetricBound] = &[
    bound(Metric::Median, MetricLimit::Times(1.3, Tool::Floor)),
    bound(Metric::Logins, MetricLimit::AtMost(1.0)),
];

const fn ssh_changes(name: &'static str, title: &'static str, bench: SshBench) -> BenchRow {
    BenchRow {
        name,
        title,
        kind: RowKind::Ssh(bench),
        delay: Some(0),
        tools: MAIN,
        bounds: SSH_CHANGES,
    }
}

/// All rows, in the order of the table.
pub(crate) const ROWS: &[BenchRow] = &[
    create("create-10k", "10,000 files created in one directory (-rsync)", 10_000),
    create("create-100k", "100,000 files created in one directory (-rsync)", 100_000),
    BenchRow {
        name: "mixed",
        title: "1,000 mixed changes (-direct)",
        kind: RowKind::Burst(direct(Workload::Mixed)),
        delay: Some(1),
        tools: MAIN,
        bounds: &[bound(Metric::Wall, MetricLimit::TimesPlusDelay(3.0, Tool::Floor))],
    },
    BenchRow {
        name: "equal-inotify",
        title: "100,000 directories, already equal: until live (-rsync, inotify)",
        kind: RowKind::Startup(StartupBench::Equal(100_000, &["-watch", "inotify"])),
        delay: None,
        tools: MAIN,
        bounds: &[
            bound(Metric::Wall, MetricLimit::Times(1.2, Tool::Floor)),
            bound(Metric::OwnCpu, MetricLimit::AtMost(1.3)),
            bound(Metric::Memory, MetricLimit::AtMost(20.0)),
        ],
    },
    BenchRow {
        name: "equal-fanotify",
        title: "100,000 directories, already equal: until live (-rsync, fanotify)",
        kind: RowKind::Startup(StartupBench::Equal(100_000, &["-watch", "fanotify"])),
        delay: None,
        tools: MAIN,
        bounds: &[
            bound(Metric::Wall, MetricLimit::Times(1.2, Tool::Floor)),
            bound(Metric::OwnCpu, MetricLimit::AtMost(0.1)),
            bound(Metric::Memory, MetricLimit::AtMost(8.0)),
        ],
    },
    BenchRow {
        name: "restart",
        title: "1,000,000 files in 100,000 directories, unchanged since the last run: until live",
        kind: RowKind::Restart(RestartBench { directories: 100_000, files: 10 }),
        delay: None,
        tools: MAIN,
        bounds: &[
            bound(Metric::Wall, MetricLimit::AtMost(10.0)),
            bound(Metric::Wall, MetricLimit::Times(1.5, Tool::Floor)),
            bound(Metric::Memory, MetricLimit::AtMost(100.0)),
        ],
    },
    BenchRow {
        name: "copy",
        title: "100,000 small files into an empty target (-direct)",
        kind: RowKind::Startup(StartupBench::Empty(100_000)),
        delay: None,
        tools: &[Tool::Floor, Tool::RsyncArchive, Tool::Original, Tool::Ours],
        bounds: &[
            bound(Metric::Wall, MetricLimit::Times(1.0, Tool::Floor)),
            bound(Metric::Wall, MetricLimit::Times(1.0, Tool::RsyncArchive)),
        ],
    },
    BenchRow {
        name: "latency",
        title: "one change, delay 0: until on the target (-direct)",
        kind: RowKind::Latency,
        delay: Some(0),
        tools: MAIN,
        bounds: &[
            bound(Metric::Median, MetricLimit::AtMost(2.0)),
            bound(Metric::Percentile99, MetricLimit::AtMost(20.0)),
        ],
    },
    BenchRow {
        name: "some-of-many",
        title: "3,000 of 100,000 files in one directory change (-rsync)",
        kind: RowKind::Burst(rsync(Workload::SomeOfMany, BurstFloor::RsyncWithList)),
        delay: Some(1),
        tools: ALL,
        bounds: &[bound(Metric::Wall, MetricLimit::TimesPlusDelay(1.3, Tool::Floor))],
    },
    BenchRow {
        name: "rename-direct",
        title: "directory of 10,000 files, 1 GB, renamed (-direct)",
        kind: RowKind::Burst(direct(Workload::Rename)),
        delay: Some(1),
        tools: MAIN,
        bounds: &[bound(Metric::Wall, MetricLimit::AtMostPlusDelay(0.1))],
    },
    BenchRow {
        name: "rename-rsync",
        title: "directory of 10,000 files, 1 GB, renamed (-rsync)",
        kind: RowKind::Burst(rsync(Workload::Rename, BurstFloor::Rsync)),
        delay: None,
        tools: ALL,
        bounds: &[bound(Metric::Wall, MetricLimit::Times(1.2, Tool::Floor))],
    },
    BenchRow {
        name: "twenty",
        title: "20 targets of one source, 1,000 changes (-rsync)",
        kind: RowKind::Burst(BurstBench {
            targets: 20,
            ..rsync(Workload::Thousand, BurstFloor::Rsync)
        }),
        delay: None,
        tools: MAIN,
        bounds: &[bound(Metric::Wall, MetricLimit::Times(1.2, Tool::Floor))],
    },
    BenchRow {
        name: "away",
        title: "target away while 10,000 changes come, then back (-rsync)",
        kind: RowKind::Burst(BurstBench {
            unavailable: true,
            ..rsync(Workload::Create(10_000), BurstFloor::Rsync)
        }),
        delay: None,
        tools: MAIN,
        bounds: &[
            bound(Metric::Wall, MetricLimit::Times(1.5, Tool::Floor)),
            bound(Metric::OwnCpu, MetricLimit::AtMost(0.3)),
        ],
    },
    BenchRow {
        name: "excluded-directory",
        title: "50,000 events in an excluded directory, own CPU",
        kind: RowKind::Excluded(ExclusionBench::ByDirectory),
        delay: Some(0),
        tools: MAIN,
        bounds: &[bound(Metric::OwnCpu, MetricLimit::AtMost(ONE_TICK))],
    },
    BenchRow {
        name: "excluded-pattern",
        title: "50,000 events of excluded names, own CPU",
        kind: RowKind::Excluded(ExclusionBench::ByPattern),
        delay: Some(0),
        tools: MAIN,
        bounds: &[bound(Metric::OwnCpu, MetricLimit::AtMost(0.15))],
    },
    BenchRow {
        name: "dead",
        title: "20 changes to 99 targets, in turn beside a dead and a hanging one and without these (-rsync)",
        kind: RowKind::Targets(TargetsBench::Dead(99)),
        delay: Some(0),
        tools: &[Tool::Ours],
        bounds: &[bound(Metric::Times, MetricLimit::AtMost(1.05))],
    },
    BenchRow {
        name: "target-memory",
        title: "memory of each further target: 20 and 120 idle ones (-rsync)",
        kind: RowKind::Targets(TargetsBench::Memory(20, 120)),
        delay: Some(0),
        tools: &[Tool::Ours],
        bounds: &[bound(Metric::PerTarget, MetricLimit::AtMost(200.0))],
    },
    BenchRow {
        name: "rename-ssh",
        title: "directory of 10,000 files, 1 GB, renamed (default.rsyncssh)",
        kind: RowKind::Ssh(SshBench::Rename),
        delay: Some(1),
        tools: MAIN,
        bounds: &[
            bound(Metric::Wall, MetricLimit::TimesPlusDelay(3.0, Tool::Floor)),
            bound(Metric::Wire, MetricLimit::AtMost(1.0)),
        ],
    },
    ssh_changes(
        "latency-rsyncssh",
        "one change, delay 0: until on the target (default.rsyncssh)",
        SshBench::Changes("default.rsyncssh", 100, Duration::ZERO),
    ),
    ssh_changes(
        "latency-rsync-ssh",
        "one change, delay 0: until on the target (default.rsync, host:)",
        SshBench::Changes("default.rsync", 100, Duration::ZERO),
    ),
    ssh_changes(
        "latency-50ms",
        "the same over a line of 50 ms there and back (default.rsyncssh)",
        SshBench::Changes("default.rsyncssh", 50, Duration::from_millis(25)),
    ),
    BenchRow {
        name: "logins",
        title: "1,000 batches behind ssh (default.rsyncssh)",
        kind: RowKind::Ssh(SshBench::Changes("default.rsyncssh", 1000, Duration::ZERO)),
        delay: Some(0),
        tools: &[Tool::Ours],
        bounds: &[bound(Metric::Logins, MetricLimit::AtMost(1.0))],
    },
    BenchRow {
        name: "script-lists",
        title: "5,000 files created, as lists for a function",
        kind: RowKind::Script(ScriptBench::Lists(5_000)),
        delay: Some(0),
        tools: DAEMONS,
        bounds: NO_SLOWER,
    },
    BenchRow {
        name: "script-commands",
        title: "1,000 files created, a command for each",
        kind: RowKind::Script(ScriptBench::Commands(1_000)),
        delay: Some(0),
        tools: DAEMONS,
        bounds: NO_SLOWER,
    },
    BenchRow {
        name: "idle",
        title: "idle for 30 s, 10,000 directories, on a file system that nobody else uses",
        kind: RowKind::Idle,
        delay: None,
        tools: DAEMONS,
        bounds: &[bound(Metric::WakeUps, MetricLimit::AtMost(0.0))],
    },
];
