//! Changes of files and directories.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{PermissionsExt, symlink},
};

use rustix::fs::{CWD, Mode, mkfifoat};

use super::directory::CaseDirectory;
use crate::step::TreeEdit;

/// Carries out an edit.
pub(super) fn apply(directory: &CaseDirectory, edit: &TreeEdit) -> io::Result<()> {
    match edit {
        TreeEdit::Write(path, text) => fs::write(directory.resolve(path)?, directory.expand(text)),
        TreeEdit::Append(path, text) => OpenOptions::new()
            .append(true)
            .open(directory.resolve(path)?)
            .and_then(|mut file| file.write_all(directory.expand(text).as_bytes())),
        TreeEdit::Mkdir(path) => fs::create_dir_all(directory.resolve(path)?),
        TreeEdit::Rename(from, to) => fs::rename(directory.resolve(from)?, directory.resolve(to)?),
        TreeEdit::Remove(path) => {
            let path = directory.resolve(path)?;
            if path.symlink_metadata()?.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
        }
        TreeEdit::Chmod(mode, path) => {
            fs::set_permissions(directory.resolve(path)?, Permissions::from_mode(*mode))
        }
        TreeEdit::Symlink(to, path) => symlink(directory.expand(to), directory.resolve(path)?),
        TreeEdit::Mkfifo(path) => {
            Ok(mkfifoat(CWD, directory.resolve(path)?, Mode::RUSR | Mode::WUSR)?)
        }
    }
}
