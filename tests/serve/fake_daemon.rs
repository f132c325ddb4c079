//! A daemon that speaks the protocol and answers with the documents of a test.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lsyncd::control::{
    frame::{Answer, ErrorKind, RequestError, RequestFrame, to_line},
    request::{BatchRecord, FlushResult, HistoryDocument, Request, Selection, SyncNames},
    status::StatusDocument,
};

/// Maximum time until an expected request.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answers of a fake daemon, and the requests that it got.
#[derive(Debug)]
struct Script {
    document: StatusDocument,
    batches: Vec<BatchRecord>,
    /// All requests except those for the state.
    requests: Vec<Request>,
}

/// A daemon at one or two sockets. It ends when it is dropped.
pub(crate) struct ScriptedDaemon {
    script: Arc<(Mutex<Script>, Condvar)>,
    sockets: Vec<ScriptedSocket>,
}

struct ScriptedSocket {
    path: PathBuf,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedDaemon {
    /// A daemon with these sockets, each with its right: true if it only shows.
    pub(crate) fn new(document: StatusDocument, sockets: &[(&Path, bool)]) -> Self {
        let script = Script { document, batches: Vec::new(), requests: Vec::new() };
        let script = Arc::new((Mutex::new(script), Condvar::new()));
        let sockets = sockets
            .iter()
            .map(|(path, is_read_only)| ScriptedSocket::new(path, *is_read_only, &script))
            .collect();
        Self { script, sockets }
    }

    /// Changes the state.
    pub(crate) fn set(&self, document: StatusDocument) {
        self.script.0.lock().unwrap().document = document;
    }

    /// Sets the recent batches.
    pub(crate) fn set_batches(&self, batches: Vec<BatchRecord>) {
        self.script.0.lock().unwrap().batches = batches;
    }

    /// Waits for a request other than those for the state, and returns the first one.
    pub(crate) fn next_request(&self) -> Request {
        let (script, changed) = &*self.script;
        let script = script.lock().unwrap();
        let (mut script, _) = changed
            .wait_timeout_while(script, PATIENCE, |script| script.requests.is_empty())
            .unwrap();
        assert!(!script.requests.is_empty(), "no request came");
        script.requests.remove(0)
    }

    /// Returns true if there was no request other than those for the state.
    pub(crate) fn was_only_shown(&self) -> bool {
        self.script.0.lock().unwrap().requests.is_empty()
    }

    /// Removes the sockets, as a daemon that exits.
    pub(crate) fn stop(mut self) {
        self.sockets.clear();
    }
}

impl ScriptedSocket {
    fn new(path: &Path, is_read_only: bool, script: &Arc<(Mutex<Script>, Condvar)>) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let (of_thread, script) = (Arc::clone(&ends), Arc::clone(script));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.load(Ordering::SeqCst) {
                    return;
                }
                answer(&stream.unwrap(), is_read_only, &script);
            }
        });
        Self { path: path.to_owned(), ends, thread: Some(thread) }
    }
}

impl Drop for ScriptedSocket {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        drop(UnixStream::connect(&self.path));
        fs::remove_file(&self.path).unwrap();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn answer(stream: &UnixStream, is_read_only: bool, script: &(Mutex<Script>, Condvar)) {
    let mut line = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut line).unwrap();
    if line.is_empty() {
        // A client was ended before it has asked.
        return;
    }
    let request = RequestFrame::parse(&line).unwrap();
    let mut script_now = script.0.lock().unwrap();
    if request != Request::Status(Selection::default()) {
        script_now.requests.push(request.clone());
        script.1.notify_all();
    }
    let line = if is_read_only && !request.is_read_only() {
        let error = RequestError::new(ErrorKind::NotPermitted, "this socket only shows");
        to_line(&Answer::<()>::Error(error))
    } else {
        script_now.answer_line(&request)
    };
    drop(script_now);
    // The client may have left.
    let _ = (&*stream).write_all(&line);
}

impl Script {
    fn answer_line(&self, request: &Request) -> Vec<u8> {
        let names = |selection: &Selection| -> Vec<String> {
            let all = self.document.syncs.iter().map(|sync| sync.name.clone());
            all.filter(|name| selection.sync.as_ref().is_none_or(|wanted| wanted == name)).collect()
        };
        match request {
            Request::Status(_) => to_line(&Answer::Ok(&self.document)),
            Request::History { selection, .. } => {
                let names = names(selection);
                let batches =
                    self.batches.iter().filter(|batch| names.contains(&batch.sync)).cloned();
                to_line(&Answer::Ok(HistoryDocument { batches: batches.collect() }))
            }
            Request::Flush { selection, .. } => to_line(&Answer::Ok(FlushResult {
                is_complete: true,
                syncs: names(selection),
                obstacles: Vec::new(),
            })),
            Request::Pause(selection)
            | Request::Resume(selection)
            | Request::Resync(selection)
            | Request::Release(selection)
            | Request::Retry(selection) => match names(selection) {
                syncs if syncs.is_empty() => {
                    let error = RequestError::new(ErrorKind::NoSuchSync, "there is no such sync");
                    to_line(&Answer::<()>::Error(error))
                }
                syncs => to_line(&Answer::Ok(SyncNames { syncs })),
            },
            Request::Metrics
            | Request::Explain { .. }
            | Request::Verify(_)
            | Request::Reload
            | Request::Log { .. }
            | Request::Stop => panic!("nothing sends {request:?}"),
        }
    }
}

/// Repeats an observation until it is as expected: each lasts a while by itself.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not happen");
    }
}
