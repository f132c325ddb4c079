//! The changelog of the package.

use std::{env, path::Path, process::Command};

use super::PACKAGE;
use crate::build::{output_of, workspace};

/// Maintainer if the environment names none.
const MAINTAINER: &str = "The developers of Lsyncd in Rust <root@localhost>";

/// Returns the changelog in Debian's format.
pub(super) fn text(version: &str) -> Result<String, String> {
    let (maintainer, date) = (maintainer(), date(workspace())?);
    Ok(format!(
        "{PACKAGE} ({version}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {maintainer}  {date}\n"
    ))
}

/// Returns the maintainer, from the variables that Debian's own tools use.
pub(super) fn maintainer() -> String {
    match (env::var("DEBFULLNAME"), env::var("DEBEMAIL")) {
        (Ok(name), Ok(email)) => format!("{name} <{email}>"),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => MAINTAINER.into(),
    }
}

/// Returns the date of the last commit, or of now outside of a repository, in the form of RFC 5322.
fn date(top: &Path) -> Result<String, String> {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%cD"]).current_dir(top);
    if let Ok(date) = output_of(git)
        && !date.trim().is_empty()
    {
        return Ok(date.trim().to_owned());
    }
    let mut now = Command::new("date");
    now.arg("--rfc-email");
    Ok(output_of(now)?.trim().to_owned())
}
