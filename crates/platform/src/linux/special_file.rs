//! Fifos, sockets and devices: `mknodat(2)`.

use std::{
    ffi::OsStr,
    os::{fd::AsFd, unix::ffi::OsStrExt},
};

use rustix::{
    fs::{Mode, makedev, mknodat},
    io::Errno,
};

use crate::stat::Stat;

/// Creates an entry of the type and the device that `like` has, accessible by its owner only.
///
/// # Errors
///
/// As `mknodat(2)`.
pub fn create(dir: impl AsFd, name: &[u8], like: &Stat) -> Result<(), Errno> {
    let (major, minor) = like.special_device;
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(dir, OsStr::from_bytes(name), like.file_type(), mode, makedev(major, minor))
}
