//! Running tunnels.

use std::sync::Arc;

use mirror_core::tunnel::TunnelSpec;

use super::{Inbox, Message};
use crate::{exec::tunnel::TunnelHandle, report::Log};

/// The running tunnels, in the order of the configuration.
#[derive(Debug, Default)]
pub(super) struct Tunnels(Vec<Arc<TunnelHandle>>);

impl Tunnels {
    /// Starts tunnels for these specifications. Tunnels of `others` with an equal specification
    /// continue; the others remain while they are in use.
    ///
    /// # Errors
    ///
    /// If a tunnel can't be started: a message for the user.
    pub(super) fn start(
        specs: &[TunnelSpec],
        others: &Self,
        inbox: &Inbox,
        log: &Log,
    ) -> Result<Self, String> {
        let start = |spec: &TunnelSpec| {
            if let Some(tunnel) = others.get(spec) {
                return Ok(tunnel);
            }
            let inbox = inbox.clone();
            let started = TunnelHandle::start(spec.clone(), log.clone(), move || {
                inbox.send(Message::TunnelChanged);
            });
            let name = &spec.name;
            started.map(Arc::new).map_err(|error| format!("cannot keep the tunnel {name}: {error}"))
        };
        specs.iter().map(start).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn get(&self, spec: &TunnelSpec) -> Option<Arc<TunnelHandle>> {
        self.0.iter().find(|tunnel| tunnel.plan() == spec).map(Arc::clone)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TunnelHandle> {
        self.0.iter().map(|tunnel| &**tunnel)
    }

    /// Returns a status line for each tunnel.
    pub(super) fn status_lines(&self) -> Vec<String> {
        let note = |tunnel: &TunnelHandle| {
            let (spec, ready) = (tunnel.plan(), tunnel.status().ready());
            format!("Tunnel {}: {ready} of {} ready", spec.name, spec.settings.parallel)
        };
        self.iter().map(note).collect()
    }

    /// Retries all failed connections at once.
    pub(super) fn retry_now(&self) {
        self.iter().for_each(TunnelHandle::hangup);
    }
}
