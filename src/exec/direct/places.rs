//! From what a job names to tasks: the directories to work in, each once.

use std::collections::{BTreeMap, BTreeSet};

use mirror_core::{
    job::{HeldFor, Place, Rename, Scope},
    notice::Kind,
    path::TreePath,
    queue::PlaceSet,
};
use mirror_platform::dir::Dir;

use super::{
    branch::Branch,
    crew::Crew,
    folder::{self, Item, Pair, Task},
    moves,
    pass::Pass,
    trouble::Trouble,
    unseen::Witness,
};

/// The places in each directory, by name.
type Groups = BTreeMap<TreePath, BTreeMap<Box<[u8]>, Scope>>;

/// Brings everything to the state of the source.
pub(super) fn full(pass: &Pass<'_>) {
    pass.direct.learned.links.forget();
    pass.visit_all();
    run(pass, None, || vec![Task::All(Branch::new(TreePath::root()))]);
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
    if places.len() == 1 {
        // There is nothing to wait for.
        pass.late.take();
    }
    let groups = settled(pass, groups);
    run(pass, Some(places), || tasks(groups.clone()));
}

/// Works on the tasks that `all` makes, and then on what they left for later: symbolic links that
/// replace something, so that none arrives before what it points to, and what was counted before it
/// is deleted. Where there was no room for something, the deletions come first, and it is tried again.
fn run(pass: &Pass<'_>, places: Option<&PlaceSet>, all: impl Fn() -> Vec<Task>) {
    work(pass, all());
    pass.tally.close();
    let wants_room = pass.wants_room();
    if wants_room {
        delete_counted(pass, places, &all);
        if pass.tally.has_removed() {
            work_on(pass, pass.take_without_room());
        }
    }
    work_on(pass, entries(pass.late.take()));
    if !wants_room {
        delete_counted(pass, places, &all);
    }
}

/// Deletes what was counted, or holds it if it is more than the budget.
fn delete_counted(pass: &Pass<'_>, places: Option<&PlaceSet>, all: &impl Fn() -> Vec<Task>) {
    let total = pass.total();
    let seen = (pass.direct.settings.max_delete_seen, HeldFor::Seen);
    for witness in [Witness::Unseen, Witness::Seen] {
        let mut found = pass.counted(witness).close();
        let total = match places {
            Some(_) => total,
            None => total.map(|total| total + found.count),
        };
        if found.count == 0 || !pass.goes_on() {
            continue;
        }
        let (budget, why) = if witness == Witness::Seen { seen } else { pass.budget() };
        if budget.allows(found.count, total) {
            pass.counted(witness).permit();
            work_on(pass, entries(found.names.into_keys()));
            if found.more {
                work(pass, all());
            }
            continue;
        }
        for path in places.map(|places| found.split_off_others(places)).unwrap_or_default() {
            pass.note(Place { path, scope: Scope::Tree }, &Trouble::Unseen);
        }
        pass.keep(found.count);
        pass.hold(found.held(places, total, why));
    }
}

fn entries(paths: impl IntoIterator<Item = TreePath>) -> Vec<Place> {
    paths.into_iter().map(|path| Place { path, scope: Scope::Tree }).collect()
}

fn work_on(pass: &Pass<'_>, places: Vec<Place>) {
    let mut groups = Groups::new();
    for place in places {
        add(&mut groups, place);
    }
    work(pass, tasks(settled(pass, groups)));
}

fn tasks(groups: Groups) -> Vec<Task> {
    let tasks = groups.into_iter().rev().map(|(path, names)| {
        let item = |(name, scope): (Box<[u8]>, _)| Item::new(&name, scope);
        Task::Some(Branch::new(path), names.into_iter().map(item).collect())
    });
    tasks.collect()
}

fn work(pass: &Pass<'_>, tasks: Vec<Task>) {
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
    shut_out(pass, &groups);
    // A directory comes before all that is below it.
    for (path, names) in groups {
        if ancestors(&path).any(|path| covered.contains(&path)) {
            continue;
        }
        let excluded = |path: &TreePath| pass.filter().excludes_entry(path, Kind::Directory);
        if let Some(path) = ancestors(&path).find(excluded) {
            // What the target has there may be something else, which is not excluded.
            covered.insert(path.clone());
            add(&mut settled, Place { path, scope: Scope::Entry });
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

/// Takes from directories of the target what their source does not give, where something is about to
/// come into them: they may be places as well, and nobody knows which of them is worked on first.
fn shut_out(pass: &Pass<'_>, groups: &Groups) {
    for path in groups.keys() {
        for above in ancestors(path).filter(|above| above != path) {
            let names = groups.get(&above.parent().unwrap_or_default());
            if names.is_some_and(|names| above.name().is_some_and(|name| names.contains_key(name)))
            {
                // It is opened for what this does by itself. If it can't be, its own task tells.
                let _ = Pair::open(pass, &above);
            }
        }
    }
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
