//! The set of places.

use alloc::{format, vec::Vec};

use super::script::{path, place, places, written};
use crate::{
    job::{Place, Scope},
    path::TreePath,
    queue::{Inserted, PlaceSet},
    sim::random::Random,
};

fn set(text: &str) -> PlaceSet {
    places(text).into_iter().collect()
}

/// Inserts the places on the left; the set holds those on the right, in that order.
fn check(inserted: &str, held: &str) {
    let set = set(inserted);
    assert_eq!(written(&set.iter().collect::<Vec<_>>()), held);
    assert_eq!(set.len(), places(held).len());
    assert_eq!(set.iter().len(), set.len());
}

#[test]
fn places_come_in_order_parents_first() {
    check("/b /a/c /a-b /a /a/b /", "/");
    check("/b /a/c /a-b /a /a/b .", ". /a /a/b /a/c /a-b /b");
    check("/a/b/c /a/b", "/a/b /a/b/c");
}

#[test]
fn a_place_twice_is_one() {
    check("/a /a", "/a");
    check("/a/ /a", "/a/");
    check("/a /a/", "/a/");
}

#[test]
fn a_tree_covers_what_is_below_it_now_and_later() {
    check("/a/b /a/c/d /ab /a/", "/a/ /ab");
    check("/a/ /a/b /a/c/ /a", "/a/");
    check("/a/b/ /a/b/c/d /a", "/a /a/b/");
    check("/a /b/c /", "/");
    check("/ /a", "/");
}

#[test]
fn insert_tells_how_crowded_the_directory_is() {
    let mut set = PlaceSet::new();
    let mut insert = |text| {
        let Place { path, scope } = place(text);
        set.insert(&path, scope)
    };
    assert_eq!(insert("/d/a"), Inserted::Kept { crowd: 1 });
    assert_eq!(insert("/d/b"), Inserted::Kept { crowd: 2 });
    assert_eq!(insert("/d/b"), Inserted::Covered);
    assert_eq!(insert("/d/b/"), Inserted::Kept { crowd: 2 });
    assert_eq!(insert("/d/b/x"), Inserted::Covered);
    assert_eq!(insert("/d/c/x"), Inserted::Kept { crowd: 1 });
    assert_eq!(insert("/d/c"), Inserted::Kept { crowd: 3 });
    assert_eq!(insert("/d/"), Inserted::Kept { crowd: 1 });
}

#[test]
fn covered_is_what_needs_no_mark_any_more() {
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
        let Place { path, scope } = place(text);
        assert_eq!(set.covers(&path, scope), covered, "{text}");
    }
}

#[test]
fn overlaps_what_one_of_the_two_includes() {
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
        let Place { path, scope } = place(text);
        assert_eq!(set.overlaps(&path, scope), overlaps, "{text}");
    }
    assert!(!PlaceSet::new().overlaps(&TreePath::root(), Scope::Tree));
    assert!(!PlaceSet::new().covers(&TreePath::root(), Scope::Entry));
}

#[test]
fn append_is_inserting_one_by_one() {
    for (a, b) in [("/a /b/", "/b/c /d"), ("/a", "/ "), ("", "/a"), ("/x /y /z", "/x/ /y")] {
        let (mut one, mut other) = (set(a), set(b));
        one.append(set(b));
        other.append(set(a));
        assert_eq!(one, set(&format!("{a} {b}")));
        assert_eq!(one, other);
    }
}

#[test]
fn collapse_cuts_at_the_deepest_level_that_is_enough() {
    let collapsed = |text: &str, at_most, crowd| {
        let mut set = set(text);
        set.collapse(at_most, crowd);
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
fn nodes_of_a_dropped_tree_serve_the_next_one() {
    let mut set = PlaceSet::new();
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
fn a_dropped_tree_gives_its_memory_back() {
    let mut set = PlaceSet::new();
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
fn a_place_takes_less_than_a_hundred_bytes_beside_its_name() {
    for (count, name) in [(100_000, 7), (131_073, 7)] {
        let mut set = PlaceSet::new();
        for n in 0..count {
            set.insert(&path(&format!("/d/f{n:06}")), Scope::Entry);
        }
        let each = set.memory() / count;
        assert!(each <= 100 + name, "{each} bytes each for {count} places");
    }
}

#[test]
fn a_path_may_be_as_deep_as_it_likes() {
    let mut deep = TreePath::root();
    for _ in 0..20_000 {
        deep.push(b"d").unwrap();
    }
    let mut set = PlaceSet::new();
    set.insert(&deep, Scope::Entry);
    set.insert(&path("/d/d/e"), Scope::Entry);
    assert_eq!(set.len(), 2);
    assert_eq!(set.iter().next(), Some(Place { path: deep.clone(), scope: Scope::Entry }));
    let mut copy = set.clone();
    assert_eq!(copy, set);
    set.insert(&path("/d/d"), Scope::Tree);
    assert_eq!(set.len(), 1);
    assert!(set.covers(&deep, Scope::Tree));
    assert!(set.memory() < 10_000);
    copy.collapse(1, 9);
    assert_eq!(written(&copy.iter().collect::<Vec<_>>()), "/d/d/");
}

/// A set as a list, as unclever as possible.
#[derive(Default)]
struct Naive(Vec<Place>);

fn covers(one: &Place, other: &Place) -> bool {
    match one.scope {
        Scope::Tree => one.path.contains(&other.path),
        Scope::Entry => one == other,
    }
}

impl Naive {
    fn covers(&self, it: &Place) -> bool {
        self.0.iter().any(|other| covers(other, it))
    }

    fn overlaps(&self, it: &Place) -> bool {
        self.0.iter().any(|other| other.path == it.path || covers(other, it) || covers(it, other))
    }

    fn insert(&mut self, it: Place) {
        if !self.covers(&it) {
            self.0.retain(|other| other.path != it.path && !covers(&it, other));
            self.0.push(it);
        }
    }
}

#[test]
fn a_set_is_the_same_as_a_list() {
    let names: [&[u8]; 4] = [b"a", b"b", b"a-", b"\xff\n"];
    for seed in 0..3_000 {
        let mut random = Random::new(seed);
        let (mut set, mut naive) = (PlaceSet::new(), Naive::default());
        for _ in 0..40 {
            let mut path = TreePath::root();
            for _ in 0..random.below(5) {
                path.push(random.pick(&names)).unwrap();
            }
            let scope = if random.once_in(5) { Scope::Tree } else { Scope::Entry };
            let place = Place { path, scope };
            assert_eq!(set.covers(&place.path, scope), naive.covers(&place), "seed {seed}");
            assert_eq!(set.overlaps(&place.path, scope), naive.overlaps(&place), "seed {seed}");
            if random.once_in(2) {
                let kept = set.insert(&place.path, scope) != Inserted::Covered;
                assert_eq!(kept, !naive.covers(&place), "seed {seed}");
                naive.insert(place);
            }
            naive.0.sort_by(|one, other| one.path.components().cmp(other.path.components()));
            assert_eq!(set.iter().collect::<Vec<_>>(), naive.0, "seed {seed}");
            assert_eq!(set.len(), naive.0.len(), "seed {seed}");
        }
    }
}
