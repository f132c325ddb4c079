//! Registry of the syncs by mirror id.

use std::{collections::BTreeMap, sync::Arc};

use mirror_core::{fs_event::MirrorId, input::Input};

use super::sync::SyncInstance;
use crate::{config::cron::CronRule, exec::Executor};

/// The current syncs, and replaced ones that still have a running job.
#[derive(Default)]
pub(super) struct SyncRegistry {
    instances: BTreeMap<MirrorId, SyncInstance>,
    order: Vec<MirrorId>,
}

impl SyncRegistry {
    pub(super) fn get(&self, id: MirrorId) -> Option<&SyncInstance> {
        self.instances.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: MirrorId) -> Option<&mut SyncInstance> {
        self.instances.get_mut(&id)
    }

    /// Iterates over the current syncs in the order of the configuration.
    pub(super) fn iter(&self) -> impl Iterator<Item = (MirrorId, &SyncInstance)> {
        self.order.iter().filter_map(|id| Some((*id, self.instances.get(id)?)))
    }

    /// Iterates over all syncs, including replaced ones.
    pub(super) fn iter_all(&self) -> impl Iterator<Item = (MirrorId, &SyncInstance)> {
        self.instances.iter().map(|(id, instance)| (*id, instance))
    }

    /// Returns the executor of a mirror. `None` if only a script handles its events.
    pub(super) fn executor(&self, id: MirrorId) -> Option<Arc<dyn Executor>> {
        self.get(id)?.executor.clone()
    }

    /// Iterates over the crontabs of the current syncs.
    pub(super) fn crontabs(&self) -> impl Iterator<Item = (MirrorId, &[CronRule])> {
        self.iter().map(|(id, instance)| (id, &*instance.config.crontab))
    }

    /// Returns inputs with the state of the link to each target behind a tunnel.
    pub(super) fn target_links(&self) -> Vec<Input> {
        let tunnelled = self.iter().filter(|(_, instance)| instance.tunnel.is_some());
        tunnelled.map(|(id, instance)| Input::TargetLink(id, instance.target_link())).collect()
    }

    pub(super) fn insert(&mut self, id: MirrorId, instance: SyncInstance) {
        self.instances.insert(id, instance);
    }

    /// Sets the current syncs and their order. Others remain until they are removed.
    pub(super) fn set_order(&mut self, order: Vec<MirrorId>) {
        self.order = order;
    }

    /// Changes the display name of a sync.
    pub(super) fn rename(&mut self, id: MirrorId, name: String) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.config.name = name;
        }
    }

    pub(super) fn remove(&mut self, id: MirrorId) {
        self.instances.remove(&id);
    }
}
