//! The status document of the running daemon.

use std::{fs, os::unix::ffi::OsStrExt, process};

use jiff::{Timestamp, tz::TimeZone};
use mirror_core::{
    fleet::{Fleet, Member},
    fs_event::MirrorId,
    input::TargetLink,
    job::{HeldDeletions, HoldReason},
    mirror::{
        Availability, Away, Backlog, DelayKind, Mirror, SyncMember, TargetState,
        scripted::ScriptedMirror,
    },
    path::Escaped,
    queue::{
        Stage,
        event_queue::{EventStatus, QueuedEvent},
    },
    time::Moment,
};

use super::{ControlState, clock::WallClock, labels};
use crate::{
    config::{SyncConfig, SyncKind},
    control::status::{
        DaemonReport, FailedPathReport, HeldReport, PendingReport, StatusDocument, SyncReport,
        SyncState,
    },
    engine::{Engine, log_events, sync::SyncInstance},
    exec::ssh::ConnectionStatus,
    lock,
    watch::Coverage,
};

/// Maximum number of names that are listed of each kind.
const MAX_NAMES: usize = 20;

/// The kernel's limit of inotify watches for a user: inotify(7).
const WATCH_LIMIT: &str = "/proc/sys/fs/inotify/max_user_watches";

/// Returns true if a mirror waits for an operator.
pub(super) fn is_held(member: &Member) -> bool {
    let Member::BuiltIn(mirror) = member else { return false };
    let is_on_hold =
        matches!(mirror.target(), TargetState::Away(away) if away.until == Moment::NEVER);
    is_on_hold || mirror.held().next().is_some()
}

/// Returns the state of a mirror.
pub(super) fn state_of(fleet: &Fleet, member: &Member) -> SyncState {
    if !fleet.is_running() {
        return SyncState::Stopped;
    }
    if member.is_paused() {
        return SyncState::Paused;
    }
    if member.source().why_unavailable().is_some() {
        return SyncState::SourceUnavailable;
    }
    if *member.source().availability() == Availability::Covering {
        return SyncState::SettingUp;
    }
    match member {
        Member::BuiltIn(_) if is_held(member) => SyncState::Held,
        Member::BuiltIn(mirror) => state_of_built_in(mirror),
        Member::Scripted(mirror) => state_of_script(mirror),
    }
}

fn state_of_built_in(mirror: &Mirror) -> SyncState {
    if mirror.target_link() == TargetLink::Down {
        return SyncState::NoTunnel;
    }
    if matches!(mirror.target(), TargetState::Away(_)) {
        return SyncState::Retrying;
    }
    match mirror.backlog() {
        Backlog::FullTransfer { .. } => SyncState::FullTransfer,
        _ if mirror.queue().backing_off().next().is_some() => SyncState::Failing,
        Backlog::Nothing => SyncState::InSync,
        Backlog::Paths(_) | Backlog::AfterHook(_) => SyncState::Pending,
    }
}

fn state_of_script(mirror: &ScriptedMirror) -> SyncState {
    if mirror.target_link() == TargetLink::Down {
        SyncState::NoTunnel
    } else if !mirror.is_live() {
        SyncState::FullTransfer
    } else if mirror.queue().failed_count() > 0 {
        SyncState::Failing
    } else if mirror.queue().is_empty() && !mirror.is_busy() {
        SyncState::InSync
    } else {
        SyncState::Pending
    }
}

impl Engine {
    /// Returns the status of these mirrors.
    pub(super) fn status_document(&self, mirrors: &[MirrorId]) -> StatusDocument {
        let clock = WallClock::new(self.now());
        let labels = labels(&self.registry);
        let syncs = mirrors.iter().filter_map(|id| {
            let name = labels.get(id).cloned().unwrap_or_default();
            self.sync_report(*id, name, &clock)
        });
        StatusDocument { time: clock.now(), daemon: self.daemon_report(), syncs: syncs.collect() }
    }

    fn daemon_report(&self) -> DaemonReport {
        let ControlState { facts, reload, .. } = &self.control;
        let counters = self.watch.counters();
        let limit = fs::read_to_string(WATCH_LIMIT).ok();
        DaemonReport {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: process::id(),
            started: facts.started,
            is_exiting: !self.fleet.is_running(),
            config_files: facts.config_files.clone(),
            config_hash: self.control.origin.hash.clone(),
            reload: reload.clone(),
            watches: counters.watches(),
            watch_limit: limit.and_then(|limit| limit.trim().parse().ok()),
            polled_directories: counters.polled(),
            overflows: counters.overflows(),
            processes: self.jobs.children().len() as u64,
        }
    }

    fn sync_report(&self, id: MirrorId, name: String, clock: &WallClock) -> Option<SyncReport> {
        let (member, instance) = (self.fleet.member(id)?, self.registry.get(id)?);
        let base = describe(&instance.config, name);
        let report = match member {
            Member::BuiltIn(mirror) => report_of_built_in(mirror, base, clock),
            Member::Scripted(mirror) => report_of_script(mirror, base, clock),
        };
        let state = state_of(&self.fleet, member);
        let activity = self.control.activity.sync(id).cloned().unwrap_or_default();
        let since = activity.state.filter(|(known, _)| *known == state);
        let unavailable = member.source().why_unavailable().map(str::to_owned);
        let message = unavailable.or(report.message).or_else(|| lost_mounts_text(instance));
        let coverage = self.control.coverage.get(&id);
        let pending =
            PendingReport { in_flight_bytes: self.bytes_of_batch(id, instance), ..report.pending };
        Some(SyncReport {
            state,
            pending,
            since: since.map_or(clock.now(), |(_, since)| since),
            message,
            is_paused: member.is_paused(),
            last_success: activity.last_success,
            last_exit: activity.last_exit,
            watcher: coverage.map_or_else(String::new, watcher_text),
            polled_directories: coverage.map_or(0, |coverage| coverage.polled as u64),
            connection: self.connection_text(instance),
            hook_failure: lock(&instance.hook_failure).clone(),
            snapshot: self.snapshot_report(id),
            totals: activity.totals,
            ..report
        })
    }
}

impl Engine {
    /// Returns the bytes that the running batch of a sync has sent so far, if they are known: rsync
    /// tells them on a terminal only.
    fn bytes_of_batch(&self, id: MirrorId, instance: &SyncInstance) -> Option<u64> {
        let before = self.control.activity.sent_before_batch(id)?;
        let meter = instance.meter()?;
        let is_known = instance.config.kind == SyncKind::Direct || meter.call().is_some();
        is_known.then(|| meter.so_far().bytes.saturating_sub(before))
    }

    /// Describes the tunnel and the shared ssh connection of a sync.
    fn connection_text(&self, instance: &SyncInstance) -> Option<String> {
        let tunnel = instance.tunnel.as_ref().map(|tunnel| {
            let is_up = instance.target_link() == TargetLink::Up;
            format!("tunnel {}: {}", tunnel.plan().name, if is_up { "up" } else { "down" })
        });
        let ssh = instance.master.as_ref().map(|master| {
            let status = self.connections.status(master);
            format!("ssh {}: {}", master.host(), connection_status_text(&status))
        });
        let parts: Vec<String> = tunnel.into_iter().chain(ssh).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

fn connection_status_text(status: &ConnectionStatus) -> String {
    match status {
        ConnectionStatus::Unused => "not connected: no transfer has needed it yet".into(),
        ConnectionStatus::Connecting => "connecting".into(),
        ConnectionStatus::Open(since) => match Timestamp::try_from(*since) {
            Ok(since) => {
                let since = since.to_zoned(TimeZone::system());
                format!("connected since {}", since.strftime("%Y-%m-%d %H:%M:%S"))
            }
            Err(_) => "connected".into(),
        },
        ConnectionStatus::Ended => "not connected: it has ended, the next transfer opens it".into(),
        ConnectionStatus::Failed(why) => format!("not connected: {why}"),
        ConnectionStatus::SharedByUser => "shared by the ssh configuration".into(),
    }
}

/// Describes the file systems that were unmounted inside a source.
fn lost_mounts_text(instance: &SyncInstance) -> Option<String> {
    let lost = instance.source.lost_mounts();
    let (first, more) = lost.split_first()?;
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    Some(format!(
        "the file system on {first:#}{more} was unmounted in the source: the target keeps its files"
    ))
}

/// Describes the coverage of a source. Its number of directories is that of the start.
pub(super) fn watcher_text(coverage: &Coverage) -> String {
    let Coverage { backend, reason, directories, .. } = coverage;
    let noun = if *directories == 1 { "directory" } else { "directories" };
    let counted = format!("{backend}: {directories} {noun}");
    match reason.strip_prefix(&counted) {
        Some(rest) => format!("{backend}{rest}"),
        None => reason.clone(),
    }
}

/// Returns a report of a sync with its configuration only.
fn describe(config: &SyncConfig, name: String) -> SyncReport {
    let kind = match config.kind {
        SyncKind::Script => "script",
        _ if config.script.is_some() => "script",
        SyncKind::Rsync => "rsync",
        SyncKind::Rsyncssh => "rsyncssh",
        SyncKind::Direct => "direct",
    };
    let paths = [config.source.as_os_str(), &config.target];
    let [source, target] = paths.map(|path| format!("{:#}", Escaped(path.as_bytes())));
    SyncReport::new(name, kind, source, target)
}

/// Adds what a mirror knows. The message is that of a target that is retried or held.
fn report_of_built_in(mirror: &Mirror, base: SyncReport, clock: &WallClock) -> SyncReport {
    let last_failure = mirror.last_failure().map(|failure| failure.message.clone());
    let (message, next_try) = match mirror.target() {
        TargetState::Away(Away { until, .. }) => (last_failure.clone(), clock.at(until)),
        TargetState::Starting | TargetState::Live => (None, None),
    };
    SyncReport {
        message,
        oldest_change: mirror.oldest().map(|oldest| clock.age(oldest)),
        pending: pending_paths(mirror),
        failed: failed_paths(mirror, clock),
        held: mirror.held().map(|held| held_report(mirror, held)).collect(),
        next_try,
        last_failure,
        ..base
    }
}

fn report_of_script(mirror: &ScriptedMirror, base: SyncReport, clock: &WallClock) -> SyncReport {
    SyncReport {
        oldest_change: mirror.queue().oldest().map(|oldest| clock.age(oldest)),
        pending: pending_events(mirror),
        failed: failed_events(mirror, clock),
        ..base
    }
}

fn pending_paths(mirror: &Mirror) -> PendingReport {
    let counts = mirror.queue().counts();
    let name = |kind| match kind {
        DelayKind::Init | DelayKind::Full => "/".to_owned(),
        DelayKind::Path(dirty) => format!("{:#}", dirty.path),
    };
    let moving = mirror.delays().filter(|it| !matches!(it.stage, Stage::BackingOff { .. }));
    PendingReport {
        waiting: (counts.waiting + counts.deferred) as u64,
        in_flight: counts.in_flight as u64,
        in_flight_bytes: None,
        open: mirror.open_count() as u64,
        failed: counts.backing_off as u64,
        names: moving.take(MAX_NAMES).map(|delay| name(delay.kind)).collect(),
    }
}

fn failed_paths(mirror: &Mirror, clock: &WallClock) -> Vec<FailedPathReport> {
    let report = |(dirty, stage): (mirror_core::job::DirtyPath, Stage)| {
        let Stage::BackingOff { retry_at, tries } = stage else { return None };
        Some(FailedPathReport {
            path: format!("{:#}", dirty.path),
            reason: mirror.reason(&dirty.path).map(ToOwned::to_owned),
            tries,
            next_try: clock.at(retry_at),
        })
    };
    mirror.queue().backing_off().take(MAX_NAMES).filter_map(report).collect()
}

fn pending_events(mirror: &ScriptedMirror) -> PendingReport {
    let queue = mirror.queue();
    let active = queue.iter().filter(|event| event.status() == EventStatus::Active).count();
    let failed = queue.failed_count();
    let moving = queue.iter().filter(|event| event.failure().is_none());
    PendingReport {
        waiting: queue.len().saturating_sub(active + failed) as u64,
        in_flight: active as u64,
        in_flight_bytes: None,
        open: 0,
        failed: failed as u64,
        names: moving.take(MAX_NAMES).map(QueuedEvent::title).collect(),
    }
}

fn failed_events(mirror: &ScriptedMirror, clock: &WallClock) -> Vec<FailedPathReport> {
    let report = |event: &QueuedEvent| {
        let failure = event.failure()?;
        Some(FailedPathReport {
            path: event.title(),
            reason: Some(failure.message.to_string()),
            tries: failure.tries,
            next_try: clock.at(event.alarm()),
        })
    };
    mirror.queue().iter().filter_map(report).take(MAX_NAMES).collect()
}

fn held_report(mirror: &Mirror, held: &HeldDeletions) -> HeldReport {
    let reason = match held.reason {
        HoldReason::Unobserved => "unobserved",
        HoldReason::Observed => "observed",
        HoldReason::EmptySource => "empty_source",
    };
    HeldReport {
        count: held.count,
        total: held.total,
        reason: reason.into(),
        message: log_events::describe_held(held, held.sufficient_budget(mirror.held())),
        names: held.names.iter().map(|name| format!("{name:#}")).collect(),
    }
}
