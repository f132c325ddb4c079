//! Processing of one directory: lists both sides, removes extraneous entries and distributes the
//! rest.

use std::{mem, sync::Arc};

use hashbrown::HashSet;
use mirror_core::{
    job::{DirtyPath, Scope},
    path::TreePath,
};
use mirror_platform::entries::ReadBuffer;
use rustix::fs::FileType;

use super::{
    copy_job::CopyJob,
    dir_cache::DirCache,
    dir_context::{DirContext, DirTask, Item},
    dir_node::DirNode,
    dir_pair::DirPair,
    error::{self, EntryError},
    pool::WorkPool,
    temp_file,
};

/// Number of entries of one directory that form a task of their own.
const CHUNK: usize = 256;
/// Number of retries for a directory that turns out to be something else.
const MAX_TRIES: u8 = 3;

/// Runs the tasks of a job, and the tasks that they lead to, until none are left.
pub(super) fn run_tasks(job: &CopyJob<'_>, tasks: Vec<DirTask>) {
    let dir_cache = DirCache::default();
    let run =
        |pool: &WorkPool<DirTask>, task| TaskRunner { job, pool, dir_cache: &dir_cache }.run(task);
    WorkPool::run(job.executor.settings.workers.get(), tasks, &run);
}

/// Runs single tasks.
struct TaskRunner<'a> {
    job: &'a CopyJob<'a>,
    pool: &'a WorkPool<DirTask>,
    /// Recently opened directories.
    dir_cache: &'a DirCache,
}

impl TaskRunner<'_> {
    fn run(&self, task: DirTask) {
        if !self.job.should_continue() {
            return;
        }
        let (node, items) = match task {
            DirTask::All(node) => (node, None),
            DirTask::Entries(node, items) => (node, Some(items)),
        };
        let (path, opened) = self.open(&node);
        let mut pair = match opened {
            Ok(pair) => Some(pair),
            Err(error) => {
                self.sync_from_parent(&node, &path, &error);
                None
            }
        };
        if let Some(pair) = &pair {
            let ctx = DirContext { job: self.job, pool: self.pool, node: &node, path: &path, pair };
            match items {
                None => ctx.sync_all(),
                Some(items) => {
                    ctx.remove_stale_temps();
                    ctx.distribute(items);
                }
            }
        }
        let mut failed = pair.is_none();
        let mut below = None;
        node.finish_task(|node| {
            if !mem::take(&mut failed) {
                self.finish_directory(node, pair.take(), &mut below);
            }
            self.dir_cache.remove(node);
        });
    }

    /// Opens a directory, relative to its parent if that is cached.
    fn open(&self, node: &Arc<DirNode>) -> (Arc<TreePath>, Result<Arc<DirPair>, EntryError>) {
        if let Some((path, pair)) = self.dir_cache.get(node) {
            return (path, Ok(pair));
        }
        let above = node.parent().and_then(|parent| self.dir_cache.get(parent));
        let name = node.name().as_bytes();
        let above = above.and_then(|(path, pair)| Some((path.join(name)?, pair)));
        let (path, opened) = if let Some((path, above)) = above {
            let opened = above.open_child(self.job, name, &path);
            (path, opened)
        } else {
            let path = node.path();
            let opened = DirPair::open(self.job, &path);
            (path, opened)
        };
        let path = Arc::new(path);
        let opened = opened.map(|pair| Arc::new(pair.with_created(node.created)));
        if let Ok(pair) = &opened {
            let _ = node.inodes.set(pair.inodes);
            self.dir_cache.insert(node, &path, pair);
        }
        (path, opened)
    }

    /// Handles a directory that could not be opened. If it no longer exists, its entry in the
    /// parent is synced.
    fn sync_from_parent(&self, node: &DirNode, path: &TreePath, error: &EntryError) {
        if let (EntryError::Changed, Some(parent), Some(name)) = (error, node.parent(), path.name())
            && node.tries < MAX_TRIES
            && let Some(above) = path.parent()
            && let Ok(pair) = DirPair::open(self.job, &above).map(Arc::new)
        {
            let (job, pool) = (self.job, self.pool);
            let ctx = DirContext { job, pool, node: parent, path: &above, pair: &pair };
            let tries = node.tries + 1;
            return ctx.sync_entry(&Item { tries, ..Item::new(name, Scope::Tree) });
        }
        self.job.record_failure(DirtyPath { path: path.clone(), scope: Scope::Tree }, error);
    }

    /// Sets the attributes of a directory after all tasks in it. If the directory is no longer
    /// open, it is found from `below`, its subdirectory that was finished just before.
    fn finish_directory(
        &self,
        node: &DirNode,
        pair: Option<Arc<DirPair>>,
        below: &mut Option<Arc<DirPair>>,
    ) {
        let job = self.job;
        if !job.should_continue() {
            return;
        }
        let kept = || self.dir_cache.get(node).map(|(_, pair)| pair);
        let above = || below.as_ref()?.open_parent(*node.inodes.get()?).map(Arc::new);
        let pair = pair.or_else(kept).or_else(above);
        let pair = pair.map_or_else(|| DirPair::open(job, &node.path()).map(Arc::new), Ok);
        // The bare mount point of an unmounted file system would change the access to what the
        // target has of that file system.
        let is_left = !node.created && job.is_lost_mount_point(&node.path());
        let finished = pair.and_then(|pair| {
            let finished = if is_left { Ok(()) } else { pair.copy_attributes(job) };
            *below = Some(pair);
            finished
        });
        match finished {
            // If the directory is gone, its parent reports it.
            Ok(()) | Err(EntryError::Changed) => {}
            Err(error) => {
                job.record_failure(DirtyPath { path: node.path(), scope: Scope::Entry }, &error);
            }
        }
    }
}

impl DirContext<'_> {
    /// Syncs all entries that either side lists.
    fn sync_all(&self) {
        match self.compare() {
            Ok(items) => self.distribute(items),
            Err(error) => {
                self.job.record_failure(
                    DirtyPath { path: self.path.clone(), scope: Scope::Tree },
                    &error,
                );
            }
        }
    }

    /// Lists the source, after extraneous entries were removed from the target.
    fn compare(&self) -> Result<Vec<Item>, EntryError> {
        let mut buffer = ReadBuffer::new();
        let mut items: Vec<Item> = Vec::new();
        let listed = self.pair.source.read(&mut buffer, |entry| {
            let is_file = entry.file_type == FileType::RegularFile;
            items.push(Item { absent: true, is_file, ..Item::new(entry.name, Scope::Tree) });
            Ok(())
        });
        listed.map_err(error::source_error("list"))?;
        let mut extraneous: HashSet<Box<[u8]>> = HashSet::new();
        if !self.node.created {
            let listed = self.pair.target.read(&mut buffer, |entry| {
                extraneous.insert(Box::from(entry.name));
                Ok(())
            });
            listed.map_err(error::target_error("list"))?;
            for item in &mut items {
                item.absent = !extraneous.remove(&item.name);
            }
        }
        self.remove_extraneous(extraneous);
        Ok(items)
    }

    /// Removes entries that only the target has, or counts them for later.
    fn remove_extraneous(&self, rest: HashSet<Box<[u8]>>) {
        for name in rest {
            if !self.job.should_continue() {
                return;
            }
            self.sync_entry(&Item::new(name, Scope::Tree));
        }
    }

    /// Removes temporary files that an interrupted process left in this directory: a directory of
    /// which only some entries changed is not listed otherwise. On most file systems, a file has a
    /// temporary name only just before it replaces another one, so that a process has to be killed
    /// at this moment. Runs once for each directory.
    fn remove_stale_temps(&self) {
        let state = &self.job.executor.state;
        if !(self.job.capabilities().names_temp_files || state.is_resumed())
            || !state.mark_swept(self.path)
        {
            return;
        }
        let mut names = Vec::new();
        let listed = self.job.target.open_below(self.path.as_bytes()).and_then(|dir| {
            dir.read(&mut ReadBuffer::new(), |entry| {
                if temp_file::is_temp_name(entry.name) && !temp_file::is_in_use(&dir, entry.name) {
                    names.push(Box::<[u8]>::from(entry.name));
                }
                Ok(())
            })
        });
        // If the directory cannot be listed, nothing is known to be stale.
        for name in names.into_iter().filter(|_| listed.is_ok()) {
            if self.pair.source.stat(&name).is_err() && !self.remove_stale_temp(&name) {
                // A complete file has no mark any more. It is deleted as what the source lacks.
                self.sync_entry(&Item::new(name, Scope::Tree));
            }
        }
    }

    /// Syncs these entries. If there are many, a part becomes tasks for other threads.
    fn distribute(&self, mut items: Vec<Item>) {
        let mut parts = Vec::new();
        if self.job.executor.settings.workers.get() > 1 {
            while items.len() > 2 * CHUNK {
                let part = items.split_off(items.len() - CHUNK);
                parts.push(DirTask::Entries(Arc::clone(self.node), part));
            }
        }
        self.node.add(parts.len());
        self.pool.push(parts);
        self.sync_each(&items);
    }

    fn sync_each(&self, items: &[Item]) {
        for item in items {
            if !self.job.should_continue() {
                return;
            }
            self.sync_entry(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicU8, Ordering},
    };

    use mirror_core::job::Work;
    use mirror_platform::dir::Dir;

    use super::{super::tests::CopierFixture, *};
    use crate::exec::process::cancel::CancelToken;

    #[test]
    fn attempts_to_open_a_directory_are_limited() {
        let CopierFixture { executor, source, target, .. } = &CopierFixture::new();
        fs::create_dir(source.join("d")).unwrap();
        let [source, target] = [source, target].map(|root| Dir::open(root).unwrap());
        let (work, cancel, dir_cache) = (Work::full(), CancelToken::default(), DirCache::default());
        let job = &CopyJob::new(executor, &work, source, target, &cancel);
        let node = DirNode::new(TreePath::root());
        let node = node.child(TreePath::new(b"d").unwrap(), false, 0);
        let attempts = AtomicU8::new(0);
        WorkPool::run(1, vec![DirTask::All(node)], &|pool, task| {
            let DirTask::All(node) = task else { return };
            assert!(attempts.fetch_add(1, Ordering::Relaxed) < 100, "it is tried for ever");
            let runner = TaskRunner { job, pool, dir_cache: &dir_cache };
            runner.sync_from_parent(&node, &node.path(), &EntryError::Changed);
        });
        assert_eq!(attempts.into_inner(), 1 + MAX_TRIES);
    }
}
