//! Tests of the path set.

use alloc::{format, vec::Vec};

use super::script::{dirty, path, paths, written};
use crate::{
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::{Inserted, PathSet},
    sim::random::SimRng,
};

fn set(text: &str) -> PathSet {
    paths(text).into_iter().collect()
}

/// Inserts the paths on the left; the set contains those on the right, in that order.
fn check(inserted: &str, held: &str) {
    let set = set(inserted);
    assert_eq!(written(&set.iter().collect::<Vec<_>>()), held);
    assert_eq!(set.len(), paths(held).len());
    assert_eq!(set.iter().len(), set.len());
}

#[test]
fn iteration_is_ordered_with_parents_first() {
    check("/b /a/c /a-b /a /a/b /", "/");
    check("/b /a/c /a-b /a /a/b .", ". /a /a/b /a/c /a-b /b");
    check("/a/b/c /a/b", "/a/b /a/b/c");
}

#[test]
fn a_repeated_path_is_stored_once() {
    check("/a /a", "/a");
    check("/a/ /a", "/a/");
    check("/a /a/", "/a/");
}

#[test]
fn a_tree_covers_earlier_and_later_paths_below_it() {
    check("/a/b /a/c/d /ab /a/", "/a/ /ab");
    check("/a/ /a/b /a/c/ /a", "/a/");
    check("/a/b/ /a/b/c/d /a", "/a /a/b/");
    check("/a /b/c /", "/");
    check("/ /a", "/");
}

#[test]
fn insert_returns_the_number_of_siblings() {
    let mut set = PathSet::new();
    let mut insert = |text| {
        let DirtyPath { path, scope } = dirty(text);
        set.insert(&path, scope)
    };
    assert_eq!(insert("/d/a"), Inserted::Added { siblings: 1 });
    assert_eq!(insert("/d/b"), Inserted::Added { siblings: 2 });
    assert_eq!(insert("/d/b"), Inserted::Covered);
    assert_eq!(insert("/d/b/"), Inserted::Added { siblings: 2 });
    assert_eq!(insert("/d/b/x"), Inserted::Covered);
    assert_eq!(insert("/d/c/x"), Inserted::Added { siblings: 1 });
    assert_eq!(insert("/d/c"), Inserted::Added { siblings: 3 });
    assert_eq!(insert("/d/"), Inserted::Added { siblings: 1 });
}

#[test]
fn covers_requires_the_scope_or_a_tree_above() {
    let set = set("/d/e /t/");
    for (text, covered) in [
        ("/d/e", true),
        ("/d/e/", false),
        ("/d/e/x", false),
        ("/d", false),
        ("/t", true),
        ("/t/", true),
        ("/t/x/y/", true),
        ("/tt", false),
        (".", false),
        ("/", false),
    ] {
        let DirtyPath { path, scope } = dirty(text);
        assert_eq!(set.covers(&path, scope), covered, "{text}");
    }
}

#[test]
fn overlaps_if_one_path_includes_the_other() {
    let set = set("/d/e /t/");
    for (text, overlaps) in [
        ("/d/e", true),
        ("/d/e/", true),
        ("/d/e/x", false),
        ("/d/e/x/", false),
        ("/d", false),
        ("/d/", true),
        ("/t/x", true),
        ("/t", true),
        (".", false),
        ("/", true),
        ("/x/", false),
    ] {
        let DirtyPath { path, scope } = dirty(text);
        assert_eq!(set.overlaps(&path, scope), overlaps, "{text}");
    }
    assert!(!PathSet::new().overlaps(&TreePath::root(), Scope::Tree));
    assert!(!PathSet::new().covers(&TreePath::root(), Scope::Entry));
}

#[test]
fn append_equals_single_insertions() {
    for (a, b) in [("/a /b/", "/b/c /d"), ("/a", "/ "), ("", "/a"), ("/x /y /z", "/x/ /y")] {
        let (mut one, mut other) = (set(a), set(b));
        one.append(set(b));
        other.append(set(a));
        assert_eq!(one, set(&format!("{a} {b}")));
        assert_eq!(one, other);
    }
}

#[test]
fn collapse_cuts_at_the_deepest_sufficient_level() {
    let collapsed = |text: &str, at_most, siblings| {
        let mut set = set(text);
        set.collapse(at_most, siblings);
        written(&set.iter().collect::<Vec<_>>())
    };
    assert_eq!(collapsed("/a/b/c /a/b/d /x/y /z", 3, 9), "/a/b/ /x/y /z");
    assert_eq!(collapsed("/a/b/c /a/b/d /x /y", 3, 9), "/a/b/ /x /y");
    assert_eq!(collapsed("/a/b/c /a/b/d /x /y", 2, 9), "/");
    assert_eq!(collapsed("/a/b /a/c /d", 3, 9), "/a/b /a/c /d");
    assert_eq!(collapsed("/a/b/x /a/c/y /a/d/z /e/f/g /e/f/h", 4, 2), "/a/ /e/f/");
    assert_eq!(collapsed("/a/x /a/y /b/x /b/y /c/x /c/y", 3, 2), "/");
    assert_eq!(collapsed("", 0, 0), "");
}

#[test]
fn nodes_of_a_dropped_tree_are_reused() {
    let mut set = PathSet::new();
    let mut full = 0;
    for round in 0..20 {
        for n in 0..100 {
            set.insert(&path(&format!("/d{round}/file{n:02}")), Scope::Entry);
        }
        full = if round == 0 { set.memory() } else { full };
        set.insert(&path(&format!("/d{round}")), Scope::Tree);
    }
    assert_eq!(set.len(), 20);
    assert!(set.memory() < full * 3 / 2, "{} of {full}", set.memory());
}

#[test]
fn a_dropped_tree_releases_its_memory() {
    let mut set = PathSet::new();
    for n in 0..20_000 {
        set.insert(&path(&format!("/some/dir/file{n}")), Scope::Entry);
    }
    let full = set.memory();
    set.insert(&path("/other"), Scope::Entry);
    set.insert(&path("/some"), Scope::Tree);
    assert_eq!(written(&set.iter().collect::<Vec<_>>()), "/other /some/");
    assert!(set.memory() < full / 100, "{} of {full}", set.memory());
}

#[test]
fn a_path_takes_at_most_a_hundred_bytes_beside_its_name() {
    for (count, name) in [(100_000, 7), (131_073, 7)] {
        let mut set = PathSet::new();
        for n in 0..count {
            set.insert(&path(&format!("/d/f{n:06}")), Scope::Entry);
        }
        let each = set.memory() / count;
        assert!(each <= 100 + name, "{each} bytes each for {count} places");
    }
}

#[test]
fn a_path_may_have_thousands_of_components() {
    let mut deep = TreePath::root();
    for _ in 0..20_000 {
        deep.push(b"d").unwrap();
    }
    let mut set = PathSet::new();
    set.insert(&deep, Scope::Entry);
    set.insert(&path("/d/d/e"), Scope::Entry);
    assert_eq!(set.len(), 2);
    assert_eq!(set.iter().next(), Some(DirtyPath { path: deep.clone(), scope: Scope::Entry }));
    let mut copy = set.clone();
    assert_eq!(copy, set);
    set.insert(&path("/d/d"), Scope::Tree);
    assert_eq!(set.len(), 1);
    assert!(set.covers(&deep, Scope::Tree));
    assert!(set.memory() < 10_000);
    copy.collapse(1, 9);
    assert_eq!(written(&copy.iter().collect::<Vec<_>>()), "/d/d/");
}

/// A set as a list, as simple as possible.
#[derive(Default)]
struct NaiveSet(Vec<DirtyPath>);

fn covers(one: &DirtyPath, other: &DirtyPath) -> bool {
    match one.scope {
        Scope::Tree => one.path.contains(&other.path),
        Scope::Entry => one == other,
    }
}

impl NaiveSet {
    fn covers(&self, it: &DirtyPath) -> bool {
        self.0.iter().any(|other| covers(other, it))
    }

    fn overlaps(&self, it: &DirtyPath) -> bool {
        self.0.iter().any(|other| other.path == it.path || covers(other, it) || covers(it, other))
    }

    fn insert(&mut self, it: DirtyPath) {
        if !self.covers(&it) {
            self.0.retain(|other| other.path != it.path && !covers(&it, other));
            self.0.push(it);
        }
    }
}

#[test]
fn the_path_set_agrees_with_a_naive_list() {
    let names: [&[u8]; 4] = [b"a", b"b", b"a-", b"\xff\n"];
    for seed in 0..3_000 {
        let mut random = SimRng::new(seed);
        let (mut set, mut naive) = (PathSet::new(), NaiveSet::default());
        for _ in 0..40 {
            let mut path = TreePath::root();
            for _ in 0..random.below(5) {
                path.push(random.pick(&names)).unwrap();
            }
            let scope = if random.once_in(5) { Scope::Tree } else { Scope::Entry };
            let dirty = DirtyPath { path, scope };
            assert_eq!(set.covers(&dirty.path, scope), naive.covers(&dirty), "seed {seed}");
            assert_eq!(set.overlaps(&dirty.path, scope), naive.overlaps(&dirty), "seed {seed}");
            if random.once_in(2) {
                let kept = set.insert(&dirty.path, scope) != Inserted::Covered;
                assert_eq!(kept, !naive.covers(&dirty), "seed {seed}");
                naive.insert(dirty);
            }
            naive.0.sort_by(|one, other| one.path.components().cmp(other.path.components()));
            assert_eq!(set.iter().collect::<Vec<_>>(), naive.0, "seed {seed}");
            assert_eq!(set.len(), naive.0.len(), "seed {seed}");
        }
    }
}

#[test]
fn a_set_covers_another_if_it_covers_each_path() {
    let names: [&[u8]; 3] = [b"a", b"b", b"c"];
    let random_set = |random: &mut SimRng, most: usize| {
        let mut set = PathSet::new();
        for _ in 0..random.below(most) {
            let mut path = TreePath::root();
            for _ in 0..random.below(4) {
                path.push(random.pick(&names)).unwrap();
            }
            let scope = if random.once_in(3) { Scope::Tree } else { Scope::Entry };
            set.insert(&path, scope);
        }
        set
    };
    let mut covered = 0;
    for seed in 0..5_000 {
        let mut random = SimRng::new(seed);
        let (large, small) = (random_set(&mut random, 12), random_set(&mut random, 4));
        let each = small.iter().all(|it| large.covers(&it.path, it.scope));
        assert_eq!(large.covers_all(&small), each, "seed {seed}: {large:?} {small:?}");
        assert!(large.covers_all(&large), "seed {seed}");
        covered += usize::from(each && !small.is_empty());
    }
    assert!((500..4_500).contains(&covered), "{covered}");
}

#[test]
fn a_set_of_one_entry_covers_only_that() {
    let set = PathSet::entry(&path("/d"));
    assert!(set.covers(&path("/d"), Scope::Entry) && set.len() == 1);
    assert!(!set.covers(&path("/d"), Scope::Tree) && !set.covers(&path("/"), Scope::Entry));
}

#[test]
fn paths_below_a_name_are_listed_up_to_a_limit() {
    let set: PathSet = paths("/d/a /d/b/ /d/b2 /e").iter().collect();
    for (most, count) in [(0, None), (2, None), (3, Some(3)), (4, Some(3))] {
        assert_eq!(set.within(&path("/d"), most).map(|below| below.len()), count, "{most}");
    }
    assert_eq!(set.within(&path("/d/b/x"), 0), Some(paths("/d/b/x/")));
    assert_eq!(set.within(&path("/other"), 0), Some(Vec::new()));
}

#[test]
fn dropped_names_take_no_memory() {
    let mut set = PathSet::new();
    let name = "x".repeat(10_000);
    set.insert(&path(&["/d/", &name].concat()), Scope::Entry);
    set.insert(&path(&["/e/", &name].concat()), Scope::Entry);
    assert!((20_000..21_000).contains(&set.memory()));
    set.insert(&path("/d"), Scope::Tree);
    assert!((10_000..11_000).contains(&set.memory()));
}

#[test]
fn sets_are_equal_if_their_paths_are() {
    assert_eq!(set("/a /b/"), set("/b/ /b/c /a"));
    for other in ["", "/a", "/a /b", "/a /c/", "/a /b/ /c"] {
        assert_ne!(set("/a /b/"), set(other), "{other}");
    }
}

#[test]
fn an_iterator_knows_how_many_paths_are_left() {
    let set = set("/a /b/c/ /b/d /e/");
    let mut iter = set.iter();
    for left in (0..4).rev() {
        assert!(iter.next().is_some());
        assert_eq!(iter.size_hint(), (left, Some(left)));
    }
    assert_eq!((iter.next(), iter.next()), (None, None));
}
