//! Identities as text, to be stored until a later run.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use super::{DirIdentity, FileSystem, InodeIdentity};
use crate::{
    file_handle::FileHandle,
    hex::{hex, unhex},
};

/// Text for what is unknown.
const UNKNOWN: &str = "-";

impl InodeIdentity {
    /// Encodes the identity.
    #[must_use]
    pub fn encode(&self) -> String {
        let Self { number, birth, handle } = self;
        let birth = birth.map(|(seconds, nanoseconds)| format!("{seconds}.{nanoseconds}"));
        let handle = handle.as_ref().map(|handle| hex(handle.as_bytes()));
        format!("{number} {} {}", or_unknown(birth), or_unknown(handle))
    }

    /// Decodes an identity. `None` if the text is not one.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut fields = text.split(' ');
        let number = fields.next()?.parse().ok()?;
        let birth = known(fields.next()?, |birth| {
            let (seconds, nanoseconds) = birth.split_once('.')?;
            Some((seconds.parse().ok()?, nanoseconds.parse().ok()?))
        })?;
        let handle = known(fields.next()?, |handle| FileHandle::from_bytes(&unhex(handle)?))?;
        fields.next().is_none().then_some(Self { number, birth, handle })
    }
}

impl FileSystem {
    /// Encodes the identity, without the device number, which is another one after the next mount.
    #[must_use]
    pub fn encode(&self) -> String {
        let Self { magic, uuid, fsid, volume, device: _ } = self;
        let uuid = or_unknown(uuid.map(|uuid| hex(&uuid)));
        let fsid = or_unknown(fsid.map(|fsid| format!("{fsid:x}")));
        let volume = volume.as_ref().map(|volume| hex(volume.as_encoded_bytes()));
        format!("{magic:x} {uuid} {fsid} {}", or_unknown(volume))
    }

    /// Decodes an identity, whose device number is unknown. `None` if the text is not one.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut fields = text.split(' ');
        let number = |text| u64::from_str_radix(text, 16).ok();
        let magic = number(fields.next()?)?;
        let uuid = known(fields.next()?, |uuid| unhex(uuid)?.try_into().ok())?;
        let fsid = known(fields.next()?, number)?;
        let volume = known(fields.next()?, |name| Some(OsString::from_vec(unhex(name)?)))?;
        let is_end = fields.next().is_none();
        is_end.then_some(Self { magic, uuid, fsid, volume, device: None })
    }
}

impl DirIdentity {
    /// Returns the identity of a directory of an earlier run. It equals none of the present ones:
    /// only its [`inode`](Self::inode) can be compared.
    #[must_use]
    pub const fn of_earlier(inode: InodeIdentity) -> Self {
        // The kernel numbers mounts from one.
        Self { mount: 0, device: (0, 0), is_mount_root: false, inode }
    }
}

fn or_unknown(text: Option<String>) -> String {
    text.unwrap_or_else(|| UNKNOWN.into())
}

/// Decodes a field. The outer `None` is an error.
#[expect(clippy::option_option, reason = "an error is not an unknown value")]
fn known<'a, T>(text: &'a str, decode: impl FnOnce(&'a str) -> Option<T>) -> Option<Option<T>> {
    if text == UNKNOWN { Some(None) } else { decode(text).map(Some) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::dir::Dir;

    #[test]
    fn stored_identities_are_those_of_the_directory() {
        for path in ["/", "/proc", "/tmp"] {
            let dir = Dir::open(Path::new(path)).unwrap();
            let instance = DirIdentity::of_mount(&dir).unwrap();
            let inode = InodeIdentity::decode(&instance.inode().encode()).unwrap();
            assert!(inode.is_same(instance.inode()), "{path}");
            assert_eq!(inode.encode(), instance.inode().encode());
            assert_ne!(DirIdentity::of_earlier(inode), instance);
            let file_system = FileSystem::of(&dir).unwrap();
            let stored = FileSystem::decode(&file_system.encode()).unwrap();
            assert!(stored.is_same_part(&file_system), "{path}: {}", file_system.encode());
            assert_eq!(stored.encode(), file_system.encode());
        }
    }

    #[test]
    fn unknown_parts_are_kept_apart_from_damaged_ones() {
        let inode = |text| InodeIdentity::decode(text).map(|it| it.encode());
        for text in ["2 - -", "2 -5.7 -", "2 5.7 0100000001000000ff"] {
            assert_eq!(inode(text).as_deref(), Some(text));
        }
        for text in ["", "2", "2 -", "x - -", "2 5 -", "2 - 1", "2 - +1", "2 - ff", "2 - - -"] {
            assert_eq!(inode(text), None, "{text}");
        }
        let file_system = |text| FileSystem::decode(text).map(|it| it.encode());
        let all = "ef53 00112233445566778899aabbccddeeff 12 6162";
        for text in [all, "6969 - - 6162", "1 - - -"] {
            assert_eq!(file_system(text).as_deref(), Some(text));
        }
        for text in ["", "ef53 1122 - -", "ef53 - x -", "ef53 - - 1", "ef53 - -", "1 - - - -"] {
            assert_eq!(file_system(text), None, "{text}");
        }
    }

    #[test]
    fn an_unknown_device_is_no_difference() {
        let stored = |text| FileSystem::decode(text).unwrap();
        let present = FileSystem { device: Some((8, 1)), ..stored("1 - - -") };
        assert!(stored("1 - - -").is_same(&present));
        assert!(!stored("2 - - -").is_same(&present));
        let is_lasting = |text, is_same_boot| stored(text).is_lasting(is_same_boot);
        assert!(is_lasting("ef53 - 1 -", false));
        assert!(is_lasting("1021994 - 1 -", true) && !is_lasting("1021994 - 1 -", false));
        assert!(!is_lasting("794c7630 - 1 -", true));
    }
}
