//! One call of rsync, and what its end means.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use mirror_core::{
    job::{Failure, Outcome},
    path::{Escaped, TreePath},
    plan::{complaint::Names, exit::ExitClass, rsync::Call},
};

use rustix::io::Errno;

use super::{
    batch::{Run, append_capped},
    findings::{Covered, Findings, Owners, Refusal, Said},
};
use crate::{
    exec::process::child::{End, Limit, Turn},
    report::{Category, Stream},
};

/// What rsync returns when it can't start one of its own processes.
const IPC: i32 = 14;

/// What rsync returns when its `--timeout` has passed.
const TIMEOUT: i32 = 30;

/// An rsync 3.5.0 with `-H` never ends where a directory does not make way for a file of several
/// names: it waits for that to come. When it has said nothing more for so long, it is ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What rsync returns when a limit kept it from deleting.
const LIMIT: i32 = 25;

impl Run<'_> {
    /// Makes a call that deletes nothing by itself.
    pub(super) fn plain(&mut self, call: &Call, covered: Covered<'_>) -> Result<(), Outcome> {
        let (end, findings) = self.call(call, covered)?;
        self.settle(&end, &findings, covered)
    }

    /// Makes a call, unless the job has to end. One that brings only a part fails where the target
    /// is gone.
    pub(super) fn call(
        &self,
        call: &Call,
        covered: Covered<'_>,
    ) -> Result<(End, Findings), Outcome> {
        let learned = &self.of.learned;
        if self.is_full() || !learned.presence.is_seen() {
            return self.call_or_narrower(call, covered);
        }
        let plan = &self.of.plan;
        let make = |call: &Call| self.call_or_narrower(call, covered);
        let (end, findings) = learned.existing.call(plan, call, make)?;
        if findings.refusal == Some(Refusal::TargetGone) && !matches!(end, End::Exited(0)) {
            learned.presence.lost();
            return Err(Outcome::Again(findings.failure(None, "the target is gone")));
        }
        Ok((end, findings))
    }

    /// Where the other side refuses an option that we can do without, the call is made without it.
    fn call_or_narrower(
        &self,
        call: &Call,
        covered: Covered<'_>,
    ) -> Result<(End, Findings), Outcome> {
        let restricted = &self.of.learned.restricted;
        if restricted.is_set() {
            return self.call_once(&call.clone().without_window(), covered);
        }
        let (end, findings) = self.call_once(call, covered)?;
        let narrower = call.clone().without_window();
        if findings.refusal != Some(Refusal::Restricted) || narrower == *call {
            return Ok((end, findings));
        }
        restricted.set(true);
        let target = Escaped(self.of.plan.target().word());
        let message = format!("{target} is behind rrsync: times are compared by whole seconds");
        self.of.log.say(Category::Normal, message);
        self.call_once(&narrower, covered)
    }

    fn call_once(&self, call: &Call, covered: Covered<'_>) -> Result<(End, Findings), Outcome> {
        let stopped = || Outcome::Again(Failure::new("rsync was stopped"));
        if self.stop.is_asked() {
            return Err(stopped());
        }
        // RACE: rsync opens the target by its name; the look afterwards tells what it found.
        self.of.learned.presence.check_path()?;
        let call = &*self.protecting(call);
        self.tell_call(call);
        let mut turn = Turn::new(self.stop, Limit::Endless);
        let (end, findings) = loop {
            let (end, findings) = self.listen(call, covered);
            let Some(shortage) =
                findings.shortage.as_ref().filter(|_| matches!(end, End::Exited(IPC)))
            else {
                break (end, findings);
            };
            // Nothing was done. Others have what it needs, and give it back when they are done.
            if !turn.wait_after(&Errno::AGAIN.into()) {
                break (end, findings);
            }
            if turn.is_first() {
                let text = format_args!("{shortage}: it waits for its turn");
                self.of.log.say(Category::Warn, text);
            }
        };
        self.of.learned.presence.check_path()?;
        self.of.patience.learn(&end);
        if self.stop.is_asked() && !matches!(end, End::Exited(0)) {
            return Err(stopped());
        }
        Ok((end, findings))
    }

    /// Runs rsync and takes in what it says. Of its stdout goes on what the user asked for.
    fn listen(&self, call: &Call, covered: Covered<'_>) -> (End, Findings) {
        let plan = &self.of.plan;
        let names = Names { source: plan.source(), target: plan.target() };
        let owners = Owners::new(covered);
        let mut findings = Findings::default();
        let (doom, keeps_links) = (Cell::new(None), plan.options.keeps_links());
        let mut hear = |stream, line: &[u8]| {
            match stream {
                Stream::Err => findings.hear(&names, &owners, line),
                Stream::Out => findings.hear_out(&names, &owners, line),
            }
            if keeps_links && !findings.in_the_way.is_empty() {
                doom.set(Some(Instant::now() + LAST_WORDS));
            }
            match Said::of(line) {
                Said::Asked => false,
                Said::Number => plan.options.tells_numbers(),
                Said::Sum => plan.options.tells(),
                Said::Other => true,
            }
        };
        let limit = (self.of.patience.limit(), &doom);
        let end = self.of.program.listen_and_judge(limit, call, self.stop, &mut hear);
        (end, findings)
    }

    /// What the end of a call means.
    pub(super) fn settle(
        &mut self,
        end: &End,
        findings: &Findings,
        covered: Covered<'_>,
    ) -> Result<(), Outcome> {
        let binary = Escaped(self.of.program.binary.as_encoded_bytes()).to_string();
        let (code, what) = match end {
            End::Exited(code) => (*code, format!("{binary} failed")),
            End::Hung(_) => (TIMEOUT, end.of(&binary)),
            End::Killed(_) | End::Doomed | End::Lost(_) => {
                return Err(Outcome::Again(findings.failure(None, &end.of(&binary))));
            }
            End::NotStarted(error) => {
                let message = format!("Failed executing [ {binary} ]!");
                self.of.log.say(Category::Error, &message);
                let failure = Failure { code: Some(255), why: format!("{message} {error}") };
                return Err(Outcome::Again(failure));
            }
        };
        let failure = || findings.failure(Some(code), &what);
        let mut class = self.of.codes.class(code);
        if code == LIMIT && findings.limited.is_some() {
            class = ExitClass::Partial;
        }
        let mut failed = match class {
            // A daemon says what failed, but not that something did.
            ExitClass::Ok if self.of.plan.target().is_module() => findings.complained(None),
            ExitClass::Ok => Vec::new(),
            ExitClass::Partial | ExitClass::Vanished => findings.failed_places(covered, code),
            ExitClass::Again => return Err(Outcome::Again(failure())),
            ExitClass::Fatal(grounds) => return Err(Outcome::Fatal(failure(), grounds)),
        };
        if findings.limited.is_some() {
            // To try these again would go on deleting beyond the limit.
            failed.retain(|(place, _)| !covered.gone.contains(&place.path));
        }
        // What is excluded there stays there, if it is there at all.
        let is_kept =
            |path: &TreePath| covered.gone.contains(path) && findings.refused.contains(path);
        failed.retain(|(place, _)| !is_kept(&place.path));
        self.failed.append(&mut failed);
        Ok(())
    }

    pub(super) fn tell_broken_receiver(&self) {
        if !self.of.learned.broken_receiver.set(true) {
            let target = Escaped(self.of.plan.target().word());
            let message = format!(
                "the rsync at {target} can't delete by a list (3.4.3, and older versions with its \
                 security patch): deleting in a slower way; update rsync there"
            );
            self.of.log.say(Category::Warn, message);
        }
    }

    fn tell_call(&self, call: &Call) {
        let category = Category::Debug("Exec");
        if !self.of.log.wants(category) {
            return;
        }
        let mut message = self.of.program.line(call);
        if let Some(stdin) = &call.stdin {
            let names = stdin.split(|&b| b == 0).filter(|name| !name.is_empty());
            message += " [<]";
            append_capped(&mut message, names.map(|name| Escaped(name).to_string()));
        }
        self.of.log.say(category, message);
    }
}
