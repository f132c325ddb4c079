//! Renames at the target that save copies. All of them are hints: what comes of them is looked at
//! afterwards like anything else.

use std::{collections::BTreeMap, io, sync::OnceLock};

use mirror_core::{
    job::{Place, Rename, Scope},
    notice::Kind,
    path::TreePath,
    plan::moves::joined,
};
use mirror_platform::dir::{Dir, Stat};
use rustix::fs::{FileType, Mode, RenameFlags, mkdirat, renameat_with};

use super::{attributes::file_type, draft, folder::kind, grain::Grain, pass::Pass, remove::count};

/// The renames that were repeated on the target, and those that were not.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    /// The new names, and whether the target has there what it had under the old one.
    names: OnceLock<BTreeMap<TreePath, bool>>,
}

impl Repeated {
    /// Whether what is at `path` came there by a rename of ours.
    pub(super) fn has(&self, path: &TreePath) -> bool {
        let Some(names) = self.names.get() else { return false };
        let mut here = path.clone();
        loop {
            if let Some(is_repeated) = names.get(&here) {
                return *is_repeated;
            }
            if here.is_root() {
                return false;
            }
            here.pop();
        }
    }
}

/// Carries out the renames that still make sense. Returns places that have to be looked at
/// because of it.
pub(super) fn carry_out(pass: &Pass<'_>, moves: &[Rename]) -> Vec<Place> {
    let mut hints = joined(moves);
    let mut made = Vec::new();
    let mut repeated = BTreeMap::new();
    while !hints.is_empty() && pass.goes_on() {
        let hint = hints.remove(0);
        let back = hints.iter().position(|other| other.from == hint.to && other.to == hint.from);
        let step = step(pass, &hint, back.is_some(), &mut made);
        repeated.retain(|path, _| !hint.from.contains(path) && !hint.to.contains(path));
        repeated.insert(hint.to, step.is_some());
        if let Some(Step::Swapped) = step {
            // The other half of it, or what was in the way.
            repeated.insert(hint.from, back.is_some());
            if let Some(back) = back {
                hints.remove(back);
            }
        }
    }
    let _ = pass.repeated.names.set(repeated);
    made
}

/// What was done about a hint.
enum Step {
    Moved,
    Swapped,
}

/// One end of a rename, on both sides.
struct End<'a> {
    name: &'a [u8],
    /// The directory of the target that lists it.
    dir: Dir,
    source: Option<Stat>,
    target: Option<Stat>,
}

/// Renames at the target, if what is there and what is in the source tell that it is right.
/// `None`, and nothing is changed, if not.
fn step(pass: &Pass<'_>, hint: &Rename, is_swap: bool, made: &mut Vec<Place>) -> Option<Step> {
    let from = End::new(pass, &hint.from).ok()?;
    let moved = from.target?;
    let kind = kind(file_type(&moved));
    let ends = [&hint.from, &hint.to];
    if ends.into_iter().any(|path| is_none_of_ours(pass, path, kind)) {
        return None;
    }
    let to = if let Ok(end) = End::new(pass, &hint.to) {
        end
    } else {
        // Before directories are made for it: there has to be something to rename.
        source_stat(pass, &hint.to).ok()?;
        made.push(make_parents(pass, &hint.to)?);
        End::new(pass, &hint.to).ok()?
    };
    let wanted = to.source.filter(|stat| file_type(stat) == file_type(&moved))?;
    let flags = match file_type(&moved) {
        FileType::Directory => {
            let flags = directory(&from, &to, is_swap)?;
            let ends = [(&from, &hint.from), (&to, &hint.to)];
            if ends.into_iter().any(|(end, path)| end.holds_protected(pass, path)) {
                return None;
            }
            flags
        }
        FileType::RegularFile => file(pass.grain(), &from, &to, &wanted)?,
        _ => return None,
    };
    renameat_with(&from.dir, from.name, &to.dir, to.name, flags).ok()?;
    Some(if flags == RenameFlags::EXCHANGE { Step::Swapped } else { Step::Moved })
}

/// How to rename a directory: what is in it is not known, so the names have to tell.
fn directory(from: &End<'_>, to: &End<'_>, is_swap: bool) -> Option<RenameFlags> {
    let is_directory =
        |stat: &Option<Stat>| stat.as_ref().is_some_and(|s| file_type(s) == FileType::Directory);
    match (from.source.is_some(), to.target.is_some()) {
        (false, false) => Some(RenameFlags::NOREPLACE),
        (true, true) if is_swap && is_directory(&from.source) && is_directory(&to.target) => {
            Some(RenameFlags::EXCHANGE)
        }
        _ => None,
    }
}

/// How to rename a file: size and time tell whether it is the one that is wanted there, and
/// whether what it would replace, or leave, is still of use.
fn file(grain: Grain, from: &End<'_>, to: &End<'_>, wanted: &Stat) -> Option<RenameFlags> {
    let same = |source: &Option<Stat>, target: &Option<Stat>| match (source, target) {
        (Some(source), Some(target)) => {
            file_type(source) == file_type(target)
                && source.stx_size == target.stx_size
                && grain.same(source, target)
        }
        _ => false,
    };
    if !same(&Some(*wanted), &from.target)
        || same(&from.source, &from.target)
        || same(&to.source, &to.target)
    {
        return None;
    }
    match &to.target {
        None => Some(RenameFlags::NOREPLACE),
        Some(_) if same(&from.source, &to.target) => Some(RenameFlags::EXCHANGE),
        Some(there) if file_type(there) == FileType::Directory => None,
        Some(_) => Some(RenameFlags::empty()),
    }
}

fn is_none_of_ours(pass: &Pass<'_>, path: &TreePath, kind: Kind) -> bool {
    pass.filter().excludes(path, kind) || path.name().is_none_or(draft::is_temporary)
}

impl<'a> End<'a> {
    fn new(pass: &Pass<'_>, path: &'a TreePath) -> io::Result<Self> {
        let absent = || io::Error::from(io::ErrorKind::NotFound);
        let (parent, name) = path.parent().zip(path.name()).ok_or_else(absent)?;
        let dir = pass.target.open_below(parent.as_bytes())?;
        let target = dir.stat(name).ok();
        Ok(Self { name, dir, source: source_stat(pass, path).ok(), target })
    }

    /// Whether the target has something in it that is excluded: that stays where it is.
    fn holds_protected(&self, pass: &Pass<'_>, path: &TreePath) -> bool {
        let Some(stat) = self.target.as_ref().filter(|_| !pass.filter().is_empty()) else {
            return false;
        };
        count(pass, &self.dir, path, stat).is_ok_and(|counted| counted.kept)
    }
}

fn source_stat(pass: &Pass<'_>, path: &TreePath) -> io::Result<Stat> {
    let parent = path.parent().unwrap_or_default();
    pass.source.open_below(parent.as_bytes())?.stat(path.name().unwrap_or_default())
}

/// Makes the directories above `path` that the target lacks. The place to look at because of it.
fn make_parents(pass: &Pass<'_>, path: &TreePath) -> Option<Place> {
    let (mut here, mut first) = (TreePath::root(), None);
    for name in path.parent()?.components() {
        let dir = pass.target.open_below(here.as_bytes()).ok()?;
        here.push(name)?;
        if pass.filter().excludes(&here, Kind::Directory) {
            return None;
        }
        match mkdirat(&dir, name, Mode::RWXU) {
            Ok(()) => first = first.or_else(|| Some(here.clone())),
            Err(rustix::io::Errno::EXIST) => {}
            Err(_) => return None,
        }
    }
    first.map(|path| Place { path, scope: Scope::Tree })
}
