//! Converts the paths of a job to tasks, one for each directory.

use std::collections::{BTreeMap, BTreeSet};

use mirror_core::{
    fs_event::EntryKind,
    job::{DirtyPath, HoldReason, Rename, Scope},
    path::TreePath,
    queue::PathSet,
};
use mirror_platform::dir::Dir;

use super::{
    copy_job::CopyJob,
    deletions::DeletionClass,
    dir_context::{DirTask, Item},
    dir_node::DirNode,
    dir_pair::DirPair,
    directory::run_tasks,
    error::EntryError,
    renames,
};
use crate::exec::{inode::EntryType, lookup::entry_type_at};

/// Dirty paths grouped by directory, then by name.
type PathsByDir = BTreeMap<TreePath, BTreeMap<Box<[u8]>, Scope>>;

/// Syncs the whole tree.
pub(super) fn full(job: &CopyJob<'_>) {
    job.executor.state.hardlinks.clear();
    job.set_full();
    run(job, None, || vec![DirTask::All(DirNode::new(TreePath::root()))]);
}

/// Syncs some paths.
pub(super) fn batch(job: &CopyJob<'_>, paths: &PathSet, renames: &[Rename]) {
    let made = renames::apply(job, renames);
    let mut groups = PathsByDir::new();
    for dirty in paths.iter().chain(made) {
        if dirty.path.is_root() && dirty.scope == Scope::Tree {
            return full(job);
        }
        add(&mut groups, dirty);
    }
    if paths.len() == 1 && paths.iter().all(|dirty| dirty.scope == Scope::Entry) {
        // A single entry has nothing to wait for.
        job.deferred.take();
        job.deferred_openings.take();
    }
    let may_have_link = |dirty: DirtyPath| {
        let is_link =
            || matches!(entry_type_at(&job.source, &dirty.path), Ok(Some(EntryType::Symlink)));
        dirty.scope == Scope::Tree || is_link()
    };
    if job.observed.deleted.is_empty() || !paths.iter().any(may_have_link) {
        job.deferred_deletions.take();
    }
    let groups = resolve_dirs(job, groups);
    run(job, Some(paths), || tasks(groups.clone()));
}

/// Runs the tasks that `all` makes, then the deferred work: symbolic links that replace something,
/// so that none arrives before its target, and deletions, so that none of a link's former target
/// is made before the link has another. If the target had no space for something, the deletions are
/// made first and the failed paths are retried.
fn run(job: &CopyJob<'_>, paths: Option<&PathSet>, all: impl Fn() -> Vec<DirTask>) {
    run_tasks(job, all());
    job.tally.close();
    let has_space_failures = job.has_space_failures();
    if has_space_failures {
        run_for(job, as_trees(job.deferred_deletions.take()));
        delete_counted(job, paths, &all);
        if job.tally.has_removed() {
            run_for(job, job.take_space_failures());
        }
    }
    run_for(job, as_trees(job.deferred.take()));
    run_for(job, as_trees(job.deferred_deletions.take()));
    if !has_space_failures {
        delete_counted(job, paths, &all);
    }
    hold_over_quota(job, paths);
    let opened = job.deferred_openings.take().into_iter();
    run_for(job, opened.map(|path| DirtyPath { path, scope: Scope::Entry }).collect());
}

/// Holds the deletions beyond the user's `max-delete`.
fn hold_over_quota(job: &CopyJob<'_>, paths: Option<&PathSet>) {
    let found = job.over_quota.close();
    if found.count == 0 {
        return;
    }
    let all_observed = found.names.keys().all(|path| job.observed.is_deleted(path));
    let why = if all_observed { HoldReason::Observed } else { HoldReason::Unobserved };
    job.hold_deletions(found.held(paths, None, why));
}

/// Makes the counted deletions, or holds them if they exceed the budget.
fn delete_counted(job: &CopyJob<'_>, paths: Option<&PathSet>, all: &impl Fn() -> Vec<DirTask>) {
    for class in [DeletionClass::Observed, DeletionClass::Unobserved] {
        let mut found = job.counted_deletions(class).close();
        if found.count == 0 || !job.should_continue() {
            continue;
        }
        let terms = job.terms(class);
        let total = job.target_entry_count(terms.needs_total());
        let total = match paths {
            Some(_) => total,
            None => total.map(|total| total + found.count),
        };
        let Some(why) = terms.reason_to_hold(found.count, total) else {
            job.counted_deletions(class).permit();
            run_for(job, as_trees(found.names.into_keys()));
            if found.more {
                run_tasks(job, all());
            }
            continue;
        };
        for path in paths.map(|paths| found.split_off_others(paths)).unwrap_or_default() {
            job.record_failure(DirtyPath { path, scope: Scope::Tree }, &EntryError::Unobserved);
        }
        job.count_kept(found.count);
        job.hold_deletions(found.held(paths, total, why));
    }
}

fn as_trees(paths: impl IntoIterator<Item = TreePath>) -> Vec<DirtyPath> {
    paths.into_iter().map(|path| DirtyPath { path, scope: Scope::Tree }).collect()
}

fn run_for(job: &CopyJob<'_>, paths: Vec<DirtyPath>) {
    let mut groups = PathsByDir::new();
    for dirty in paths {
        add(&mut groups, dirty);
    }
    run_tasks(job, tasks(resolve_dirs(job, groups)));
}

fn tasks(groups: PathsByDir) -> Vec<DirTask> {
    let tasks = groups.into_iter().rev().map(|(path, names)| {
        let item = |(name, scope): (Box<[u8]>, _)| Item::new(name, scope);
        DirTask::Entries(DirNode::new(path), names.into_iter().map(item).collect())
    });
    tasks.collect()
}

/// Adds a path to the group of its parent directory. The root becomes a directory without names:
/// its attributes are set at the end, as for any directory.
fn add(groups: &mut PathsByDir, DirtyPath { path, scope }: DirtyPath) {
    let names = groups.entry(path.parent().unwrap_or_default()).or_default();
    if let Some(name) = path.name() {
        let known = names.entry(name.into()).or_insert(scope);
        *known = (*known).max(scope);
    }
}

/// Keeps the groups whose directory exists on both sides. Any other group is replaced by the
/// topmost directory that is missing on one side, as a whole tree, so that no two tasks work on the
/// same path.
fn resolve_dirs(job: &CopyJob<'_>, groups: PathsByDir) -> PathsByDir {
    let mut settled = PathsByDir::new();
    let mut covered: BTreeSet<TreePath> = BTreeSet::new();
    tighten_parents(job, &groups);
    // A directory is sorted before everything below it.
    for (path, names) in groups {
        if ancestors(&path).any(|path| covered.contains(&path)) {
            continue;
        }
        let excluded = |path: &TreePath| job.filter().excludes_entry(path, EntryKind::Directory);
        if let Some(path) = ancestors(&path).find(excluded) {
            // The target may have something else there that is not excluded.
            covered.insert(path.clone());
            add(&mut settled, DirtyPath { path, scope: Scope::Entry });
            continue;
        }
        match dir_status(job, &path) {
            DirStatus::Both => {
                settled.entry(path).or_default().extend(names);
            }
            DirStatus::Missing(path) => {
                covered.insert(path.clone());
                add(&mut settled, DirtyPath { path, scope: Scope::Tree });
            }
            DirStatus::Unreadable(error) => {
                for (name, scope) in names {
                    if let Some(path) = path.join(&name) {
                        job.record_failure(DirtyPath { path, scope }, &error);
                    }
                }
            }
        }
    }
    settled
}

/// Tightens the access to target directories before anything is written below them. They may be
/// dirty as well, and the order of the tasks is arbitrary.
fn tighten_parents(job: &CopyJob<'_>, groups: &PathsByDir) {
    for path in groups.keys() {
        for above in ancestors(path).filter(|above| above != path) {
            let names = groups.get(&above.parent().unwrap_or_default());
            if names.is_some_and(|names| above.name().is_some_and(|name| names.contains_key(name)))
            {
                // Opening it has this effect. If it cannot be opened, its own task reports the
                // error.
                let _ = DirPair::open(job, &above);
            }
        }
    }
}

/// State of a directory on both sides.
enum DirStatus {
    /// It exists on both sides.
    Both,
    /// This path, the directory or an ancestor, is missing or not a directory on one side.
    Missing(TreePath),
    /// The state cannot be determined.
    Unreadable(EntryError),
}

fn dir_status(job: &CopyJob<'_>, path: &TreePath) -> DirStatus {
    match DirPair::open(job, path) {
        Ok(_) => DirStatus::Both,
        Err(EntryError::Changed) => {
            let both = [&job.source, &job.target];
            let is_missing = |path: &TreePath| both.iter().any(|root| is_missing(root, path));
            let first = ancestors(path).find(is_missing);
            DirStatus::Missing(first.unwrap_or_else(|| path.clone()))
        }
        Err(error) => DirStatus::Unreadable(error),
    }
}

fn is_missing(root: &Dir, path: &TreePath) -> bool {
    root.open_below(path.as_bytes()).is_err_and(|error| super::error::is_absent(&error))
}

/// Returns the ancestors of `path` below the root, topmost first, and `path` itself.
fn ancestors(path: &TreePath) -> impl Iterator<Item = TreePath> {
    let mut here = TreePath::root();
    path.components().filter_map(move |name| here.push(name).map(|()| here.clone()))
}
