//! The rows of the table, as data.

use std::{io, time::Duration};

use super::{
    figure::{Bound, Figure, Limit, Sample},
    measure::{
        Bench, latency,
        quiet::{self, Excluded},
        scripts::Script,
        ssh::Ssh,
        startup::Startup,
        storm::{Floor, Storm},
        targets::Targets,
    },
    scene::Scene,
    tool::{Mode, Tool},
};

/// One row.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What happens in it.
    pub(crate) title: &'static str,
    work: Work,
    /// The delay of the syncs in seconds. Without one ours takes its default and the others none.
    pub(crate) delay: Option<u32>,
    /// Who takes part.
    pub(crate) tools: &'static [Tool],
    /// What our figures have to be.
    pub(crate) bounds: &'static [Bound],
}

#[derive(Debug)]
enum Work {
    Storm(Storm),
    Startup(Startup),
    Latency,
    Ssh(Ssh),
    Targets(Targets),
    Script(Script),
    Excluded(Excluded),
    Idle,
}

impl Row {
    /// Takes `tool` through one run.
    ///
    /// # Errors
    ///
    /// When it fails, or leaves a wrong target.
    pub(crate) fn measure(&self, bench: &Bench, tool: Tool) -> io::Result<Sample> {
        match &self.work {
            Work::Storm(storm) => storm.measure(bench, tool, self.delay),
            Work::Startup(startup) => startup.measure(bench, tool),
            Work::Latency => latency::measure(bench, tool),
            Work::Ssh(ssh) => ssh.measure(bench, tool, self.delay),
            Work::Targets(targets) => targets.measure(bench),
            Work::Script(script) => script.measure(bench, tool),
            Work::Excluded(excluded) => excluded.measure(bench, tool),
            Work::Idle => quiet::measure_idle(bench, tool),
        }
    }
}

const MAIN: &[Tool] = &[Tool::Floor, Tool::Original, Tool::Ours];
const BESIDE: &[Tool] = &[Tool::Original, Tool::Ours];
const STORM: &[Tool] =
    &[Tool::Floor, Tool::Original, Tool::Ours, Tool::Watchman, Tool::InotifyLoop];

const fn bound(figure: Figure, limit: Limit) -> Bound {
    Bound { figure, limit }
}

/// An own CPU time of nothing: one tick of the clock that the kernel shows.
const ONE_TICK: f64 = 0.01;

const CREATE: &[Bound] = &[
    bound(Figure::Wall, Limit::TimesPlusDelay(1.5, Tool::Floor)),
    bound(Figure::OwnCpu, Limit::Times(5.0, Tool::Floor)),
    bound(Figure::Overflows, Limit::AtMost(0.0)),
];

const NO_SLOWER: &[Bound] = &[
    bound(Figure::Wall, Limit::Times(1.0, Tool::Original)),
    bound(Figure::OwnCpu, Limit::Times(1.0, Tool::Original)),
];

const fn create(name: &'static str, title: &'static str, files: usize) -> Row {
    Row {
        name,
        title,
        work: Work::Storm(rsync(Scene::Create(files), Floor::Rsync)),
        delay: Some(1),
        tools: STORM,
        bounds: CREATE,
    }
}

const fn rsync(scene: Scene, floor: Floor) -> Storm {
    Storm { scene, mode: Mode::Rsync, floor, targets: 1, away: false }
}

const fn direct(scene: Scene) -> Storm {
    Storm { scene, mode: Mode::Direct, floor: Floor::SameCalls, targets: 1, away: false }
}

const SSH_CHANGES: &[Bound] = &[
    bound(Figure::Median, Limit::Times(1.3, Tool::Floor)),
    bound(Figure::Logins, Limit::AtMost(1.0)),
];

const fn ssh_changes(name: &'static str, title: &'static str, work: Ssh) -> Row {
    Row { name, title, work: Work::Ssh(work), delay: Some(0), tools: MAIN, bounds: SSH_CHANGES }
}

/// All rows, in the order of the table in the issue.
pub(crate) const ROWS: &[Row] = &[
    create("create-10k", "10,000 files created in one directory (-rsync)", 10_000),
    create("create-100k", "100,000 files created in one directory (-rsync)", 100_000),
    Row {
        name: "mixed",
        title: "1,000 mixed changes (-direct)",
        work: Work::Storm(direct(Scene::Mixed)),
        delay: Some(1),
        tools: MAIN,
        bounds: &[bound(Figure::Wall, Limit::TimesPlusDelay(3.0, Tool::Floor))],
    },
    Row {
        name: "equal-inotify",
        title: "100,000 directories, already equal: until live (-rsync, inotify)",
        work: Work::Startup(Startup::Equal(100_000, &["-watch", "inotify"])),
        delay: None,
        tools: MAIN,
        bounds: &[
            bound(Figure::Wall, Limit::Times(1.2, Tool::Floor)),
            bound(Figure::OwnCpu, Limit::AtMost(1.3)),
            bound(Figure::Memory, Limit::AtMost(20.0)),
        ],
    },
    Row {
        name: "equal-fanotify",
        title: "100,000 directories, already equal: until live (-rsync, fanotify)",
        work: Work::Startup(Startup::Equal(100_000, &["-watch", "fanotify"])),
        delay: None,
        tools: MAIN,
        bounds: &[
            bound(Figure::Wall, Limit::Times(1.2, Tool::Floor)),
            bound(Figure::OwnCpu, Limit::AtMost(0.1)),
            bound(Figure::Memory, Limit::AtMost(8.0)),
        ],
    },
    Row {
        name: "copy",
        title: "100,000 small files into an empty target (-direct)",
        work: Work::Startup(Startup::Empty(100_000)),
        delay: None,
        tools: &[Tool::Floor, Tool::RsyncArchive, Tool::Original, Tool::Ours],
        bounds: &[
            bound(Figure::Wall, Limit::Times(1.0, Tool::Floor)),
            bound(Figure::Wall, Limit::Times(1.0, Tool::RsyncArchive)),
        ],
    },
    Row {
        name: "latency",
        title: "one change, delay 0: until on the target (-direct)",
        work: Work::Latency,
        delay: Some(0),
        tools: MAIN,
        bounds: &[
            bound(Figure::Median, Limit::AtMost(2.0)),
            bound(Figure::Percentile99, Limit::AtMost(20.0)),
        ],
    },
    Row {
        name: "some-of-many",
        title: "3,000 of 100,000 files in one directory change (-rsync)",
        work: Work::Storm(rsync(Scene::SomeOfMany, Floor::RsyncWithList)),
        delay: Some(1),
        tools: STORM,
        bounds: &[bound(Figure::Wall, Limit::TimesPlusDelay(1.3, Tool::Floor))],
    },
    Row {
        name: "rename-direct",
        title: "directory of 10,000 files, 1 GB, renamed (-direct)",
        work: Work::Storm(direct(Scene::Rename)),
        delay: Some(1),
        tools: MAIN,
        bounds: &[bound(Figure::Wall, Limit::AtMostPlusDelay(0.1))],
    },
    Row {
        name: "rename-rsync",
        title: "directory of 10,000 files, 1 GB, renamed (-rsync)",
        work: Work::Storm(rsync(Scene::Rename, Floor::Rsync)),
        delay: None,
        tools: STORM,
        bounds: &[bound(Figure::Wall, Limit::Times(1.2, Tool::Floor))],
    },
    Row {
        name: "twenty",
        title: "20 targets of one source, 1,000 changes (-rsync)",
        work: Work::Storm(Storm { targets: 20, ..rsync(Scene::Thousand, Floor::Rsync) }),
        delay: None,
        tools: MAIN,
        bounds: &[bound(Figure::Wall, Limit::Times(1.2, Tool::Floor))],
    },
    Row {
        name: "away",
        title: "target away while 10,000 changes come, then back (-rsync)",
        work: Work::Storm(Storm { away: true, ..rsync(Scene::Create(10_000), Floor::Rsync) }),
        delay: None,
        tools: MAIN,
        bounds: &[
            bound(Figure::Wall, Limit::Times(1.5, Tool::Floor)),
            bound(Figure::OwnCpu, Limit::AtMost(0.3)),
        ],
    },
    Row {
        name: "excluded-directory",
        title: "50,000 events in an excluded directory, own CPU",
        work: Work::Excluded(Excluded::ByDirectory),
        delay: Some(0),
        tools: MAIN,
        bounds: &[bound(Figure::OwnCpu, Limit::AtMost(ONE_TICK))],
    },
    Row {
        name: "excluded-pattern",
        title: "50,000 events of excluded names, own CPU",
        work: Work::Excluded(Excluded::ByPattern),
        delay: Some(0),
        tools: MAIN,
        bounds: &[bound(Figure::OwnCpu, Limit::AtMost(0.15))],
    },
    Row {
        name: "dead",
        title: "20 changes to 99 targets, in turn beside a dead and a hanging one and without these (-rsync)",
        work: Work::Targets(Targets::Dead(99)),
        delay: Some(0),
        tools: &[Tool::Ours],
        bounds: &[bound(Figure::Times, Limit::AtMost(1.05))],
    },
    Row {
        name: "target-memory",
        title: "memory of each further target: 20 and 120 idle ones (-rsync)",
        work: Work::Targets(Targets::Memory(20, 120)),
        delay: Some(0),
        tools: &[Tool::Ours],
        bounds: &[bound(Figure::PerTarget, Limit::AtMost(200.0))],
    },
    Row {
        name: "rename-ssh",
        title: "directory of 10,000 files, 1 GB, renamed (default.rsyncssh)",
        work: Work::Ssh(Ssh::Rename),
        delay: Some(1),
        tools: MAIN,
        bounds: &[
            bound(Figure::Wall, Limit::TimesPlusDelay(3.0, Tool::Floor)),
            bound(Figure::Wire, Limit::AtMost(1.0)),
        ],
    },
    ssh_changes(
        "latency-rsyncssh",
        "one change, delay 0: until on the target (default.rsyncssh)",
        Ssh::Changes("default.rsyncssh", 100, Duration::ZERO),
    ),
    ssh_changes(
        "latency-rsync-ssh",
        "one change, delay 0: until on the target (default.rsync, host:)",
        Ssh::Changes("default.rsync", 100, Duration::ZERO),
    ),
    ssh_changes(
        "latency-50ms",
        "the same over a line of 50 ms there and back (default.rsyncssh)",
        Ssh::Changes("default.rsyncssh", 50, Duration::from_millis(25)),
    ),
    Row {
        name: "logins",
        title: "1,000 batches behind ssh (default.rsyncssh)",
        work: Work::Ssh(Ssh::Changes("default.rsyncssh", 1000, Duration::ZERO)),
        delay: Some(0),
        tools: &[Tool::Ours],
        bounds: &[bound(Figure::Logins, Limit::AtMost(1.0))],
    },
    Row {
        name: "script-lists",
        title: "5,000 files created, as lists for a function",
        work: Work::Script(Script::Lists(5_000)),
        delay: Some(0),
        tools: BESIDE,
        bounds: NO_SLOWER,
    },
    Row {
        name: "script-commands",
        title: "1,000 files created, a command for each",
        work: Work::Script(Script::Commands(1_000)),
        delay: Some(0),
        tools: BESIDE,
        bounds: NO_SLOWER,
    },
    Row {
        name: "idle",
        title: "idle for 30 s, 10,000 directories, on a file system that nobody else uses",
        work: Work::Idle,
        delay: None,
        tools: BESIDE,
        bounds: &[bound(Figure::WakeUps, Limit::AtMost(0.0))],
    },
];
