//! Documents of daemons.

use std::time::{SystemTime, UNIX_EPOCH};

use lsyncd::control::{
    request::BatchRecord,
    status::{
        DaemonReport, FailedPathReport, HeldReport, PendingReport, StatusDocument, SyncReport,
        SyncState, Totals,
    },
};

/// The present time.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The document of a daemon with these syncs.
pub(crate) fn document(syncs: Vec<SyncReport>) -> StatusDocument {
    StatusDocument {
        time: now(),
        daemon: DaemonReport {
            version: "3.0.0".to_owned(),
            pid: 1412,
            started: now() - 6.5 * 86400.0,
            is_exiting: false,
            config_files: vec!["/etc/lsyncd/lsyncd.conf.lua".to_owned()],
            config_hash: "6b3f19c2a07d".to_owned(),
            reload: None,
            watches: 18_204,
            watch_limit: Some(65_536),
            polled_directories: 0,
            overflows: 0,
            processes: 1,
        },
        syncs,
    }
}

/// A sync in a state, without anything else to say.
pub(crate) fn sync(name: &str, state: SyncState) -> SyncReport {
    let (source, target) = (format!("/srv/{name}"), format!("backup:/mirror/{name}"));
    SyncReport {
        state,
        since: now() - 7260.0,
        is_paused: state == SyncState::Paused,
        last_success: Some(now() - 40.0),
        last_exit: Some(0),
        watcher: "inotify, 1,204 directories".to_owned(),
        totals: Totals {
            transfers: [("0".to_owned(), 2118), ("23".to_owned(), 3)].into(),
            sent_bytes: 8_412_000_000,
            deleted: 311,
            ..Totals::default()
        },
        ..SyncReport::new(name.to_owned(), "rsync", source, target)
    }
}

/// Deletions that are held.
pub(crate) fn held(count: u64, names: &[&str]) -> HeldReport {
    HeldReport {
        count,
        total: Some(5210),
        reason: "unobserved".to_owned(),
        message: "No event reported them, and they exceed maxDelete: check the source, then \
                  release them"
            .to_owned(),
        names: names.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// A path that fails.
pub(crate) fn failing(path: &str, reason: &str) -> FailedPathReport {
    FailedPathReport {
        path: path.to_owned(),
        reason: Some(reason.to_owned()),
        tries: 4,
        next_try: Some(now() + 75.0),
    }
}

/// A successful batch.
pub(crate) fn batch(number: u64, sync: &str, names: &[&str]) -> BatchRecord {
    BatchRecord {
        number,
        sync: sync.to_owned(),
        started: now() - 60.0,
        duration: 0.31,
        lag: Some(0.52),
        is_full: false,
        paths: names.len(),
        names: names.iter().map(|&name| name.to_owned()).collect(),
        outcome: "done".to_owned(),
        code: Some(0),
        message: None,
        sent_bytes: Some(48_100),
        deleted: Some(0),
    }
}

/// A daemon as one might find it: most is well, something is under way, two syncs need somebody.
pub(crate) fn realistic() -> StatusDocument {
    let mut syncs: Vec<SyncReport> =
        ["www", "media", "mail-archive", "git", "wiki", "invoices", "homes", "builds"]
            .iter()
            .map(|name| sync(name, SyncState::InSync))
            .collect();
    let media = &mut syncs[1];
    media.state = SyncState::Pending;
    media.since = now() - 14.0;
    media.oldest_change = Some(12.4);
    media.pending = PendingReport {
        waiting: 12,
        in_flight: 31,
        in_flight_bytes: None,
        open: 2,
        failed: 0,
        names: vec!["2026/11/harbour-0412.raw".to_owned(), "2026/11/harbour-0413.raw".to_owned()],
    };
    let homes = &mut syncs[6];
    homes.state = SyncState::Failing;
    homes.since = now() - 840.0;
    homes.oldest_change = Some(840.0);
    homes.pending.failed = 2;
    homes.failed = vec![
        failing("ines/.cache/lock", "permission denied at the source: make it readable"),
        failing("tom/vm/disk.img", "vanished during the transfer"),
    ];
    let invoices = &mut syncs[5];
    invoices.state = SyncState::Held;
    invoices.since = now() - 3900.0;
    invoices.held = vec![held(2731, &["2019/0001.pdf", "2019/0002.pdf", "2019/0003.pdf"])];
    let builds = &mut syncs[7];
    builds.state = SyncState::Paused;
    builds.since = now() - 96_000.0;
    builds.is_paused = true;
    document(syncs)
}
