//! Comparison of the source and the target of a sync, without the daemon and without any change.

use std::{path::Path, sync::Arc};

use super::{
    MessageChannel,
    on_synced::OnSyncedSender,
    sync::{SyncContext, direct_settings, rsync_config, source_rules},
    tunnels::Tunnels,
};
use crate::{
    config::{SyncConfig, SyncKind},
    exec::{
        direct::DirectExecutor, dry_run::Drift, process::cancel::CancelToken, rsync::RsyncExecutor,
        source_root::SourceRoot, ssh::SshConnections,
    },
    report::{Log, size_text},
};

/// Compares the target of a sync with its source. Relative targets count from `base_dir`. `None`
/// if only a script knows what its target is.
pub(super) fn dry_run(
    sync: &SyncConfig,
    base_dir: &Path,
    cancel: &CancelToken,
) -> Option<Result<Drift, String>> {
    // Renames, and shared connections, would only be needed by a transfer.
    let sync = &SyncConfig { renames: false, hook: None, ..sync.clone() };
    let (tunnels, log) = (Tunnels::default(), Log::default());
    let connections = Arc::new(SshConnections::new(false));
    let context = SyncContext {
        base_dir: base_dir.to_owned(),
        connections: &connections,
        tunnels: &tunnels,
        has_snapshots: false,
        on_synced: OnSyncedSender { inbox: MessageChannel::default().inbox, generation: 0 },
        log: &log,
    };
    let source = Arc::new(SourceRoot::new(sync.source.clone(), source_rules(sync)));
    if let Err(why) = source.pin() {
        return Some(Err(why));
    }
    match sync.kind {
        SyncKind::Script => None,
        SyncKind::Rsync | SyncKind::Rsyncssh => {
            let config = rsync_config(sync, &source, &context, false);
            Some(config.map(|config| RsyncExecutor::new(config).dry_run(cancel)))
        }
        SyncKind::Direct => {
            let settings = direct_settings(sync, &context);
            Some(Ok(DirectExecutor::new(source, settings, Arc::default(), log.clone()).dry_run()))
        }
    }
}

/// Describes what the first transfer of a sync would do.
///
/// # Errors
///
/// The reason for which source and target cannot be compared.
pub(crate) fn describe_first_transfer(
    sync: &SyncConfig,
    base_dir: &Path,
) -> Result<String, String> {
    let Some(drift) = dry_run(sync, base_dir, &CancelToken::default()) else {
        return Ok(String::new());
    };
    let drift = drift?;
    drift.reached.clone()?;
    Ok(drift.describe(&size_text(drift.bytes)))
}
