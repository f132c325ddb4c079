//! A case file: a header, actions and expected observations.

use crate::{
    expectation::{DifferenceReason, Expectation, Implementation},
    step::CaseAction,
};

/// Indentation of the lines of a block.
const INDENT: &str = "    ";

/// A parsed case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// One sentence that states the behaviour.
    pub title: String,
    /// The implementations with which it must pass.
    pub expectation: Expectation,
    /// Reasons for steps that apply to one implementation only.
    pub differs: Vec<DifferenceReason>,
    /// The steps, in order.
    pub steps: Vec<CaseStep>,
}

/// A step with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseStep {
    /// Line number, from 1 on.
    pub line: usize,
    /// The only implementation to which it applies. `None`: both.
    pub only: Option<Implementation>,
    /// The action or observation.
    pub action: CaseAction,
}

/// A partially parsed case.
#[derive(Default)]
struct CaseParser {
    title: Option<String>,
    expectation: Option<Expectation>,
    differs: Vec<DifferenceReason>,
    steps: Vec<CaseStep>,
}

impl Case {
    /// Parses a case.
    ///
    /// # Errors
    ///
    /// Returns the first error and its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = CaseParser::default();
        let mut lines = text.lines().zip(1..).peekable();
        while let Some((line, number)) = lines.next() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let mut block = Vec::new();
            while let Some((inner, _)) = lines.next_if(|(inner, _)| is_in_block(inner)) {
                block.push(inner.strip_prefix(INDENT).unwrap_or_default().to_owned());
            }
            while block.last().is_some_and(String::is_empty) {
                block.pop();
            }
            parser.add(number, line, &block).map_err(|error| format!("line {number}: {error}"))?;
        }
        parser.finish()
    }

    /// Returns the steps for one implementation.
    pub fn steps_for(&self, tested: Implementation) -> impl Iterator<Item = &CaseStep> {
        self.steps.iter().filter(move |step| step.only.is_none_or(|only| only == tested))
    }

    /// Returns all reasons that the case names.
    pub fn reasons(&self) -> impl Iterator<Item = &DifferenceReason> {
        self.expectation.reason().into_iter().chain(&self.differs)
    }
}

/// Returns true if a line belongs to a block. Empty lines do, at least between other ones.
fn is_in_block(line: &str) -> bool {
    line.starts_with(INDENT) || line.is_empty()
}

impl CaseParser {
    fn add(&mut self, number: usize, line: &str, block: &[String]) -> Result<(), String> {
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        match keyword {
            "title" => self.title = Some(rest.to_owned()),
            "expect" => self.expectation = Some(Expectation::parse(rest)?),
            "differs" => self.differs.push(DifferenceReason::parse(rest)?),
            _ => {
                let only = Implementation::from_name(keyword);
                let action = CaseAction::parse(if only.is_some() { rest } else { line }, block)?;
                self.steps.push(CaseStep { line: number, only, action });
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Case, String> {
        let is_split = self.steps.iter().any(|step| step.only.is_some());
        if is_split == self.differs.is_empty() {
            let error = "steps for one implementation and a reason by `differs` go together";
            return Err(error.to_owned());
        }
        if !self.steps.iter().any(|step| matches!(step.action, CaseAction::Start(_))) {
            return Err("it starts nothing".to_owned());
        }
        if !self.steps.iter().any(|step| matches!(step.action, CaseAction::Observe(_))) {
            return Err("it observes nothing".to_owned());
        }
        let title = self.title.ok_or("it has no title")?;
        let expectation = self.expectation.ok_or("it has no expectation")?;
        Ok(Case { title, expectation, differs: self.differs, steps: self.steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{Observation, TreeEdit};

    #[test]
    fn a_case_is_parsed() {
        let case = Case::parse(
            "# why\ntitle It exits\nexpect both\ndiffers issue 3\nconfig\n    a\n\n      b\n\n\
             start\nours exit 1\n",
        )
        .unwrap();
        assert_eq!(case.title, "It exits");
        assert_eq!(case.reasons().collect::<Vec<_>>(), [&DifferenceReason::Issue(3)]);
        let config = TreeEdit::Write("@/config.lua".into(), "a\n\n  b\n".into());
        assert_eq!(case.steps[0].action, CaseAction::Edit(config));
        let exit = CaseStep {
            line: 11,
            only: Some(Implementation::Ours),
            action: CaseAction::Observe(Observation::Exit(1)),
        };
        assert_eq!(case.steps[2], exit);
        assert_eq!(case.steps_for(Implementation::Original).count(), 2);
    }

    #[test]
    fn an_incomplete_or_malformed_case_is_rejected() {
        for (text, expected) in [
            ("expect both\nstart\nexit 1", "no title"),
            ("title a\nstart\nexit 1", "no expectation"),
            ("title a\nexpect both\nexit 1", "starts nothing"),
            ("title a\nexpect both\nstart", "observes nothing"),
            ("title a\nexpect both\nstart\nours exit 1", "go together"),
            ("title a\nexpect both\ndiffers issue 3\nstart\nexit 1", "go together"),
            ("title a\nexpect both\nstart\ndance", "line 4: no step: dance"),
        ] {
            let error = Case::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
