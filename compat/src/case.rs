//! One case: a file that says what is done and what must be seen.

use crate::{
    mark::{Mark, Reason, Side},
    step::Step,
};

/// What lines of a block begin with.
const INDENT: &str = "    ";

/// A case, read and complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it shows, in a sentence.
    pub title: String,
    /// With which program it has to pass.
    pub mark: Mark,
    /// Why some of its steps are for one side only.
    pub differs: Vec<Reason>,
    /// What is done and seen, in this order.
    pub lines: Vec<Line>,
}

/// A step, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its line, from 1 on.
    pub number: usize,
    /// The only side for which it counts.
    pub only: Option<Side>,
    /// What is done or seen.
    pub step: Step,
}

/// What was read so far.
#[derive(Default)]
struct Draft {
    title: Option<String>,
    mark: Option<Mark>,
    differs: Vec<Reason>,
    lines: Vec<Line>,
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, and its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut draft = Draft::default();
        let mut lines = text.lines().zip(1..).peekable();
        while let Some((line, number)) = lines.next() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let mut block = Vec::new();
            while let Some((inner, _)) = lines.next_if(|(inner, _)| is_inner(inner)) {
                block.push(inner.strip_prefix(INDENT).unwrap_or_default().to_owned());
            }
            while block.last().is_some_and(String::is_empty) {
                block.pop();
            }
            draft.take(number, line, &block).map_err(|error| format!("line {number}: {error}"))?;
        }
        draft.finish()
    }

    /// The steps for one side.
    pub fn lines_for(&self, side: Side) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.only.is_none_or(|only| only == side))
    }

    /// All reasons that it names.
    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        self.mark.reason().into_iter().chain(&self.differs)
    }
}

/// Whether a line belongs to a block. Empty lines do, at least between others.
fn is_inner(line: &str) -> bool {
    line.starts_with(INDENT) || line.is_empty()
}

impl Draft {
    fn take(&mut self, number: usize, line: &str, block: &[String]) -> Result<(), String> {
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        match keyword {
            "title" => self.title = Some(rest.to_owned()),
            "mark" => self.mark = Some(Mark::parse(rest)?),
            "differs" => self.differs.push(Reason::parse(rest)?),
            _ => {
                let only = Side::named(keyword);
                let step = Step::parse(if only.is_some() { rest } else { line }, block)?;
                self.lines.push(Line { number, only, step });
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Case, String> {
        let sided = self.lines.iter().any(|line| line.only.is_some());
        if sided == self.differs.is_empty() {
            return Err("steps for one side, and a reason by `differs`, go together".to_owned());
        }
        for (kind, missing) in [("starts", !self.has_start()), ("sees", !self.has_sight())] {
            if missing {
                return Err(format!("it {kind} nothing"));
            }
        }
        let title = self.title.ok_or("it has no title")?;
        let mark = self.mark.ok_or("it has no mark")?;
        Ok(Case { title, mark, differs: self.differs, lines: self.lines })
    }

    fn has_start(&self) -> bool {
        self.lines.iter().any(|line| matches!(line.step, Step::Start(_)))
    }

    fn has_sight(&self) -> bool {
        self.lines.iter().any(|line| matches!(line.step, Step::See(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{Change, Sight};

    #[test]
    fn a_case_is_read() {
        let case = Case::parse(
            "# why\ntitle It ends\nmark both\ndiffers issue 3\nconfig\n    a\n\n      b\n\nstart\n\
             ours exit 1\n",
        )
        .unwrap();
        assert_eq!(case.title, "It ends");
        assert_eq!(case.reasons().collect::<Vec<_>>(), [&Reason::Issue(3)]);
        let written = Change::Write("@/config.lua".into(), "a\n\n  b\n".into());
        assert_eq!(case.lines[0].step, Step::Change(written));
        let exit = Line { number: 11, only: Some(Side::Ours), step: Step::See(Sight::Exit(1)) };
        assert_eq!(case.lines[2], exit);
        assert_eq!(case.lines_for(Side::Theirs).count(), 2);
    }

    #[test]
    fn what_is_missing_or_wrong_is_told() {
        for (text, told) in [
            ("mark both\nstart\nexit 1", "no title"),
            ("title a\nstart\nexit 1", "no mark"),
            ("title a\nmark both\nexit 1", "starts nothing"),
            ("title a\nmark both\nstart", "sees nothing"),
            ("title a\nmark both\nstart\nours exit 1", "go together"),
            ("title a\nmark both\ndiffers issue 3\nstart\nexit 1", "go together"),
            ("title a\nmark both\nstart\ndance", "line 4: no step: dance"),
        ] {
            let error = Case::parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
