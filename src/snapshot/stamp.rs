//! Stamps: keyed hashes of the metadata of entries.

use std::{
    hash::Hasher,
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mirror_core::snapshot::Stamp;
use mirror_platform::stat::Stat;
use siphasher::sip::SipHasher13;

use crate::random_bytes;

/// Age from which a time proves that later changes get another one: the clock of a local file
/// system has a grain of at most 10 ms, and the clock of this process the same source.
const SETTLED_AGE: Duration = Duration::from_secs(1);

/// Random key of a snapshot, so that nobody can choose metadata with equal hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StampKey(pub(super) [u8; 16]);

impl StampKey {
    /// Creates a random key.
    ///
    /// # Errors
    ///
    /// As `open(2)` and `read(2)` of `/dev/urandom`.
    pub(crate) fn random() -> io::Result<Self> {
        Ok(Self(random_bytes()?))
    }

    fn hasher(self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }

    /// Returns the hash of a path.
    pub(super) fn hash(self, bytes: &[u8]) -> u64 {
        self.hasher().hash(bytes)
    }

    /// Returns the stamp of a directory in the listing of its parent: it says only that it is the
    /// same directory.
    pub(super) fn of_subdirectory(self, inode: u64) -> Stamp {
        let mut hasher = self.hasher();
        hasher.write_u64(inode);
        Stamp::new(hasher.finish())
    }

    /// Returns the stamp of an entry, or of the directory itself.
    pub(super) fn of(self, stat: &Stat, settled: SettledBefore) -> Stamp {
        // The modification time can be set to anything: only the change time proves something.
        let changed = (stat.ctime.seconds, stat.ctime.nanoseconds);
        if changed >= (settled.seconds, settled.nanoseconds) {
            return Stamp::UNSETTLED;
        }
        let mut hasher = self.hasher();
        for number in [
            stat.inode,
            u64::from(stat.mode),
            u64::from(stat.uid) << 32 | u64::from(stat.gid),
            stat.size,
            u64::from(stat.special_device.0) << 32 | u64::from(stat.special_device.1),
            stat.mtime.seconds.cast_unsigned(),
            stat.ctime.seconds.cast_unsigned(),
            u64::from(stat.mtime.nanoseconds) << 32 | u64::from(stat.ctime.nanoseconds),
        ] {
            hasher.write_u64(number);
        }
        Stamp::new(hasher.finish())
    }
}

/// Time before which the change time of an entry has to lie, so that its stamp proves something.
#[derive(Clone, Copy, Debug)]
pub(super) struct SettledBefore {
    seconds: i64,
    nanoseconds: u32,
}

impl SettledBefore {
    /// Returns the limit for what is read from now on.
    pub(super) fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let limit = now.saturating_sub(SETTLED_AGE);
        Self {
            seconds: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: limit.subsec_nanos(),
        }
    }
}
