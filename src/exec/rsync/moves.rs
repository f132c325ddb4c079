//! Renames at the target, by a shell there. All of them are hints: rsync looks at both names
//! afterwards like at anything else.

use std::{collections::BTreeSet, io, sync::Arc};

use mirror_core::{
    job::{Failure, Grounds, Outcome, Place, Rename, Scope},
    path::{Escaped, TreePath},
    plan::{
        exit::{ExitClass, ExitCodes},
        moves::joined,
    },
};
use mirror_platform::dir::Dir;

use super::batch::MOST_NAMES;
use crate::{
    exec::{
        process::cancel::Stop,
        ssh::{Done, Shell, Step, StepKind, Unsettled},
        survey::{What, what_at},
    },
    report::{Category, Log},
};

/// Where renames are made.
#[derive(Debug)]
pub struct Renames {
    /// Who makes them.
    pub shell: Arc<Shell>,
    /// The target on that machine; a relative one counts from where the shell starts.
    pub directory: Vec<u8>,
    /// What the exit codes of ssh mean to the user. A rename that fails is a transfer, so only
    /// those count that end the daemon.
    pub codes: ExitCodes,
}

impl Renames {
    /// Sees to it that no rename of an earlier job can still happen.
    pub(super) fn settle(&self, stop: &Stop) -> Result<(), Outcome> {
        self.shell.settle(stop).map_err(again)
    }

    /// Repeats those that still make sense: the old name is gone from the source and the new one
    /// is there. Returns places that have to be looked at because of it, and the names that what was
    /// renamed has there now.
    pub(super) fn carry_out(
        &self,
        root: &Dir,
        moves: &[Rename],
        (log, stop): (&Log, &Stop),
    ) -> Result<(Vec<Place>, Vec<TreePath>), Outcome> {
        let hints = joined(moves);
        let steps = steps(&hints, |path| what_at(root, path));
        if steps.is_empty() {
            return Ok(Default::default());
        }
        let Some(done) = self.shell.rename(&self.directory, &steps, stop).map_err(again)? else {
            let why = || "no shell for a rename".into();
            return self
                .shell
                .code()
                .and_then(|code| self.fatal(code, why))
                .map_or(Ok(Default::default()), Err);
        };
        tell(log, steps.iter().zip(&done));
        let places = steps.iter().zip(&done).filter_map(|(step, done)| made(step, *done)).collect();
        let renamed = steps.iter().zip(&done).filter(|(_, done)| done.renamed);
        let names = renamed.flat_map(|(step, _)| match step.kind {
            StepKind::Swap => vec![&step.from, &step.to],
            StepKind::Directory | StepKind::Other => vec![&step.to],
        });
        Ok((places, names.filter_map(|name| TreePath::new(name)).collect()))
    }

    /// What an exit code of ssh means where the user said that it ends the daemon.
    pub(super) fn fatal(&self, code: i32, why: impl FnOnce() -> String) -> Option<Outcome> {
        let grounds = Grounds::User;
        let is_fatal = self.codes.class(code) == ExitClass::Fatal(grounds);
        is_fatal.then(|| Outcome::Fatal(Failure { code: Some(code), why: why() }, grounds))
    }
}

fn again(Unsettled(why): Unsettled) -> Outcome {
    Outcome::Again(Failure::new(why))
}

/// What of the hints can be done, as far as the source tells.
///
/// A symbolic link is made anew: it must not come before what it may lead to, and is as quickly
/// made as renamed.
fn steps(hints: &[Rename], what_at: impl Fn(&TreePath) -> io::Result<Option<What>>) -> Vec<Step> {
    let all: BTreeSet<(&TreePath, &TreePath)> = hints.iter().map(|it| (&it.from, &it.to)).collect();
    let step = |Rename { from, to }: &Rename| {
        let is = what_at(to).ok()??;
        let kind = match (what_at(from).ok()?, is) {
            (_, What::Link) | (Some(What::Link), _) => return None,
            (None, What::Directory) => StepKind::Directory,
            (None, What::File | What::Other) => StepKind::Other,
            // Both hints are one step.
            (Some(_), _) if from < to && all.contains(&(to, from)) => StepKind::Swap,
            (Some(_), _) => return None,
        };
        Some(Step { kind, from: from.as_bytes().to_vec(), to: to.as_bytes().to_vec() })
    };
    hints.iter().filter_map(step).collect()
}

/// The first directory that was made for a rename, with all that belongs into it.
fn made(step: &Step, done: Done) -> Option<Place> {
    let mut path = TreePath::root();
    for name in step.to.split(|&byte| byte == b'/').take(done.made?) {
        path.push(name)?;
    }
    Some(Place { path, scope: Scope::Tree })
}

fn tell<'a>(log: &Log, steps: impl Iterator<Item = (&'a Step, &'a Done)>) {
    if !log.wants(Category::Normal) {
        return;
    }
    let mut more = 0_usize;
    for (number, (step, _)) in steps.filter(|(_, done)| done.renamed).enumerate() {
        if number < MOST_NAMES {
            let (from, to) = (Escaped(&step.from), Escaped(&step.to));
            log.say(Category::Normal, format_args!("Moving {from} -> {to}"));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        log.say(Category::Normal, format_args!("... and {more} more"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_rename_is_repeated_if_the_source_does_not_speak_against_it() {
        // In the source are the directories `d` and `e`, the files `f` and `g` and the link `l`.
        let what_at = |path: &TreePath| match path.as_bytes() {
            b"d" | b"e" => Ok(Some(What::Directory)),
            b"f" | b"g" => Ok(Some(What::File)),
            b"l" => Ok(Some(What::Link)),
            b"unreadable" => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            _ => Ok(None),
        };
        for (hints, expected) in [
            ("x>d x>f", "Directory x>d, Other x>f"),
            ("x>y f>y", ""),
            ("f>g d>f", ""),
            ("g>f f>g d>e e>d", "Swap f>g, Swap d>e"),
            ("unreadable>f x>unreadable", ""),
            ("x>l f>l l>f", ""),
        ] {
            let hints: Vec<Rename> = hints
                .split(' ')
                .map(|hint| hint.split_once('>').unwrap())
                .map(|(from, to)| Rename { from: path(from), to: path(to) })
                .collect();
            let text = |step: &Step| {
                let [from, to] = [&step.from, &step.to].map(|path| String::from_utf8_lossy(path));
                format!("{:?} {from}>{to}", step.kind)
            };
            let steps: Vec<String> = steps(&hints, what_at).iter().map(text).collect();
            assert_eq!(steps.join(", "), expected);
        }
    }

    #[test]
    fn what_was_made_for_a_rename_is_looked_at_as_a_whole() {
        let step = Step { kind: StepKind::Other, from: b"x".to_vec(), to: b"a/b/c".to_vec() };
        let made = |first| made(&step, Done { renamed: true, made: first });
        assert_eq!(made(None), None);
        assert_eq!(made(Some(2)), Some(Place { path: path("a/b"), scope: Scope::Tree }));
    }
}
