//! Changes of the tree.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{PermissionsExt, symlink},
};

use rustix::fs::{CWD, Mode, mkfifoat};

use super::stage::Stage;
use crate::step::Change;

/// Makes a change.
pub(super) fn make(stage: &Stage, change: &Change) -> io::Result<()> {
    match change {
        Change::Write(path, text) => fs::write(stage.path(path)?, stage.filled(text)),
        Change::Append(path, text) => OpenOptions::new()
            .append(true)
            .open(stage.path(path)?)
            .and_then(|mut file| file.write_all(stage.filled(text).as_bytes())),
        Change::Mkdir(path) => fs::create_dir_all(stage.path(path)?),
        Change::Rename(from, to) => fs::rename(stage.path(from)?, stage.path(to)?),
        Change::Remove(path) => {
            let path = stage.path(path)?;
            if path.symlink_metadata()?.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
        }
        Change::Chmod(mode, path) => {
            fs::set_permissions(stage.path(path)?, Permissions::from_mode(*mode))
        }
        Change::Symlink(to, path) => symlink(stage.filled(to), stage.path(path)?),
        Change::Pipe(path) => Ok(mkfifoat(CWD, stage.path(path)?, Mode::RUSR | Mode::WUSR)?),
    }
}
