//! Where a case is played.

use std::{
    cell::RefCell,
    fs, io,
    os::unix::net::UnixDatagram,
    path::{Component, Path, PathBuf},
};

use crate::call::Calls;

/// How the place of a case is written in it.
const PLACE: &str = "@/";

/// What scripts tell things with, `@/tell.lua`.
const TELL: &str = include_str!("tell.lua");

/// The largest message to the log of the system that is looked at.
const LONGEST_MESSAGE: usize = 64 * 1024;

/// The directory of one case: a source `src` with one file, an empty target `trg`, what scripts tell
/// things with, and what the programs leave.
pub(super) struct Stage {
    place: PathBuf,
    syslog: UnixDatagram,
    heard: RefCell<Vec<String>>,
}

impl Stage {
    pub(super) fn new(place: &Path, syslog: UnixDatagram) -> io::Result<Self> {
        for name in ["src", "trg", "calls"] {
            fs::create_dir(place.join(name))?;
        }
        fs::write(place.join("src/seed"), "seed\n")?;
        syslog.set_nonblocking(true)?;
        let stage = Self { place: place.to_owned(), syslog, heard: RefCell::default() };
        fs::write(place.join("tell.lua"), stage.filled(TELL))?;
        Ok(stage)
    }

    /// The directory itself.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    pub(super) fn calls(&self) -> Calls {
        Calls::below(&self.place.join("calls"))
    }

    /// A text of the case, with the place in it.
    pub(super) fn filled(&self, text: &str) -> String {
        text.replace(PLACE, &format!("{}/", self.place.display()))
    }

    /// A path of the case, which is below the place: the jail would not let it be elsewhere.
    pub(super) fn path(&self, path: &str) -> io::Result<PathBuf> {
        let below = path.strip_prefix(PLACE).map(Path::new);
        let below = below.map_or_else(|| Path::new("src").join(path), Path::to_owned);
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if below.components().all(plain) {
            Ok(self.place.join(below))
        } else {
            Err(io::Error::other(format!("{path} is not below the case's own directory")))
        }
    }

    /// What a file in the place has. Nothing if there is none.
    pub(super) fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.place.join(name)).unwrap_or_default()).into_owned()
    }

    /// What was sent to the log of the system.
    pub(super) fn syslog(&self) -> Vec<String> {
        let mut heard = self.heard.borrow_mut();
        let mut message = vec![0; LONGEST_MESSAGE];
        while let Ok(length) = self.syslog.recv(&mut message) {
            let message = message.get(..length).unwrap_or_default();
            heard.push(String::from_utf8_lossy(message).trim_end_matches(['\n', '\0']).to_owned());
        }
        heard.clone()
    }
}
