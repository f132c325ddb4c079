//! Failures of rsync, and their consequences.

use std::{
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, chown},
    thread,
    time::{Duration, Instant},
};

use mirror_core::{
    job::{Failure, FatalReason},
    plan::{
        exit::ExitMeaning,
        options::{DeletePolicy, ExcludeRules},
    },
};
use mirror_platform::dir::Dir;
use nix::unistd::mkfifo;
use rustix::fs::Mode;

use super::*;
use crate::exec::process::end::ChildLimit;

/// A user without rights. Root can read everything.
const NOBODY: u32 = 65_534;

/// Creates a source with a directory that rsync cannot read, and a target with files that the
/// source does not have.
fn with_unreadable_directory() -> Option<RsyncFixture> {
    let mut fixture = RsyncFixture::with_rsync()?;
    for name in ["t/shut/secret", "t/open", "t/z/f", "other"] {
        fixture.write_on_both(name);
    }
    // rsync visits the directories in this order, and stops deleting at the unreadable one.
    for name in ["stale", "t/stale", "t/shut/kept", "t/z/stale"] {
        fs::write(fixture.target(name), "").unwrap();
    }
    if rustix::process::geteuid().is_root() {
        fixture
            .use_script("exec setpriv --reuid=65534 --regid=65534 --clear-groups -- rsync \"$@\"");
        fs::set_permissions(fixture.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for path in snapshot(&fixture.target("")).into_keys() {
            chown(fixture.target(path.as_os_str().as_bytes()), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    fs::set_permissions(fixture.source("t/shut"), fs::Permissions::from_mode(0o000)).unwrap();
    Some(fixture)
}

fn assert_only_unreadable_kept(fixture: &RsyncFixture, outcome: &Outcome) {
    fs::set_permissions(fixture.source("t/shut"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(failed_paths(outcome), ["/t/shut Tree"]);
    assert!(fixture.target("t/shut/secret").exists() && fixture.target("t/shut/kept").exists());
    assert!(!fixture.target("t/stale").exists() && !fixture.target("t/z/stale").exists());
}

#[test]
fn an_unreadable_directory_is_kept_and_the_rest_is_deleted() {
    let Some(fixture) = with_unreadable_directory() else { return };
    let outcome = fixture.full();
    assert!(!fixture.target("stale").exists());
    assert_only_unreadable_kept(&fixture, &outcome);
}

#[test]
fn an_unreadable_directory_in_a_marked_tree_is_kept() {
    let Some(fixture) = with_unreadable_directory() else { return };
    let outcome = fixture.batch(&[b"t/"]);
    assert!(fixture.target("stale").exists());
    assert_only_unreadable_kept(&fixture, &outcome);
}

#[test]
fn delete_excluded_keeps_unreadable_directories() {
    let Some(mut fixture) = with_unreadable_directory() else { return };
    fixture.options.delete_excluded = true;
    fixture.options.rules = ExcludeRules::Excludes(vec![b"open".to_vec()]);
    let outcome = fixture.full();
    assert!(!fixture.target("t/open").exists());
    assert_only_unreadable_kept(&fixture, &outcome);
}

#[test]
fn quiet_mode_deletes_as_well() {
    let Some(mut fixture) = with_unreadable_directory() else { return };
    fixture.options.short.push(b'q');
    let outcome = fixture.full();
    assert_only_unreadable_kept(&fixture, &outcome);
}

#[test]
fn skipped_deletions_are_retried() {
    let mut fixture = RsyncFixture::new();
    fs::write(fixture.source("a"), "").unwrap();
    // The second call fails in the same way.
    fixture.use_script(
        "echo \"rsync: [sender] opendir \\\"$PLACE/src/d\\\" failed: Permission denied (13)\" >&2\n\
         exit 23",
    );
    assert_eq!(failed_paths(&fixture.full()), ["/ Tree", "/d Tree"]);
}

#[test]
fn without_deletion_one_call_is_enough() {
    let Some(mut fixture) = with_unreadable_directory() else { return };
    fixture.options.delete = mirror_core::plan::options::DeletePolicy::Never;
    let outcome = fixture.full();
    fs::set_permissions(fixture.source("t/shut"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(failed_paths(&outcome), ["/t/shut Tree"]);
    assert!(fixture.target("t/z/stale").exists());
}

#[test]
fn only_the_unreadable_file_is_retried() {
    let Some(fixture) = with_unreadable_directory() else { return };
    for name in ["t/open", "other"] {
        fs::write(fixture.source(name), "changed").unwrap();
    }
    fs::set_permissions(fixture.source("t/open"), fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = fixture.batch(&[b"t/open", b"other"]);
    fs::set_permissions(fixture.source("t/shut"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(failed_paths(&outcome), ["/t/open Entry"]);
    let Outcome::Partial(failed) = outcome else { panic!() };
    assert_eq!(failed[0].1.code, Some(23));
    assert!(failed[0].1.message.contains("Permission denied"), "{failed:?}");
    assert_eq!(fs::read(fixture.target("other")).unwrap(), b"changed");
    assert_eq!(fs::read(fixture.target("t/open")).unwrap(), b"t/open");
}

#[test]
fn a_stalled_rsync_has_a_time_limit() {
    let mut fixture = RsyncFixture::new();
    let quiet = |fixture: &RsyncFixture| match fixture.executor().stall_limit.run_limit() {
        ChildLimit::Stall { interval, max_quiet } => Some((interval * max_quiet).as_secs()),
        ChildLimit::Unlimited | ChildLimit::Deadline(_) => None,
    };
    assert_eq!(quiet(&fixture), Some(40));
    fixture.target_arg = Some(b"host:dst".to_vec());
    assert_eq!(quiet(&fixture), Some(600));
    fixture.options.extra.push(b"--no-timeout".to_vec());
    assert_eq!(quiet(&fixture), None);
}

#[test]
fn a_file_replaced_by_a_fifo_does_not_block_rsync() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    // The file list is complete when the first file is requested; the other one is a FIFO by then.
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
            mkfifo(&new, nix::sys::stat::Mode::S_IRUSR).unwrap();
            fs::rename(&new, &fifo).unwrap();
        });
        let outcome = executor.run(&mut job(Work::full()), &CancelToken::default());
        let Outcome::Retry(failure) = outcome else { panic!("{outcome:?}") };
        assert!(failure.message.contains("deadlocked"), "{}", failure.message);
    });
    fixture.options.extra.clear();
    fixture.options.short.push(b'D');
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(fixture.target("a").is_file() && fixture.target("z").exists());
}

#[test]
fn an_empty_source_does_not_empty_the_target() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    assert_eq!(fixture.full(), Outcome::Done);
    fs::write(fixture.target("precious"), "").unwrap();
    for outcome in [fixture.full(), fixture.batch(&[b"/"])] {
        let Outcome::Split { held, .. } = &outcome else { panic!("{outcome:?}") };
        assert_eq!((held.len(), held[0].count), (1, 1));
    }
    assert!(fixture.target("precious").exists());
}

#[test]
fn a_replaced_source_is_not_mirrored() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    fixture.write_on_both("a");
    fs::rename(fixture.source(""), fixture.dir.path().join("away")).unwrap();
    assert!(matches!(fixture.full(), Outcome::SourceGone(_)));
    fs::create_dir(fixture.source("")).unwrap();
    assert!(matches!(fixture.full(), Outcome::SourceGone(_)));
    assert!(matches!(fixture.batch(&[b"a"]), Outcome::SourceGone(_)));
    assert!(fixture.target("a").exists());
}

#[test]
fn a_source_replaced_during_a_transfer_is_reported() {
    let mut fixture = RsyncFixture::new();
    fixture.use_script("mv \"$PLACE/src\" \"$PLACE/away\"; mkdir \"$PLACE/src\"");
    fs::write(fixture.source("a"), "").unwrap();
    assert!(matches!(fixture.full(), Outcome::SourceGone(_)));
}

fn again(outcome: &Outcome) -> &Failure {
    let Outcome::Retry(failure) = outcome else { panic!("{outcome:?}") };
    failure
}

#[test]
fn a_killed_rsync_is_retried() {
    let mut fixture = RsyncFixture::new();
    fs::write(fixture.source("a"), "").unwrap();
    fixture.use_script("kill -KILL $$");
    let outcome = fixture.batch(&[b"a"]);
    assert_eq!(again(&outcome).code, None);
    assert!(again(&outcome).message.contains("signal 9"), "{outcome:?}");
}

#[test]
fn a_missing_rsync_is_retried_as_code_255() {
    let mut fixture = RsyncFixture::new();
    fs::write(fixture.source("a"), "").unwrap();
    fixture.binary = "/nonexistent/rsync".into();
    let outcome = fixture.batch(&[b"a"]);
    assert_eq!(again(&outcome).code, Some(255));
    let text = "Failed executing [ /nonexistent/rsync ]!";
    assert!(again(&outcome).message.starts_with(text), "{outcome:?}");
}

#[test]
fn exit_codes_select_the_outcome() {
    let program = Some(FatalReason::Program);
    let unknown = Some(FatalReason::Unknown);
    let codes = [
        (1, program),
        (2, program),
        (5, None),
        (12, None),
        (13, unknown),
        (127, unknown),
        (255, None),
    ];
    for (code, reason) in codes {
        let mut fixture = RsyncFixture::new();
        fs::write(fixture.source("a"), "").unwrap();
        fixture.use_script(&format!("echo 'rsync: [sender] all is lost' >&2; exit {code}"));
        for outcome in [fixture.full(), fixture.batch(&[b"a"])] {
            let (failure, said) = match &outcome {
                Outcome::Retry(failure) => (failure, None),
                Outcome::Fatal(failure, reason) => (failure, Some(*reason)),
                _ => panic!("{outcome:?}"),
            };
            assert_eq!((failure.code, said), (Some(code), reason));
            assert!(failure.message.contains("all is lost"), "{outcome:?}");
        }
    }
}

#[test]
fn user_exit_codes_override_the_table() {
    let mut fixture = RsyncFixture::new();
    fs::write(fixture.source("a"), "").unwrap();
    fixture.codes = ExitCodes::from_table(&[(7, ExitMeaning::Ok), (8, ExitMeaning::Die)]);
    fixture.use_script("exit 7");
    assert_eq!(fixture.batch(&[b"a"]), Outcome::Done);
    fixture.use_script("exit 8");
    assert!(matches!(fixture.batch(&[b"a"]), Outcome::Fatal(_, FatalReason::User)));
    fixture.use_script("exit 12");
    assert!(matches!(fixture.batch(&[b"a"]), Outcome::Fatal(_, FatalReason::Unknown)));
}

#[test]
fn temporary_files_of_a_killed_receiver_are_removed() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    for name in ["a", "d/.b", "t/u/c"] {
        fs::create_dir_all(fixture.source(name).parent().unwrap()).unwrap();
        fs::create_dir_all(fixture.target(name).parent().unwrap()).unwrap();
        fs::write(fixture.source(name), name).unwrap();
    }
    // A name that looks like a temporary one is only that if the source lacks it, and has the file.
    fs::write(fixture.source(".a.source"), "").unwrap();
    fixture.use_script(
        "cd \"$PLACE/dst\";
         touch .a.abcDEF d/.b.ghiJK1 t/u/.c.000000 .a.source .other.abcDEF .a.abc; exit 12",
    );
    let executor = fixture.executor();
    let run = || {
        let mut job = job(batch(&[b"a", b"d/.b", b"t/"]));
        executor.run(&mut job, &CancelToken::default())
    };
    assert_eq!(again(&run()).code, Some(12));
    assert!(fixture.target(".a.abcDEF").exists());
    fixture.use_script("exec rsync \"$@\"");
    assert_eq!(run(), Outcome::Done);
    for gone in [".a.abcDEF", "d/.b.ghiJK1", "t/u/.c.000000"] {
        assert!(!fixture.target(gone).exists(), "{gone}");
    }
    for kept in ["a", "d/.b", "t/u/c", ".a.source", ".other.abcDEF", ".a.abc"] {
        assert!(fixture.target(kept).exists(), "{kept}");
    }
}

/// As on a file system that has become read-only: rsync could not rename its file, nor remove it.
#[test]
fn temporary_files_of_a_partial_transfer_are_removed() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    for name in ["a", "d/b"] {
        fs::create_dir_all(fixture.source(name).parent().unwrap()).unwrap();
        fs::create_dir_all(fixture.target(name).parent().unwrap()).unwrap();
        fs::write(fixture.source(name), name).unwrap();
    }
    fixture.use_script(
        "cd \"$PLACE/dst\"; touch .a.abcDEF d/.b.ghiJK1;
         echo \"rsync: [receiver] rename \\\"$PLACE/dst/.a.abcDEF\\\" -> \\\"a\\\": \
         Read-only file system (30)\" >&2; exit 23",
    );
    let executor = fixture.executor();
    let run = || executor.run(&mut job(batch(&[b"a", b"d/b"])), &CancelToken::default());
    assert!(failed_paths(&run()).contains(&"/a Entry".into()));
    fixture.use_script("exec rsync \"$@\"");
    assert_eq!(run(), Outcome::Done);
    assert!(!fixture.target(".a.abcDEF").exists());
    // Only what rsync names is looked at.
    assert!(fixture.target("d/.b.ghiJK1").exists());
}

#[test]
fn vanished_files_are_retried() {
    let mut fixture = RsyncFixture::new();
    for name in ["a", "b"] {
        fs::write(fixture.source(name), "").unwrap();
    }
    fixture.use_script(
        "case \"$*\" in *--files-from*) \
         echo \"file has vanished: \\\"$PLACE/src/b\\\"\" >&2; exit 24;; esac",
    );
    assert_eq!(failed_paths(&fixture.batch(&[b"a", b"b"])), ["/b Entry"]);
}

#[test]
fn a_full_target_is_retried_and_reported_with_a_remedy() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    if !can_mount_in_namespace() {
        return;
    }
    fixture.use_script(
        "exec unshare --user --map-root-user --mount sh -c \
         'mount -t tmpfs -o size=64k none \"$0\" && exec rsync \"$@\"' \"$PLACE/dst\" \"$@\"",
    );
    fs::write(fixture.source("big"), vec![7; 1 << 20]).unwrap();
    fs::write(fixture.source("small"), "").unwrap();
    let outcome = fixture.batch(&[b"big", b"small"]);
    assert_eq!(failed_paths(&outcome), ["/big Entry"]);
    let Outcome::Partial(failed) = &outcome else { panic!() };
    assert_eq!(failed[0].1.code, Some(11), "{outcome:?}");
    assert!(failed[0].1.message.ends_with(": free space or inodes there"), "{outcome:?}");
}

#[test]
fn a_target_that_cannot_be_created_is_retried_with_the_message_of_rsync() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    fs::write(fixture.source("a"), "").unwrap();
    fs::remove_dir(fixture.target("")).unwrap();
    std::os::unix::fs::symlink("no/such/directory", fixture.target("")).unwrap_or_else(|_| {
        std::os::unix::fs::symlink("no/such/directory", fixture.dir.path().join("dst")).unwrap();
    });
    let outcome = fixture.full();
    assert!(again(&outcome).message.contains("mkdir"), "{outcome:?}");
}

#[test]
fn a_receiver_without_delete_missing_args_deletes_by_patterns() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    // Behaves like rsync 3.4.3: refuses a list with a missing name.
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
        fixture.write_on_both(name);
    }
    let executor = fixture.executor();
    fs::remove_file(fixture.source("d/c*")).unwrap();
    fs::remove_dir_all(fixture.source("dir")).unwrap();
    fs::write(fixture.source("new"), "").unwrap();
    let run = |marks: &[&[u8]]| executor.run(&mut job(batch(marks)), &CancelToken::default());
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
fn a_path_too_long_for_rsync_fails_alone() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    let root = Dir::open(fixture.root.path()).unwrap();
    let mut path = TreePath::root();
    for _ in 0..30 {
        let here = root.open_below(path.as_bytes()).unwrap();
        rustix::fs::mkdirat(&here, OsStr::from_bytes(&[b'n'; 200]), Mode::RWXU).unwrap();
        path.push(&[b'n'; 200]).unwrap();
    }
    fs::write(fixture.source("a"), "").unwrap();
    let outcome = fixture.batch(&[path.as_bytes(), b"a"]);
    assert_eq!(failed_paths(&outcome), [format!("{path} Entry")]);
    let Outcome::Partial(failed) = outcome else { panic!() };
    assert!(failed[0].1.message.ends_with("default.direct for a local target"));
    assert!(fixture.target("a").exists());
    // A full transfer: the too long path fails, and stale files are deleted all the same.
    fs::write(fixture.target("stale"), "").unwrap();
    let failed = failed_paths(&fixture.full());
    assert!(failed.iter().all(|place| place.starts_with("/nnn")), "{failed:?}");
    assert!(!fixture.target("stale").exists());
}

#[test]
fn a_cancelled_rsync_is_terminated_at_once() {
    let mut fixture = RsyncFixture::new();
    fs::write(fixture.source("a"), "").unwrap();
    fixture.use_script("touch \"$PLACE/started\"; exec sleep 600");
    let (cancel, started) = (CancelToken::default(), fixture.dir.path().join("started"));
    let executor = fixture.executor();
    let outcome = thread::scope(|scope| {
        let running = scope.spawn(|| executor.run(&mut job(batch(&[b"a"])), &cancel));
        let start = Instant::now();
        while !started.exists() {
            assert!(start.elapsed() < Duration::from_mins(3));
            thread::yield_now();
        }
        cancel.cancel();
        running.join().unwrap()
    });
    assert_eq!(again(&outcome).message, "rsync was stopped");
}

#[test]
fn a_job_cancelled_before_its_start_starts_nothing() {
    let mut fixture = RsyncFixture::new();
    fs::File::create(fixture.source("a")).unwrap().write_all(b"x").unwrap();
    fixture.use_script("touch \"$PLACE/started\"");
    let cancel = CancelToken::default();
    cancel.cancel();
    let outcome = fixture.executor().run(&mut job(batch(&[b"a"])), &cancel);
    assert_eq!(again(&outcome).message, "rsync was stopped");
    assert!(!fixture.dir.path().join("started").exists());
}

#[test]
fn a_removed_target_needs_a_full_sync_until_one_succeeds() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    for name in ["a", "d/b"] {
        fixture.write_on_both(name);
    }
    fixture
        .use_script("[ -e \"$PLACE/fails\" ] || exec rsync \"$@\"; mkdir \"$PLACE/dst\"; exit 12");
    let executor = fixture.executor();
    assert_eq!(executor.run(&mut job(Work::full()), &CancelToken::default()), Outcome::Done);
    fs::remove_dir_all(fixture.target("")).unwrap();
    let fails = fixture.dir.path().join("fails");
    fs::write(&fails, "").unwrap();
    let again = executor.run(&mut job(batch(&[b"a"])), &CancelToken::default());
    assert!(matches!(again, Outcome::Retry(_)), "{again:?}");
    assert!(fixture.target("").exists());
    fs::remove_file(fails).unwrap();
    assert_eq!(executor.run(&mut job(batch(&[b"a"])), &CancelToken::default()), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn a_replaced_target_needs_a_full_sync() {
    for meanwhile in [false, true] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        let exchange = "mv \"$PLACE/dst\" \"$PLACE/aside\"; mkdir \"$PLACE/dst\"";
        fixture.use_script(&format!(
            "if [ -e \"$PLACE/go\" ]; then rm \"$PLACE/go\"; {exchange}; fi; exec rsync \"$@\""
        ));
        for name in ["a", "d/b"] {
            fixture.write_on_both(name);
        }
        let executor = fixture.executor();
        assert_eq!(executor.run(&mut job(Work::full()), &CancelToken::default()), Outcome::Done);
        fs::write(fixture.source("a"), "changed").unwrap();
        if meanwhile {
            fs::write(fixture.dir.path().join("go"), "").unwrap();
        } else {
            fs::rename(fixture.target(""), fixture.dir.path().join("aside")).unwrap();
            fs::create_dir(fixture.target("")).unwrap();
        }
        assert_eq!(executor.run(&mut job(batch(&[b"a"])), &CancelToken::default()), Outcome::Done);
        fixture.assert_equal();
    }
}

/// Lets the next rsync end with `$CODE`, and its receiver with temporary files.
const LOST_RECEIVER: &str = "\
if [ -e \"$PLACE/code\" ]; then
  code=$(cat \"$PLACE/code\"); rm \"$PLACE/code\"
  cat >/dev/null
  for name in .big.abcDEF .kept.abcDEF .other.abcDEF .safe.abcDEF; do : >\"$PLACE/dst/d/$name\"; done
  exit \"$code\"
fi";

#[test]
fn temporary_files_of_a_lost_remote_receiver_are_removed() {
    for by_daemon in [false, true] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        let mut connect = String::new();
        if by_daemon {
            fixture.use_daemon("");
            connect = "export RSYNC_CONNECT_PROG=\"rsync --server --daemon \
                       --config=$PLACE/rsyncd.conf .\"\n"
                .into();
        } else {
            fixture.use_remote_shell();
        }
        fixture.rules(&[b"- .safe.*"]);
        fixture.use_script(&format!("{LOST_RECEIVER}\n{connect}exec rsync \"$@\""));
        for name in ["d/big", "d/kept", "d/.kept.abcDEF", "d/other", "d/safe", "d/later"] {
            fixture.write_on_both(name);
        }
        // Without deletions, the rest of the target is not touched either.
        fixture.options.delete = DeletePolicy::Never;
        fs::write(fixture.target("d/.big.backup.old"), "").unwrap();
        let executor = fixture.executor();
        let run = |work| executor.run(&mut job(work), &CancelToken::default());
        let left = || {
            let mut names: Vec<_> = ["big", "kept", "other", "safe"]
                .into_iter()
                .filter(|name| fixture.target(format!("d/.{name}.abcDEF")).exists())
                .collect();
            names.sort_unstable();
            names.join(" ")
        };
        for code in ["12", "23"] {
            fs::write(fixture.dir.path().join("code"), code).unwrap();
            let files: [&[u8]; 3] = [b"d/big", b"d/kept", b"d/safe"];
            assert_ne!(run(written(&files)), Outcome::Done, "{code}");
            if code == "12" {
                assert_eq!(run(written(&[b"d/later"])), Outcome::Done);
                assert_eq!(left(), "big kept other safe", "they may be in use");
            }
            fs::remove_file(fixture.source("d/big")).unwrap();
            assert_eq!(run(observed(&files)), Outcome::Done, "{code}");
            assert_eq!(left(), "kept other safe", "{code}");
            assert!(fixture.target("d/.big.backup.old").exists());
            fixture.write_on_both("d/big");
        }
    }
}
