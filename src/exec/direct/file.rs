//! Copy of a regular file.

use std::{
    cell::Cell,
    io,
    os::fd::{AsFd, OwnedFd},
};

use mirror_platform::{
    copy_file::{FileCopy, FileCopyError},
    lookup::NO_ACCESS_TIME,
    metadata::FileRef,
    stat::{BLOCK_SIZE, Stat},
};
use rustix::{
    fs::{self, FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    attributes::{self, EntrySide, EntrySides},
    dir_context::{DirContext, SourceEntry},
    error::{self, EntryError},
    temp_file::{EntryName, TempFile},
    timestamps::{mtime, nanoseconds},
};

/// Minimum size of a file that is cloned: below it, a copy costs less.
const MIN_CLONE: u64 = 64 << 10;

/// Number of attempts to copy a file that changes during the copy.
const MAX_TRIES: usize = 3;

/// Copies a file with all its attributes. It appears at the target when it is complete.
///
/// A file that was written during the copy is copied again, and finally retried later. A file that
/// only grew, such as a log, is published with the size and time that it had when the copy began: a
/// busy log might never stop changing.
pub(super) fn copy(ctx: &DirContext<'_>, entry: &SourceEntry<'_>) -> Result<(), EntryError> {
    for tried in 1..=MAX_TRIES {
        let open = entry.file.as_ref().filter(|_| tried == 1);
        let (temp, stability) = match copy_to_temp(ctx, entry, open) {
            // The file was truncated or removed: the next attempt decides.
            Err(EntryError::Changed) if tried < MAX_TRIES => continue,
            made => made?,
        };
        if stability != Stability::Changed
            && (stability == Stability::Unchanged || tried == MAX_TRIES)
        {
            ctx.back_up(entry)?;
            temp.publish(entry.name).map_err(error::target_error("write"))?;
        }
        if stability == Stability::Unchanged {
            ctx.job.executor.state.meter.add(1, entry.source.size);
            return Ok(());
        }
    }
    Err(EntryError::Busy)
}

/// Change of a file during its copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stability {
    Unchanged,
    Grew,
    Changed,
}

impl Stability {
    fn of(before: &Stat, after: &Stat) -> Self {
        let changed = |stat: &Stat| (stat.size, mtime(stat), nanoseconds(stat.ctime));
        match changed(before) == changed(after) {
            true => Self::Unchanged,
            false if after.size > before.size => Self::Grew,
            false => Self::Changed,
        }
    }
}

/// Makes a complete copy without the final name.
fn copy_to_temp<'a>(
    ctx: &DirContext<'a>,
    entry: &SourceEntry<'_>,
    opened: Option<&OwnedFd>,
) -> Result<(TempFile<'a>, Stability), EntryError> {
    let pair = ctx.pair;
    let reopened;
    let (file, before) = if let Some(file) = opened {
        (file, entry.source)
    } else {
        reopened = open(ctx, entry.name).map_err(error::source_error("open"))?;
        (&reopened, Stat::of(&reopened).map_err(error::source_error("stat"))?)
    };
    if before.file_type() != FileType::RegularFile {
        return Err(EntryError::Changed);
    }
    let source = EntrySide { file: FileRef::Open(file.as_fd()), stat: &before };
    let clone = clone(ctx, entry.name, file, source);
    let is_clone = clone.is_some();
    let create = match entry.is_new() {
        true if pair.created => TempFile::in_place,
        true => TempFile::unnamed,
        false => TempFile::replacing,
    };
    let temp = clone.map_or_else(|| create(&pair.target, entry.name), Ok);
    let temp = temp.map_err(error::target_error("write"))?;
    let holes = !is_clone && copy_content(ctx, file, &before, &temp)?;
    let stat = || temp.stat().map_err(error::target_error("stat"));
    // The same for all files that are created in one directory.
    let new = match pair.new_file.get() {
        Some(stat) if !is_clone => *stat,
        Some(_) | None => stat()?,
    };
    if !is_clone {
        let _ = pair.new_file.set(new);
    }
    let sides = EntrySides {
        source,
        target: EntrySide { file: FileRef::Open(temp.as_fd()), stat: &new },
        is_new: !is_clone,
        no_xattrs: !is_clone && pair.no_default_acl,
    };
    // The size of a file with holes could reach the disk before its content: after a power failure
    // it would pass the quick check forever.
    if holes {
        temp.sync().map_err(error::target_error("write"))?;
    }
    attributes::copy(ctx.job, sides)?;
    if ctx.job.executor.settings.durable {
        temp.sync().map_err(error::target_error("write"))?;
    }
    let after = Stat::of(file).map_err(error::source_error("stat"))?;
    Ok((temp, Stability::of(&before, &after)))
}

/// Clones a file, where that needs a call of its own. `None` if it has to be copied.
fn clone<'a>(
    ctx: &DirContext<'a>,
    name: &[u8],
    file: &OwnedFd,
    source: EntrySide<'_>,
) -> Option<TempFile<'a>> {
    let is_large = source.stat.size >= MIN_CLONE;
    let target = &ctx.pair.target;
    if !ctx.job.executor.clones || !is_large || !attributes::may_clone(ctx.job, source) {
        return None;
    }
    TempFile::cloned(target, name, file.as_fd()).ok()
}

/// Copies the content within the bandwidth limit. Returns true if it has holes.
fn copy_content(
    ctx: &DirContext<'_>,
    file: &OwnedFd,
    stat: &Stat,
    temp: &TempFile<'_>,
) -> Result<bool, FileCopyError> {
    let size = stat.size;
    let sparse = stat.blocks.saturating_mul(BLOCK_SIZE) < size;
    let (from, to) = (file.as_fd(), temp.as_fd());
    let go_on = || ctx.job.should_continue();
    let (meter, pending) = (&ctx.job.executor.state.meter, Cell::new(0_u64));
    let count = |bytes: u64| {
        meter.add_pending(bytes);
        pending.set(pending.get() + bytes);
    };
    let copied = match &ctx.job.executor.throttle {
        None => FileCopy { from, to, size, sparse, chunk_size: None }.run(&|bytes| {
            count(bytes);
            go_on()
        }),
        Some(throttle) => {
            let piece = Some(throttle.chunk_size());
            FileCopy { from, to, size, sparse, chunk_size: piece }.run(&|bytes| {
                count(bytes);
                throttle.wait(bytes, &go_on)
            })
        }
    };
    meter.end_pending(pending.get());
    copied
}

/// Returns true if the file under a target name has the same content. Both are read. An unreadable
/// target file counts as different.
pub(super) fn same_bytes(
    ctx: &DirContext<'_>,
    entry: &SourceEntry<'_>,
    at: EntryName<'_>,
) -> Result<bool, EntryError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(target_file) = fs::openat(at.dir, at.name, flags, Mode::empty()) else {
        return Ok(false);
    };
    let source_file = open(ctx, entry.name).map_err(error::source_error("open"))?;
    let size = entry.source.size;
    match mirror_platform::copy_file::same_content(
        source_file.as_fd(),
        target_file.as_fd(),
        size,
        &|| ctx.job.should_continue(),
    ) {
        Err(FileCopyError::Write(_)) => Ok(false),
        compared => Ok(compared?),
    }
}

/// Opens a source file without updating its access time, if that is permitted. The update would
/// cost a write for each file.
pub(super) fn open(ctx: &DirContext<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let dir = &ctx.pair.source;
    // Without NONBLOCK, opening a fifo that replaced the file would block.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if ctx.job.executor.privileged {
        match fs::openat(dir, name, flags | NO_ACCESS_TIME, Mode::empty()) {
            Err(Errno::PERM) => {}
            opened => return opened.map_err(|error| absent_if_special(error).into()),
        }
    }
    fs::openat(dir, name, flags, Mode::empty()).map_err(|error| absent_if_special(error).into())
}

/// Maps the errors for a socket or a device without a driver, which replaced the file, to `ENOENT`.
const fn absent_if_special(error: Errno) -> Errno {
    match error {
        Errno::NXIO | Errno::NODEV => Errno::NOENT,
        error => error,
    }
}
