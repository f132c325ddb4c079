//! Removal of directories that have left their location or are no longer wanted.

use super::{
    InotifyBackend,
    dir_tree::{DirState, LIMBO, Ticket},
    kernel::Kernel,
};

impl<K: Kernel> InotifyBackend<K> {
    /// Moves a directory to limbo, because its location is unknown, or removes it if it has no
    /// state.
    pub(super) fn move_to_limbo(&mut self, node: u32) {
        if self.dirs.is_root(node) {
            return;
        }
        if self.dirs.watch(node).is_none() && self.dirs.children(node).next().is_none() {
            return self.dirs.remove(node);
        }
        if self.is_verifying() {
            // The verifying walk may already have passed the location where it reappears.
            self.schedule_reread(node, true);
        }
        self.dirs.move_to_limbo(node);
        self.limbo.push((self.dirs.ticket(node), self.drain_count));
    }

    pub(super) fn forget_if_in_limbo(&mut self, ticket: Ticket) {
        let node = self.dirs.resolve(ticket);
        if let Some(node) = node.filter(|&node| self.dirs.parent(node) == Some(LIMBO)) {
            self.forget(node);
        }
    }

    /// Removes a directory and everything below it.
    pub(super) fn forget(&mut self, node: u32) {
        for gone in self.dirs.subtree(node).into_iter().rev() {
            self.release_watch(gone);
            self.dirs.remove(gone);
        }
    }

    /// Removes everything below a directory, and the watch of the directory itself.
    pub(super) fn stop_watching_below(&mut self, node: u32) {
        let children: Vec<u32> = self.dirs.children(node).collect();
        for child in children {
            if self.dirs.subtree(child).iter().any(|&n| self.dirs.is_root(n)) {
                self.prune(child);
            } else {
                self.forget(child);
            }
        }
        self.release_watch(node);
    }

    /// Stops watching a directory that no mirror wants. Returns false if one does.
    pub(super) fn skip_if_unwanted(&mut self, node: u32) -> bool {
        let is_unwanted = !self.is_wanted(node);
        if is_unwanted {
            self.stop_watching_below(node);
            self.dirs.set_state(node, DirState::Skipped);
        }
        is_unwanted
    }

    /// Removes what is no longer wanted at and below `top`, and ancestors that are no longer
    /// needed.
    pub(super) fn prune(&mut self, top: u32) {
        let mut above = self.dirs.parent(top);
        for node in self.dirs.subtree(top).into_iter().rev() {
            self.prune_one(node);
        }
        while let Some(node) = above {
            above = self.dirs.parent(node);
            if above.is_some() && self.dirs.state(node) == DirState::Ancestor {
                self.prune_one(node);
            }
        }
    }

    fn prune_one(&mut self, node: u32) {
        if self.dirs.is_root(node) || self.is_wanted(node) {
            return;
        }
        self.release_watch(node);
        let is_leaf = self.dirs.children(node).next().is_none();
        let parent = self.dirs.parent(node);
        if is_leaf && parent.is_some_and(|parent| self.is_wanted(parent)) {
            // A mirror that wants it later finds it below a directory that need not be read
            // again.
            self.dirs.set_state(node, DirState::Skipped);
        } else if is_leaf && parent.is_some() {
            self.dirs.remove(node);
        } else {
            self.dirs.set_state(node, DirState::Ancestor);
        }
    }

    pub(super) fn release_watch(&mut self, node: u32) {
        if let Some(watch) = self.dirs.unbind(node) {
            self.watches = self.watches.saturating_sub(1);
            // It fails if the directory was deleted: then the kernel has removed the watch.
            let _ = self.kernel.unwatch(watch);
        }
    }
}
