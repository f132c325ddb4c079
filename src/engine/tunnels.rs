//! The tunnels that run.

use std::sync::Arc;

use mirror_core::{input::Input, tunnel::Plan};

use super::{Engine, Inbox, Message};
use crate::{exec::tunnel::Tunnel, report::Log};

/// The tunnels that run, in the order in which they were given.
#[derive(Debug, Default)]
pub(super) struct Tunnels(Vec<Arc<Tunnel>>);

impl Tunnels {
    /// Tunnels by these plans. Those of `others` that are the same go on; the rest of them stays
    /// as long as somebody uses it.
    ///
    /// # Errors
    ///
    /// If one can't be kept: a sentence for people.
    pub(super) fn start(
        plans: &[Plan],
        others: &Self,
        inbox: &Inbox,
        log: &Log,
    ) -> Result<Self, String> {
        let start = |plan: &Plan| {
            if let Some(tunnel) = others.get(plan) {
                return Ok(tunnel);
            }
            let inbox = inbox.clone();
            let started = Tunnel::start(plan.clone(), log.clone(), move || {
                inbox.send(Message::Tunnel);
            });
            let name = &plan.name;
            started.map(Arc::new).map_err(|error| format!("cannot keep the tunnel {name}: {error}"))
        };
        plans.iter().map(start).collect::<Result<_, _>>().map(Self)
    }

    /// The tunnel by this plan.
    pub(super) fn get(&self, plan: &Plan) -> Option<Arc<Tunnel>> {
        self.0.iter().find(|tunnel| tunnel.plan() == plan).map(Arc::clone)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Tunnel> {
        self.0.iter().map(|tunnel| &**tunnel)
    }

    /// How it is with each: lines for the status.
    pub(super) fn notes(&self) -> Vec<String> {
        let note = |tunnel: &Tunnel| {
            let (plan, ready) = (tunnel.plan(), tunnel.standing().ready());
            format!("Tunnel {}: {ready} of {} ready", plan.name, plan.settings.parallel)
        };
        self.iter().map(note).collect()
    }

    /// Tries again at once what is not there.
    pub(super) fn hangup(&self) {
        self.iter().for_each(Tunnel::hangup);
    }
}

impl Engine {
    /// Tells the fleet who has a way to its target.
    pub(super) fn pass_gates(&self) -> Vec<Input> {
        let behind = self.roster.iter().filter(|(_, member)| member.tunnel.is_some());
        behind.map(|(id, member)| Input::Gate(id, member.gate())).collect()
    }
}
