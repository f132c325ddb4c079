//! From what a job names to tasks: the directories to work in, each once.

use std::collections::{BTreeMap, BTreeSet};

use mirror_core::{
    job::{Place, Rename, Scope},
    notice::Kind,
    path::TreePath,
    queue::PlaceSet,
};
use mirror_linux::dir::Dir;

use super::{
    branch::Branch,
    crew::Crew,
    folder::{self, Item, Pair, Task},
    moves,
    pass::Pass,
    trouble::Trouble,
};

/// The places in each directory, by name.
type Groups = BTreeMap<TreePath, BTreeMap<Box<[u8]>, Scope>>;

/// Brings everything to the state of the source.
pub(super) fn full(pass: &Pass<'_>) {
    pass.direct.links.forget();
    pass.visit_all();
    run(pass, vec![Task::All(Branch::new(TreePath::root()))]);
}

/// Brings these places to the state of the source.
pub(super) fn batch(pass: &Pass<'_>, places: &PlaceSet, renames: &[Rename]) {
    let made = moves::carry_out(pass, renames);
    let mut groups = Groups::new();
    for place in places.iter().chain(made) {
        if place.path.is_root() && place.scope == Scope::Tree {
            return full(pass);
        }
        add(&mut groups, place);
    }
    let groups = settled(pass, groups);
    let tasks = groups.into_iter().rev().map(|(path, names)| {
        let item = |(name, scope): (Box<[u8]>, _)| Item::new(&name, scope);
        Task::Some(Branch::new(path), names.into_iter().map(item).collect())
    });
    run(pass, tasks.collect());
}

fn run(pass: &Pass<'_>, tasks: Vec<Task>) {
    let workers = pass.direct.settings.workers.get();
    Crew::run(workers, tasks, &|crew, task| folder::work(pass, crew, task));
}

/// Adds a place to the directory that lists it. The root is a directory without names: all that
/// is done about it is what is done last about any.
fn add(groups: &mut Groups, Place { path, scope }: Place) {
    let names = groups.entry(path.parent().unwrap_or_default()).or_default();
    if let Some(name) = path.name() {
        let known = names.entry(name.into()).or_insert(scope);
        *known = (*known).max(scope);
    }
}

/// The groups whose directory is there on both sides. In the place of each other one comes the
/// topmost directory that is missing on one of them, with all that is in it, so that no two tasks
/// work on the same path.
fn settled(pass: &Pass<'_>, groups: Groups) -> Groups {
    let mut settled = Groups::new();
    let mut covered: BTreeSet<TreePath> = BTreeSet::new();
    // A directory comes before all that is below it.
    for (path, names) in groups {
        let is_covered = ancestors(&path).any(|path| covered.contains(&path));
        if is_covered || pass.filter().excludes(&path, Kind::Directory) {
            continue;
        }
        match standing(pass, &path) {
            Standing::Both => {
                settled.entry(path).or_default().extend(names);
            }
            Standing::Missing(path) => {
                covered.insert(path.clone());
                add(&mut settled, Place { path, scope: Scope::Tree });
            }
            Standing::Shut(trouble) => {
                for (name, scope) in names {
                    if let Some(path) = path.join(&name) {
                        pass.note(Place { path, scope }, &trouble);
                    }
                }
            }
        }
    }
    settled
}

/// How it stands with a directory.
enum Standing {
    /// It is on both sides.
    Both,
    /// This one, which is it or above it, is missing or no directory on one side.
    Missing(TreePath),
    /// It can't be told.
    Shut(Trouble),
}

fn standing(pass: &Pass<'_>, path: &TreePath) -> Standing {
    match Pair::open(pass, path) {
        Ok(_) => Standing::Both,
        Err(Trouble::Changed) => {
            let both = [&pass.source, &pass.target];
            let is_missing = |path: &TreePath| both.iter().any(|root| is_missing(root, path));
            let first = ancestors(path).find(is_missing);
            Standing::Missing(first.unwrap_or_else(|| path.clone()))
        }
        Err(trouble) => Standing::Shut(trouble),
    }
}

fn is_missing(root: &Dir, path: &TreePath) -> bool {
    root.open_below(path.as_bytes()).is_err_and(|error| super::trouble::is_absent(&error))
}

/// The paths from below the root down to `path` itself.
fn ancestors(path: &TreePath) -> impl Iterator<Item = TreePath> {
    let mut here = TreePath::root();
    path.components().filter_map(move |name| here.push(name).map(|()| here.clone()))
}
