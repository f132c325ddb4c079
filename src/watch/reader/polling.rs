//! Polling of the subtrees that no backend watches.

use std::os::unix::ffi::OsStrExt;

use mirror_core::{fs_event::FsEventKind, path::TreePath};
use rustix::io::Errno;

use super::{
    super::{
        backend::{Unwatched, WatchTree, strip_root},
        limits::KernelLimit,
        poll::{self, PollCommand, PollReport},
    },
    WatchCommand, WatchReader, display_root,
};
use crate::report::Category;

impl WatchReader {
    pub(super) fn on_unwatched(&mut self, unwatched: Unwatched) {
        let Unwatched { mirror, path, error } = unwatched;
        let Some(tree) = self.backends.tree(mirror).cloned() else { return };
        let display = format!("{}{path}", display_root(&tree));
        if Errno::from_io_error(&error) == Some(Errno::NOSPC) {
            if !std::mem::replace(&mut self.limit_was_logged, true) {
                self.log.say(Category::Warn, watch_limit_warning(&display));
            }
        } else {
            let message = format!("cannot watch {display}: {error}: polling it");
            self.log.say(Category::Warn, message);
        }
        self.poll_below(tree, path);
    }

    /// Polls what others may change: the whole tree, or the mount points in it that `is_wanted`
    /// selects. Those that are skipped are not polled.
    pub(super) fn poll_shared(&mut self, tree: &WatchTree, is_wanted: impl Fn(&TreePath) -> bool) {
        if self.mirrors.get(&tree.mirror).is_some_and(|mirror| mirror.is_shared) {
            if is_wanted(&TreePath::root()) {
                self.poll_below(tree.clone(), TreePath::root());
            }
            return;
        }
        for point in self.root_monitor.shared_below(&tree.root) {
            if is_wanted(&point) && !(tree.skip)(&point) {
                self.poll_below(tree.clone(), point);
            }
        }
    }

    /// Polls what was mounted at this place.
    pub(super) fn poll_mounted(&mut self, point: &[u8]) {
        let mirrors = self.mirrors.keys().copied().collect::<Vec<_>>();
        for mirror in mirrors {
            let Some(tree) = self.backends.tree(mirror).cloned() else { continue };
            let path = strip_root(tree.root.as_os_str().as_bytes(), point).and_then(TreePath::new);
            if let Some(path) = path.filter(|path| !path.is_root()) {
                self.poll_shared(&tree, |shared| *shared == path);
            }
        }
    }

    pub(super) fn poll_below(&mut self, tree: WatchTree, path: TreePath) {
        if !self.pollers.contains_key(&tree.root) {
            let commands = self.commands.clone();
            let report = move |reports: Vec<PollReport>| {
                if !reports.is_empty() {
                    commands.send(WatchCommand::Polled(reports));
                }
            };
            let (commands, root) = (self.commands.clone(), tree.root.clone());
            let answers = move |answers| {
                commands.send(WatchCommand::SourceAnswers(root.clone(), answers));
            };
            match poll::start(report, answers) {
                Ok(poller) => drop(self.pollers.insert(tree.root.clone(), poller)),
                Err(error) => {
                    self.log.say(Category::Error, format!("cannot start to poll: {error}"));
                }
            }
        }
        let Some(mirror) = self.mirrors.get_mut(&tree.mirror) else { return };
        if let Some(poller) = self.pollers.get(&tree.root)
            && poller.send(PollCommand::Add(tree, path)).is_ok()
        {
            mirror.pending_subtrees += 1;
        }
    }

    pub(super) fn on_poll_reports(&mut self, reports: Vec<PollReport>) {
        for report in reports {
            let (id, path) = match &report {
                PollReport::Ready(id, path, _) | PollReport::Changed(id, path) => (id, path),
                PollReport::Barrier(id) => {
                    self.barrier_polled(*id);
                    continue;
                }
            };
            let Some(mirror) = self.mirrors.get_mut(id) else { continue };
            if let PollReport::Ready(_, _, count) = report {
                mirror.pending_subtrees = mirror.pending_subtrees.saturating_sub(1);
                mirror.polled += count;
            }
            // Changes before the first read went unnoticed. Before the mirror is covered they don't
            // matter.
            if mirror.is_covered {
                self.drained.push(*id, FsEventKind::Lost(path.clone()));
            }
        }
        self.report_covered();
    }
}

/// Returns the warning for reaching the kernel's limit of watches.
fn watch_limit_warning(path: &str) -> String {
    let advice = KernelLimit::Watches.advice();
    format!(
        "cannot watch {path}, and maybe others: {advice}; unwatched directories are polled until \
         the next start"
    )
}
