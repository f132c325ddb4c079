//! Numbers of sent files, bytes and deletions.

use super::*;
use crate::report::{LogFilter, RunMode, TransferTotals};

/// Returns the totals, the deletions, and the number of calls without either.
fn counts(executor: &RsyncExecutor) -> (TransferTotals, u64, [u64; 2]) {
    let meter = &executor.state.meter;
    let uncounted = [meter.uncounted_transfers(), meter.uncounted_deletions()];
    (meter.totals(), meter.deleted(), uncounted)
}

#[test]
fn sent_files_and_deletions_of_each_call_are_counted() {
    for is_remote in [false, true] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        if is_remote {
            fixture.use_remote_shell();
        }
        fixture.write_on_both("d/same");
        fs::write(fixture.source("new"), "12345").unwrap();
        for name in ["one", "two"] {
            fs::write(fixture.target(name), "").unwrap();
        }
        let executor = fixture.executor();
        let run = |work| executor.run(&mut job(work), &CancelToken::default());
        assert_eq!(run(Work::full()), Outcome::Done);
        let totals = TransferTotals { files: 1, bytes: 5 };
        assert_eq!(counts(&executor), (totals, 2, [0, 0]), "{is_remote}");
        fs::write(fixture.source("new"), "1234567").unwrap();
        fs::remove_dir_all(fixture.source("d")).unwrap();
        assert_eq!(run(observed(&[b"new", b"d"])), Outcome::Done);
        let totals = TransferTotals { files: 2, bytes: 12 };
        assert_eq!(counts(&executor), (totals, 4, [0, 0]), "{is_remote}");
        fixture.assert_equal();
    }
}

#[test]
fn calls_without_statistics_are_not_counted() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.options.extra.push(b"--quiet".to_vec());
    fs::write(fixture.source("new"), "12345").unwrap();
    let executor = fixture.executor();
    assert_eq!(executor.run(&mut job(observed(&[b"new"])), &CancelToken::default()), Outcome::Done);
    assert_eq!(counts(&executor), (TransferTotals::default(), 0, [1, 1]));
}

/// Returns the output of the first transfer in the log.
fn logged_output(extra: &[&str]) -> Option<String> {
    let mut fixture = RsyncFixture::with_rsync()?;
    fixture.options.extra = extra.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    fixture.options.delete = mirror_core::plan::options::DeletePolicy::Never;
    fs::write(fixture.source("new"), "12345").unwrap();
    let log = Log::new(LogFilter::default());
    let logfile = fixture.dir.path().join("log");
    log.begin(RunMode::Daemon, Some(logfile.clone()), "begin").unwrap();
    log.leave_terminal();
    let mut executor = fixture.executor();
    executor.program.output = ChildOutput::Log(log);
    assert_eq!(executor.run(&mut job(Work::full()), &CancelToken::default()), Outcome::Done);
    let text = fs::read_to_string(logfile).unwrap();
    Some(text.split_once("begin\n").unwrap().1.to_owned())
}

#[test]
fn statistics_of_the_daemon_do_not_reach_the_log() {
    for (extra, expected) in [
        (&[][..], ""),
        (&["-i", "--omit-dir-times"], ">f+++++++++ new\n"),
        (&["--out-format=%n %l", "--omit-dir-times"], "new 5\n"),
    ] {
        let Some(output) = logged_output(extra) else { return };
        assert_eq!(output, expected, "{extra:?}");
    }
    let Some(output) = logged_output(&["-v"]) else { return };
    let (names, summary) = output.split_once("\n\nsent ").unwrap();
    assert!(names.ends_with("\nnew") && !output.contains("Number of"), "{output}");
    assert_eq!(summary.lines().count(), 2, "{output}");
    let Some(output) = logged_output(&["--stats"]) else { return };
    assert!(output.starts_with("\nNumber of files: "), "{output}");
    assert!(output.contains("\n\nsent "), "{output}");
}
