//! Directory listings for scripts.

use std::{collections::VecDeque, io, sync::Arc, thread, time::Duration};

use mirror_core::{
    fs_event::{EntryKind, MirrorId},
    input::{DirectoryListing, Input, ScriptInput},
    path::TreePath,
};
use mirror_platform::entries::ReadBuffer;
use rustix::fs::FileType;

use super::{Inbox, Message, sync::SyncInstance, thread_retry::ThreadRetry};
use crate::{
    exec::source_root::{SourceRoot, is_gone},
    report::{Category, Log},
};

/// Work of a listing thread.
type ListingTask = Box<dyn FnOnce() + Send>;

/// Lists directories of sources, each on a thread of its own, since the disk may be slow. The
/// requests wait here while the process lacks threads.
pub(super) struct DirectoryLister {
    waiting: VecDeque<ListingRequest>,
    thread_retry: ThreadRetry,
    start_thread: fn(ListingTask) -> io::Result<()>,
    inbox: Inbox,
    log: Log,
}

#[derive(Clone)]
struct ListingRequest {
    source: Arc<SourceRoot>,
    /// Name of the sync.
    name: String,
    mirror: MirrorId,
    path: TreePath,
}

impl DirectoryLister {
    pub(super) fn new(inbox: Inbox, log: Log) -> Self {
        let (waiting, thread_retry) = (VecDeque::new(), ThreadRetry::default());
        Self { waiting, thread_retry, start_thread, inbox, log }
    }

    /// Lists a directory of a source as soon as there is a thread. The listing arrives through the
    /// inbox.
    pub(super) fn list(&mut self, instance: &SyncInstance, mirror: MirrorId, path: TreePath) {
        let (source, name) = (Arc::clone(&instance.source), instance.config.name.clone());
        self.enqueue(ListingRequest { source, name, mirror, path });
    }

    fn enqueue(&mut self, request: ListingRequest) {
        self.waiting.push_back(request);
        self.start_waiting();
    }

    /// Starts the listings that wait, unless threads could not be started a moment ago.
    pub(super) fn start_waiting(&mut self) {
        if self.waiting.is_empty() || !self.thread_retry.may_start() {
            return;
        }
        while let Some(request) = self.waiting.front().cloned() {
            let (inbox, log) = (self.inbox.clone(), self.log.clone());
            if let Err(error) = (self.start_thread)(Box::new(move || request.answer(&inbox, &log)))
            {
                let text =
                    format_args!("cannot start a thread for a listing yet: {error}; retrying");
                self.log.say(Category::Warn, text);
                self.thread_retry.pause();
                return;
            }
            self.waiting.pop_front();
        }
    }

    /// Returns the time until waiting listings can be started. `None` if none waits.
    pub(super) fn retry_wait(&self) -> Option<Duration> {
        self.thread_retry.wait().filter(|_| !self.waiting.is_empty())
    }
}

fn start_thread(task: ListingTask) -> io::Result<()> {
    thread::Builder::new().name("list".into()).spawn(task).map(|_| ())
}

impl ListingRequest {
    fn answer(self, inbox: &Inbox, log: &Log) {
        let Self { source, name, mirror, path } = self;
        let (entries, read) = read_entries(&source, &path);
        if let Err(error) = &read {
            log.say(Category::Error, format_args!("{name}: cannot list {path}: {error}"));
        }
        let listing = DirectoryListing { entries, is_complete: matches!(read, Ok(true)) };
        let answer = ScriptInput::DirectoryListed { mirror, path, listing };
        inbox.send(Message::Input(Input::Script(answer)));
    }
}

/// Reads the entries of a source directory as far as possible, and returns true if its source was
/// present. A missing directory has no entries: an event of its own reports its deletion.
fn read_entries(
    source: &SourceRoot,
    path: &TreePath,
) -> (Vec<(Vec<u8>, EntryKind)>, io::Result<bool>) {
    let mut entries = Vec::new();
    let Ok(dir) = source.open().map(|root| root.open_below(path.as_bytes())) else {
        return (entries, Ok(false));
    };
    let read = dir.and_then(|dir| {
        dir.read(&mut ReadBuffer::new(), |entry| {
            let is_directory = entry.file_type == FileType::Directory;
            let kind = if is_directory { EntryKind::Directory } else { EntryKind::Other };
            entries.push((entry.name.to_vec(), kind));
            Ok(())
        })
    });
    let read = read.map(|()| true);
    (entries, read.or_else(|error| if is_gone(&error) { Ok(true) } else { Err(error) }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::MessageChannel, *};
    use crate::exec::source_root::SourceRules;

    #[test]
    fn a_listing_without_a_thread_is_retried() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::write(root.join("file"), "").unwrap();
        let source = Arc::new(SourceRoot::new(root, SourceRules::default()));
        source.pin().unwrap();
        let MessageChannel { inbox, receiver } = MessageChannel::default();
        let mut lister = DirectoryLister::new(inbox, Log::default());
        lister.start_thread = |_| Err(io::ErrorKind::WouldBlock.into());
        let (name, mirror, path) = (String::from("Sync1"), MirrorId(1), TreePath::root());
        lister.enqueue(ListingRequest { source, name, mirror, path });
        assert!(lister.retry_wait().is_some());
        // Threads are available again, and the pause is over.
        lister.start_thread = start_thread;
        lister.thread_retry.pause_for(Duration::ZERO);
        assert_eq!(lister.retry_wait(), Some(Duration::ZERO));
        lister.start_waiting();
        let Ok(Message::Input(Input::Script(answer))) = receiver.recv() else {
            panic!("no listing")
        };
        let ScriptInput::DirectoryListed { mirror: MirrorId(1), listing, .. } = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(listing.entries, [(b"file".to_vec(), EntryKind::Other)]);
        assert!(listing.is_complete && lister.retry_wait().is_none());
    }
}
