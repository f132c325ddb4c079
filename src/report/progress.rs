//! Line of the terminal with the progress of the first transfers.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{stdio, termios::tcgetwinsize};

use super::{
    meter::{TransferMeter, TransferTotals, size_text},
    stream::StdStream,
    terminal::Terminal,
};

/// Time between two drawings of the line.
pub(super) const REDRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Sequence that erases the line (ECMA-48), after a return to its start.
const ERASE: &str = "\r\x1b[2K";

/// Width of a terminal that does not tell its own.
const DEFAULT_WIDTH: usize = 80;

/// Transfers whose progress is shown.
#[derive(Debug, Default)]
pub(super) struct ProgressLine {
    shown: Vec<ShownTransfer>,
    next_id: u64,
    is_drawn: bool,
    /// True if a thread redraws the line.
    pub(super) has_thread: bool,
    /// True once the process ends.
    pub(super) is_closed: bool,
}

#[derive(Debug)]
struct ShownTransfer {
    id: u64,
    name: String,
    meter: Arc<TransferMeter>,
    started: Instant,
    /// Numbers at its start.
    before: TransferTotals,
}

impl ProgressLine {
    /// Adds a transfer, and returns its number.
    pub(super) fn add(&mut self, name: &str, meter: &Arc<TransferMeter>, now: Instant) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let (name, meter) = (name.to_owned(), Arc::clone(meter));
        let before = meter.so_far();
        self.shown.push(ShownTransfer { id, name, meter, started: now, before });
        id
    }

    /// Removes a transfer.
    pub(super) fn remove(&mut self, id: u64, terminal: &mut Terminal) {
        self.shown.retain(|shown| shown.id != id);
        if self.shown.is_empty() {
            self.erase(terminal);
        }
    }

    /// Erases the line, before something else is written to the terminal.
    pub(super) fn erase(&mut self, terminal: &mut Terminal) {
        if std::mem::take(&mut self.is_drawn) {
            terminal.write(StdStream::Err, ERASE.as_bytes());
        }
    }

    /// Draws the line. Returns false if nothing is shown.
    pub(super) fn draw(&mut self, terminal: &mut Terminal, now: Instant) -> bool {
        if self.is_closed || self.shown.is_empty() {
            return false;
        }
        let width = tcgetwinsize(stdio::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let width = if width == 0 { DEFAULT_WIDTH } else { width };
        // The last column is left free: a full line may wrap.
        let line: String = self.text(now).chars().take(width - 1).collect();
        terminal.write(StdStream::Err, format!("{ERASE}{line}").as_bytes());
        self.is_drawn = true;
        true
    }

    /// Returns the text of the line, all transfers combined.
    fn text(&self, now: Instant) -> String {
        let mut sum = TransferTotals::default();
        let mut bytes_per_second = 0;
        let (mut percent, mut left) = (None, Some(Duration::ZERO));
        for ShownTransfer { meter, started, before, .. } in &self.shown {
            let done = meter.so_far();
            let files = done.files.saturating_sub(before.files);
            let bytes = done.bytes.saturating_sub(before.bytes);
            let millis = now.saturating_duration_since(*started).as_millis().max(1);
            let rate = u128::from(bytes) * 1000 / millis;
            sum.files += files;
            sum.bytes += bytes;
            bytes_per_second += u64::try_from(rate).unwrap_or(u64::MAX);
            let call = meter.call().unwrap_or_default();
            percent = call.percent;
            left = left.zip(call.left).map(|(one, other)| one.max(other));
        }
        let title = match &*self.shown {
            [one] => one.name.clone(),
            all => format!("{} syncs", all.len()),
        };
        let (size, rate) = (size_text(sum.bytes), size_text(bytes_per_second));
        let mut text = format!("{title}: {} files, {size}, {rate}/s", sum.files);
        if let (Some(percent), [_]) = (percent, &*self.shown) {
            // Writing to a `String` never fails, here and below.
            let _ = write!(text, ", {percent}%");
        }
        if let Some(left) = left {
            let seconds = left.as_secs();
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let _ = write!(text, ", {hours}:{minutes:02}:{:02} left", seconds % 60);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::CallProgress;

    #[test]
    fn the_line_has_the_progress_of_one_or_of_all_transfers() {
        let (mut line, began) = (ProgressLine::default(), Instant::now());
        let [one, two] = [(); 2].map(|()| Arc::new(TransferMeter::default()));
        // What was transferred before does not count.
        one.add(7, 7000);
        let first = line.add("Sync1", &one, began);
        let now = began + Duration::from_secs(2);
        one.add(1, 2000);
        assert_eq!(line.text(now), "Sync1: 1 files, 2.0 kB, 1.0 kB/s");
        one.set_call(Some(CallProgress {
            files: 2,
            bytes: 8000,
            percent: Some(40),
            left: Some(Duration::from_secs(3723)),
        }));
        assert_eq!(line.text(now), "Sync1: 3 files, 10.0 kB, 5.0 kB/s, 40%, 1:02:03 left");
        line.add("Sync2", &two, began);
        two.add_pending(2000);
        assert_eq!(line.text(now), "2 syncs: 3 files, 12.0 kB, 6.0 kB/s");
        line.remove(first, &mut Terminal::default());
        assert_eq!(line.text(now), "Sync2: 0 files, 2.0 kB, 1.0 kB/s");
    }
}
