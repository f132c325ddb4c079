//! Which calls are made for what.

use super::*;

/// The call for the attributes of the root.
const ROOT: &str = "[-lts] [--modify-window=-1] [-d] [--exclude=/*] [/src/] [/dst/] ";

#[test]
fn a_batch_is_one_call() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.record();
    fixture.on_both("d/f");
    fs::write(fixture.source("d/f"), "new").unwrap();
    assert_eq!(fixture.batch(&[b"d/f"]), Outcome::Done);
    let list = "[-lts] [--modify-window=-1] [--from0] [--files-from=-] [--ignore-missing-args] \
                [/src/] [/dst/] ";
    assert_eq!(fixture.calls(), [list]);
    fs::write(fixture.source("top"), "new").unwrap();
    fs::create_dir(fixture.source("e")).unwrap();
    assert_eq!(fixture.run(written(&[b"top", b"e"])), Outcome::Done);
    // The attributes of the root came along.
    let anew = list.replace("=-1]", "=-1] [--ignore-times]");
    assert_eq!(fixture.calls(), [list, &anew]);
    fixture.assert_equal();
    // A file, a new directory with what is in it, and something that is gone.
    fs::create_dir_all(fixture.source("new/in")).unwrap();
    fs::write(fixture.source("top"), "newer").unwrap();
    fs::remove_file(fixture.source("d/f")).unwrap();
    let Work::Batch { places, moves, .. } = batch(&[b"top", b"new/", b"d/f"]) else { panic!() };
    let Work::Batch { places: gone, .. } = batch(&[b"d/f"]) else { panic!() };
    let heard = Heard { written: (*places).clone(), gone: (*gone).clone(), ..Heard::default() };
    let heard = Arc::new(heard);
    assert_eq!(fixture.run(Work::Batch { places, heard, moves }), Outcome::Done);
    let all = "[-r] [-lts] [--modify-window=-1] [--ignore-times] [--delete] [--from0] \
               [--files-from=-] [--delete-missing-args] [/src/] [/dst/] ";
    assert_eq!(fixture.calls().last().unwrap(), all);
    assert_eq!(fixture.calls().len(), 3);
    fixture.assert_equal();
}

#[test]
fn new_trees_take_one_call() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.record();
    fixture.on_both("d/f");
    for name in ["d/x/y/z", "d/w/v"] {
        fs::create_dir_all(fixture.source(name)).unwrap();
    }
    assert_eq!(fixture.batch(&[b"d/x/", b"d/w/"]), Outcome::Done);
    // What the target may have there that the source does not is counted.
    let trees = "[-r] [-lts] [--modify-window=-1] [--delete] [--max-delete=0] [--stats] [--from0] \
                 [--files-from=-] [--ignore-missing-args] [/src/] [/dst/] ";
    assert_eq!(fixture.calls(), [trees]);
    assert!(fixture.target("d/x/y/z").is_dir() && fixture.target("d/w/v").is_dir());
}

#[test]
fn nothing_to_do_is_no_call() {
    let mut fixture = Fixture::new();
    fixture.use_script("touch \"$PLACE/calls\"; exit 1");
    fixture.options.delete = mirror_core::plan::options::DeletePolicy::Startup;
    assert_eq!(fixture.batch(&[]), Outcome::Done);
    fixture.options.short.clear();
    assert_eq!(fixture.batch(&[b"gone"]), Outcome::Done);
    assert!(!fixture.place.path().join("calls").exists());
}

#[test]
fn without_deletion_what_is_gone_stays() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.options.delete = mirror_core::plan::options::DeletePolicy::Never;
    fixture.on_both("a");
    fixture.on_both("t/b");
    for name in ["a", "t/b"] {
        fs::remove_file(fixture.source(name)).unwrap();
    }
    assert_eq!(fixture.batch(&[b"a", b"t/"]), Outcome::Done);
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(fixture.target("a").exists() && fixture.target("t/b").exists());
}

#[test]
fn a_marked_root_is_all_of_it_or_itself() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.record();
    fixture.on_both("a");
    fs::write(fixture.target("stale"), "").unwrap();
    assert_eq!(fixture.batch(&[b""]), Outcome::Done);
    assert!(fixture.target("stale").exists());
    assert_eq!(fixture.batch(&[b"/"]), Outcome::Done);
    fixture.assert_equal();
    let all = |most| {
        let bound = if most == 0 { "[--max-delete=0] [--stats]" } else { "[--max-delete=1]" };
        format!("[--delete] [-lts] [--modify-window=-1] {bound} [-r] [/src/] [/dst/] ")
    };
    assert_eq!(fixture.calls(), [ROOT.to_owned(), all(0), all(1)]);
    // What is equal is one call.
    assert_eq!(fixture.batch(&[b"/"]), Outcome::Done);
    assert_eq!(fixture.calls().len(), 4);
}

#[test]
fn a_large_file_goes_alone_after_all_others() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.batch_size_limit = Some(1000);
    // The lists, one a line.
    fixture.use_script(
        "cat >\"$PLACE/list\"; tr '\\0' ' ' <\"$PLACE/list\" >>\"$PLACE/calls\"\n\
         echo >>\"$PLACE/calls\"; exec rsync \"$@\" <\"$PLACE/list\"",
    );
    for (name, size) in [("a-large", 1001), ("d/large", 5000), ("d/small", 1000), ("small", 0)] {
        fs::create_dir_all(fixture.source(name).parent().unwrap()).unwrap();
        fs::write(fixture.source(name), vec![b'x'; size]).unwrap();
    }
    std::os::unix::fs::symlink("a-large", fixture.source("link")).unwrap();
    let names: [&[u8]; 6] = [b"a-large", b"d", b"d/large", b"d/small", b"link", b"small"];
    assert_eq!(fixture.run(written(&names)), Outcome::Done);
    let calls = ["/d/small /./link /./small /./d ", "/./a-large ", "/d/large "];
    assert_eq!(fixture.calls(), calls);
    fixture.assert_equal();
}

#[test]
fn a_large_file_is_left_to_a_job_of_its_own_where_that_can_be() {
    let mut fixture = Fixture::new();
    (fixture.batch_size_limit, fixture.large_apart) = (Some(1), true);
    fixture.use_script("tr '\\0' ' ' >>\"$PLACE/calls\"; echo >>\"$PLACE/calls\"");
    for name in ["large", "s"] {
        fs::write(fixture.source(name), name).unwrap();
    }
    let large = TreePath::new(b"large").unwrap();
    let outcome = fixture.batch(&[b"large", b"s"]);
    assert_eq!(
        outcome,
        Outcome::Split { large: vec![large.clone()], failed: vec![], held: vec![] }
    );
    assert_eq!(fixture.run(Work::Large { path: large, heard: Arc::default() }), Outcome::Done);
    assert_eq!(fixture.calls(), ["/./s ", "/./large "]);
}

#[test]
fn a_large_file_that_fails_keeps_no_other_from_its_target() {
    let mut fixture = Fixture::new();
    fixture.batch_size_limit = Some(1);
    fixture.use_script("grep -q large && exit 12; echo done >>\"$PLACE/calls\"");
    for name in ["large", "s"] {
        fs::write(fixture.source(name), name).unwrap();
    }
    assert!(matches!(fixture.batch(&[b"large"]), Outcome::Again(_)));
    fs::write(fixture.source("s"), "").unwrap();
    assert!(matches!(fixture.batch(&[b"large", b"s"]), Outcome::Again(_)));
    assert_eq!(fixture.calls(), ["done"]);
}
