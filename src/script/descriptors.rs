//! Readiness of descriptors that scripts observe.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{OwnedFd, RawFd},
    sync::{Arc, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mirror_platform::{descriptor::duplicate, waker::Waker};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::fstat,
    io::ioctl_fionread,
};

use crate::lock;

/// Kinds of readiness of a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FdReadiness {
    /// Data or end of file can be read.
    pub read: bool,
    /// Data can be written.
    pub write: bool,
}

/// Pause of a descriptor after its function has failed. It is still ready, and calling the function
/// again at once would use a whole CPU.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// First pause of a descriptor whose function was called at end of file, and neither closed nor
/// forgot it. It doubles with each call, up to the pause after a failure.
const FIRST_EOF_PAUSE: Duration = Duration::from_millis(10);

/// Number of calls at end of file after which the pause is a second, and the script is warned.
const EOF_WARN_COUNT: u32 = 8;

/// Polls descriptors on a thread. A readiness is reported once until [`rearm`](Self::rearm).
#[derive(Debug)]
pub(crate) struct DescriptorPoller {
    shared: Arc<PollerState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct PollerState {
    set: Mutex<ObservedSet>,
    /// Wakes the thread after the set has changed.
    waker: Waker,
}

#[derive(Debug, Default)]
struct ObservedSet {
    observed: BTreeMap<RawFd, ObservedDescriptor>,
    is_shut_down: bool,
}

/// One observed descriptor. The poll uses a copy, so that it never sees another file that got the
/// same number meanwhile.
#[derive(Debug)]
struct ObservedDescriptor {
    copy: Arc<OwnedFd>,
    wanted: FdReadiness,
    phase: ObservedPhase,
    /// Number of successive reports at end of file.
    eof_count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ObservedPhase {
    Polled,
    /// Reported, and not rearmed yet.
    Reported,
    /// Not polled until this time.
    PausedUntil(Instant),
}

impl ObservedPhase {
    fn is_polled(self, now: Instant) -> bool {
        match self {
            Self::Polled => true,
            Self::Reported => false,
            Self::PausedUntil(until) => until <= now,
        }
    }

    fn remaining_pause(self, now: Instant) -> Option<Duration> {
        match self {
            Self::PausedUntil(until) if until > now => Some(until - now),
            Self::PausedUntil(_) | Self::Polled | Self::Reported => None,
        }
    }
}

impl PollerState {
    fn set(&self) -> MutexGuard<'_, ObservedSet> {
        lock(&self.set)
    }
}

impl DescriptorPoller {
    /// Starts the polling thread without descriptors. `tell` is called on that thread.
    ///
    /// # Errors
    ///
    /// As [`Waker::new`], or if the thread can't be started.
    pub(crate) fn start(report: impl Fn(RawFd, FdReadiness) + Send + 'static) -> io::Result<Self> {
        let waker = Waker::new()?;
        let shared = Arc::new(PollerState { set: Mutex::default(), waker });
        let polled_state = Arc::clone(&shared);
        let thread = thread::Builder::new().name("descriptors".into()).spawn(move || {
            while let Some(ready) = polled_state.wait() {
                for (fd, what) in ready {
                    report(fd, what);
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Starts to report this kind of readiness of a descriptor.
    ///
    /// # Errors
    ///
    /// If there is no such descriptor.
    pub(crate) fn observe(&self, fd: RawFd, wanted: FdReadiness) -> io::Result<()> {
        let copy = Arc::new(duplicate(fd)?);
        self.shared.set().observed.insert(
            fd,
            ObservedDescriptor { copy, wanted, phase: ObservedPhase::Polled, eof_count: 0 },
        );
        self.shared.waker.wake();
        Ok(())
    }

    /// Continues polling after a report was handled, successfully or not. A descriptor that was
    /// closed meanwhile is forgotten: the copy would keep the peer waiting, and be ready forever.
    ///
    /// Returns true, once, if the descriptor was left at end of file often enough to warn about it.
    pub(crate) fn rearm(&self, fd: RawFd, is_well: bool) -> bool {
        let mut set = self.shared.set();
        let mut is_left = false;
        if let Some(observed) = set.observed.get_mut(&fd) {
            let pause = if is_well { observed.eof_pause() } else { Some(FAILURE_PAUSE) };
            observed.phase = pause.map_or(ObservedPhase::Polled, |pause| {
                ObservedPhase::PausedUntil(Instant::now() + pause)
            });
            if observed.is_still_open_as(fd) {
                is_left = is_well && observed.eof_count == EOF_WARN_COUNT;
            } else {
                set.observed.remove(&fd);
            }
        }
        drop(set);
        self.shared.waker.wake();
        is_left
    }

    /// Returns true if no descriptor is observed.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.set().observed.is_empty()
    }

    /// Stops reporting this descriptor.
    pub(crate) fn forget(&self, fd: RawFd) {
        self.shared.set().observed.remove(&fd);
        self.shared.waker.wake();
    }
}

impl ObservedSet {
    fn polled(&self, now: Instant) -> Vec<(RawFd, Arc<OwnedFd>, FdReadiness)> {
        let polled = self.observed.iter().filter(|(_, it)| it.phase.is_polled(now));
        polled.map(|(fd, it)| (*fd, Arc::clone(&it.copy), it.wanted)).collect()
    }

    /// Returns the time until the first pause ends.
    fn time_to_resume(&self, now: Instant) -> Option<Duration> {
        self.observed.values().filter_map(|it| it.phase.remaining_pause(now)).min()
    }
}

impl ObservedDescriptor {
    /// Returns the pause after a successful call.
    fn eof_pause(&self) -> Option<Duration> {
        let doubled = self.eof_count.checked_sub(1)?.min(EOF_WARN_COUNT);
        Some((FIRST_EOF_PAUSE * 2_u32.pow(doubled)).min(FAILURE_PAUSE))
    }

    /// Returns true if this number still refers to the observed file.
    fn is_still_open_as(&self, fd: RawFd) -> bool {
        let identity = |fd: &OwnedFd| fstat(fd).ok().map(|found| (found.st_dev, found.st_ino));
        duplicate(fd).is_ok_and(|named| identity(&named) == identity(&self.copy))
    }
}

impl Drop for DescriptorPoller {
    fn drop(&mut self) {
        self.shared.set().is_shut_down = true;
        self.shared.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl PollerState {
    /// Waits until a descriptor is ready. Returns `None` after shutdown.
    fn wait(&self) -> Option<Vec<(RawFd, FdReadiness)>> {
        let (polled, pause) = {
            let (set, now) = (self.set(), Instant::now());
            if set.is_shut_down {
                return None;
            }
            (set.polled(now), set.time_to_resume(now))
        };
        let mut fds = vec![PollFd::new(&self.waker, PollFlags::IN)];
        fds.extend(polled.iter().map(|(_, copy, wanted)| PollFd::new(&**copy, flags(*wanted))));
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        // If interrupted, the caller polls again.
        let _ = poll(&mut fds, pause.as_ref());
        self.waker.clear();
        let mut reports = Vec::new();
        let mut set = self.set();
        for ((fd, copy, wanted), polled) in polled.iter().zip(fds.iter().skip(1)) {
            let Some(ready) = ready_for(*wanted, polled.revents()) else { continue };
            if let Some(observed) = set.observed.get_mut(fd) {
                observed.phase = ObservedPhase::Reported;
                let is_at_end = is_at_end(copy, polled.revents());
                observed.eof_count =
                    if is_at_end { observed.eof_count.saturating_add(1) } else { 0 };
            }
            reports.push((*fd, ready));
        }
        Some(reports)
    }
}

fn flags(wanted: FdReadiness) -> PollFlags {
    let read = if wanted.read { PollFlags::IN } else { PollFlags::empty() };
    read | if wanted.write { PollFlags::OUT } else { PollFlags::empty() }
}

/// Returns the wanted readiness that has occurred. An end or an error counts as readiness: it is
/// found by reading or writing.
fn ready_for(wanted: FdReadiness, seen: PollFlags) -> Option<FdReadiness> {
    let ended = seen.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
    let read = wanted.read && (ended || seen.contains(PollFlags::IN));
    let write = wanted.write && (ended || seen.contains(PollFlags::OUT));
    (read || write).then_some(FdReadiness { read, write })
}

/// Returns true if the descriptor is broken, or readable without data, which stays so forever. If
/// the amount of data is unknown, it is not considered at its end.
fn is_at_end(fd: &OwnedFd, seen: PollFlags) -> bool {
    seen.intersects(PollFlags::ERR | PollFlags::NVAL)
        || seen.intersects(PollFlags::IN | PollFlags::HUP) && ioctl_fionread(fd) == Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        os::fd::AsRawFd,
        sync::mpsc::channel,
    };

    const TO_READ: FdReadiness = FdReadiness { read: true, write: false };

    #[test]
    fn readiness_is_reported_once_until_rearmed() {
        let (sender, reports) = channel();
        let descriptors = DescriptorPoller::start(move |fd, what| sender.send((fd, what)).unwrap());
        let descriptors = descriptors.unwrap();
        let (mut reader, mut writer) = io::pipe().unwrap();
        let fd = reader.as_raw_fd();
        descriptors.observe(fd, TO_READ).unwrap();
        writer.write_all(b"one").unwrap();
        assert_eq!(reports.recv(), Ok((fd, TO_READ)));
        // Another descriptor wakes the thread: the first one is not reported again.
        let (other, mut to_other) = io::pipe().unwrap();
        descriptors.observe(other.as_raw_fd(), TO_READ).unwrap();
        to_other.write_all(b"x").unwrap();
        assert_eq!(reports.recv(), Ok((other.as_raw_fd(), TO_READ)));
        let mut text = [0; 3];
        reader.read_exact(&mut text).unwrap();
        writer.write_all(b"two").unwrap();
        descriptors.rearm(fd, true);
        assert_eq!(reports.recv(), Ok((fd, TO_READ)));
        // The end of the file counts as readable.
        reader.read_exact(&mut text).unwrap();
        drop(writer);
        descriptors.rearm(fd, true);
        assert_eq!(reports.recv(), Ok((fd, TO_READ)));
        drop(descriptors);
        assert!(reports.recv().is_err());
    }

    #[test]
    fn a_forgotten_descriptor_is_not_reported() {
        let (sender, reports) = channel();
        let descriptors = DescriptorPoller::start(move |fd, what| sender.send((fd, what)).unwrap());
        let descriptors = descriptors.unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        descriptors.observe(reader.as_raw_fd(), TO_READ).unwrap();
        descriptors.forget(reader.as_raw_fd());
        writer.write_all(b"x").unwrap();
        let to_write = FdReadiness { read: false, write: true };
        descriptors.observe(writer.as_raw_fd(), to_write).unwrap();
        assert_eq!(reports.recv(), Ok((writer.as_raw_fd(), to_write)));
    }

    #[test]
    fn a_closed_descriptor_is_forgotten_and_its_copy_closed() {
        let (sender, reports) = channel();
        let descriptors = DescriptorPoller::start(move |fd, what| sender.send((fd, what)).unwrap());
        let descriptors = descriptors.unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let fd = reader.as_raw_fd();
        descriptors.observe(fd, TO_READ).unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(reports.recv(), Ok((fd, TO_READ)));
        drop(reader);
        descriptors.rearm(fd, true);
        // No reader is left.
        let limit = Timespec { tv_sec: 180, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&writer, PollFlags::empty())], Some(&limit));
        assert_eq!(ended, Ok(1));
    }

    #[test]
    fn a_failed_call_pauses_the_descriptor() {
        let (sender, reports) = channel();
        let descriptors = DescriptorPoller::start(move |fd, what| sender.send((fd, what)).unwrap());
        let descriptors = descriptors.unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let fd = reader.as_raw_fd();
        descriptors.observe(fd, TO_READ).unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(reports.recv(), Ok((fd, TO_READ)));
        let failed = Instant::now();
        descriptors.rearm(fd, false);
        assert_eq!(reports.recv(), Ok((fd, TO_READ)));
        assert!(failed.elapsed() >= FAILURE_PAUSE);
    }

    #[test]
    fn a_descriptor_left_at_eof_is_reported_with_growing_pauses() {
        let (sender, reports) = channel();
        let descriptors = DescriptorPoller::start(move |fd, what| sender.send((fd, what)).unwrap());
        let descriptors = descriptors.unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let fd = reader.as_raw_fd();
        descriptors.observe(fd, TO_READ).unwrap();
        // As long as there is data, the function may take its time.
        writer.write_all(b"x").unwrap();
        for _ in 0..20 {
            assert_eq!(reports.recv(), Ok((fd, TO_READ)));
            assert!(!descriptors.rearm(fd, true));
        }
        assert_eq!(reports.recv(), Ok((fd, TO_READ)));
        (&reader).read_exact(&mut [0]).unwrap();
        drop(writer);
        descriptors.rearm(fd, true);
        let began = Instant::now();
        let left: Vec<bool> = (0..7)
            .map(|_| {
                assert_eq!(reports.recv(), Ok((fd, TO_READ)));
                descriptors.rearm(fd, true)
            })
            .collect();
        // 10 + 20 + .. + 320 milliseconds.
        assert!(began.elapsed() >= FIRST_EOF_PAUSE * 63, "{:?}", began.elapsed());
        assert_eq!(reports.recv(), Ok((fd, TO_READ)));
        assert!(!left.contains(&true) && descriptors.rearm(fd, true));
        assert_eq!(reports.recv(), Ok((fd, TO_READ)));
        assert!(!descriptors.rearm(fd, true), "reported once");
    }

    #[test]
    fn a_number_that_names_nothing_is_refused() {
        let descriptors = DescriptorPoller::start(|_, _| ()).unwrap();
        assert!(descriptors.observe(-1, TO_READ).is_err());
    }
}
