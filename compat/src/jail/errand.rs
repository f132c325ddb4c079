//! What a jail is for, as words of a command line.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::mark::Side;

/// What is to be done in a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// The process that asks for it, with which it ends.
    pub parent: u32,
    /// The file of the case. `None`: only whether there can be a jail.
    pub case: Option<PathBuf>,
    /// The side that is played.
    pub side: Side,
    /// An empty directory that becomes the case's own.
    pub place: PathBuf,
    /// How long something that must be seen may take.
    pub patience: Duration,
    /// What is run.
    pub programs: Programs,
}

/// The programs that a jail needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The jail itself.
    pub jail: PathBuf,
    /// What stands in the place of rsync and others.
    pub recorder: PathBuf,
    /// The one that is tested.
    pub tested: PathBuf,
}

impl Errand {
    /// As words of a command line.
    #[must_use]
    pub fn to_words(&self) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![
            self.parent.to_string(),
            self.case.as_deref().map(text).unwrap_or_default(),
            self.side.name().to_owned(),
            text(&self.place),
            self.patience.as_millis().to_string(),
            text(&self.programs.jail),
            text(&self.programs.recorder),
            text(&self.programs.tested),
        ]
    }

    /// From such words.
    #[must_use]
    pub fn from_words(words: &[String]) -> Option<Self> {
        let [parent, case, side, place, patience, jail, recorder, tested] = words else {
            return None;
        };
        Some(Self {
            parent: parent.parse().ok()?,
            case: (!case.is_empty()).then(|| case.into()),
            side: Side::named(side)?,
            place: place.into(),
            patience: Duration::from_millis(patience.parse().ok()?),
            programs: Programs {
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
    fn an_errand_is_the_same_on_the_other_side() {
        let programs =
            Programs { jail: "/j".into(), recorder: "/r".into(), tested: "/usr/bin/l".into() };
        let errand = Errand {
            parent: 7,
            case: Some("/a b.case".into()),
            side: Side::Theirs,
            place: "/tmp/x".into(),
            patience: Duration::from_secs(3),
            programs,
        };
        assert_eq!(Errand::from_words(&errand.to_words()).as_ref(), Some(&errand));
        let probe = Errand { case: None, ..errand };
        assert_eq!(Errand::from_words(&probe.to_words()), Some(probe));
        assert_eq!(Errand::from_words(&[]), None);
    }
}
