//! Which source serves a tree.
//!
//! inotify costs something for each directory, in time at the start and in memory for good, and
//! nothing for what happens elsewhere. fanotify costs nothing for a directory, and something for
//! each change anywhere in the file system, and it wants rights and a file system that is up to
//! it. So small trees get inotify, and large ones fanotify if it is possible.

use std::{collections::BTreeMap, io, path::Path};

use mirror_core::notice::MirrorId;
use mirror_platform::fanotify::Queue;

use super::{
    Coverage, Preference,
    fanotify::Fanotify,
    inotify::{Inotify, Limits},
    source::{Findings, Ready, Source, Tree},
};

/// The directories up to which a tree is left to inotify.
const MOST_FOR_INOTIFY: usize = 4096;

/// The sources, and which of them serves which mirror.
#[derive(Debug)]
pub(super) struct Sources {
    preference: Preference,
    most_for_inotify: usize,
    inotify: Inotify,
    fanotify: Option<Fanotify>,
    choices: BTreeMap<MirrorId, Choice>,
}

/// What serves a tree, and why.
#[derive(Debug)]
struct Choice {
    tree: Tree,
    by: By,
    /// The reason, where it is not the number of directories.
    reason: Option<String>,
    /// Whether the other source may yet take over.
    open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Inotify,
    Fanotify,
}

impl Sources {
    /// The sources, with nothing to cover.
    ///
    /// # Errors
    ///
    /// If there can be no inotify instance.
    pub(super) fn new(preference: Preference) -> io::Result<Self> {
        Ok(Self {
            preference,
            most_for_inotify: MOST_FOR_INOTIFY,
            inotify: Inotify::new(Limits::default())?,
            fanotify: None,
            choices: BTreeMap::new(),
        })
    }

    /// As `new`, with other limits.
    #[cfg(test)]
    pub(super) fn with_limits(
        preference: Preference,
        most_for_inotify: usize,
        limits: Limits,
    ) -> io::Result<Self> {
        let inotify = Inotify::new(limits)?;
        Ok(Self { most_for_inotify, inotify, ..Self::new(preference)? })
    }

    /// Begins to cover a tree.
    ///
    /// # Errors
    ///
    /// If no source can.
    pub(super) fn cover(&mut self, tree: &Tree) -> io::Result<()> {
        self.uncover(tree.mirror);
        let shared = self
            .choices
            .values()
            .any(|choice| choice.tree.root == tree.root && choice.by == By::Fanotify);
        let wants_fanotify = match self.preference {
            _ if tree.exact.is_some() => false,
            Preference::Auto => shared,
            Preference::Inotify => false,
            Preference::Fanotify => true,
        };
        let mut choice = Choice { tree: tree.clone(), by: By::Inotify, reason: None, open: false };
        if wants_fanotify {
            let why = if shared { "shared with another sync" } else { "as configured" };
            match self.cover_by_fanotify(tree) {
                Ok(()) => {
                    choice.by = By::Fanotify;
                    choice.reason = Some(why.into());
                    self.choices.insert(tree.mirror, choice);
                    return Ok(());
                }
                Err(error) => choice.reason = Some(not_possible(tree, &error)),
            }
        }
        let is_free = self.preference == Preference::Auto && tree.exact.is_none();
        choice.open = is_free && !is_remote(&tree.root);
        self.inotify.cover(tree)?;
        self.choices.insert(tree.mirror, choice);
        Ok(())
    }

    fn cover_by_fanotify(&mut self, tree: &Tree) -> io::Result<()> {
        if let Some(fanotify) = &mut self.fanotify {
            return fanotify.cover(tree);
        }
        let mut fanotify = Fanotify::new(Queue::Unlimited)?;
        fanotify.cover(tree)?;
        self.fanotify = Some(fanotify);
        Ok(())
    }

    /// Ends the covering of a mirror.
    pub(super) fn uncover(&mut self, mirror: MirrorId) {
        let Some(choice) = self.choices.remove(&mirror) else { return };
        match choice.by {
            By::Inotify => self.inotify.uncover(mirror),
            By::Fanotify => self.uncover_by_fanotify(mirror),
        }
    }

    fn uncover_by_fanotify(&mut self, mirror: MirrorId) {
        if let Some(fanotify) = &mut self.fanotify {
            fanotify.uncover(mirror);
        }
        if !self.choices.values().any(|choice| choice.by == By::Fanotify) {
            self.fanotify = None;
        }
    }

    /// Hands trees that turn out to be large over to fanotify, if that can cover them.
    fn hand_over_large(&mut self) {
        let large: Vec<MirrorId> = self
            .choices
            .iter()
            .filter(|(mirror, choice)| {
                let read = self.inotify.progress(**mirror).filter(|_| choice.open);
                read.is_some_and(|read| read > self.most_for_inotify)
            })
            .map(|(mirror, _)| *mirror)
            .collect();
        for mirror in large {
            let Some(choice) = self.choices.get_mut(&mirror) else { continue };
            choice.open = false;
            let tree = choice.tree.clone();
            let result = self.cover_by_fanotify(&tree);
            if result.is_ok() {
                self.inotify.uncover(mirror);
            }
            let Some(choice) = self.choices.get_mut(&mirror) else { continue };
            match result {
                Ok(()) => {
                    choice.by = By::Fanotify;
                    choice.reason = Some(format!(
                        "more than {} directories on {}",
                        self.most_for_inotify,
                        filesystem(&tree.root)
                    ));
                }
                Err(error) => choice.reason = Some(not_possible(&tree, &error)),
            }
        }
    }

    /// How a mirror is covered, of which so many directories are watched and polled.
    pub(super) fn coverage(&self, mirror: MirrorId, directories: usize, polled: usize) -> Coverage {
        let choice = self.choices.get(&mirror);
        let by = match choice.map(|choice| choice.by) {
            Some(By::Fanotify) => "fanotify",
            Some(By::Inotify) | None => "inotify",
        };
        let mut reason = match (choice.and_then(|choice| choice.reason.as_deref()), directories) {
            (Some(reason), 0) => format!("{by}: {reason}"),
            (Some(reason), _) => format!("{by}: {directories} directories, {reason}"),
            (None, 1) => format!("{by}: 1 directory"),
            (None, _) => format!("{by}: {directories} directories"),
        };
        if polled > 0 {
            reason = format!("{reason}; {polled} directories are polled");
        }
        Coverage { by, reason, directories, polled }
    }

    /// What inotify watches, as [`Inotify::list`] has it.
    pub(super) fn list(&self, most: usize) -> (usize, Vec<(i32, Vec<u8>)>) {
        self.inotify.list(most)
    }

    /// The mirrors that fanotify serves.
    pub(super) fn marked(&self) -> impl Iterator<Item = MirrorId> {
        let choices = self.choices.iter();
        choices.filter(|(_, choice)| choice.by == By::Fanotify).map(|(&mirror, _)| mirror)
    }

    /// The tree of a mirror.
    pub(super) fn tree(&self, mirror: MirrorId) -> Option<&Tree> {
        self.choices.get(&mirror).map(|choice| &choice.tree)
    }

    /// The sources in use.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut dyn Source> {
        let inotify: &mut dyn Source = &mut self.inotify;
        let fanotify = self.fanotify.as_mut().map(|source| -> &mut dyn Source { source });
        std::iter::once(inotify).chain(fanotify)
    }

    /// The sources in use, to be polled.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = std::os::fd::BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        std::iter::once(self.inotify.as_fd()).chain(self.fanotify.as_ref().map(AsFd::as_fd))
    }

    /// Does a bounded piece of the work that is left. Returns whether there is more.
    pub(super) fn work(&mut self, found: &mut Findings) -> bool {
        self.hand_over_large();
        self.all().filter_map(|source| source.work(found).then_some(())).count() > 0
    }

    /// Drains all sources. Returns whether there was a moment at which nothing was left.
    pub(super) fn drain(&mut self, found: &mut Findings) -> Ready {
        let mut ready = Ready::Nothing;
        let mut broken = Vec::new();
        for source in self.all() {
            match source.drain(found) {
                Ok(Ready::Nothing) => {}
                Ok(Ready::More) => ready = Ready::More,
                Err(error) => broken.push((source.name(), error)),
            }
        }
        for (name, error) in broken {
            found
                .warnings
                .push(format!("cannot read the events of {name}: {error}: starting anew"));
            self.start_anew(name, found);
        }
        ready
    }

    /// Replaces a source that is of no more use. Its mirrors are told that they are covered when
    /// they are so again, and meanwhile to be read again.
    fn start_anew(&mut self, name: &str, found: &mut Findings) {
        let is_broken = |by| (by == By::Fanotify) == (name == "fanotify");
        let trees: Vec<Tree> = self
            .choices
            .values()
            .filter(|choice| is_broken(choice.by))
            .map(|choice| choice.tree.clone())
            .collect();
        if name == "fanotify" {
            self.fanotify = None;
        } else if let Ok(inotify) = Inotify::new(Limits::default()) {
            self.inotify = inotify;
        }
        for tree in trees {
            if let Err(error) = self.cover(&tree) {
                found.failed.push((tree.mirror, error));
            }
        }
    }
}

fn not_possible(tree: &Tree, error: &io::Error) -> String {
    format!("as fanotify is not possible on {}: {error}", filesystem(&tree.root))
}

/// File systems that this program knows by name: magic number, name, and whether others than this
/// kernel may change what they hold. From statfs(2) and the kernel's <linux/magic.h>.
const FILESYSTEMS: [(u64, &str, bool); 17] = [
    (0xef53, "ext4", false),
    (0x5846_5342, "xfs", false),
    (0x9123_683e, "btrfs", false),
    (0x0102_1994, "tmpfs", false),
    (0x794c_7630, "overlayfs", false),
    (0xf2f5_2010, "f2fs", false),
    (0x2fc1_2fc1, "zfs", false),
    (0xca45_1a4e, "bcachefs", false),
    (0x6969, "nfs", true),
    (0xff53_4d42, "cifs", true),
    (0xfe53_4d42, "smb2", true),
    (0x517b, "smb", true),
    (0x6573_5546, "fuse", true),
    (0x0102_1997, "9p", true),
    (0x00c3_6400, "ceph", true),
    (0x5346_414f, "afs", true),
    (0x7461_636f, "ocfs2", true),
];

fn known_filesystem(path: &Path) -> Option<(u64, &'static str, bool)> {
    let kind = rustix::fs::statfs(path).ok()?.f_type;
    // Magic numbers have 32 bits, whatever the sign of the field.
    let kind = kind.cast_unsigned() & 0xffff_ffff;
    FILESYSTEMS.into_iter().find(|(magic, ..)| *magic == kind)
}

/// The name of the file system that holds `path`.
fn filesystem(path: &Path) -> &'static str {
    known_filesystem(path).map_or("its file system", |(_, name, _)| name)
}

/// Whether what is at `path` may be changed without this kernel knowing.
pub(super) fn is_remote(path: &Path) -> bool {
    known_filesystem(path).is_some_and(|(.., remote)| remote)
}
