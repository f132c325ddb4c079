//! Directory listings for scripts.

use std::{io, sync::Arc, thread};

use mirror_core::{
    fs_event::{EntryKind, MirrorId},
    input::{DirectoryListing, Input, ScriptInput},
    path::TreePath,
};
use mirror_platform::entries::ReadBuffer;
use rustix::fs::FileType;

use super::{Inbox, Message, sync::SyncInstance};
use crate::{
    exec::source_root::{SourceRoot, is_gone},
    report::{Category, Log},
};

/// Lists a directory of a source on a thread of its own, since the disk may be slow.
pub(super) fn list_directory(
    instance: &SyncInstance,
    mirror: MirrorId,
    path: TreePath,
    inbox: Inbox,
    log: Log,
) {
    let (source, name) = (Arc::clone(&instance.source), instance.config.name.clone());
    let read = move || {
        let (entries, read) = read_entries(&source, &path);
        if let Err(error) = &read {
            log.say(Category::Error, format_args!("{name}: cannot list {path}: {error}"));
        }
        let listing = DirectoryListing { entries, is_complete: matches!(read, Ok(true)) };
        let answer = ScriptInput::DirectoryListed { mirror, path, listing };
        inbox.send(Message::Input(Input::Script(answer)));
    };
    let _ = thread::Builder::new().name("list".into()).spawn(read);
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
