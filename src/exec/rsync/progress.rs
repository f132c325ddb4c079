//! Progress and statistics in the output of rsync.

use std::time::Duration;

use mirror_core::plan::stderr::parse_grouped_number;

use super::call_report::DELETED_COUNT;
use crate::report::{CallProgress, TransferMeter};

/// Reader of the numbers of one call.
#[derive(Debug)]
pub(super) struct ProgressReader<'a> {
    meter: &'a TransferMeter,
    /// Parses lines of `--info=progress2`.
    pub(super) is_shown: bool,
    last: CallProgress,
    /// True while rsync still looks for files, so that its estimates grow.
    is_scanning: bool,
    files: Option<u64>,
    bytes: Option<u64>,
    deleted: Option<u64>,
}

/// Kinds of changes that a call without statistics can make.
#[derive(Clone, Copy, Debug)]
pub(super) struct PossibleChanges {
    /// It can transfer files.
    pub(super) transfers: bool,
    /// It can delete.
    pub(super) deletes: bool,
}

impl<'a> ProgressReader<'a> {
    pub(super) fn new(meter: &'a TransferMeter, is_shown: bool) -> Self {
        let last = CallProgress::default();
        let (files, bytes, deleted) = (None, None, None);
        Self { meter, is_shown, last, is_scanning: false, files, bytes, deleted }
    }

    /// Reads a line of stdout. Returns true for a line of the progress, which nobody else needs.
    pub(super) fn read(&mut self, line: &[u8]) -> bool {
        if self.is_shown && self.read_progress(line) {
            return true;
        }
        let after = |heads: &[&[u8]]| {
            let rest = heads.iter().find_map(|head| line.strip_prefix(*head));
            rest.and_then(parse_grouped_number)
        };
        let files =
            [&b"Number of regular files transferred: "[..], b"Number of files transferred: "];
        self.files = after(&files).or(self.files);
        self.bytes = after(&[b"Total transferred file size: "]).or(self.bytes);
        self.deleted = after(&[DELETED_COUNT]).or(self.deleted);
        false
    }

    /// Reads a line such as `1,238,099 38% 1.13MB/s 0:00:08 (xfr#5, to-chk=169/396)`.
    fn read_progress(&mut self, line: &[u8]) -> bool {
        let words: Vec<&[u8]> =
            line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
        let [bytes, percent, rate, time, files @ ..] = &*words else { return false };
        let Some(percent) = percent.strip_suffix(b"%").and_then(parse_grouped_number) else {
            return false;
        };
        if !rate.ends_with(b"B/s") || !bytes.first().is_some_and(u8::is_ascii_digit) {
            return false;
        }
        if let [number, checks] = files {
            let number = number.strip_prefix(b"(xfr#").and_then(parse_grouped_number);
            self.last.files = number.unwrap_or(self.last.files);
            self.is_scanning = checks.starts_with(b"ir-chk");
        }
        self.last.bytes = parse_grouped_number(bytes).unwrap_or_default();
        let is_known = !self.is_scanning && percent < 100;
        self.last.percent = u8::try_from(percent).ok().filter(|_| !self.is_scanning);
        // At the end it is the time that was needed.
        self.last.left = if is_known { parse_time(time) } else { None };
        self.meter.set_call(Some(self.last));
        true
    }

    /// Counts what the call has transferred and deleted. Without statistics that is unknown,
    /// unless nothing was `possible`.
    pub(super) fn finish(self, possible: PossibleChanges) {
        self.meter.set_call(None);
        if self.files.is_none() && possible.transfers && !self.is_shown {
            self.meter.add_uncounted_transfer();
        }
        if self.deleted.is_none() && possible.deletes {
            self.meter.add_uncounted_deletion();
        }
        self.meter
            .add(self.files.unwrap_or(self.last.files), self.bytes.unwrap_or(self.last.bytes));
        self.meter.add_deleted(self.deleted.unwrap_or_default());
    }
}

/// Parses `hours:minutes:seconds`.
fn parse_time(text: &[u8]) -> Option<Duration> {
    let mut seconds = 0_u64;
    for part in text.split(|&byte| byte == b':') {
        seconds = seconds.checked_mul(60)?.checked_add(parse_grouped_number(part)?)?;
    }
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::TransferTotals;

    const NOTHING: PossibleChanges = PossibleChanges { transfers: false, deletes: false };
    const EVERYTHING: PossibleChanges = PossibleChanges { transfers: true, deletes: true };

    #[test]
    fn lines_of_the_progress_are_recognized() {
        let meter = TransferMeter::default();
        let mut reader = ProgressReader::new(&meter, true);
        assert!(reader.read(b"         32,768   0%    0.00kB/s    0:00:00  "));
        assert!(reader.read(b"      2,097,152  23%    1.96MB/s    1:00:03  "));
        let mut expected = CallProgress {
            files: 0,
            bytes: 2_097_152,
            percent: Some(23),
            left: Some(Duration::from_secs(3603)),
        };
        assert_eq!(meter.call(), Some(expected));
        assert!(reader.read(b" 2.097.152  23%    1,96MB/s    0:00:03 (xfr#1, ir-chk=2/4)"));
        (expected.files, expected.percent, expected.left) = (1, None, None);
        assert_eq!(meter.call(), Some(expected));
        assert!(reader.read(b" 9,000,000 100%    2.00MB/s    0:00:04 (xfr#3, to-chk=0/4)"));
        (expected.files, expected.bytes, expected.percent) = (3, 9_000_000, Some(100));
        assert_eq!(meter.call(), Some(expected));
        for other in ["file", "", "a 1% b c", "1 2% 3MB/x 0:00:00", "deleting 1% 2 3 4"] {
            assert!(!reader.read(other.as_bytes()), "{other}");
        }
        reader.finish(NOTHING);
        assert_eq!(meter.totals(), TransferTotals { files: 3, bytes: 9_000_000 });
        assert_eq!(meter.call(), None);
        let hidden = &mut ProgressReader::new(&meter, false);
        assert!(!hidden.read(b"         32,768   0%    0.00kB/s    0:00:00  "));
    }

    #[test]
    fn statistics_are_exact() {
        let meter = TransferMeter::default();
        let mut reader = ProgressReader::new(&meter, true);
        assert!(reader.read(b" 9,000,000 100%    2.00MB/s    0:00:04 (xfr#3, to-chk=0/4)"));
        for line in [
            "Number of regular files transferred: 1,002",
            "Total transferred file size: 9,000,005 bytes",
            "Number of deleted files: 1,007 (reg: 1,000, dir: 7)",
        ] {
            assert!(!reader.read(line.as_bytes()));
        }
        reader.finish(EVERYTHING);
        assert_eq!(meter.totals(), TransferTotals { files: 1002, bytes: 9_000_005 });
        assert_eq!((meter.deleted(), meter.uncounted_deletions()), (1007, 0));
        ProgressReader::new(&meter, true).finish(PossibleChanges { deletes: false, ..EVERYTHING });
        assert!(meter.known_totals().is_some());
        ProgressReader::new(&meter, false).finish(EVERYTHING);
        assert_eq!(meter.known_totals(), None);
        assert_eq!((meter.uncounted_transfers(), meter.uncounted_deletions()), (1, 1));
        ProgressReader::new(&meter, false).finish(NOTHING);
        assert_eq!((meter.uncounted_transfers(), meter.uncounted_deletions()), (1, 1));
    }
}
