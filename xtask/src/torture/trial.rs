//! One round: bursts of changes, and after each a look at everything.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    compare::{Difference, differences},
    history::History,
    plan::{Ground, Layout, Plan, Watches, Weather},
    random::Random,
    scene::Scene,
    snapshot::{Tree, snapshot, text},
    storm::{Actor, is_left_out},
    subject::{Subject, can_have_few_watches},
};
use crate::bench::{place::Arena, sshd::Sshd};

/// How long it may take until everything has arrived.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a daemon may say that it is in sync while it is not: what it has not heard yet.
const LENIENCE: Duration = Duration::from_secs(6);
/// The same where much is polled.
const LENIENCE_OF_FEW: Duration = Duration::from_secs(40);
/// How often it is looked.
const INTERVAL: Duration = Duration::from_millis(40);
/// How many differences are told.
const SHOWN: usize = 8;
/// More changes than the kernel keeps of inotify's events, with two for each.
const OVERFLOW: usize = 9000;

/// What a round needs from outside.
#[derive(Debug)]
pub(crate) struct Means<'a> {
    pub(crate) program: &'a Path,
    pub(crate) memory: &'a Path,
    pub(crate) disk: &'a Path,
    pub(crate) sshd: Option<&'a Sshd>,
}

/// Why a round is not right.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It could not be played.
    Skipped(String),
    /// The daemon does something wrong.
    Fault(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Fault(error.to_string())
    }
}

/// Plays a round, and returns how many changes there were.
///
/// # Errors
///
/// What is wrong, as a report. The directories stay then.
pub(crate) fn play(plan: &Plan, means: &Means<'_>) -> Result<u64, Trouble> {
    let base = match plan.ground {
        Ground::Memory => means.memory,
        Ground::Disk => means.disk,
    };
    let mut arena = Arena::named("torture-", base)?;
    let history = History::new();
    let mut report = String::new();
    let played = Round::start(plan, means, &arena, &history).and_then(|mut round| {
        let result = round.play();
        if let Err(Trouble::Fault(_)) = &result {
            report = round.evidence();
        }
        result
    });
    match played {
        Ok(()) => Ok(history.count()),
        Err(Trouble::Fault(what)) => {
            let place = arena.keep().display().to_string();
            let text = format!("{plan}\n{what}\n{report}kept: {place}");
            let _ = fs::write(Path::new(&place).join("report"), &text);
            Err(Trouble::Fault(text))
        }
        Err(skipped) => Err(skipped),
    }
}

struct Round<'a> {
    plan: &'a Plan,
    means: &'a Means<'a>,
    arena: &'a Arena,
    history: &'a History,
    scene: Scene,
    subject: Subject<'a>,
    random: Random,
}

impl<'a> Round<'a> {
    fn start(
        plan: &'a Plan,
        means: &'a Means<'a>,
        arena: &'a Arena,
        history: &'a History,
    ) -> Result<Self, Trouble> {
        let scene = Scene::set(plan, arena)?;
        let config = scene.config(plan, plan.delay, means, arena)?;
        fs::write(arena.place("run/config.lua")?.path(), config)?;
        if plan.watches == Watches::Few && !can_have_few_watches() {
            let why = format!("{plan}: there can be no user namespace with its own limit here");
            return Err(Trouble::Skipped(why));
        }
        let subject = Subject::start(means.program, arena, plan.watches)?;
        let random = Random::new(plan.seed ^ 0xdead);
        Ok(Self { plan, means, arena, history, scene, subject, random })
    }

    fn play(&mut self) -> Result<(), Trouble> {
        for burst in 0..self.plan.bursts {
            // Mostly it waits for the startup; sometimes the storm meets it.
            if burst > 0 || !self.plan.seed.is_multiple_of(3) {
                self.settle(burst * 2)?;
            }
            self.check_watch()?;
            self.history.mark(&format!("-- burst {burst} --"));
            self.burst(burst)?;
            self.history.mark("-- quiet --");
            self.settle(burst * 2 + 1)?;
        }
        Ok(())
    }

    /// A round for fanotify proves nothing where there is none.
    fn check_watch(&self) -> Result<(), Trouble> {
        let fanotify = self.subject.status().contains("Fanotify watching");
        if self.plan.watch == "fanotify" && self.subject.is_in_sync(self.plan.syncs()) && !fanotify
        {
            return Err(Trouble::Skipped(format!("{}: fanotify can't watch there", self.plan)));
        }
        Ok(())
    }

    fn burst(&mut self, number: u32) -> Result<(), Trouble> {
        let source = self.scene.pairs.first().map(|pair| pair.source.path().to_owned());
        let source = source.ok_or_else(|| io::Error::other("no source"))?;
        let places =
            [&*source, self.scene.outside.path(), self.scene.canary.path()].map(Path::to_owned);
        let mut actors = Vec::new();
        for thread in 0..self.plan.threads {
            let thread = thread + u64::from(number) * self.plan.threads;
            let places = [&*places[0], &*places[1], &*places[2]];
            actors.push(Actor::new(self.plan, thread, self.history, places)?);
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for actor in &mut actors {
                let stop = &stop;
                scope.spawn(move || actor.rage(stop));
            }
            // What happens to the daemon happens in this thread, at whose end it would end, too.
            let result = self.disturb(&source);
            stop.store(true, Ordering::Relaxed);
            result
        })?;
        Ok(())
    }

    fn disturb(&mut self, source: &Path) -> io::Result<()> {
        let until = Instant::now() + self.plan.burst;
        if self.plan.weather == Weather::Calm {
            thread::sleep(self.plan.burst);
        }
        let mut overflown = false;
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(self.random.below(250)));
            let pause = Duration::from_millis(self.random.below(400));
            match self.plan.weather {
                Weather::Calm => {}
                Weather::Pauses if self.random.once_in(2) => {
                    self.subject.hurt_a_child(&mut self.random, pause);
                }
                Weather::Pauses => self.stand_still(|| {
                    thread::sleep(pause);
                    Ok(())
                })?,
                Weather::Reloads => self.reload()?,
                Weather::Kills => {
                    let signal = self.random.pick(&[Signal::KILL, Signal::KILL, Signal::TERM]);
                    self.history.mark(&format!("-- {signal:?} --"));
                    self.subject.restart(signal)?;
                }
                Weather::Overflows if overflown => {}
                Weather::Overflows => {
                    overflown = true;
                    self.stand_still(|| flood(source))?;
                }
            }
        }
        Ok(())
    }

    fn stand_still(&self, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.history.mark("-- stopped --");
        self.subject.signal(Signal::STOP);
        let result = act();
        self.subject.signal(Signal::CONT);
        self.history.mark("-- continued --");
        result
    }

    /// Has it read its configuration again, which is another one or the same.
    fn reload(&mut self) -> io::Result<()> {
        let delay = self.random.pick(&[self.plan.delay, Some("0.2"), Some("0.5")]);
        let config = self.scene.config(self.plan, delay, self.means, self.arena)?;
        let path = self.arena.place("run/config.lua")?;
        let new = self.arena.place("run/config.new")?;
        fs::write(new.path(), config)?;
        fs::rename(new.path(), path.path())?;
        self.history.mark(&format!("-- SIGHUP, delay {delay:?} --"));
        self.subject.signal(Signal::HUP);
        Ok(())
    }

    /// Waits until the daemon says that all has arrived, and looks whether that is so.
    fn settle(&mut self, mark: u32) -> Result<(), Trouble> {
        for pair in &self.scene.pairs {
            if !pair.source.path().starts_with(self.arena.place("target0")?.path()) {
                fs::write(pair.source.path().join("mark"), mark.to_string())?;
            }
        }
        let before = self.surroundings()?;
        let began = Instant::now();
        let mut in_sync_since: Option<Instant> = None;
        let lenience = match self.plan.watches {
            Watches::All => LENIENCE,
            Watches::Few => LENIENCE_OF_FEW,
        };
        loop {
            if let Some(trouble) = self.subject.trouble() {
                return Err(Trouble::Fault(trouble));
            }
            let says_so = self.subject.is_in_sync(self.plan.syncs()) && self.marks_arrived(mark);
            in_sync_since = if says_so { in_sync_since.or(Some(Instant::now())) } else { None };
            // Twice, as the first may be from before an event was read.
            let for_long = in_sync_since.map_or(Duration::ZERO, |since| since.elapsed());
            if for_long > INTERVAL * 5 || began.elapsed() > PATIENCE {
                let found = self.differences();
                if found.is_empty() && began.elapsed() <= PATIENCE {
                    break;
                }
                if for_long > lenience || began.elapsed() > PATIENCE {
                    let what = if for_long > lenience {
                        "the daemon says that all is in sync, and it is not"
                    } else {
                        "the daemon does not come to say that all is in sync"
                    };
                    return Err(Trouble::Fault(format!("{what}:\n{}", self.explain(&found))));
                }
                thread::sleep(INTERVAL * 5);
            }
            thread::sleep(INTERVAL);
        }
        self.look_around(&before)
    }

    fn marks_arrived(&self, mark: u32) -> bool {
        let wanted = mark.to_string();
        self.scene.pairs.iter().all(|pair| {
            let file = pair.target.path().join("mark");
            fs::read_to_string(file).is_ok_and(|found| found == wanted)
        })
    }

    /// All that the daemon has no business to change.
    fn surroundings(&self) -> io::Result<Vec<Tree>> {
        let source = self.scene.pairs.first().map(|pair| pair.source.path());
        let places = [self.scene.outside.path(), self.scene.canary.path()];
        places.into_iter().chain(source).map(snapshot).collect()
    }

    fn look_around(&self, before: &[Tree]) -> Result<(), Trouble> {
        let mut wrong = self.scene.lost_treasures();
        if !self.plan.excludes {
            wrong.clear();
        }
        if self.surroundings()? != before {
            wrong.push("the daemon has changed its source, or something outside".into());
        }
        wrong.extend(self.subject.waste());
        if wrong.is_empty() { Ok(()) } else { Err(Trouble::Fault(wrong.join("\n"))) }
    }

    fn differences(&self) -> Vec<(usize, Difference)> {
        let mut all = Vec::new();
        for (number, pair) in self.scene.pairs.iter().enumerate() {
            let (source, target) = (snapshot(pair.source.path()), snapshot(pair.target.path()));
            // A directory may vanish while it is read, as long as the daemon works.
            let found = match (source, target) {
                (Ok(source), Ok(target)) => differences(pair.terms, &source, &target),
                (Err(error), _) | (_, Err(error)) => vec![(Vec::new(), error.to_string())],
            };
            all.extend(found.into_iter().map(|difference| (number, difference)));
        }
        all
    }

    fn explain(&self, found: &[(usize, Difference)]) -> String {
        let mut lines = vec![format!("{} differences", found.len())];
        for (number, (path, what)) in found.iter().take(SHOWN) {
            let out = if is_left_out(path) { " (left out)" } else { "" };
            lines.push(format!("target{number} {}: {what}{out}", text(path)));
            let whole = match (self.plan.layout, number) {
                (Layout::Nested, 1) => [b"/in".as_slice(), path].concat(),
                _ => path.clone(),
            };
            lines.extend(self.history.of(&whole).into_iter().map(|act| format!("    {act}")));
        }
        lines.join("\n")
    }

    fn evidence(&self) -> String {
        format!(
            "-- status --\n{}\n{}logs: {}\n",
            self.subject.status(),
            self.subject.last_words(),
            self.subject.logs().display(),
        )
    }
}

/// More events than the kernel keeps. Equal ones that follow each other would become one.
fn flood(source: &Path) -> io::Result<()> {
    let files = ["flood", "and flow"].map(|name| source.join(name));
    files.iter().try_for_each(|file| fs::write(file, "water"))?;
    for number in 0..OVERFLOW {
        for file in &files {
            let mode = if number % 2 == 0 { 0o600 } else { 0o644 };
            fs::set_permissions(file, Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}
