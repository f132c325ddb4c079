//! Hard links within the tree: a file with several names in the source has them at the target too.

use std::{io, os::fd::AsFd, sync::Arc};

use mirror_core::{
    fs_event::EntryKind,
    job::{DirtyPath, Scope},
    path::TreePath,
};
use mirror_platform::{metadata::FileRef, stat::Stat};

use super::super::{
    copy_job::CopyJob,
    dir_context::{DirContext, Item, SourceEntry},
    dir_pair::DirPair,
    error::{self, EntryError},
    hardlink_index::{LinkNames, LinkedFile},
    options,
    temp_file::{EntryName, link},
};
use crate::exec::{inode::Inode, lock, lookup::stat_at};

/// Syncs the other names of the file that `path` belonged to before. The file may have been written
/// under this name, and no event reports its other names.
pub(super) fn sync_former_names(ctx: &DirContext<'_>, path: &TreePath, source: Option<&Stat>) {
    for other in ctx.job.executor.state.hardlinks.detach(path, source.map(Inode::of)) {
        let (Some(parent), Some(name)) = (other.parent(), other.name()) else { continue };
        if let Ok(pair) = DirPair::open(ctx.job, &parent).map(Arc::new) {
            let ctx = DirContext { path: &parent, pair: &pair, ..*ctx };
            ctx.sync_entry(&Item::new(name, Scope::Entry));
            if let Err(error) = set_time(&pair) {
                let dirty = DirtyPath { path: parent.clone(), scope: Scope::Entry };
                ctx.job.record_failure(dirty, &error);
            }
        }
    }
}

/// Sets the modification time of a directory after a link was created in it. The job may have no
/// other task that does so.
fn set_time(pair: &DirPair) -> Result<(), EntryError> {
    let stat = pair.source.stat(b"").map_err(error::source_error("stat"))?;
    FileRef::Open(pair.target.as_fd())
        .set_modified(stat.mtime.seconds, stat.mtime.nanoseconds)
        .map_err(error::target_error("set the time of"))
}

/// Other name of the same file.
struct OtherName {
    path: TreePath,
    /// Metadata of the target under that name.
    target: Option<Stat>,
    /// True if the target has the content of the source there.
    current: bool,
}

/// Syncs a file with several names. If its content changed, all its names are synced, because
/// events report only the name under which it was written.
pub(super) fn copy(ctx: &DirContext<'_>, entry: &SourceEntry<'_>) -> Result<(), EntryError> {
    let links = &ctx.job.executor.state.hardlinks;
    let inode = Inode::of(&entry.source);
    let file = links.file(inode);
    // Held during the work: two threads with two names of one file would copy it twice.
    let mut file = lock(&file);
    file.names.insert(entry.path.clone());
    links.record(inode, [entry.path]);
    if ctx.job.is_full() {
        return sync_in_full_pass(ctx, entry, &mut file);
    }
    let own = match &entry.target {
        Some(own) if ctx.same_content(entry, own)? => Some(own),
        _ => None,
    };
    if let Some(own) = own.filter(|own| own.links == entry.source.links) {
        ctx.sync_single(entry)?;
        let now = ctx.pair.target.stat(entry.name).map_err(error::target_error("stat"))?;
        if Inode::of(&now) == Inode::of(own) {
            return Ok(());
        }
        // The file was replaced because of its attributes: its other names have to follow.
        find_all_names(ctx, entry, &mut file);
        return relink_others(ctx, entry, &file.names, Inode::of(own));
    }
    if own.is_none() && link_to_any(ctx, entry, &file.names)? {
        return Ok(());
    }
    find_all_names(ctx, entry, &mut file);
    links.record(inode, &file.names);
    let others = file.names.iter().filter(|name| *name != entry.path);
    let others: Vec<OtherName> = others.filter_map(|name| other_name(ctx, entry, name)).collect();
    unify(ctx, entry, &others)
}

/// Syncs one name of a file in a full pass, which reaches all names. The first name is copied. So
/// is a name under which different content was written.
fn sync_in_full_pass(
    ctx: &DirContext<'_>,
    entry: &SourceEntry<'_>,
    file: &mut LinkedFile,
) -> Result<(), EntryError> {
    let mut done = None;
    if let Some((path, inode)) = &file.done
        && target_stat(ctx.job, path).is_some_and(|stat| Inode::of(&stat) == *inode)
        && link_to_first(ctx, entry, path, *inode)?
    {
        if !ctx.job.is_written(entry.path) {
            return Ok(());
        }
        let stat = ctx.pair.target.stat(entry.name).map_err(error::target_error("stat"))?;
        if ctx.same_content(entry, &stat)? {
            return Ok(());
        }
        done = Some(*inode);
    }
    let target = ctx.pair.target.stat(entry.name).ok();
    ctx.sync_single(&SourceEntry { target, file: None, ..*entry })?;
    let stat = ctx.pair.target.stat(entry.name).map_err(error::target_error("stat"))?;
    file.done = Some((entry.path.clone(), Inode::of(&stat)));
    done.map_or(Ok(()), |before| relink_others(ctx, entry, &file.names, before))
}

/// Links the name to the file `inode`, which is at `path` at the target. Returns false if the link
/// cannot be made.
fn link_to_first(
    ctx: &DirContext<'_>,
    entry: &SourceEntry<'_>,
    path: &TreePath,
    inode: Inode,
) -> Result<bool, EntryError> {
    if entry.target.as_ref().map(Inode::of) == Some(inode) {
        return Ok(true);
    }
    ctx.remove_conflicting_dir(entry)?;
    ctx.back_up(entry)?;
    // Too many links, or another file system: the name gets its own copy.
    Ok(link_from(ctx, path, entry).is_ok())
}

/// Relinks all names of the target file `before` to the file that `entry` now has at the target.
fn relink_others(
    ctx: &DirContext<'_>,
    entry: &SourceEntry<'_>,
    names: &LinkNames,
    before: Inode,
) -> Result<(), EntryError> {
    for path in names.iter().filter(|path| *path != entry.path) {
        if target_stat(ctx.job, path).is_some_and(|stat| Inode::of(&stat) == before) {
            relink(ctx, entry, path)?;
        }
    }
    Ok(())
}

/// Links the name to a target file under any other name that has the content. Returns false if
/// there is none.
fn link_to_any(
    ctx: &DirContext<'_>,
    entry: &SourceEntry<'_>,
    names: &LinkNames,
) -> Result<bool, EntryError> {
    let others = names.iter().filter(|name| *name != entry.path);
    let current = others
        .filter(|name| is_name_of(ctx.job, name, &entry.source))
        .filter_map(|name| other_name(ctx, entry, name))
        .find(|other| other.current);
    current.map_or(Ok(false), |other| link_to(ctx, entry, &other.path))
}

/// Links the name to the file at `path` at the target. Returns false if that is not possible.
fn link_to(
    ctx: &DirContext<'_>,
    entry: &SourceEntry<'_>,
    path: &TreePath,
) -> Result<bool, EntryError> {
    ctx.remove_conflicting_dir(entry)?;
    ctx.back_up(entry)?;
    if link_from(ctx, path, entry).is_err() {
        // Too many links, or another file system: the name gets its own copy.
        return Ok(false);
    }
    let target = ctx.pair.target.stat(entry.name).ok();
    ctx.sync_single(&SourceEntry { target, file: None, ..*entry })?;
    Ok(true)
}

/// Finds all names of the file in the source.
fn find_all_names(ctx: &DirContext<'_>, entry: &SourceEntry<'_>, file: &mut LinkedFile) {
    let stat = &entry.source;
    let beside = ctx.pair.names_of_inode(stat.inode);
    file.names.extend(beside.iter().filter_map(|name| ctx.path.join(name)));
    file.names.retain(|name| name == entry.path || is_name_of(ctx.job, name, stat));
    file.names.extend(search_names(ctx.job, stat, file.names.len()));
}

/// Searches the source for the names of a file, if fewer names are `known` than its link count.
fn search_names(job: &CopyJob<'_>, stat: &Stat, known: usize) -> Vec<TreePath> {
    let (inode, link_count) = (Inode::of(stat), stat.links);
    let index = &job.executor.state.hardlinks;
    if known >= link_count as usize || index.has_outside_links(inode, link_count) {
        return Vec::new();
    }
    let names = job.search_names(inode);
    if names.len() < link_count as usize {
        index.set_outside_links(inode, link_count);
    }
    names
}

/// Links all names of a file to one file at the target.
fn unify(
    ctx: &DirContext<'_>,
    entry: &SourceEntry<'_>,
    others: &[OtherName],
) -> Result<(), EntryError> {
    if !link_to_best(ctx, entry, others)? {
        ctx.sync_single(entry)?;
    }
    let now = ctx.pair.target.stat(entry.name).map_err(error::target_error("stat"))?;
    for other in others {
        if other.target.as_ref().map(Inode::of) != Some(Inode::of(&now)) {
            relink(ctx, entry, &other.path)?;
        }
    }
    Ok(())
}

/// Returns the metadata of the target entry at `path`.
fn target_stat(job: &CopyJob<'_>, path: &TreePath) -> Option<Stat> {
    stat_at(&job.target, path).ok().flatten()
}

/// Returns true if this is a name of the file in the source that belongs to the mirror.
fn is_name_of(job: &CopyJob<'_>, path: &TreePath, stat: &Stat) -> bool {
    if job.filter().excludes(path, EntryKind::Other) {
        return false;
    }
    let found = stat_at(&job.source, path).ok().flatten();
    found.is_some_and(|found| Inode::of(&found) == Inode::of(stat))
}

/// Returns the state of another name at the target; `None` if its directory is missing.
fn other_name(ctx: &DirContext<'_>, entry: &SourceEntry<'_>, path: &TreePath) -> Option<OtherName> {
    let (dir, name) = (ctx.job.target.open_below(path.parent()?.as_bytes()).ok()?, path.name()?);
    let target = dir.stat(name).ok();
    let same = |stat: &Stat| {
        ctx.same_content_at(entry, stat, EntryName { dir: &dir, name }).unwrap_or(false)
    };
    Some(OtherName { path: path.clone(), current: target.as_ref().is_some_and(same), target })
}

/// Links the name to the target file of another name, if one has the content and is the better
/// choice. Returns true if the link was made.
fn link_to_best(
    ctx: &DirContext<'_>,
    entry: &SourceEntry<'_>,
    others: &[OtherName],
) -> Result<bool, EntryError> {
    // Number of links of a target file that are not names of this source file.
    let strangers = |stat: &Stat| {
        let shares =
            |other: &&OtherName| other.target.as_ref().map(Inode::of) == Some(Inode::of(stat));
        let known = others.iter().filter(shares).count();
        let own = entry.target.as_ref().map(Inode::of) == Some(Inode::of(stat));
        (stat.links as usize).saturating_sub(known + usize::from(own))
    };
    let current = others.iter().filter(|other| other.current);
    let Some((best, stat)) = current
        .filter_map(|other| other.target.as_ref().map(|stat| (other, stat)))
        .min_by_key(|(_, stat)| strangers(stat))
    else {
        return Ok(false);
    };
    if let Some(own) = &entry.target
        && ctx.same_content(entry, own)?
        && (Inode::of(own) == Inode::of(stat) || strangers(own) <= strangers(stat))
    {
        return Ok(false);
    }
    link_to(ctx, entry, &best.path)
}

/// Links the file at `from` at the target to the name of `entry`.
fn link_from(ctx: &DirContext<'_>, from: &TreePath, entry: &SourceEntry<'_>) -> io::Result<()> {
    let parent = from.parent().unwrap_or_default();
    let dir = ctx.job.target.open_below(parent.as_bytes())?;
    link(
        EntryName { dir: &dir, name: from.name().unwrap_or_default() },
        ctx.target_name(entry.name),
    )
}

/// Links the name at `path` to the file that `entry` has at the target.
fn relink(
    ctx: &DirContext<'_>,
    entry: &SourceEntry<'_>,
    path: &TreePath,
) -> Result<(), EntryError> {
    let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Ok(()) };
    let pair = match DirPair::open(ctx.job, &parent) {
        // Its directory is created with all its entries.
        Err(EntryError::Changed) => return Ok(()),
        pair => Arc::new(pair?),
    };
    let target = pair.target.stat(name).ok();
    if options::is_skipped(ctx.job.options(), &entry.source, target.as_ref()) {
        return Ok(());
    }
    let ctx_of_other = DirContext { path: &parent, pair: &pair, ..*ctx };
    let other = SourceEntry { path, name, source: entry.source, target, file: None };
    ctx_of_other.back_up(&other)?;
    if link(ctx.target_name(entry.name), ctx_of_other.target_name(name)).is_err() {
        let target = pair.target.stat(name).ok();
        let source = pair.source.stat(name).map_err(error::source_error("stat"))?;
        ctx_of_other.sync_single(&SourceEntry { source, target, ..other })?;
    }
    set_time(&pair)
}
