//! Verification: compares targets with their sources, without any change.

use std::{
    os::unix::ffi::OsStrExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use mirror_core::path::Escaped;

use super::{answer, labels};
use crate::{
    config::{SyncConfig, SyncKind},
    control::{
        frame::{ErrorKind, RequestError},
        request::{Selection, SyncDrift, VerifyDocument},
        server::AnswerSender,
    },
    engine::{Engine, base_dir, dry_run::dry_run},
    exec::{dry_run::Drift, process::cancel::CancelToken},
};

/// A running verification; ends when it is dropped.
struct Verification(Arc<AtomicBool>);

impl Drop for Verification {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Engine {
    /// Compares the selected syncs, one after the other on a thread of its own: it may take as long
    /// as a full transfer.
    pub(super) fn verify(&self, selection: &Selection, reply: AnswerSender) {
        let selected = match self.select_mirrors(selection) {
            Ok(selected) => selected,
            Err(error) => return answer::<VerifyDocument>(reply, Err(error)),
        };
        let labels = labels(&self.registry);
        let syncs = selected.iter().filter_map(|id| {
            let name = labels.get(id).cloned().unwrap_or_default();
            Some((name, self.registry.get(*id)?.config.clone()))
        });
        let mut syncs: Vec<(String, SyncConfig)> = syncs.collect();
        // A script alone knows its target. Such a sync is no error unless it was named.
        let can_compare = |(_, sync): &(String, SyncConfig)| sync.kind != SyncKind::Script;
        if selection.sync.is_none() && syncs.iter().any(can_compare) {
            syncs.retain(can_compare);
        }
        if self.control.is_verifying.swap(true, Ordering::Relaxed) {
            let error = RequestError::new(ErrorKind::Busy, "a verification is running already");
            return answer::<VerifyDocument>(reply, Err(error));
        }
        let cancel = CancelToken::default();
        let stop = cancel.clone();
        reply.on_hangup(move || stop.cancel());
        let running = Verification(Arc::clone(&self.control.is_verifying));
        let base_dir = base_dir();
        // Without a thread the request is answered as one that was dropped.
        let _ = thread::Builder::new().name("verify".into()).spawn(move || {
            let syncs = syncs.iter().map(|(name, sync)| {
                let found = dry_run(sync, &base_dir, &cancel);
                drift_of(name, sync, found)
            });
            let document = VerifyDocument { syncs: syncs.collect() };
            drop(running);
            answer(reply, Ok(document));
        });
    }
}

/// Converts the result of a comparison. `None`: only a script knows its target.
fn drift_of(name: &str, sync: &SyncConfig, found: Option<Result<Drift, String>>) -> SyncDrift {
    let target = format!("{:#}", Escaped(sync.target.as_bytes()));
    let mut result = SyncDrift {
        sync: name.to_owned(),
        target,
        error: None,
        different: 0,
        extra: 0,
        names: Vec::new(),
    };
    match found {
        None => result.error = Some("only its script knows what its target is".into()),
        Some(Err(why) | Ok(Drift { reached: Err(why), .. })) => result.error = Some(why),
        Some(Ok(Drift { would_send, would_delete, unreadable, .. })) => {
            if unreadable.count > 0 {
                result.error =
                    Some(format!("cannot read {} entries of the source", unreadable.count));
            }
            (result.different, result.extra) = (would_send.count, would_delete.count);
            let names = would_send.first.iter().chain(&would_delete.first);
            result.names = names.map(|name| format!("{name:#}")).collect();
        }
    }
    result
}
