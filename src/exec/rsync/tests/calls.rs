//! The calls made for each kind of work.

use super::*;

/// The call that updates the attributes of the root.
const ROOT: &str = "[-lts] [--modify-window=-1] [-d] [--exclude=/*] [/src/] [/dst/] ";

#[test]
fn a_batch_is_one_call() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.record();
    fixture.write_on_both("d/f");
    fs::write(fixture.source("d/f"), "new").unwrap();
    assert_eq!(fixture.batch(&[b"d/f"]), Outcome::Done);
    let list = "[-lts] [--modify-window=-1] [--stats] [--from0] [--files-from=-] \
                [--ignore-missing-args] [/src/] [/dst/] ";
    assert_eq!(fixture.calls(), [list]);
    fs::write(fixture.source("top"), "new").unwrap();
    fs::create_dir(fixture.source("e")).unwrap();
    assert_eq!(fixture.run(written(&[b"top", b"e"])), Outcome::Done);
    // The same call has updated the attributes of the root.
    let anew = list.replace("=-1]", "=-1] [--ignore-times]");
    assert_eq!(fixture.calls(), [list, &anew]);
    fixture.assert_equal();
    // A file, a new directory with its content, and a deleted file.
    fs::create_dir_all(fixture.source("new/in")).unwrap();
    fs::write(fixture.source("top"), "newer").unwrap();
    fs::remove_file(fixture.source("d/f")).unwrap();
    let Work::Batch { paths, renames, .. } = batch(&[b"top", b"new/", b"d/f"]) else { panic!() };
    let Work::Batch { paths: gone, .. } = batch(&[b"d/f"]) else { panic!() };
    let observed = ObservedChanges {
        written: (*paths).clone(),
        deleted: (*gone).clone(),
        ..ObservedChanges::default()
    };
    let observed = Arc::new(observed);
    assert_eq!(fixture.run(Work::Batch { paths, observed, renames }), Outcome::Done);
    let all = "[-r] [-lts] [--modify-window=-1] [--ignore-times] [--delete] [--stats] [--from0] \
               [--files-from=-] [--delete-missing-args] [/src/] [/dst/] ";
    let calls = fixture.calls();
    assert_eq!(calls[2], all);
    // A receiver that refuses to delete by a list, as Debian's 3.2.7-1+deb12u5, needs more calls.
    assert!(calls.len() == 3 || calls[3].contains("[--filter=. -]"), "{calls:?}");
    fixture.assert_equal();
}

#[test]
fn new_trees_take_one_call() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.record();
    fixture.write_on_both("d/f");
    for name in ["d/x/y/z", "d/w/v"] {
        fs::create_dir_all(fixture.source(name)).unwrap();
    }
    assert_eq!(fixture.batch(&[b"d/x/", b"d/w/"]), Outcome::Done);
    // Extra entries on the target are counted.
    let trees = "[-r] [-lts] [--modify-window=-1] [--delete] [--max-delete=0] [--stats] [--from0] \
                 [--files-from=-] [--ignore-missing-args] [/src/] [/dst/] ";
    assert_eq!(fixture.calls(), [trees]);
    assert!(fixture.target("d/x/y/z").is_dir() && fixture.target("d/w/v").is_dir());
}

#[test]
fn an_empty_batch_makes_no_call() {
    let mut fixture = RsyncFixture::new();
    fixture.use_script("touch \"$PLACE/calls\"; exit 1");
    fixture.options.delete = mirror_core::plan::options::DeletePolicy::Startup;
    assert_eq!(fixture.batch(&[]), Outcome::Done);
    fixture.options.short.clear();
    assert_eq!(fixture.batch(&[b"gone"]), Outcome::Done);
    assert!(!fixture.dir.path().join("calls").exists());
}

#[test]
fn without_deletion_missing_files_stay() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.options.delete = mirror_core::plan::options::DeletePolicy::Never;
    fixture.write_on_both("a");
    fixture.write_on_both("t/b");
    for name in ["a", "t/b"] {
        fs::remove_file(fixture.source(name)).unwrap();
    }
    assert_eq!(fixture.batch(&[b"a", b"t/"]), Outcome::Done);
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(fixture.target("a").exists() && fixture.target("t/b").exists());
}

#[test]
fn a_marked_root_is_a_tree_or_an_entry() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.record();
    fixture.write_on_both("a");
    fs::write(fixture.target("stale"), "").unwrap();
    assert_eq!(fixture.batch(&[b""]), Outcome::Done);
    assert!(fixture.target("stale").exists());
    assert_eq!(fixture.batch(&[b"/"]), Outcome::Done);
    fixture.assert_equal();
    let all = |most| {
        format!(
            "[--delete] [-lts] [--modify-window=-1] [--max-delete={most}] [--stats] [-r] [/src/] \
             [/dst/] "
        )
    };
    assert_eq!(fixture.calls(), [ROOT.to_owned(), all(0), all(1)]);
    // An equal tree takes one call.
    assert_eq!(fixture.batch(&[b"/"]), Outcome::Done);
    assert_eq!(fixture.calls().len(), 4);
}

#[test]
fn a_large_file_is_transferred_alone_after_all_others() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.batch_size_limit = Some(1000);
    // Records the lists, one per line.
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
fn a_large_file_is_left_to_a_job_of_its_own() {
    let mut fixture = RsyncFixture::new();
    (fixture.batch_size_limit, fixture.separate_large_files) = (Some(1), true);
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
    assert_eq!(fixture.run(Work::Large { path: large, observed: Arc::default() }), Outcome::Done);
    assert_eq!(fixture.calls(), ["/./s ", "/./large "]);
}

#[test]
fn a_failed_large_file_does_not_delay_others() {
    let mut fixture = RsyncFixture::new();
    fixture.batch_size_limit = Some(1);
    fixture.use_script("grep -q large && exit 12; echo done >>\"$PLACE/calls\"");
    for name in ["large", "s"] {
        fs::write(fixture.source(name), name).unwrap();
    }
    assert!(matches!(fixture.batch(&[b"large"]), Outcome::Retry(_)));
    fs::write(fixture.source("s"), "").unwrap();
    assert!(matches!(fixture.batch(&[b"large", b"s"]), Outcome::Retry(_)));
    assert_eq!(fixture.calls(), ["done"]);
}
