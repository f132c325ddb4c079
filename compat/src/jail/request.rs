//! The request to run a case in a jail, and its form as arguments of a command line.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::expectation::Implementation;

/// A request to run one case with one implementation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailRequest {
    /// The process of the suite. The jail exits with it.
    pub parent: u32,
    /// The file of the case. `None`: only print the version of the tested program.
    pub case: Option<PathBuf>,
    /// The implementation under test.
    pub tested: Implementation,
    /// An empty directory that becomes the case's own.
    pub directory: PathBuf,
    /// The time limit for each observation.
    pub timeout: Duration,
    /// The programs to run.
    pub programs: JailPrograms,
}

/// The programs that a jail needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailPrograms {
    /// `compat-jail`.
    pub jail: PathBuf,
    /// `compat-recorder`, which replaces rsync and others.
    pub recorder: PathBuf,
    /// The program under test.
    pub tested: PathBuf,
}

impl JailRequest {
    /// Encodes the request as arguments.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![
            self.parent.to_string(),
            self.case.as_deref().map(text).unwrap_or_default(),
            self.tested.name().to_owned(),
            text(&self.directory),
            self.timeout.as_millis().to_string(),
            text(&self.programs.jail),
            text(&self.programs.recorder),
            text(&self.programs.tested),
        ]
    }

    /// Decodes the arguments of [`Self::to_args`].
    #[must_use]
    pub fn from_args(args: &[String]) -> Option<Self> {
        let [parent, case, implementation, directory, timeout, jail, recorder, tested] = args
        else {
            return None;
        };
        Some(Self {
            parent: parent.parse().ok()?,
            case: (!case.is_empty()).then(|| case.into()),
            tested: Implementation::from_name(implementation)?,
            directory: directory.into(),
            timeout: Duration::from_millis(timeout.parse().ok()?),
            programs: JailPrograms {
                jail: jail.into(),
                recorder: recorder.into(),
                tested: tested.into(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_encoding() {
        let programs =
            JailPrograms { jail: "/j".into(), recorder: "/r".into(), tested: "/usr/bin/l".into() };
        let request = JailRequest {
            parent: 7,
            case: Some("/a b.case".into()),
            tested: Implementation::Original,
            directory: "/tmp/x".into(),
            timeout: Duration::from_secs(3),
            programs,
        };
        assert_eq!(JailRequest::from_args(&request.to_args()).as_ref(), Some(&request));
        let version = JailRequest { case: None, ..request };
        assert_eq!(JailRequest::from_args(&version.to_args()), Some(version));
        assert_eq!(JailRequest::from_args(&[]), None);
    }
}
