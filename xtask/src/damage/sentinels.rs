//! Observes files of the target that must never be deleted.

use std::{
    collections::BTreeMap,
    fs, io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

/// The watches of some directories of a target, none of whose files may disappear.
#[derive(Debug)]
pub(crate) struct TargetSentinels {
    inotify: OwnedFd,
    directories: BTreeMap<i32, PathBuf>,
}

impl TargetSentinels {
    /// Watches the directories below these paths, as far as they exist.
    pub(crate) fn watch(roots: &[PathBuf]) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let mut sentinels = Self { inotify, directories: BTreeMap::new() };
        for root in roots.iter().filter(|root| root.is_dir()) {
            sentinels.add(root)?;
        }
        Ok(sentinels)
    }

    fn add(&mut self, directory: &Path) -> io::Result<()> {
        let flags = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::DELETE_SELF;
        let watch = inotify::add_watch(&self.inotify, directory, flags)?;
        self.directories.insert(watch, directory.to_owned());
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.add(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Returns the paths that disappeared, even if they are back.
    pub(crate) fn disappeared(&self) -> io::Result<Vec<String>> {
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut found = Vec::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => return Ok(found),
                Err(error) => return Err(error.into()),
            };
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            // A file that is replaced has another name before.
            if name.as_ref().is_some_and(|name| name.starts_with('.')) {
                continue;
            }
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                found.push("unknown files: the queue overflowed".to_owned());
            } else if !event.events().contains(ReadFlags::IGNORED) {
                let directory = self.directories.get(&event.wd()).cloned().unwrap_or_default();
                found.push(directory.join(name.unwrap_or_default()).display().to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_disappears_is_found_even_if_it_is_back() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        for name in ["kept", "lost"] {
            fs::write(inner.join(name), "").unwrap();
        }
        let sentinels = TargetSentinels::watch(&[directory.path().to_owned()]).unwrap();
        assert_eq!(sentinels.disappeared().unwrap(), Vec::<String>::new());
        fs::write(inner.join("kept"), "new").unwrap();
        fs::write(inner.join(".kept.temporary"), "").unwrap();
        fs::rename(inner.join(".kept.temporary"), inner.join("kept")).unwrap();
        assert_eq!(sentinels.disappeared().unwrap(), Vec::<String>::new());
        fs::remove_file(inner.join("lost")).unwrap();
        fs::write(inner.join("lost"), "").unwrap();
        assert_eq!(sentinels.disappeared().unwrap(), [inner.join("lost").display().to_string()]);
    }
}
