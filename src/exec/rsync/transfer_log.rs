//! Log messages about the paths that a job transfers.

use std::fmt::{Display, Write as _};

use mirror_core::{
    path::{Escaped, TreePath},
    plan::options::ExcludeRules,
};

use super::run::RsyncRun;
use crate::{
    exec::survey::Survey,
    report::{Category, Log},
};

/// Limit on the names in one log message, where the category of all names is not enabled.
const MAX_LOGGED_NAMES: usize = 100;

/// Returns the limit on the names in one log message.
pub(super) fn max_logged_names(log: &Log) -> usize {
    if log.wants(Category::Debug("Names")) { usize::MAX } else { MAX_LOGGED_NAMES }
}

impl RsyncRun<'_> {
    pub(super) fn log_full(&self) {
        let plan = &self.executor.plan;
        let mut message = format!(
            "recursive full rsync: {} -> {}",
            Escaped(plan.source()),
            Escaped(plan.target().as_arg())
        );
        let (what, rules): (_, &[Vec<u8>]) = match &plan.options.rules {
            ExcludeRules::None => ("", &[]),
            ExcludeRules::Excludes(rules) => (" excluding", rules),
            ExcludeRules::Filters(rules) => (" filtering", rules),
        };
        message += what;
        let rules = rules.iter().map(|rule| Escaped(rule));
        append_capped(&mut message, rules, max_logged_names(&self.executor.log));
        self.executor.log.say(Category::Normal, message);
    }

    pub(super) fn log_survey(&self, found: &Survey) {
        let entries = found.entries.iter().map(|entry| &entry.path);
        let unwanted = found.unwanted.iter().map(|(path, _)| path);
        let mut names = entries.chain(&found.trees).chain(&found.gone).chain(unwanted);
        self.log_paths(&mut names);
    }

    pub(super) fn log_paths(&self, names: &mut dyn Iterator<Item = &TreePath>) {
        let mut names = names.peekable();
        if names.peek().is_none() || !self.executor.log.wants(Category::Normal) {
            return;
        }
        let mut message = "Calling rsync with filter-list of new/modified files/dirs".to_owned();
        let most = max_logged_names(&self.executor.log);
        append_capped(&mut message, names, most);
        self.executor.log.say(Category::Normal, message);
    }
}

/// Appends names, one per line, up to the number `most`.
pub(super) fn append_capped(
    message: &mut String,
    names: impl Iterator<Item = impl Display>,
    most: usize,
) {
    let mut more = 0_usize;
    for (number, name) in names.enumerate() {
        if number < most {
            // Writing to a `String` never fails.
            let _ = write!(message, "\n{name}");
        } else {
            more += 1;
        }
    }
    if more > 0 {
        let _ = write!(message, "\n... and {more} more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_names_is_truncated_and_counted() {
        let message = |number: usize| {
            let mut message = "names:".to_owned();
            let names = 0..number;
            append_capped(&mut message, names, MAX_LOGGED_NAMES);
            message
        };
        assert_eq!(message(0), "names:");
        assert_eq!(message(2), "names:\n0\n1");
        assert!(message(MAX_LOGGED_NAMES).ends_with("\n98\n99"));
        assert!(message(MAX_LOGGED_NAMES + 7).ends_with("\n99\n... and 7 more"));
    }
}
