//! The faults that are in force at the moment.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::process::Pid;

use super::{faults::SoakFault, lags::FaultWindow, setup::SoakSetup};
use crate::{bench::scratch::ScratchDir, torture::random::TortureRng};

/// Maximum number of faults at once.
const AT_ONCE: usize = 3;
/// Time between the begins of two faults in milliseconds: at least, and at most so much more.
const PAUSE: [u64; 2] = [1000, 6000];
/// Duration of a fault in milliseconds: at least, and at most so much more.
const DURATION: [u64; 2] = [2000, 15_000];

/// Lets faults begin and end.
#[derive(Debug)]
pub(crate) struct FaultDriver {
    random: TortureRng,
    active: Vec<ActiveFault>,
    next: Instant,
    counts: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct ActiveFault {
    fault: SoakFault,
    until: Instant,
    window: FaultWindow,
}

impl FaultDriver {
    pub(crate) fn new(seed: u64) -> Self {
        let (active, counts) = (Vec::new(), BTreeMap::new());
        Self { random: TortureRng::new(seed ^ 0xfa17), active, next: Instant::now(), counts }
    }

    /// Ends what is over, and begins what is due. Returns the times of the faults that have ended.
    pub(crate) fn step(
        &mut self,
        setup: &mut SoakSetup,
        daemon: Pid,
        scratch: &ScratchDir,
    ) -> io::Result<Vec<FaultWindow>> {
        let now = Instant::now();
        let ended = self.end(setup, daemon, scratch, |active| active.until <= now)?;
        if now < self.next {
            return Ok(ended);
        }
        self.next = now + self.time(PAUSE);
        let fault = SoakFault::choose(&mut self.random);
        if self.active.len() >= AT_ONCE || self.active.iter().any(|it| it.fault.excludes(fault)) {
            return Ok(ended);
        }
        let begin = since_epoch();
        let targets = fault.begin(setup, daemon).map_err(|error| failed(fault, &error))?;
        if targets.is_empty() {
            return Ok(ended);
        }
        *self.counts.entry(fault.description()).or_default() += 1;
        let time = if fault.is_momentary() { Duration::ZERO } else { self.time(DURATION) };
        let window = FaultWindow { begin, end: begin, targets };
        self.active.push(ActiveFault { fault, until: now + time, window });
        Ok(ended)
    }

    /// Ends all faults.
    pub(crate) fn end_all(
        &mut self,
        setup: &mut SoakSetup,
        daemon: Pid,
        scratch: &ScratchDir,
    ) -> io::Result<Vec<FaultWindow>> {
        self.end(setup, daemon, scratch, |_| true)
    }

    fn end(
        &mut self,
        setup: &mut SoakSetup,
        daemon: Pid,
        scratch: &ScratchDir,
        is_over: impl Fn(&ActiveFault) -> bool,
    ) -> io::Result<Vec<FaultWindow>> {
        let mut windows = Vec::new();
        for active in self.active.extract_if(.., |it| is_over(it)) {
            let ActiveFault { fault, window, .. } = active;
            fault.end(setup, daemon, scratch).map_err(|error| failed(fault, &error))?;
            windows.push(FaultWindow { end: since_epoch(), ..window });
        }
        Ok(windows)
    }

    fn time(&mut self, [least, more]: [u64; 2]) -> Duration {
        Duration::from_millis(least + self.random.below(more))
    }

    /// Returns the number of each fault so far.
    pub(crate) const fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// Returns the faults that are in force.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.active.iter().map(|it| it.fault.description()).collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    }
}

fn since_epoch() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn failed(fault: SoakFault, error: &io::Error) -> io::Error {
    io::Error::other(format!("{fault:?}: {error}"))
}
