//! Log messages of a configuration reload.

use std::os::unix::ffi::OsStrExt;

use mirror_core::{path::Escaped, plan::options::RsyncOptions};

use crate::{
    config::SyncConfig,
    report::{Category, Log},
};

/// Numbers of syncs that a reload kept, updated, started and stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReloadCounts {
    pub(super) unchanged: usize,
    pub(super) updated: usize,
    pub(super) started: usize,
    pub(super) stopped: usize,
}

/// Logs the result of a reload, and returns its lines. Zero counts are omitted.
pub(super) fn log_reload(log: &Log, counts: ReloadCounts) -> Vec<String> {
    let what = [
        (counts.unchanged, "kept as it is", "kept as they are"),
        (counts.updated, "kept with other settings", "kept with other settings"),
        (counts.started, "new or changed: it starts", "new or changed: they start"),
        (counts.stopped, "gone or changed: it ends", "gone or changed: they end"),
    ];
    let line = |(count, one, many)| match count {
        0 => None,
        1 => Some(format!("1 sync is {one}")),
        _ => Some(format!("{count} syncs are {many}")),
    };
    let lines: Vec<_> = what.into_iter().filter_map(line).collect();
    for line in &lines {
        log.say(Category::Normal, line);
    }
    lines
}

/// Logs the syncs that a reload stops and starts: first those that are replaced.
pub(super) fn log_replaced_syncs(log: &Log, mut ended: Vec<&SyncConfig>, begun: &[&SyncConfig]) {
    for sync in begun {
        let is_like = |it: &&SyncConfig| {
            it.target == sync.target
                && (it.source == sync.source || it.source_as_given == sync.source_as_given)
        };
        let before = ended.iter().position(is_like).map(|at| ended.remove(at));
        let text = match before {
            None => "is new and begins".into(),
            Some(before) => {
                format!("has changed ({}) and begins anew", differing_settings(before, sync))
            }
        };
        log.say(Category::Normal, format_args!("{} {text}", sync_title(sync)));
    }
    for sync in ended {
        log.say(Category::Normal, format_args!("{} is gone and ends", sync_title(sync)));
    }
}

/// Logs that a sync continues with other settings.
pub(super) fn log_updated_sync(log: &Log, was: &SyncConfig, is: &SyncConfig) {
    let text =
        format!("{} has changed ({}) and goes on", sync_title(is), differing_settings(was, is));
    log.say(Category::Normal, text);
}

fn sync_title(sync: &SyncConfig) -> String {
    let [source, target] = [sync.source.as_os_str(), &sync.target].map(|it| Escaped(it.as_bytes()));
    format!("{}: {source} -> {target}", Escaped(sync.name.as_bytes()))
}

/// Lists the differing settings of two syncs by their names in a configuration.
fn differing_settings(was: &SyncConfig, is: &SyncConfig) -> String {
    let was_rules = (&was.filter, &was.exclusions);
    // These rsync options repeat other settings.
    let (rules, delete) = (is.rsync.rules.clone(), is.rsync.delete);
    let was_rsync = RsyncOptions { rules, delete, ..was.rsync.clone() };
    let all = [
        ("kind", was.kind != is.kind),
        ("source", was.source != is.source),
        ("delay", was.debounce != is.debounce),
        ("insist", was.insist != is.insist),
        ("init", was.init != is.init),
        ("delete", was.delete != is.delete),
        ("maxDelete", was.max_delete != is.max_delete),
        ("maxDeleteSeen", was.max_delete_seen != is.max_delete_seen),
        ("replacedSource", was.replaced_source != is.replaced_source),
        ("marker", was.marker != is.marker),
        ("modifyWindow", was.modify_window != is.modify_window),
        ("durable", was.durable != is.durable),
        ("onMove", was.renames != is.renames),
        ("exclude or filter", was_rules != (&is.filter, &is.exclusions)),
        ("rsync", (&was_rsync, &was.binary) != (&is.rsync, &is.binary) || was.direct != is.direct),
        (
            "exitcodes",
            (&was.exit_codes, &was.ssh_exit_codes) != (&is.exit_codes, &is.ssh_exit_codes),
        ),
        ("batchSizeLimit", was.batch_size_limit != is.batch_size_limit),
        ("maxProcesses", was.max_processes != is.max_processes),
        ("crontab", was.crontab != is.crontab),
        ("onSynced", was.hook != is.hook),
        ("tunnel", was.tunnel != is.tunnel),
        ("functions", was.script.is_some() || is.script.is_some()),
    ];
    let names: Vec<_> = all.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect();
    names.join(", ")
}
