//! The copy of a regular file.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use mirror_platform::{
    content::{Copy, CopyError},
    dir::{Dir, Stat},
    spot::Spot,
};
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, StatxFlags},
    io::Errno,
};

use super::{
    attributes::{self, Ends, file_type},
    draft::Draft,
    entry::Subject,
    folder::Folder,
    grain::{nanoseconds, time},
    trouble::{self, Trouble},
};

/// How often a file is copied that changes meanwhile.
const TRIES: usize = 3;
/// What `stx_blocks` counts in.
const BLOCK: u64 = 512;

/// Copies a file with all its attributes. It appears at the target when it is whole.
///
/// A file that was written meanwhile is copied again, and then left for later. One that only grew,
/// as a log does, is put there as far as it was when the copy began, with the time that it had
/// then: who waits for a log to be still waits for ever.
pub(super) fn copy(folder: &Folder<'_>, subject: &Subject<'_>) -> Result<(), Trouble> {
    for tried in 1..=TRIES {
        let open = subject.file.as_ref().filter(|_| tried == 1);
        let (draft, steady) = match draft(folder, subject, open) {
            // Shorter than it was, or gone: the next try tells.
            Err(Trouble::Changed) if tried < TRIES => continue,
            made => made?,
        };
        if steady != Steady::No && (steady == Steady::Yes || tried == TRIES) {
            draft.publish(subject.name).map_err(trouble::target("write"))?;
        }
        if steady == Steady::Yes {
            return Ok(());
        }
    }
    Err(Trouble::Busy)
}

/// What happened to a file while it was copied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Steady {
    Yes,
    Grew,
    No,
}

impl Steady {
    fn of(before: &Stat, after: &Stat) -> Self {
        let changed = |stat: &Stat| (stat.stx_size, time(stat), nanoseconds(&stat.stx_ctime));
        match changed(before) == changed(after) {
            true => Self::Yes,
            false if after.stx_size > before.stx_size => Self::Grew,
            false => Self::No,
        }
    }
}

/// A whole copy that is not yet under its name.
fn draft<'a>(
    folder: &Folder<'a>,
    subject: &Subject<'_>,
    opened: Option<&OwnedFd>,
) -> Result<(Draft<'a>, Steady), Trouble> {
    let pair = folder.pair;
    let reopened;
    let (file, before) = if let Some(file) = opened {
        (file, subject.source)
    } else {
        reopened = open(folder, subject.name).map_err(trouble::source("open"))?;
        (&reopened, stat(&reopened).map_err(trouble::source("look at"))?)
    };
    if file_type(&before) != FileType::RegularFile {
        return Err(Trouble::Changed);
    }
    let create = match subject.is_new() {
        true if pair.fresh => Draft::in_place,
        true => Draft::unnamed,
        false => Draft::replacing,
    };
    let draft = create(&pair.target, subject.name).map_err(trouble::target("write"))?;
    let sparse = before.stx_blocks.saturating_mul(BLOCK) < before.stx_size;
    let size = before.stx_size;
    let holes = content(folder, file, &draft, (size, sparse))?;
    // The same for all that are made in one directory.
    let empty = match pair.new_file.get() {
        Some(stat) => *stat,
        None => draft.stat().map_err(trouble::target("look at"))?,
    };
    let empty = pair.new_file.get_or_init(|| empty);
    let ends = Ends {
        source: (Spot::Open(file.as_fd()), &before),
        target: (Spot::Open(draft.as_fd()), empty),
        is_new: true,
        bare: pair.bare,
    };
    // With holes the size would be on the disk before the content is: after a power cut it would
    // count as equal for ever.
    if holes {
        draft.sync().map_err(trouble::target("write"))?;
    }
    attributes::copy(folder.pass, ends)?;
    if folder.pass.direct.settings.durable {
        draft.sync().map_err(trouble::target("write"))?;
    }
    let after = stat(file).map_err(trouble::source("look at"))?;
    Ok((draft, Steady::of(&before, &after)))
}

/// Copies the content, as fast as the user allows. Returns true if it has holes.
fn content(
    folder: &Folder<'_>,
    file: &OwnedFd,
    draft: &Draft<'_>,
    (size, sparse): (u64, bool),
) -> Result<bool, CopyError> {
    let (from, to) = (file.as_fd(), draft.as_fd());
    let go_on = || folder.pass.goes_on();
    match &folder.pass.direct.throttle {
        None => Copy { from, to, size, sparse, piece: None }.run(&|_| go_on()),
        Some(throttle) => {
            let piece = Some(throttle.piece());
            Copy { from, to, size, sparse, piece }.run(&|bytes| throttle.wait(bytes, &go_on))
        }
    }
}

/// Whether the target has the same content under a name, which is read. What can't be read there is
/// not the same.
pub(super) fn same(
    folder: &Folder<'_>,
    subject: &Subject<'_>,
    (dir, name): (&Dir, &[u8]),
) -> Result<bool, Trouble> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(there) = fs::openat(dir, name, flags, Mode::empty()) else { return Ok(false) };
    let here = open(folder, subject.name).map_err(trouble::source("open"))?;
    let size = subject.source.stx_size;
    match mirror_platform::content::same(here.as_fd(), there.as_fd(), size, &|| {
        folder.pass.goes_on()
    }) {
        Err(CopyError::Write(_)) => Ok(false),
        compared => Ok(compared?),
    }
}

/// What an open file is.
pub(super) fn stat(file: &OwnedFd) -> io::Result<Stat> {
    Ok(fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?)
}

/// Opens a file of the source without changing when it was last read, where that is allowed: it
/// would cost a write for each file.
pub(super) fn open(folder: &Folder<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let dir = &folder.pair.source;
    // Without NONBLOCK, a fifo that took the name would be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if folder.pass.direct.privileged {
        match fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => {}
            opened => return opened.map_err(|error| absent_if_special(error).into()),
        }
    }
    fs::openat(dir, name, flags, Mode::empty()).map_err(|error| absent_if_special(error).into())
}

/// A socket or a device without a driver took the name: the file is not there any more.
const fn absent_if_special(error: Errno) -> Errno {
    match error {
        Errno::NXIO | Errno::NODEV => Errno::NOENT,
        error => error,
    }
}
