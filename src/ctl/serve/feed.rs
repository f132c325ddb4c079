//! The thread that asks the daemon for its state, and the latest answer for all clients.
//!
//! However many clients there are, the daemon gets one request at a time.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{sync::watch, time};

use super::{
    lag_history::{self, LagChart, LagHistory},
    link::DaemonLink,
};
use crate::{
    control::{
        request::{Request, Selection},
        status::StatusDocument,
    },
    lock,
};

/// Interval of requests while somebody watches.
const WATCHED_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time for an answer of the daemon.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Minimum time between two requests, however many clients ask.
const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// Maximum age of a state that is used without another request.
const FRESH: Duration = Duration::from_millis(500);

/// The state of the daemon, as far as it is known.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// End of the last request.
    taken: Instant,
    /// Changes whenever anything but the time changes.
    pub(super) revision: u64,
    /// The reason why the last request had no answer.
    pub(super) error: Option<String>,
    /// The last answer.
    answer: Option<LastAnswer>,
}

#[derive(Clone, Debug)]
struct LastAnswer {
    document: Arc<StatusDocument>,
    received: Instant,
}

/// The state of the daemon for the page, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct PageState<'a> {
    /// True if the daemon has answered the last request.
    answers: bool,
    /// The reason why it has not.
    error: Option<&'a str>,
    /// Seconds since its last answer. `None`: it never answered.
    age: Option<f64>,
    /// True if the server has the endpoints that change something.
    control: bool,
    /// The last answer.
    status: Option<&'a StatusDocument>,
}

impl Snapshot {
    /// The state before the first request.
    fn unknown() -> Self {
        let error = Some("the daemon was not asked yet".to_owned());
        Self { taken: Instant::now(), revision: 0, error, answer: None }
    }

    /// The answer to the last request. `None`: there was none.
    pub(super) fn present(&self) -> Option<&StatusDocument> {
        self.last_document().filter(|_| self.error.is_none())
    }

    /// Returns the state as JSON.
    pub(super) fn to_json(&self, control: bool) -> Vec<u8> {
        let state = PageState {
            answers: self.error.is_none(),
            error: self.error.as_deref(),
            age: self.age(),
            control,
            status: self.last_document(),
        };
        // Our documents have no maps with keys that are not strings.
        serde_json::to_vec(&state).unwrap_or_default()
    }

    /// Seconds since the last answer.
    pub(super) fn age(&self) -> Option<f64> {
        self.answer.as_ref().map(|answer| answer.received.elapsed().as_secs_f64())
    }

    fn last_document(&self) -> Option<&StatusDocument> {
        self.answer.as_ref().map(|answer| &*answer.document)
    }

    /// The state after a further request.
    fn next(&self, result: Result<StatusDocument, String>) -> Self {
        let taken = Instant::now();
        let (answer, error) = match result {
            Ok(document) => {
                (Some(LastAnswer { document: Arc::new(document), received: taken }), None)
            }
            Err(error) => (self.answer.clone(), Some(error)),
        };
        let mut next = Self { taken, revision: self.revision, error, answer };
        if !next.equals(self) {
            next.revision += 1;
        }
        next
    }

    /// Returns true if they differ only in times.
    fn equals(&self, other: &Self) -> bool {
        let same_document = match (self.last_document(), other.last_document()) {
            (Some(a), Some(b)) => a.daemon == b.daemon && a.syncs == b.syncs,
            (a, b) => a.is_none() && b.is_none(),
        };
        self.error == other.error && same_document
    }
}

/// The latest state, kept up to date by a thread.
#[derive(Debug)]
pub(super) struct Feed {
    latest: watch::Receiver<Arc<Snapshot>>,
    wake: mpsc::SyncSender<()>,
    shared: Arc<FeedShared>,
}

#[derive(Debug, Default)]
struct FeedShared {
    history: Mutex<LagHistory>,
    viewers: AtomicUsize,
}

impl Feed {
    /// Starts the thread. It ends when the feed is dropped.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub(super) fn start(link: DaemonLink) -> io::Result<Self> {
        let (publish, latest) = watch::channel(Arc::new(Snapshot::unknown()));
        let (wake, woken) = mpsc::sync_channel(1);
        let shared = Arc::new(FeedShared::default());
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || ask_repeatedly(&link, &publish, &woken, &of_thread))?;
        Ok(Self { latest, wake, shared })
    }

    /// Returns the present state: the daemon is asked unless it was just now.
    pub(super) async fn present(&self) -> Arc<Snapshot> {
        let mut latest = self.latest.clone();
        let known = Arc::clone(&latest.borrow_and_update());
        if known.revision > 0 && known.taken.elapsed() < FRESH {
            return known;
        }
        self.wake();
        // If it takes longer, the old state has an age.
        let _ = time::timeout(TIMEOUT + WATCHED_INTERVAL, latest.changed()).await;
        Arc::clone(&latest.borrow())
    }

    /// Asks the daemon soon.
    pub(super) fn wake(&self) {
        // If the channel is full, a request is due already.
        let _ = self.wake.try_send(());
    }

    /// Begins to watch: while there is a viewer, the state is at most about one second old. `None`:
    /// there are enough viewers.
    pub(super) fn watch(&self, max_viewers: usize) -> Option<Viewer> {
        let viewer = Viewer { shared: Arc::clone(&self.shared), latest: self.latest.clone() };
        let before = self.shared.viewers.fetch_add(1, Ordering::Relaxed);
        self.wake();
        // A rejected viewer is dropped, and no longer counted.
        (before < max_viewers).then_some(viewer)
    }

    /// The lags of the last hours.
    pub(super) fn lag_chart(&self) -> LagChart {
        lock(&self.shared.history).chart()
    }
}

/// A client that follows the state.
#[derive(Debug)]
pub(super) struct Viewer {
    shared: Arc<FeedShared>,
    latest: watch::Receiver<Arc<Snapshot>>,
}

impl Viewer {
    /// Returns the next state, or the present one after `wait`. `None`: there will be no other.
    pub(super) async fn next(&mut self, wait: Duration) -> Option<Arc<Snapshot>> {
        if let Ok(Err(_)) = time::timeout(wait, self.latest.changed()).await {
            return None;
        }
        Some(Arc::clone(&self.latest.borrow_and_update()))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.shared.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn ask_repeatedly(
    link: &DaemonLink,
    publish: &watch::Sender<Arc<Snapshot>>,
    woken: &Receiver<()>,
    shared: &FeedShared,
) {
    let started = Instant::now();
    loop {
        let result = link
            .request::<StatusDocument>(&Request::Status(Selection::default()), TIMEOUT)
            .map_err(|error| error.to_string());
        let mut history = lock(&shared.history);
        match &result {
            Ok(document) => history.add(started.elapsed(), &document.syncs),
            Err(_) => history.advance(started.elapsed()),
        }
        drop(history);
        let next = publish.borrow().next(result);
        publish.send_replace(Arc::new(next));
        thread::sleep(MIN_INTERVAL);
        let is_watched = shared.viewers.load(Ordering::Relaxed) > 0;
        let interval = if is_watched { WATCHED_INTERVAL } else { lag_history::SAMPLE };
        match woken.recv_timeout(interval) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
