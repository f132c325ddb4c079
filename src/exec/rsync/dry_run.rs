//! Comparison of source and target by a dry run of rsync.

use mirror_core::{
    path::{Escaped, TreePath},
    plan::{
        options::TransferPhase,
        rsync::{CHANGE_PREFIX, Deletions, QuickCheck},
        stderr::{parse_grouped_number, unescape},
    },
};

use super::RsyncExecutor;
use crate::{
    exec::{
        dry_run::Drift,
        process::{
            cancel::CancelToken,
            child::{ChildOutput, ChildProgram},
            end::ProcessExit,
        },
    },
    report::StdStream,
};

/// Length of the changes that rsync prints for `%i`.
const ITEM_LENGTH: usize = 11;

/// Exit codes of a dry run that compared everything it could read.
const PARTIAL: [i32; 2] = [23, 24];

impl RsyncExecutor {
    /// Compares the target with the source as the first transfer would, and changes nothing. The
    /// source must have been pinned.
    #[must_use]
    pub(crate) fn dry_run(&self, cancel: &CancelToken) -> Drift {
        if self.root.open().is_err() {
            return Drift::failed("the source is not available".into());
        }
        // Measuring the precision of the times would write to the target.
        let check = match self.modify_window {
            Some(_) => self.quick_check(),
            None => QuickCheck::default(),
        };
        let call = self.plan.full(TransferPhase::Startup, Deletions::Allowed, check, &[]);
        let call = call.listing_changes();
        let program = ChildProgram { output: ChildOutput::Null, ..self.program.clone() };
        let mut drift = Drift::none();
        let mut first_line = None;
        let on_line = &mut |stream, line: &[u8]| match stream {
            StdStream::Out => read_line(line, &mut drift),
            StdStream::Err if first_line.is_none() && !line.is_empty() => {
                first_line = Some(Escaped(line).to_string());
            }
            StdStream::Err => {}
        };
        let limit = self.stall_limit.run_limit();
        let end = program.run_with_output(limit, call.command_line(), cancel, on_line);
        match end {
            ProcessExit::Exited(0) => drift,
            ProcessExit::Exited(code) if PARTIAL.contains(&code) => {
                // rsync deletes nothing after a failure to read, and says which path it was.
                if let Some(why) = first_line {
                    drift.reached = Err(why);
                }
                drift
            }
            end @ (ProcessExit::Exited(_)
            | ProcessExit::Killed(_)
            | ProcessExit::Stalled(_)
            | ProcessExit::Deadlocked
            | ProcessExit::NotStarted(_)
            | ProcessExit::WaitFailed(_)) => {
                let binary = Escaped(self.program.binary.as_encoded_bytes()).to_string();
                Drift::failed(first_line.unwrap_or_else(|| end.describe(&binary)))
            }
        }
    }
}

/// Reads a line of the dry run.
fn read_line(line: &[u8], drift: &mut Drift) {
    if let Some(size) = line.strip_prefix(b"Total transferred file size: ") {
        drift.bytes = parse_grouped_number(size).unwrap_or_default();
        return;
    }
    let Some((item, name)) =
        line.strip_prefix(CHANGE_PREFIX).and_then(|rest| rest.split_at_checked(ITEM_LENGTH))
    else {
        return;
    };
    let name = unescape(name.strip_prefix(b" ").unwrap_or(name));
    let name = name.strip_suffix(b"/").unwrap_or(&name);
    let path = if name == b"." { Some(TreePath::root()) } else { TreePath::new(name) };
    let Some(path) = path else { return };
    if item.starts_with(b"*deleting") {
        drift.would_delete.add(&path);
    } else if !is_only_directory_time(item) {
        drift.would_send.add(&path);
    }
}

/// Returns true if only the time of a directory differs, which each change below it causes.
fn is_only_directory_time(item: &[u8]) -> bool {
    let rest = item.strip_prefix(b".d");
    rest.is_some_and(|flags| flags.iter().all(|flag| b".t ".contains(flag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_dry_run_are_counted() {
        let mut drift = Drift::none();
        for line in [
            "drift *deleting   gone/y",
            "drift *deleting   gone/",
            "drift .d..t...... ./",
            "drift .f...p..... f",
            "drift cL+++++++++ l",
            "drift cd+++++++++ d/",
            "drift >f+++++++++ d/\\#033 x",
            "Total transferred file size: 1,002 bytes",
            "something else",
            "drift",
        ] {
            read_line(line.as_bytes(), &mut drift);
        }
        let names = |names: &[TreePath]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&drift.would_delete.first), ["/gone/y", "/gone"]);
        assert_eq!(names(&drift.would_send.first), ["/f", "/l", "/d", "/d/\\u{1b} x"]);
        assert_eq!((drift.would_send.count, drift.bytes), (4, 1002));
    }
}
