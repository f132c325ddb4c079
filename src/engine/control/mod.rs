//! Control of the running daemon: carries out the requests of `lsyncctl`.

mod activity;
mod clock;
mod explain;
mod flush;
mod kept_paths;
mod kept_record;
mod report;
mod selection;
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use mirror_core::{
    effect::Effect,
    fs_event::MirrorId,
    input::{Input, ScriptInput, Signal},
    path::{Escaped, TreePath},
};

use super::{Engine, Inbox, Message, ReloadFailure};
use crate::{
    config::SyncPositions,
    control::{
        frame::{Answer, ErrorKind, RequestError},
        metrics,
        request::{ByteText, HistoryDocument, Request, Selection, SyncNames, TextResult},
        server::{AnswerSender, ControlRequest, RequestHandler},
        status::ReloadReport,
    },
    exec::source_root::SourceRoot,
    report::{Category, LogFilter, TransferTotals},
    watch::Coverage,
};
use activity::{Activity, TransferCounts};
use clock::WallClock;
pub(super) use explain::PathLookup;
use flush::PendingFlushes;
use selection::{SyncPause, labels};

/// Number of batches of each sync in a history, unless another one is requested.
const DEFAULT_HISTORY: usize = 20;

/// Time in each turn of the loop for requests.
const MAX_REQUEST_TIME: Duration = Duration::from_millis(2);

/// Facts about the process that never change.
#[derive(Clone, Debug, Default)]
pub(crate) struct DaemonFacts {
    /// Start, in seconds since the epoch.
    pub(crate) started: f64,
    /// The configuration files, escaped.
    pub(crate) config_files: Vec<String>,
}

/// Origin of the configuration in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigOrigin {
    /// Hash of the configuration and its files.
    pub(crate) hash: String,
    /// Positions of the syncs.
    pub(crate) positions: SyncPositions,
}

/// State that only requests need.
#[derive(Debug, Default)]
pub(super) struct ControlState {
    facts: DaemonFacts,
    origin: ConfigOrigin,
    reload: Option<ReloadReport>,
    activity: Activity,
    coverage: BTreeMap<MirrorId, Coverage>,
    flushes: PendingFlushes,
    /// Requests that were not carried out yet.
    requests: VecDeque<ControlRequest>,
    /// True while a verification runs.
    is_verifying: Arc<AtomicBool>,
    /// Mirrors whose state may have changed in this turn.
    touched: BTreeSet<MirrorId>,
}

/// Returns the handler that passes requests to the engine.
pub(crate) fn request_handler(inbox: Inbox) -> RequestHandler {
    Arc::new(move |request| inbox.send(Message::Control(request)))
}

impl ControlState {
    /// Notes a message of the watcher about the coverage of a mirror.
    pub(super) fn covered(&mut self, mirror: MirrorId, coverage: Coverage) {
        self.coverage.insert(mirror, coverage);
    }

    /// Notes that a mirror does not exist any more.
    pub(super) fn forget(&mut self, mirror: MirrorId) {
        self.coverage.remove(&mirror);
    }
}

/// Records of what happens.
impl Engine {
    /// Sets what never changes, and the origin of the configuration.
    pub(crate) fn set_facts(&mut self, facts: DaemonFacts, origin: ConfigOrigin) {
        self.control.facts = facts;
        self.control.origin = origin;
        self.update_control_syncs();
    }

    /// Continues the records after the syncs were replaced.
    pub(super) fn update_control_syncs(&mut self) {
        let labels = labels(&self.registry);
        self.control.touched.extend(labels.keys());
        for id in labels.keys() {
            self.outdate_notes(*id);
        }
        self.control.activity.set_syncs(labels.into_iter());
    }

    /// Returns which syncs are paused, for [`pause_again`](Self::pause_again).
    pub(super) fn sync_pauses(&self) -> Vec<SyncPause> {
        let labels = labels(&self.registry);
        let pauses = self.registry.iter().map(|(id, instance)| SyncPause {
            endpoints: (instance.config.source_as_given.clone(), instance.config.target.clone()),
            label: labels.get(&id).cloned().unwrap_or_default(),
            is_paused: self.fleet.member(id).is_some_and(|member| member.is_paused()),
        });
        pauses.collect()
    }

    /// Pauses the syncs that were paused before a reload, before they start anything.
    pub(super) fn pause_again(&mut self, before: &[SyncPause], effects: &mut Vec<Effect>) {
        let now = self.sync_pauses();
        let ids: Vec<_> = self.registry.iter().map(|(id, _)| id).collect();
        for (id, sync) in ids.into_iter().zip(&now) {
            if sync.was_paused(before, &now) {
                self.fleet.handle(Input::SetPaused(id, true), self.now(), effects);
            }
        }
    }

    /// Notes an input, before it is handled.
    pub(super) fn note_input(&mut self, input: &Input) {
        let clock = || WallClock::new(self.now());
        let mirror = match input {
            Input::Covered(id)
            | Input::CannotCover { mirror: id, .. }
            | Input::TargetLink(id, _)
            | Input::Compared(id, _)
            | Input::FullDue(id)
            | Input::Resync(id, _)
            | Input::Retry(id)
            | Input::TargetBack(id)
            | Input::SourceAnswers(id, _)
            | Input::Release(id)
            | Input::SetPaused(id, _) => Some(*id),
            Input::FsEvent(event) => Some(event.mirror),
            Input::JobEnded(end) => {
                let clock = clock();
                let Self { control, registry, .. } = self;
                let counts = |id| {
                    let instance = registry.get(id)?;
                    let meter = instance.meter()?;
                    let TransferTotals { files, bytes: sent } = meter.totals();
                    Some(TransferCounts {
                        files,
                        sent,
                        deleted: meter.deleted(),
                        unknown_sent: meter.uncounted_transfers(),
                        unknown_deleted: meter.uncounted_deletions(),
                    })
                };
                control.activity.job_ended(end, counts, &clock)
            }
            Input::Script(ScriptInput::ChildExited { job, exit }) => {
                let clock = clock();
                self.control.activity.child_exited(*job, exit, &clock)
            }
            Input::Script(
                ScriptInput::Returned { mirror, .. } | ScriptInput::DirectoryListed { mirror, .. },
            ) => Some(*mirror),
            Input::Script(ScriptInput::Collected { .. }) | Input::Flush(_) | Input::Signal(_) => {
                None
            }
        };
        self.control.touched.extend(mirror);
        if let Some(mirror) = mirror.filter(|_| !matches!(input, Input::FsEvent(_))) {
            self.outdate_notes(mirror);
        }
    }

    /// Notes an effect, before it is performed.
    pub(super) fn note_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Start(job) => {
                let clock = WallClock::new(self.now());
                self.control.activity.job_started(job, &clock);
                self.control.touched.insert(job.mirror);
            }
            Effect::Cover(id)
            | Effect::Uncover(id)
            | Effect::Compare(id)
            | Effect::CallScript(id, _) => {
                self.control.touched.insert(*id);
            }
            Effect::Forget(id) => {
                self.control.forget(*id);
                self.forget_snapshot_use(*id);
            }
            Effect::ListDirectory { .. }
            | Effect::Stop(_)
            | Effect::Flushed(_)
            | Effect::Exit(_) => {}
            Effect::Report(event) => self.note_snapshot_use(event),
        }
    }

    /// Notes the start of a child of a script.
    pub(super) fn note_child(&mut self, job: mirror_core::job::JobId) {
        if let Some((mirror, paths)) = self.fleet.script_job(job) {
            let clock = WallClock::new(self.now());
            self.control.activity.child_started(job, mirror, paths, &clock);
        }
    }

    /// Notes the states of the mirrors that this turn has concerned.
    pub(super) fn note_states(&mut self) {
        if self.control.touched.is_empty() {
            return;
        }
        let clock = WallClock::new(self.now());
        for id in std::mem::take(&mut self.control.touched) {
            let Some(member) = self.fleet.member(id) else { continue };
            let state = report::state_of(&self.fleet, member);
            self.control.activity.set_state(id, state, &clock);
            self.touch_snapshots(id);
        }
    }

    /// Notes the result of a reload.
    pub(super) fn note_reload(&mut self, result: Result<ConfigOrigin, &ReloadFailure>) {
        let time = WallClock::new(self.now()).now();
        match result {
            Ok(origin) => {
                self.control.origin = origin;
                self.control.reload = Some(ReloadReport { time, error: None });
            }
            Err(ReloadFailure(lines)) => {
                let error = Some(lines.join("\n"));
                self.control.reload = Some(ReloadReport { time, error });
            }
        }
    }
}

/// Requests.
impl Engine {
    /// Queues a request.
    pub(super) fn queue_request(&mut self, request: ControlRequest) {
        self.control.requests.push_back(request);
    }

    /// Returns true if a request waits.
    pub(super) fn has_requests(&self) -> bool {
        !self.control.requests.is_empty()
    }

    /// Carries out requests for a short time, at least one: clients must not delay the mirrors.
    pub(super) fn carry_out_requests(&mut self, effects: &mut Vec<Effect>) {
        let began = Instant::now();
        while let Some(request) = self.control.requests.pop_front() {
            self.control(request, effects);
            if began.elapsed() > MAX_REQUEST_TIME {
                return;
            }
        }
    }

    /// Carries out a request, or begins to.
    fn control(&mut self, request: ControlRequest, effects: &mut Vec<Effect>) {
        let ControlRequest { request, user, reply } = request;
        if let Some(what) = describe_request(&request) {
            let user = user.map_or_else(|| "unknown".into(), |user| user.to_string());
            let text = format_args!("request of user {user}: {what}");
            self.log.say(Category::Normal, text);
        }
        match request {
            Request::Status(selection) => {
                let selected = self.select_mirrors(&selection);
                answer(reply, selected.map(|mirrors| self.status_document(&mirrors)));
            }
            Request::Metrics => {
                let all: Vec<_> = self.registry.iter().map(|(id, _)| id).collect();
                let document = self.status_document(&all);
                reply.send_with(move || {
                    Answer::Ok(TextResult { text: metrics::exposition(&document) })
                });
            }
            Request::History { selection, limit } => {
                answer(reply, self.history(&selection, limit.unwrap_or(DEFAULT_HISTORY)));
            }
            Request::Explain { path } => self.look_up(&path, reply),
            Request::Flush { selection, also, timeout } => {
                self.begin_flush([vec![selection], also].concat(), timeout, reply);
            }
            Request::Verify(selection) => self.verify(&selection, reply),
            Request::Pause(selection) => {
                self.apply(&selection, reply, effects, |id, _| Input::SetPaused(id, true));
            }
            Request::Resume(selection) => {
                self.apply(&selection, reply, effects, |id, _| Input::SetPaused(id, false));
            }
            Request::Resync(selection) => {
                self.apply(&selection, reply, effects, Input::Resync);
            }
            Request::Retry(selection) => {
                self.connections.reset_failures();
                self.tunnels.retry_now();
                self.apply(&selection, reply, effects, |id, _| Input::Retry(id));
            }
            Request::Release(selection) => self.release(&selection, reply, effects),
            Request::Reload => answer(reply, self.reload_on_request(effects)),
            Request::Log { level } => answer(reply, self.set_log_level(&level)),
            Request::Stop => {
                self.inbox.signal(Signal::Terminate);
                answer(reply, Ok(TextResult { text: "the daemon exits".into() }));
            }
        }
    }

    fn history(
        &self,
        selection: &Selection,
        limit: usize,
    ) -> Result<HistoryDocument, RequestError> {
        let mirrors = self.select_mirrors(selection)?;
        Ok(HistoryDocument { batches: self.control.activity.recent(&mirrors, limit) })
    }

    /// Handles an input for each selected mirror, and answers with their names.
    fn apply(
        &mut self,
        selection: &Selection,
        reply: AnswerSender,
        effects: &mut Vec<Effect>,
        input: impl Fn(MirrorId, TreePath) -> Input,
    ) {
        let selected = match self.select(selection) {
            Ok(selected) => selected,
            Err(error) => return answer::<SyncNames>(reply, Err(error)),
        };
        let labels = labels(&self.registry);
        let names = selected.iter().filter_map(|(id, _)| labels.get(id).cloned()).collect();
        for (id, path) in selected {
            self.handle_input(input(id, path), effects);
        }
        answer(reply, Ok(SyncNames { syncs: names }));
    }

    /// Releases what is held for an operator. Syncs that are not held are left as they are.
    fn release(&mut self, selection: &Selection, reply: AnswerSender, effects: &mut Vec<Effect>) {
        let selected = match self.select_mirrors(selection) {
            Ok(selected) => selected,
            Err(error) => return answer::<SyncNames>(reply, Err(error)),
        };
        let labels = labels(&self.registry);
        let mut names = Vec::new();
        for id in selected {
            let is_replaced = self.registry.get(id).is_some_and(|instance| {
                instance.look_at_source(SourceRoot::is_replaced).unwrap_or(false)
            });
            let is_held = self.fleet.member(id).is_some_and(report::is_held);
            // One decision at a time: what was mounted inside the source goes only if nothing else
            // is held.
            let source = self.registry.get(id).filter(|_| !is_replaced && !is_held);
            let lost = source.map(|instance| instance.source.accept_lost_mounts());
            let lost = lost.unwrap_or_default();
            if !is_replaced && !is_held && lost.is_empty() {
                continue;
            }
            if let Some(instance) = self.registry.get(id).filter(|_| is_replaced) {
                let _ = instance.look_at_source(SourceRoot::accept);
            }
            self.handle_input(Input::Release(id), effects);
            for path in lost {
                self.handle_input(Input::Resync(id, path), effects);
            }
            names.extend(labels.get(&id).cloned());
        }
        if names.is_empty() {
            let error = RequestError::new(ErrorKind::NotApplicable, "no such sync is held");
            return answer::<SyncNames>(reply, Err(error));
        }
        answer(reply, Ok(SyncNames { syncs: names }));
    }

    /// Notes an input and handles it.
    pub(super) fn handle_input(&mut self, input: Input, effects: &mut Vec<Effect>) {
        self.touch_status();
        self.note_input(&input);
        self.fleet.handle(input, self.now(), effects);
    }

    fn reload_on_request(&mut self, effects: &mut Vec<Effect>) -> Result<TextResult, RequestError> {
        if self.reload.is_none() {
            let text = "the command line configures this daemon: there is no file to reload";
            return Err(RequestError::new(ErrorKind::NotApplicable, text));
        }
        if !self.fleet.is_running() {
            return Err(RequestError::new(ErrorKind::Exiting, "the daemon is exiting"));
        }
        self.service.reloading();
        let result = self.reload(effects);
        self.service.reloaded();
        match result {
            Ok(lines) => Ok(TextResult { text: lines.join("\n") }),
            Err(ReloadFailure(lines)) => {
                Err(RequestError::new(ErrorKind::Failed, lines.join("\n")))
            }
        }
    }

    fn set_log_level(&mut self, level: &str) -> Result<TextResult, RequestError> {
        let mut filter = LogFilter::default();
        if level != "normal" && filter.add(level.as_bytes()).is_err() {
            let text = "the level is normal, scarce, all, or a category, which begins with a \
                        capital letter";
            return Err(RequestError::new(ErrorKind::InvalidRequest, text));
        }
        self.log.set_filter(filter);
        Ok(TextResult { text: format!("log level {level}") })
    }
}

/// Describes a request that changes something, for the log. `None`: it changes nothing.
fn describe_request(request: &Request) -> Option<String> {
    let (name, selection) = match request {
        Request::Status(_)
        | Request::Metrics
        | Request::History { .. }
        | Request::Explain { .. }
        | Request::Verify(_)
        | Request::Flush { .. } => return None,
        Request::Pause(selection) => ("pause", selection),
        Request::Resume(selection) => ("resume", selection),
        Request::Resync(selection) => ("resync", selection),
        Request::Release(selection) => ("release", selection),
        Request::Retry(selection) => ("retry", selection),
        Request::Reload => return Some("reload".into()),
        Request::Log { level } => return Some(format!("log {}", Escaped(level.as_bytes()))),
        Request::Stop => return Some("stop".into()),
    };
    let Selection { sync, path } = selection;
    let path = path.as_ref().and_then(ByteText::bytes);
    let what = sync.as_ref().map(String::as_bytes).or(path.as_deref());
    Some(what.map_or_else(|| name.to_owned(), |what| format!("{name} {}", Escaped(what))))
}

/// Answers a request.
fn answer<T: serde::Serialize + Send + 'static>(
    reply: AnswerSender,
    result: Result<T, RequestError>,
) {
    match result {
        Ok(result) => reply.send(Answer::Ok(result)),
        Err(error) => reply.send(Answer::<T>::Error(error)),
    }
}
