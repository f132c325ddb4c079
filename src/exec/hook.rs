//! Hooks that run after a batch reached the target: a program or a Lua function.

use std::{
    borrow::Cow,
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    sync::{Arc, Mutex},
};

use mirror_core::{
    job::{DirtyPath, Failure, HookFailureAction, Job, Outcome, Scope, Work},
    path::{Escaped, TreePath},
    plan::command::CommandLine,
    queue::PathSet,
};

use super::{
    Executor, lock,
    process::cancel::CancelToken,
    process::{child::ChildProgram, end::ProcessExit},
};
use crate::report::{Category, Log};

/// Executor that runs jobs with another one, and then calls a program or a function with the
/// transferred paths: below the source, each with a NUL behind it. Paths of whole trees have a
/// trailing slash. `./` is the whole source. The program receives them on stdin.
///
/// The next batch of the mirror waits for the hook, so a slow hook is called once for all changes
/// that arrived meanwhile. Calls are serialised where several jobs of the mirror run at once.
pub(crate) struct WithHook {
    /// The executor of the jobs.
    pub inner: Arc<dyn Executor>,
    /// Program or function to call.
    pub action: HookAction,
    /// Consequence of a failure. `None` logs a warning only.
    pub on_failure: Option<HookFailureAction>,
    /// Receives the warning.
    pub log: Log,
    /// Name of the sync in the warning.
    pub sync_name: String,
    /// Held during a call: one job calls the hook at a time.
    pub serial: Mutex<()>,
    /// Failure of the last call.
    pub last_failure: LastHookFailure,
}

/// Failure of the last call of a hook, for the status. `None` after a success.
pub(crate) type LastHookFailure = Arc<Mutex<Option<String>>>;

/// Program or function that a hook calls.
pub(crate) enum HookAction {
    /// A program, with these arguments.
    Program(ChildProgram, Vec<OsString>),
    /// Calls the function and waits for its return.
    Function(Box<dyn Fn(Vec<u8>) -> Result<(), String> + Send + Sync>),
}

impl Executor for WithHook {
    fn run(&self, job: &mut Job, cancel: &CancelToken) -> Outcome {
        let outcome = self.inner.run(job, cancel);
        let failed = match &outcome {
            Outcome::Done => &[][..],
            Outcome::Partial(failed) | Outcome::Split { failed, .. } => failed,
            Outcome::Retry(_)
            | Outcome::Fatal(..)
            | Outcome::HookFailed { .. }
            | Outcome::SourceGone(_) => return outcome,
        };
        let left = if let Outcome::Split { large, .. } = &outcome { large } else { &[][..] };
        let paths = transferred_paths(&job.work, failed, left);
        if paths.is_empty() {
            return outcome;
        }
        let result = self.call(paths, cancel);
        *lock(&self.last_failure) = result.as_ref().err().map(|failure| failure.message.clone());
        match (result, self.on_failure) {
            (Ok(()), _) => outcome,
            (Err(failure), Some(then)) => {
                let held =
                    if let Outcome::Split { held, .. } = outcome { held } else { Vec::new() };
                Outcome::HookFailed { failure, action: then, held }
            }
            (Err(failure), None) => {
                self.log
                    .say(Category::Warn, format_args!("{}: {}", self.sync_name, failure.message));
                outcome
            }
        }
    }
}

impl WithHook {
    fn call(&self, paths: Vec<u8>, cancel: &CancelToken) -> Result<(), Failure> {
        let _serial = lock(&self.serial);
        let failed =
            |code, what: String| Err(Failure { code, message: format!("onSynced: {what}") });
        let (program, args) = match &self.action {
            HookAction::Function(call) => return call(paths).or_else(|why| failed(None, why)),
            HookAction::Program(program, args) => (program, args),
        };
        let args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let call = CommandLine { args, stdin: Some(paths) };
        let end = program.run(&call, cancel, &mut |_| ());
        let what = end.describe(&Escaped(program.binary.as_bytes()).to_string());
        match end {
            ProcessExit::Exited(0) => Ok(()),
            ProcessExit::Exited(code) => failed(Some(code), what),
            ProcessExit::Killed(_)
            | ProcessExit::Stalled(_)
            | ProcessExit::Deadlocked
            | ProcessExit::NotStarted(_)
            | ProcessExit::WaitFailed(_) => failed(None, what),
        }
    }
}

/// Returns the paths that were transferred, that is, neither failed nor were left to other jobs, as
/// the hook receives them.
fn transferred_paths(work: &Work, failed: &[(DirtyPath, Failure)], left: &[TreePath]) -> Vec<u8> {
    let places = match work {
        Work::Full { .. } => return b"./\0".to_vec(),
        Work::Batch { paths: places, .. } => Cow::Borrowed(&**places),
        Work::Large { path, .. } => Cow::Owned(PathSet::entry(path)),
    };
    let mut names = Vec::new();
    for place in &*places {
        if failed.iter().any(|(other, _)| *other == place) || left.contains(&place.path) {
            continue;
        }
        names.extend_from_slice(if place.path.is_root() { b"." } else { place.path.as_bytes() });
        let end: &[u8] = if place.scope == Scope::Tree { b"/\0" } else { b"\0" };
        names.extend_from_slice(end);
    }
    names
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use mirror_core::{
        fs_event::MirrorId,
        job::{HeldDeletions, HoldReason, JobId},
    };
    use tempfile::TempDir;

    use super::*;
    use crate::exec::process::child::ChildOutput;
    use rustix::process::Signal;

    /// Executor that does nothing and returns this outcome.
    struct FixedOutcome(Outcome);

    impl Executor for FixedOutcome {
        fn run(&self, _: &mut Job, _: &CancelToken) -> Outcome {
            self.0.clone()
        }
    }

    fn place(text: &str) -> DirtyPath {
        let path = TreePath::new(text.trim_end_matches('/').as_bytes()).unwrap();
        DirtyPath { path, scope: if text.ends_with('/') { Scope::Tree } else { Scope::Entry } }
    }

    fn failure() -> Failure {
        Failure::new("no")
    }

    /// Runs a hook that writes its input to `read` and then runs `script`, after a job for these
    /// places with this outcome.
    fn run(
        (place_of_test, script): (&Path, &str),
        (places, outcome): (&str, Outcome),
        on_failure: Option<HookFailureAction>,
    ) -> Outcome {
        let script = format!("cat > '{}'; {script}", place_of_test.join("read").display());
        let program = ChildProgram {
            binary: "sh".into(),
            working_dir: "/".into(),
            environment: vec![("LSYNCD_SYNC".into(), "Sync1".into())],
            output: ChildOutput::Null,
            parent_death_signal: Signal::TERM,
            inherited: None,
        };
        let hook = WithHook {
            inner: Arc::new(FixedOutcome(outcome)),
            action: HookAction::Program(program, vec!["-c".into(), script.into()]),
            on_failure,
            log: Log::default(),
            sync_name: "Sync1".into(),
            serial: Mutex::default(),
            last_failure: Arc::default(),
        };
        let work = if places == "all" {
            Work::full()
        } else if let Some(file) = places.strip_prefix("large ") {
            Work::Large { path: place(file).path, observed: Arc::default() }
        } else {
            let places: PathSet = places.split(' ').map(place).collect::<Vec<_>>().iter().collect();
            Work::Batch { paths: Arc::new(places), observed: Arc::default(), renames: Arc::new([]) }
        };
        hook.run(&mut Job::new(JobId(0), MirrorId(0), work), &CancelToken::default())
    }

    fn read(place: &TempDir) -> Option<String> {
        let read = fs::read_to_string(place.path().join("read")).ok();
        read.map(|text| text.replace('\0', "|"))
    }

    #[test]
    fn the_hook_reads_the_transferred_paths() {
        for (places, outcome, names) in [
            ("all", Outcome::Done, Some("./|")),
            ("a b/c d/", Outcome::Done, Some("a|b/c|d/|")),
            ("/", Outcome::Done, Some("./|")),
            ("a b", Outcome::Partial(vec![(place("a"), failure())]), Some("b|")),
            ("a", Outcome::Partial(vec![(place("a"), failure())]), None),
            ("a", Outcome::Retry(failure()), None),
            (
                "a b",
                Outcome::Split { large: vec![place("a").path], failed: vec![], held: vec![] },
                Some("b|"),
            ),
            ("large a", Outcome::Done, Some("a|")),
        ] {
            let place = tempfile::tempdir().unwrap();
            let ended =
                run((place.path(), ":"), (places, outcome.clone()), Some(HookFailureAction::Hold));
            assert_eq!(ended, outcome, "{places}");
            assert_eq!(read(&place).as_deref(), names, "{places}");
        }
    }

    #[test]
    fn a_failed_hook_has_the_configured_consequence() {
        let place = tempfile::tempdir().unwrap();
        let ended = |script, then| run((place.path(), script), ("a", Outcome::Done), then);
        assert_eq!(ended("exit 3", None), Outcome::Done);
        for then in [HookFailureAction::Retry, HookFailureAction::Hold] {
            let ended = ended("exit 3", Some(then));
            let Outcome::HookFailed { failure, action: said, held } = ended else { panic!() };
            assert_eq!(held, []);
            assert_eq!((failure.code, said), (Some(3), then));
            assert_eq!(failure.message, "onSynced: sh exited with code 3");
        }
        assert_eq!(
            ended("test \"$LSYNCD_SYNC\" = Sync1", Some(HookFailureAction::Hold)),
            Outcome::Done
        );
    }

    #[test]
    fn held_deletions_are_reported_when_the_hook_fails() {
        let at = tempfile::tempdir().unwrap();
        let deletions = vec![HeldDeletions {
            paths: vec![DirtyPath::root_tree()],
            count: 12,
            total: None,
            names: vec![],
            reason: HoldReason::Unobserved,
        }];
        let outcome = Outcome::Split { large: vec![], failed: vec![], held: deletions.clone() };
        let ended = run((at.path(), "exit 3"), ("all", outcome), Some(HookFailureAction::Retry));
        let Outcome::HookFailed { held, .. } = ended else { panic!("{ended:?}") };
        assert_eq!(held, deletions);
    }
}
