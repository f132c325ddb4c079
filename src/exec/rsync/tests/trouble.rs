//! What can go wrong, and what must not come of it.

use std::{
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, chown},
    thread,
    time::{Duration, Instant},
};

use mirror_core::{
    job::{Failure, Grounds},
    plan::{exit::Meaning, options::Rules},
};
use mirror_platform::dir::Dir;
use rustix::fs::Mode;

use super::*;
use crate::exec::process::child::Limit;

/// Who has no rights. Root may read everything.
const NOBODY: u32 = 65_534;

/// A source with a directory that rsync can't read, and a target with files that the source does
/// not have.
fn with_shut_directory() -> Option<Fixture> {
    let mut fixture = Fixture::with_rsync()?;
    for name in ["t/shut/secret", "t/open", "t/z/f", "other"] {
        fixture.on_both(name);
    }
    // rsync goes through the directories in this order, and stops to delete at the shut one.
    for name in ["stale", "t/stale", "t/shut/kept", "t/z/stale"] {
        fs::write(fixture.target(name), "").unwrap();
    }
    if rustix::process::geteuid().is_root() {
        fixture
            .use_script("exec setpriv --reuid=65534 --regid=65534 --clear-groups -- rsync \"$@\"");
        fs::set_permissions(fixture.place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for path in snapshot(&fixture.target("")).into_keys() {
            chown(fixture.target(path.as_os_str().as_bytes()), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    fs::set_permissions(fixture.source("t/shut"), fs::Permissions::from_mode(0o000)).unwrap();
    Some(fixture)
}

fn assert_only_the_unreadable_stayed(fixture: &Fixture, outcome: &Outcome) {
    fs::set_permissions(fixture.source("t/shut"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(partly(outcome), ["/t/shut Tree"]);
    assert!(fixture.target("t/shut/secret").exists() && fixture.target("t/shut/kept").exists());
    assert!(!fixture.target("t/stale").exists() && !fixture.target("t/z/stale").exists());
}

#[test]
fn what_cannot_be_read_is_not_deleted_and_all_else_is() {
    let Some(fixture) = with_shut_directory() else { return };
    let outcome = fixture.full();
    assert!(!fixture.target("stale").exists());
    assert_only_the_unreadable_stayed(&fixture, &outcome);
}

#[test]
fn what_cannot_be_read_in_a_marked_tree_is_not_deleted() {
    let Some(fixture) = with_shut_directory() else { return };
    let outcome = fixture.batch(&[b"t/"]);
    assert!(fixture.target("stale").exists());
    assert_only_the_unreadable_stayed(&fixture, &outcome);
}

#[test]
fn to_delete_what_is_excluded_does_not_mean_what_cannot_be_read() {
    let Some(mut fixture) = with_shut_directory() else { return };
    fixture.options.delete_excluded = true;
    fixture.options.rules = Rules::Excludes(vec![b"open".to_vec()]);
    let outcome = fixture.full();
    assert!(!fixture.target("t/open").exists());
    assert_only_the_unreadable_stayed(&fixture, &outcome);
}

#[test]
fn a_quiet_rsync_deletes_as_well() {
    let Some(mut fixture) = with_shut_directory() else { return };
    fixture.options.short.push(b'q');
    let outcome = fixture.full();
    assert_only_the_unreadable_stayed(&fixture, &outcome);
}

#[test]
fn deletions_that_may_be_missing_are_made_up_for_later() {
    let mut fixture = Fixture::new();
    fs::write(fixture.source("a"), "").unwrap();
    // Also the second call does not get through.
    fixture.use_script(
        "echo \"rsync: [sender] opendir \\\"$PLACE/src/d\\\" failed: Permission denied (13)\" >&2\n\
         exit 23",
    );
    assert_eq!(partly(&fixture.full()), ["/ Tree", "/d Tree"]);
}

#[test]
fn without_deletion_one_call_is_enough() {
    let Some(mut fixture) = with_shut_directory() else { return };
    fixture.options.delete = mirror_core::plan::options::DeletePolicy::Never;
    let outcome = fixture.full();
    fs::set_permissions(fixture.source("t/shut"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(partly(&outcome), ["/t/shut Tree"]);
    assert!(fixture.target("t/z/stale").exists());
}

#[test]
fn an_unreadable_file_is_the_only_one_to_be_tried_again() {
    let Some(fixture) = with_shut_directory() else { return };
    for name in ["t/open", "other"] {
        fs::write(fixture.source(name), "changed").unwrap();
    }
    fs::set_permissions(fixture.source("t/open"), fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = fixture.batch(&[b"t/open", b"other"]);
    fs::set_permissions(fixture.source("t/shut"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(partly(&outcome), ["/t/open Entry"]);
    let Outcome::Partly(failed) = outcome else { panic!() };
    assert_eq!(failed[0].1.code, Some(23));
    assert!(failed[0].1.why.contains("Permission denied"), "{failed:?}");
    assert_eq!(fs::read(fixture.target("other")).unwrap(), b"changed");
    assert_eq!(fs::read(fixture.target("t/open")).unwrap(), b"t/open");
}

#[test]
fn an_rsync_that_does_nothing_is_not_waited_for_for_ever() {
    let mut fixture = Fixture::new();
    let quiet = |fixture: &Fixture| match fixture.executor().patience.limit() {
        Limit::Quiet { every, looks } => Some((every * looks).as_secs()),
        Limit::Endless | Limit::Until(_) => None,
    };
    assert_eq!(quiet(&fixture), Some(40));
    fixture.word = Some(b"host:dst".to_vec());
    assert_eq!(quiet(&fixture), Some(600));
    fixture.options.extra.push(b"--no-timeout".to_vec());
    assert_eq!(quiet(&fixture), None);
}

#[test]
fn a_file_that_became_a_fifo_while_rsync_ran_holds_up_nothing() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    // The file list is made when the first file is asked for; the other one is a fifo by then.
    for name in ["a", "z"] {
        fs::write(fixture.source(name), vec![b'x'; 3 << 20]).unwrap();
    }
    fixture.options.extra.push(b"--bwlimit=1m".to_vec());
    let (executor, fifo) = (fixture.executor(), fixture.source("z"));
    let begins = |name: OsString| name.as_bytes().starts_with(b".a.");
    let written = || {
        let mut entries = fs::read_dir(fixture.target("")).unwrap().map_while(Result::ok);
        entries.any(|entry| begins(entry.file_name()))
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !written() {
                std::thread::yield_now();
            }
            let new = fixture.source("new");
            let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
            rustix::fs::mknodat(rustix::fs::CWD, &new, kind, mode, 0).unwrap();
            fs::rename(&new, &fifo).unwrap();
        });
        let outcome = executor.run(&mut job(Work::full()), &Stop::default());
        let Outcome::Again(failure) = outcome else { panic!("{outcome:?}") };
        assert!(failure.why.contains("waited for ever"), "{}", failure.why);
    });
    fixture.options.extra.clear();
    fixture.options.short.push(b'D');
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(fixture.target("a").is_file() && fixture.target("z").exists());
}

#[test]
fn an_empty_source_does_not_empty_the_target() {
    let Some(fixture) = Fixture::with_rsync() else { return };
    assert_eq!(fixture.full(), Outcome::Done);
    fs::write(fixture.target("precious"), "").unwrap();
    for outcome in [fixture.full(), fixture.batch(&[b"/"])] {
        let Outcome::Split { held, .. } = &outcome else { panic!("{outcome:?}") };
        assert_eq!((held.len(), held[0].count), (1, 1));
    }
    assert!(fixture.target("precious").exists());
}

#[test]
fn another_directory_in_the_place_of_the_source_is_not_mirrored() {
    let Some(fixture) = Fixture::with_rsync() else { return };
    fixture.on_both("a");
    fs::rename(fixture.source(""), fixture.place.path().join("away")).unwrap();
    assert!(matches!(fixture.full(), Outcome::SourceGone(_)));
    fs::create_dir(fixture.source("")).unwrap();
    assert!(matches!(fixture.full(), Outcome::SourceGone(_)));
    assert!(matches!(fixture.batch(&[b"a"]), Outcome::SourceGone(_)));
    assert!(fixture.target("a").exists());
}

#[test]
fn a_source_that_is_replaced_meanwhile_is_told() {
    let mut fixture = Fixture::new();
    fixture.use_script("mv \"$PLACE/src\" \"$PLACE/away\"; mkdir \"$PLACE/src\"");
    fs::write(fixture.source("a"), "").unwrap();
    assert!(matches!(fixture.full(), Outcome::SourceGone(_)));
}

fn again(outcome: &Outcome) -> &Failure {
    let Outcome::Again(failure) = outcome else { panic!("{outcome:?}") };
    failure
}

#[test]
fn a_killed_rsync_is_tried_again() {
    let mut fixture = Fixture::new();
    fs::write(fixture.source("a"), "").unwrap();
    fixture.use_script("kill -KILL $$");
    let outcome = fixture.batch(&[b"a"]);
    assert_eq!(again(&outcome).code, None);
    assert!(again(&outcome).why.contains("signal 9"), "{outcome:?}");
}

#[test]
fn a_missing_rsync_is_tried_again_as_code_255() {
    let mut fixture = Fixture::new();
    fs::write(fixture.source("a"), "").unwrap();
    fixture.binary = "/nonexistent/rsync".into();
    let outcome = fixture.batch(&[b"a"]);
    assert_eq!(again(&outcome).code, Some(255));
    let text = "Failed executing [ /nonexistent/rsync ]!";
    assert!(again(&outcome).why.starts_with(text), "{outcome:?}");
}

#[test]
fn what_a_code_means_is_told_with_it() {
    let program = Some(Grounds::Program);
    let unknown = Some(Grounds::Unknown);
    let codes = [
        (1, program),
        (2, program),
        (5, None),
        (12, None),
        (13, unknown),
        (127, unknown),
        (255, None),
    ];
    for (code, grounds) in codes {
        let mut fixture = Fixture::new();
        fs::write(fixture.source("a"), "").unwrap();
        fixture.use_script(&format!("echo 'rsync: [sender] all is lost' >&2; exit {code}"));
        for outcome in [fixture.full(), fixture.batch(&[b"a"])] {
            let (failure, said) = match &outcome {
                Outcome::Again(failure) => (failure, None),
                Outcome::Fatal(failure, grounds) => (failure, Some(*grounds)),
                _ => panic!("{outcome:?}"),
            };
            assert_eq!((failure.code, said), (Some(code), grounds));
            assert!(failure.why.contains("all is lost"), "{outcome:?}");
        }
    }
}

#[test]
fn codes_mean_what_the_user_says() {
    let mut fixture = Fixture::new();
    fs::write(fixture.source("a"), "").unwrap();
    fixture.codes = ExitCodes::from_table(&[(7, Meaning::Ok), (8, Meaning::Die)]);
    fixture.use_script("exit 7");
    assert_eq!(fixture.batch(&[b"a"]), Outcome::Done);
    fixture.use_script("exit 8");
    assert!(matches!(fixture.batch(&[b"a"]), Outcome::Fatal(_, Grounds::User)));
    fixture.use_script("exit 12");
    assert!(matches!(fixture.batch(&[b"a"]), Outcome::Fatal(_, Grounds::Unknown)));
}

#[test]
fn what_vanished_is_looked_at_again() {
    let mut fixture = Fixture::new();
    for name in ["a", "b"] {
        fs::write(fixture.source(name), "").unwrap();
    }
    fixture.use_script(
        "case \"$*\" in *--files-from*) \
         echo \"file has vanished: \\\"$PLACE/src/b\\\"\" >&2; exit 24;; esac",
    );
    assert_eq!(partly(&fixture.batch(&[b"a", b"b"])), ["/b Entry"]);
}

#[test]
fn a_full_target_is_tried_again_with_a_remedy() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    if !can_mount_alone() {
        return;
    }
    fixture.use_script(
        "exec unshare --user --map-root-user --mount sh -c \
         'mount -t tmpfs -o size=64k none \"$0\" && exec rsync \"$@\"' \"$PLACE/dst\" \"$@\"",
    );
    fs::write(fixture.source("big"), vec![7; 1 << 20]).unwrap();
    fs::write(fixture.source("small"), "").unwrap();
    let outcome = fixture.batch(&[b"big", b"small"]);
    assert_eq!(partly(&outcome), ["/big Entry"]);
    let Outcome::Partly(failed) = &outcome else { panic!() };
    assert_eq!(failed[0].1.code, Some(11), "{outcome:?}");
    assert!(failed[0].1.why.ends_with("the target is full: free space there"), "{outcome:?}");
}

#[test]
fn a_target_that_cannot_be_made_is_tried_again_with_the_words_of_rsync() {
    let Some(fixture) = Fixture::with_rsync() else { return };
    fs::write(fixture.source("a"), "").unwrap();
    fs::remove_dir(fixture.target("")).unwrap();
    std::os::unix::fs::symlink("no/such/directory", fixture.target("")).unwrap_or_else(|_| {
        std::os::unix::fs::symlink("no/such/directory", fixture.place.path().join("dst")).unwrap();
    });
    let outcome = fixture.full();
    assert!(again(&outcome).why.contains("mkdir"), "{outcome:?}");
}

#[test]
fn a_receiver_that_cannot_delete_by_a_list_deletes_by_patterns() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    // As rsync 3.4.3: a missing name in a list, and nothing is done.
    fixture.use_script(&format!(
        r#"case "$*" in *--delete-missing-args*)
  cat >"$PLACE/names"
  tr '\0' '\n' <"$PLACE/names" >"$PLACE/lines"
  while read -r name; do
    if ! [ -e "$PLACE/src$name" ]; then
      echo "refused" >>"$PLACE/calls"
      echo "invalid file mode 00 for ${{name#/}} [Receiver]" >&2
      exit 2
    fi
  done <"$PLACE/lines"
  exec rsync "$@" <"$PLACE/names";;
esac
{RECORD}"#
    ));
    for name in ["d/a]b", "d/c*", "d/e\\f", "dir/in", "keep", "d/keep"] {
        fixture.on_both(name);
    }
    let executor = fixture.executor();
    fs::remove_file(fixture.source("d/c*")).unwrap();
    fs::remove_dir_all(fixture.source("dir")).unwrap();
    fs::write(fixture.source("new"), "").unwrap();
    let run = |marks: &[&[u8]]| executor.run(&mut job(batch(marks)), &Stop::default());
    assert_eq!(run(&[b"d/c*", b"dir", b"new"]), Outcome::Done);
    assert!(!fixture.target("d/c*").exists() && !fixture.target("dir").exists());
    assert!(fixture.target("new").exists() && fixture.target("d/a]b").exists());
    for name in ["d/a]b", "d/e\\f"] {
        fs::remove_file(fixture.source(name)).unwrap();
    }
    assert_eq!(run(&[b"d/a]b", b"d/e\\f"]), Outcome::Done);
    assert!(!fixture.target("d/a]b").exists() && !fixture.target("d/e\\f").exists());
    assert!(fixture.target("keep").exists() && fixture.target("d/keep").exists());
    let refused = fixture.calls().iter().filter(|call| *call == "refused").count();
    assert_eq!(refused, 1, "{:?}", fixture.calls());
}

#[test]
fn a_path_that_is_too_long_for_rsync_is_told_and_nothing_else_suffers() {
    let Some(fixture) = Fixture::with_rsync() else { return };
    let root = Dir::open(fixture.root.path()).unwrap();
    let mut path = TreePath::root();
    for _ in 0..30 {
        let here = root.open_below(path.as_bytes()).unwrap();
        rustix::fs::mkdirat(&here, OsStr::from_bytes(&[b'n'; 200]), Mode::RWXU).unwrap();
        path.push(&[b'n'; 200]).unwrap();
    }
    fs::write(fixture.source("a"), "").unwrap();
    let outcome = fixture.batch(&[path.as_bytes(), b"a"]);
    assert_eq!(partly(&outcome), [format!("{path} Entry")]);
    let Outcome::Partly(failed) = outcome else { panic!() };
    assert!(failed[0].1.why.ends_with("mirror it with -direct"));
    assert!(fixture.target("a").exists());
    // All of the source: what is too long is told, and what is stale goes all the same.
    fs::write(fixture.target("stale"), "").unwrap();
    let failed = partly(&fixture.full());
    assert!(failed.iter().all(|place| place.starts_with("/nnn")), "{failed:?}");
    assert!(!fixture.target("stale").exists());
}

#[test]
fn a_stopped_rsync_ends_at_once() {
    let mut fixture = Fixture::new();
    fs::write(fixture.source("a"), "").unwrap();
    fixture.use_script("touch \"$PLACE/started\"; exec sleep 600");
    let (stop, started) = (Stop::default(), fixture.place.path().join("started"));
    let executor = fixture.executor();
    let outcome = thread::scope(|scope| {
        let running = scope.spawn(|| executor.run(&mut job(batch(&[b"a"])), &stop));
        let start = Instant::now();
        while !started.exists() {
            assert!(start.elapsed() < Duration::from_mins(3));
            thread::yield_now();
        }
        stop.ask();
        running.join().unwrap()
    });
    assert_eq!(again(&outcome).why, "rsync was stopped");
}

#[test]
fn a_job_that_is_stopped_before_it_begins_starts_nothing() {
    let mut fixture = Fixture::new();
    fs::File::create(fixture.source("a")).unwrap().write_all(b"x").unwrap();
    fixture.use_script("touch \"$PLACE/started\"");
    let stop = Stop::default();
    stop.ask();
    let outcome = fixture.executor().run(&mut job(batch(&[b"a"])), &stop);
    assert_eq!(again(&outcome).why, "rsync was stopped");
    assert!(!fixture.place.path().join("started").exists());
}

#[test]
fn a_target_that_was_removed_is_owed_everything_until_it_has_it() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    for name in ["a", "d/b"] {
        fixture.on_both(name);
    }
    fixture
        .use_script("[ -e \"$PLACE/fails\" ] || exec rsync \"$@\"; mkdir \"$PLACE/dst\"; exit 12");
    let executor = fixture.executor();
    assert_eq!(executor.run(&mut job(Work::full()), &Stop::default()), Outcome::Done);
    fs::remove_dir_all(fixture.target("")).unwrap();
    let fails = fixture.place.path().join("fails");
    fs::write(&fails, "").unwrap();
    let again = executor.run(&mut job(batch(&[b"a"])), &Stop::default());
    assert!(matches!(again, Outcome::Again(_)), "{again:?}");
    assert!(fixture.target("").exists());
    fs::remove_file(fails).unwrap();
    assert_eq!(executor.run(&mut job(batch(&[b"a"])), &Stop::default()), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn a_target_that_was_exchanged_is_owed_everything() {
    for meanwhile in [false, true] {
        let Some(mut fixture) = Fixture::with_rsync() else { return };
        let exchange = "mv \"$PLACE/dst\" \"$PLACE/aside\"; mkdir \"$PLACE/dst\"";
        fixture.use_script(&format!(
            "if [ -e \"$PLACE/go\" ]; then rm \"$PLACE/go\"; {exchange}; fi; exec rsync \"$@\""
        ));
        for name in ["a", "d/b"] {
            fixture.on_both(name);
        }
        let executor = fixture.executor();
        assert_eq!(executor.run(&mut job(Work::full()), &Stop::default()), Outcome::Done);
        fs::write(fixture.source("a"), "changed").unwrap();
        if meanwhile {
            fs::write(fixture.place.path().join("go"), "").unwrap();
        } else {
            fs::rename(fixture.target(""), fixture.place.path().join("aside")).unwrap();
            fs::create_dir(fixture.target("")).unwrap();
        }
        assert_eq!(executor.run(&mut job(batch(&[b"a"])), &Stop::default()), Outcome::Done);
        fixture.assert_equal();
    }
}
