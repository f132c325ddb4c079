//! What a user wants done whenever a batch is on the target: a program or a function.

use std::{
    borrow::Cow,
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    sync::{Arc, Mutex, PoisonError},
};

use mirror_core::{
    job::{AfterHook, Failure, Job, Outcome, Place, Scope, Work},
    path::{Escaped, TreePath},
    plan::rsync::Call,
    queue::PlaceSet,
};

use super::{
    Executor,
    process::cancel::Stop,
    process::child::{End, Program},
};
use crate::report::{Category, Log};

/// Carries jobs out by somebody else, and then calls a program, with what was looked at on its
/// standard input, or a function: paths below the source, each with a NUL behind it, those that
/// stand for all that is below them with a slash before that. `./` is all of it.
///
/// The next batch of the mirror waits for it, so one that takes long is called once for all that
/// came meanwhile. Where several jobs of the mirror run at once, it is called for one after the
/// other.
pub struct Hooked {
    /// Who carries jobs out.
    pub inner: Arc<dyn Executor>,
    /// What is called.
    pub then: Then,
    /// What follows if it fails. `None`: nothing but a warning.
    pub on_failure: Option<AfterHook>,
    /// Where the warning goes.
    pub log: Log,
    /// Whose batches they are, for people.
    pub whose: String,
    /// Who holds it may call: one job at a time.
    pub turn: Mutex<()>,
}

/// What is called when a batch is on the target.
pub enum Then {
    /// A program, where it works and what it is told, with these words.
    Program(Program, Vec<OsString>),
    /// Who calls the function, and waits until it has returned.
    Function(Box<dyn Fn(Vec<u8>) -> Result<(), String> + Send + Sync>),
}

impl Executor for Hooked {
    fn run(&self, job: &mut Job, stop: &Stop) -> Outcome {
        let outcome = self.inner.run(job, stop);
        let failed = match &outcome {
            Outcome::Done => &[][..],
            Outcome::Partly(failed) | Outcome::Split { failed, .. } => failed,
            _ => return outcome,
        };
        let left = if let Outcome::Split { large, .. } = &outcome { large } else { &[][..] };
        let names = names(&job.work, failed, left);
        if names.is_empty() {
            return outcome;
        }
        match (self.call(names, stop), self.on_failure) {
            (Ok(()), _) => outcome,
            (Err(failure), Some(then)) => {
                let held =
                    if let Outcome::Split { held, .. } = outcome { held } else { Vec::new() };
                Outcome::HookFailed { failure, then, held }
            }
            (Err(failure), None) => {
                self.log.say(Category::Warn, format_args!("{}: {}", self.whose, failure.why));
                outcome
            }
        }
    }
}

impl Hooked {
    fn call(&self, names: Vec<u8>, stop: &Stop) -> Result<(), Failure> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |code, what: String| Err(Failure { code, why: format!("onSynced: {what}") });
        let (program, words) = match &self.then {
            Then::Function(ask) => return ask(names).or_else(|why| failed(None, why)),
            Then::Program(program, words) => (program, words),
        };
        let args = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let call = Call { args, stdin: Some(names) };
        let end = program.run(&call, stop, &mut |_| ());
        let what = end.of(&Escaped(program.binary.as_bytes()).to_string());
        match end {
            End::Exited(0) => Ok(()),
            End::Exited(code) => failed(Some(code), what),
            _ => failed(None, what),
        }
    }
}

/// What was looked at, did not fail and was not left to other jobs.
fn names(work: &Work, failed: &[(Place, Failure)], left: &[TreePath]) -> Vec<u8> {
    let places = match work {
        Work::Full { .. } => return b"./\0".to_vec(),
        Work::Batch { places, .. } => Cow::Borrowed(&**places),
        Work::Large { path, .. } => Cow::Owned(PlaceSet::entry(path)),
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
        job::{HeldDeletions, HeldFor, JobId},
        notice::MirrorId,
    };
    use tempfile::TempDir;

    use super::*;
    use crate::exec::process::child::ChildOutput;
    use rustix::process::Signal;

    /// Who does nothing, and says that.
    struct Says(Outcome);

    impl Executor for Says {
        fn run(&self, _: &mut Job, _: &Stop) -> Outcome {
            self.0.clone()
        }
    }

    fn place(text: &str) -> Place {
        let path = TreePath::new(text.trim_end_matches('/').as_bytes()).unwrap();
        Place { path, scope: if text.ends_with('/') { Scope::Tree } else { Scope::Entry } }
    }

    fn failure() -> Failure {
        Failure::new("no")
    }

    /// Runs a hook that writes what it reads to `read` and then does `script`, after a job for the
    /// places that ended so.
    fn run(
        (place_of_test, script): (&Path, &str),
        (places, outcome): (&str, Outcome),
        on_failure: Option<AfterHook>,
    ) -> Outcome {
        let script = format!("cat > '{}'; {script}", place_of_test.join("read").display());
        let program = Program {
            binary: "sh".into(),
            directory: "/".into(),
            environment: vec![("LSYNCD_SYNC".into(), "Sync1".into())],
            output: ChildOutput::Null,
            at_our_end: Signal::TERM,
        };
        let hooked = Hooked {
            inner: Arc::new(Says(outcome)),
            then: Then::Program(program, vec!["-c".into(), script.into()]),
            on_failure,
            log: Log::default(),
            whose: "Sync1".into(),
            turn: Mutex::default(),
        };
        let work = if places == "all" {
            Work::full()
        } else if let Some(file) = places.strip_prefix("large ") {
            Work::Large { path: place(file).path, heard: Arc::default() }
        } else {
            let places: PlaceSet =
                places.split(' ').map(place).collect::<Vec<_>>().iter().collect();
            Work::Batch { places: Arc::new(places), heard: Arc::default(), moves: Arc::new([]) }
        };
        hooked.run(&mut Job { id: JobId(0), mirror: MirrorId(0), work }, &Stop::default())
    }

    fn read(place: &TempDir) -> Option<String> {
        let read = fs::read_to_string(place.path().join("read")).ok();
        read.map(|text| text.replace('\0', "|"))
    }

    #[test]
    fn it_reads_what_was_looked_at() {
        for (places, outcome, names) in [
            ("all", Outcome::Done, Some("./|")),
            ("a b/c d/", Outcome::Done, Some("a|b/c|d/|")),
            ("/", Outcome::Done, Some("./|")),
            ("a b", Outcome::Partly(vec![(place("a"), failure())]), Some("b|")),
            ("a", Outcome::Partly(vec![(place("a"), failure())]), None),
            ("a", Outcome::Again(failure()), None),
            (
                "a b",
                Outcome::Split { large: vec![place("a").path], failed: vec![], held: vec![] },
                Some("b|"),
            ),
            ("large a", Outcome::Done, Some("a|")),
        ] {
            let place = tempfile::tempdir().unwrap();
            let ended = run((place.path(), ":"), (places, outcome.clone()), Some(AfterHook::Hold));
            assert_eq!(ended, outcome, "{places}");
            assert_eq!(read(&place).as_deref(), names, "{places}");
        }
    }

    #[test]
    fn what_follows_a_failure_is_what_was_said() {
        let place = tempfile::tempdir().unwrap();
        let ended = |script, then| run((place.path(), script), ("a", Outcome::Done), then);
        assert_eq!(ended("exit 3", None), Outcome::Done);
        for then in [AfterHook::Retry, AfterHook::Hold] {
            let ended = ended("exit 3", Some(then));
            let Outcome::HookFailed { failure, then: said, held } = ended else { panic!() };
            assert_eq!(held, []);
            assert_eq!((failure.code, said), (Some(3), then));
            assert_eq!(failure.why, "onSynced: sh ended with code 3");
        }
        assert_eq!(ended("test \"$LSYNCD_SYNC\" = Sync1", Some(AfterHook::Hold)), Outcome::Done);
    }

    #[test]
    fn deletions_that_were_held_before_it_failed_are_told() {
        let at = tempfile::tempdir().unwrap();
        let deletions = vec![HeldDeletions {
            places: vec![Place::all()],
            count: 12,
            of: None,
            names: vec![],
            why: HeldFor::Budget,
        }];
        let outcome = Outcome::Split { large: vec![], failed: vec![], held: deletions.clone() };
        let ended = run((at.path(), "exit 3"), ("all", outcome), Some(AfterHook::Retry));
        let Outcome::HookFailed { held, .. } = ended else { panic!("{ended:?}") };
        assert_eq!(held, deletions);
    }
}
