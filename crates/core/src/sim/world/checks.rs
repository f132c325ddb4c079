//! Checks of the simulated world.

use alloc::{format, string::String};

use super::{FleetWorld, SimMirror};
use crate::{mirror::SyncMember, sim::CheckResult};

impl FleetWorld {
    /// Checks that a mirror claims to be in sync only if it is.
    pub(super) fn check_sync_claims(&mut self) -> CheckResult {
        let Self { sims, disks, accepted, .. } = self;
        for sim in sims {
            sim.late.note(&sim.target, &disks[*accepted]);
        }
        for mirror in self.fleet.mirrors() {
            let sim = &self.sims[self.index_of(mirror.id())];
            let all_told = sim.is_watched && sim.lossy_source.is_drained();
            let claims = mirror.is_live() && mirror.oldest().is_none();
            if all_told && claims && !sim.late.is_outdated() && sim.target != *self.source() {
                return Err(self.difference(sim));
            }
            if mirror.oldest().is_none() && !mirror.queue().is_empty() {
                return Err("something waits that has no age".into());
            }
        }
        Ok(())
    }

    fn difference(&self, sim: &SimMirror) -> String {
        let paths = self.source().paths().chain(sim.target.paths());
        let mut different = paths.filter(|it| self.source().get(it) != sim.target.get(it));
        different.next().map_or(String::new(), |path| {
            let (is, should) = (sim.target.get(path), self.source().get(path));
            format!("{path} is {is:?} and should be {should:?}")
        })
    }

    pub(super) fn check_quiet(&self) -> CheckResult {
        if !self.flushes.is_empty() {
            return Err("in the end a flush is not answered".into());
        }
        for mirror in self.fleet.mirrors() {
            let sim = &self.sims[self.index_of(mirror.id())];
            if sim.target != *self.source() {
                return Err(format!("in the end {}", self.difference(sim)));
            }
            if !mirror.is_live() || mirror.delays().next().is_some() {
                let (source, target) = (mirror.source(), mirror.target());
                return Err(format!("in the end it is {source:?}, {target:?}"));
            }
        }
        Ok(())
    }
}
