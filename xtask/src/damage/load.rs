//! Changes of a source whose effect on the target is known.

use std::{
    fs,
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    facts::{FactBook, FactState},
    matrix::{DamageFault, DamageKind, DamageLoad},
    setup::DamageSetup,
};
use crate::torture::{
    history::ChangeHistory,
    mutator::TreeMutator,
    plan::{Disturbance, RoundPlan, SyncLayout, WatchLimit},
    random::TortureRng,
};

/// Time between two changes.
const CHURN_INTERVAL: Duration = Duration::from_millis(15);
/// The same for a script, which starts a program for each.
const SCRIPT_INTERVAL: Duration = Duration::from_millis(60);
/// Number of changes before a pause.
const BURST: u64 = 16;
/// Length of the pause.
const PAUSE: Duration = Duration::from_millis(700);
/// The same beside a big file.
const BIG_INTERVAL: Duration = Duration::from_millis(300);
/// The size of a big file. Each version is a little larger.
const BIG_SIZE: u64 = 12 << 20;
/// Number of directories for the files of [`FactBook`].
const DIRECTORIES: u64 = 6;

/// A source under load.
#[derive(Debug)]
pub(crate) struct DamageDriver<'a> {
    pub(crate) setup: &'a DamageSetup,
    pub(crate) book: &'a FactBook,
    pub(crate) history: &'a ChangeHistory,
    pub(crate) seed: u64,
}

impl DamageDriver<'_> {
    /// Changes the source until `stop` is set.
    pub(crate) fn run(&self, stop: &AtomicBool) -> io::Result<()> {
        match self.setup.cell.load {
            DamageLoad::Idle => Ok(()),
            DamageLoad::Churn => self.churn(stop),
            DamageLoad::Big => self.replace_big_files(stop),
        }
    }

    fn churn(&self, stop: &AtomicBool) -> io::Result<()> {
        let is_script = self.setup.cell.kind == DamageKind::Script;
        let plan = self.plan();
        let directory = self.setup.origin.join("churn");
        let paths = [&*directory, &*self.setup.staging, &*self.setup.canary];
        let mut mutator = TreeMutator::new(&plan, 0, self.history, paths)?;
        let interval = if is_script { SCRIPT_INTERVAL } else { CHURN_INTERVAL };
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            self.change_fact(number)?;
            number += 1;
            if !is_script {
                mutator.mutate();
            }
            // In between, the daemon gets in sync, and says so.
            let is_pause = number.is_multiple_of(BURST);
            thread::sleep(if is_pause { PAUSE } else { interval });
        }
        Ok(())
    }

    /// Returns the plan of random changes, none of which is invisible to a comparison.
    fn plan(&self) -> RoundPlan {
        let is_in_namespace = self.setup.cell.fault == DamageFault::WatchLimit;
        RoundPlan {
            layout: SyncLayout::Single,
            disturbance: Disturbance::Kills,
            excludes: false,
            links: false,
            archive: true,
            watch_limit: if is_in_namespace { WatchLimit::Few } else { WatchLimit::Unlimited },
            ..RoundPlan::new(self.seed)
        }
    }

    /// Makes the change of this number, which is noted.
    fn change_fact(&self, number: u64) -> io::Result<()> {
        match number % 4 {
            0 | 1 => self.create(&fact_path(number), 1 + number % 2000),
            2 => self.grow("facts/counter", number == 2),
            // The file of the change before last but a few: it may be on its way.
            _ if number > 40 => self.delete(&fact_path(number - 39)),
            _ => Ok(()),
        }
    }

    /// Creates a file, with its directory.
    pub(crate) fn create(&self, path: &str, length: u64) -> io::Result<()> {
        let whole = self.setup.origin.join(path);
        self.book.change(path, &[FactState::Length(0), FactState::Length(length)], || {
            if let Some(directory) = whole.parent() {
                fs::create_dir_all(directory)?;
            }
            fs::write(&whole, TortureRng::new(self.seed ^ length).bytes(length))
        })
    }

    /// Appends a byte: the length changes at once.
    fn grow(&self, path: &str, is_new: bool) -> io::Result<()> {
        let whole = self.setup.origin.join(path);
        let length = fs::metadata(&whole).map_or(0, |found| found.len()) + 1;
        let states = [FactState::Length(0), FactState::Length(length)];
        let states = if is_new { &states[..] } else { states.get(1..).unwrap_or_default() };
        self.book.change(path, states, || {
            fs::File::options().create(true).append(true).open(&whole)?.write_all(b"x")
        })
    }

    fn delete(&self, path: &str) -> io::Result<()> {
        let whole = self.setup.origin.join(path);
        self.book.change(path, &[FactState::Absent], || fs::remove_file(&whole))
    }

    /// Replaces a big file each time when the last version is on the target.
    fn replace_big_files(&self, stop: &AtomicBool) -> io::Result<()> {
        let (whole, new) = (self.setup.origin.join("big"), self.setup.staging.join("big"));
        let mut number = 0;
        for version in 0.. {
            let length = BIG_SIZE + version * 4096;
            fs::write(&new, TortureRng::new(self.seed ^ version).bytes(length))?;
            self.book.change("big", &[FactState::Length(length)], || fs::rename(&new, &whole))?;
            let is_there =
                || fs::metadata(self.setup.target.join("big")).is_ok_and(|it| it.len() == length);
            let mut next = Instant::now();
            while !is_there() {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if Instant::now() >= next {
                    next += BIG_INTERVAL;
                    self.change_fact(number)?;
                    number += 1;
                }
                thread::sleep(CHURN_INTERVAL);
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(())
    }
}

fn fact_path(number: u64) -> String {
    format!("facts/d{}/f{number}", number / 4 % DIRECTORIES)
}
