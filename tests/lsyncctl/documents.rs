//! Prepared documents.

use lsyncd::control::status::{
    DaemonReport, FailedPathReport, HeldReport, PendingReport, StatusDocument, SyncReport,
    SyncState, Totals,
};

const NOW: f64 = 1_000_000.0;

/// The status of a daemon with these syncs.
pub(crate) fn status(syncs: Vec<SyncReport>) -> StatusDocument {
    let daemon = DaemonReport {
        version: "3.0.0".into(),
        pid: 4711,
        started: NOW - 60.0,
        is_exiting: false,
        config_files: vec!["/etc/lsyncd.conf".into()],
        config_hash: "00".into(),
        reload: None,
        watches: 10,
        watch_limit: Some(100),
        polled_directories: 0,
        overflows: 0,
        processes: 0,
    };
    StatusDocument { time: NOW, daemon, syncs }
}

/// A sync in a state, without problems.
pub(crate) fn sync(name: &str, state: SyncState) -> SyncReport {
    SyncReport {
        name: name.into(),
        kind: "rsync".into(),
        source: "/srv/www".into(),
        target: "backup:/srv/www".into(),
        state,
        since: NOW - 12.0,
        message: None,
        oldest_change: None,
        pending: PendingReport::default(),
        failed: Vec::new(),
        held: Vec::new(),
        is_paused: false,
        next_try: None,
        last_success: Some(NOW - 12.0),
        last_exit: Some(0),
        last_failure: None,
        hook_failure: None,
        watcher: "inotify".into(),
        polled_directories: 0,
        connection: None,
        snapshot: None,
        totals: Totals::default(),
    }
}

/// A sync with a change that waits, of this age.
pub(crate) fn busy(name: &str, age: f64) -> SyncReport {
    let pending = PendingReport { waiting: 3, in_flight: 2, ..PendingReport::default() };
    SyncReport { oldest_change: Some(age), pending, ..sync(name, SyncState::Pending) }
}

/// A sync whose target is away.
pub(crate) fn away(name: &str) -> SyncReport {
    SyncReport {
        message: Some("no route to host".into()),
        next_try: Some(NOW + 30.0),
        last_failure: Some("rsync exited with 255".into()),
        ..sync(name, SyncState::Retrying)
    }
}

/// A sync with held deletions.
pub(crate) fn held(name: &str) -> SyncReport {
    let held = HeldReport {
        count: 120,
        total: Some(200),
        reason: "unobserved".into(),
        message: "more than maxDelete; `lsyncctl release` accepts them".into(),
        names: vec!["/a".into(), "/b".into()],
    };
    SyncReport { held: vec![held], ..sync(name, SyncState::Held) }
}

/// A sync whose names try to control the terminal. A real daemon would have escaped them.
pub(crate) fn hostile() -> SyncReport {
    let evil = "a\x1b]0;x\x07\r\n\u{9b}2J\u{202e}|b";
    let failed =
        FailedPathReport { path: evil.into(), reason: Some(evil.into()), tries: 1, next_try: None };
    let held = HeldReport {
        count: 1,
        total: None,
        reason: evil.into(),
        message: evil.into(),
        names: vec![evil.into()],
    };
    SyncReport {
        name: evil.into(),
        source: evil.into(),
        target: evil.into(),
        message: Some(evil.into()),
        failed: vec![failed],
        held: vec![held],
        last_failure: Some("other\x1b".into()),
        watcher: evil.into(),
        connection: Some(evil.into()),
        pending: PendingReport { names: vec![evil.into()], ..PendingReport::default() },
        ..sync("", SyncState::Failing)
    }
}
