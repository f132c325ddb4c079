//! Tests of the whole watcher, with its threads, on the real kernel.

pub(super) mod backend_contract;

#[cfg(target_os = "linux")]
mod linux;

use std::{fs, path::PathBuf, sync::mpsc, time::Duration};

use mirror_core::{
    fs_event::{Change, Edit, EntryKind, FsEvent, FsEventKind, MirrorId},
    path::TreePath,
};

use super::*;

/// Timeout of a test: longer than anything here takes.
const TIMEOUT: Duration = Duration::from_mins(3);

struct WatchFixture {
    watcher: Watcher,
    woken: mpsc::Receiver<()>,
    temp_dir: tempfile::TempDir,
}

impl WatchFixture {
    fn new(preference: Preference) -> Self {
        let (wake, woken) = mpsc::channel();
        let wake = Box::new(move || {
            // The receiver is gone once the test has seen what it needs.
            let _ = wake.send(());
        });
        let watcher = Watcher::start(preference, Log::default(), wake).unwrap();
        Self { watcher, woken, temp_dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, below: &str) -> PathBuf {
        fs::canonicalize(self.temp_dir.path()).unwrap().join(below)
    }

    fn tree(&self, mirror: u32, below: &str) -> WatchTree {
        let root = self.path(below);
        fs::create_dir_all(&root).unwrap();
        WatchTree::whole(mirror, root)
    }

    /// Collects the messages up to the first for which `last` returns true.
    fn wait_for(&self, last: impl Fn(&WatchMessage) -> bool) -> Vec<WatchMessage> {
        let mut all = Vec::new();
        loop {
            self.woken.recv_timeout(TIMEOUT).unwrap_or_else(|_| panic!("only {all:?}"));
            let messages = self.watcher.take();
            let is_end = messages.iter().any(&last);
            all.extend(messages);
            if is_end {
                return all;
            }
        }
    }

    fn cover(&self, tree: WatchTree) -> Coverage {
        let mirror = tree.mirror;
        self.watcher.cover(tree, None);
        let messages = self.wait_for(|message| matches!(message, WatchMessage::Covered { .. }));
        match messages.last() {
            Some(WatchMessage::Covered { mirror: covered, coverage }) if *covered == mirror => {
                coverage.clone()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn changed(edit: Edit, kind: EntryKind, text: &str) -> FsEventKind {
    FsEventKind::Changed(Change { edit, kind, path: path(text) })
}

#[test]
fn a_change_is_reported_without_a_request() {
    for preference in [Preference::Inotify, Preference::Fanotify] {
        let fixture = WatchFixture::new(preference);
        fixture.cover(fixture.tree(0, "a"));
        fs::write(fixture.path("a/f"), "x").unwrap();
        // The event may be read before the file is closed.
        let is_first = |edit| {
            let kind = changed(edit, EntryKind::Other, "f");
            WatchMessage::Event(FsEvent { mirror: MirrorId(0), kind })
        };
        let first = [Edit::Create, Edit::Write].map(is_first);
        fixture.wait_for(|message| first.contains(message));
    }
}

#[test]
fn a_missing_root_cannot_be_covered() {
    let fixture = WatchFixture::new(Preference::Auto);
    let tree = fixture.tree(0, "a");
    fs::remove_dir(fixture.path("a")).unwrap();
    fixture.watcher.cover(tree, None);
    let messages = fixture.wait_for(|_| true);
    assert!(matches!(messages.as_slice(), [WatchMessage::CannotCover { mirror: MirrorId(0), .. }]));
}

#[test]
fn the_stop_command_ends_the_threads() {
    let fixture = WatchFixture::new(Preference::Auto);
    fixture.cover(fixture.tree(0, "a"));
    fixture.watcher.commands.send(WatchCommand::Stop);
    drop(fixture);
}
