//! The severity of a state.

use std::time::Duration;

use crate::{
    control::status::{DaemonReport, StatusDocument, SyncReport, SyncState},
    ctl::failure::Severity,
};

/// Returns the severity of a document: that of its worst part.
pub(in crate::ctl) fn severity(document: &StatusDocument, max_age: Option<Duration>) -> Severity {
    let syncs = document.syncs.iter().map(|sync| sync_severity(sync, max_age));
    syncs.chain([daemon_severity(&document.daemon)]).max().unwrap_or(Severity::Ok)
}

/// Returns the severity of the daemon itself.
pub(super) fn daemon_severity(daemon: &DaemonReport) -> Severity {
    if daemon.is_exiting || refused_reload(daemon).is_some() {
        Severity::Warning
    } else {
        Severity::Ok
    }
}

/// Returns the reason why the last reload was refused.
pub(super) fn refused_reload(daemon: &DaemonReport) -> Option<&str> {
    daemon.reload.as_ref()?.error.as_deref()
}

/// Returns the severity of a sync.
pub(super) fn sync_severity(sync: &SyncReport, max_age: Option<Duration>) -> Severity {
    let is_failing = sync.is_paused || failed_paths(sync) > 0;
    let problems = [
        state_severity(sync.state),
        age_severity(sync, max_age),
        if is_failing { Severity::Warning } else { Severity::Ok },
        if sync.held.is_empty() { Severity::Ok } else { Severity::Critical },
    ];
    problems.into_iter().max().unwrap_or(Severity::Ok)
}

/// Returns the severity of a state alone.
pub(super) const fn state_severity(state: SyncState) -> Severity {
    match state {
        SyncState::InSync | SyncState::Pending | SyncState::FullTransfer | SyncState::SettingUp => {
            Severity::Ok
        }
        SyncState::Failing
        | SyncState::Retrying
        | SyncState::NoTunnel
        | SyncState::Paused
        | SyncState::Stopped => Severity::Warning,
        SyncState::SourceUnavailable | SyncState::Held => Severity::Critical,
    }
}

/// Returns the severity of the oldest change: beyond the limit a warning, beyond twice the limit
/// critical.
pub(super) fn age_severity(sync: &SyncReport, max_age: Option<Duration>) -> Severity {
    match (sync.oldest_change, max_age.map(|limit| limit.as_secs_f64())) {
        (Some(age), Some(limit)) if age > 2.0 * limit => Severity::Critical,
        (Some(age), Some(limit)) if age > limit => Severity::Warning,
        _ => Severity::Ok,
    }
}

/// Returns the number of failing paths.
pub(super) fn failed_paths(sync: &SyncReport) -> u64 {
    sync.pending.failed.max(u64::try_from(sync.failed.len()).unwrap_or(u64::MAX))
}
