//! Directories that leave their places, or are wanted no more.

use super::{
    super::forest::{LIMBO, State, Ticket},
    Inotify,
    kernel::Kernel,
};

impl<K: Kernel> Inotify<K> {
    /// Takes a directory out of which it is not known where it is, if it is anywhere.
    pub(super) fn put_aside(&mut self, node: u32) {
        if self.forest.is_root(node) {
            return;
        }
        if self.forest.watch(node).is_none() && self.forest.children(node).next().is_none() {
            return self.forest.remove(node);
        }
        if self.is_verifying() {
            // Where it is seen again, the verifying walk may have come by.
            self.doubt(node, true);
        }
        self.forest.put_aside(node);
        self.aside.push((self.forest.ticket(node), self.drains));
    }

    pub(super) fn forget_if_aside(&mut self, ticket: Ticket) {
        let node = self.forest.resolve(ticket);
        if let Some(node) = node.filter(|&node| self.forest.parent(node) == Some(LIMBO)) {
            self.forget(node);
        }
    }

    /// Forgets a directory and all that is below it.
    pub(super) fn forget(&mut self, node: u32) {
        for gone in self.forest.subtree(node).into_iter().rev() {
            self.release_watch(gone);
            self.forest.remove(gone);
        }
    }

    /// Forgets what is below a directory, and watches the directory itself no more.
    pub(super) fn stop_watching_below(&mut self, node: u32) {
        let children: Vec<u32> = self.forest.children(node).collect();
        for child in children {
            if self.forest.subtree(child).iter().any(|&n| self.forest.is_root(n)) {
                self.prune(child);
            } else {
                self.forget(child);
            }
        }
        self.release_watch(node);
    }

    /// Forgets what is at and below `top` and wanted no more, and what only led there.
    pub(super) fn prune(&mut self, top: u32) {
        let mut above = self.forest.parent(top);
        for node in self.forest.subtree(top).into_iter().rev() {
            self.prune_one(node);
        }
        while let Some(node) = above {
            above = self.forest.parent(node);
            if above.is_some() && self.forest.state(node) == State::Way {
                self.prune_one(node);
            }
        }
    }

    fn prune_one(&mut self, node: u32) {
        if self.forest.is_root(node) || self.wanted(node) {
            return;
        }
        self.release_watch(node);
        let is_leaf = self.forest.children(node).next().is_none();
        let parent = self.forest.parent(node);
        if is_leaf && parent.is_some_and(|parent| self.wanted(parent)) {
            // Whoever comes to want it finds it below one that needs not be read again.
            self.forest.set_state(node, State::Skipped);
        } else if is_leaf && parent.is_some() {
            self.forest.remove(node);
        } else {
            self.forest.set_state(node, State::Way);
        }
    }

    pub(super) fn release_watch(&mut self, node: u32) {
        if let Some(watch) = self.forest.unbind(node) {
            self.watches = self.watches.saturating_sub(1);
            // It fails if the directory was deleted: then the kernel has ended the watch.
            let _ = self.kernel.unwatch(watch);
        }
    }
}
