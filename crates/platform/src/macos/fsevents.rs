//! FSEvents: the calls into CoreServices, as `<FSEvents.h>` declares them.
//!
//! The service calls back on a serial queue of each stream. The callback passes the events on, and
//! writes a byte to a pipe.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    ptr, slice,
    sync::{Arc, mpsc},
};

use crate::event_streams::{EventStreamId, EventStreams, StreamEvent, StreamRequest};

/// `UseCFTypes | NoDefer | WatchRoot | FileEvents | UseExtendedData`.
const STREAM_FLAGS: u32 = 0x1 | 0x2 | 0x4 | 0x10 | 0x40;
/// `kCFStringEncodingUTF8`.
const UTF8: u32 = 0x0800_0100;
/// `PATH_MAX` characters of three bytes each, and a NUL.
const PATH_SIZE: usize = 3 * 1024 + 1;

/// An object of CoreFoundation, a stream, or a queue.
type Object = *const c_void;
type Callback = unsafe extern "C" fn(Object, *mut c_void, usize, Object, *const u32, *const u64);

/// `FSEventStreamContext`: a version, the context, and three functions.
#[repr(C)]
struct StreamContext(isize, *mut c_void, [Object; 3]);

#[link(name = "CoreFoundation", kind = "framework")]
#[link(name = "CoreServices", kind = "framework")]
unsafe extern "C" {
    fn FSEventStreamCreate(
        allocator: Object,
        callback: Callback,
        context: *mut StreamContext,
        paths: Object,
        since: u64,
        latency_seconds: f64,
        flags: u32,
    ) -> Object;
    fn FSEventStreamSetDispatchQueue(stream: Object, queue: Object);
    fn FSEventStreamStart(stream: Object) -> u8;
    fn FSEventStreamFlushSync(stream: Object);
    fn FSEventStreamStop(stream: Object);
    fn FSEventStreamInvalidate(stream: Object);
    fn FSEventStreamRelease(stream: Object);
    safe fn FSEventsGetCurrentEventId() -> u64;
    static kCFTypeArrayCallBacks: c_void;
    fn CFArrayCreate(allocator: Object, values: *const Object, count: isize, how: Object)
    -> Object;
    fn CFArrayGetValueAtIndex(array: Object, at: isize) -> Object;
    fn CFDictionaryGetValue(dictionary: Object, key: Object) -> Object;
    fn CFNumberGetValue(number: Object, kind: isize, value: *mut c_void) -> u8;
    fn CFStringCreateWithCString(allocator: Object, text: *const c_char, encoding: u32) -> Object;
    fn CFStringGetCString(text: Object, buffer: *mut c_char, size: isize, encoding: u32) -> u8;
    fn CFRelease(object: Object);
    fn dispatch_queue_create(label: *const c_char, attributes: Object) -> Object;
    fn dispatch_sync_f(
        queue: Object,
        context: *mut c_void,
        work: unsafe extern "C" fn(*mut c_void),
    );
    fn dispatch_release(queue: Object);
}

/// An object of CoreFoundation that belongs to us.
struct Owned(Object);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: The object is ours, and is released once.
        unsafe { CFRelease(self.0) }
    }
}

fn string(text: &CStr) -> Option<Owned> {
    // SAFETY: The text ends with a NUL and is copied.
    let string = unsafe { CFStringCreateWithCString(ptr::null(), text.as_ptr(), UTF8) };
    (!string.is_null()).then(|| Owned(string))
}

/// Target of the callback of a stream.
struct StreamOutput(EventStreamId, mpsc::Sender<(EventStreamId, StreamEvent)>, Arc<OwnedFd>);

#[derive(Debug)]
struct RunningStream {
    id: EventStreamId,
    stream: Object,
    queue: Object,
    output: *mut StreamOutput,
}

// SAFETY: Any thread may use streams and queues. Only the callback uses the output.
unsafe impl Send for RunningStream {}

impl Drop for RunningStream {
    fn drop(&mut self) {
        unsafe extern "C" fn nothing(_: *mut c_void) {}
        // SAFETY: Each object is released once. After the stream was invalidated, and something
        // else has run on the serial queue, no callback runs that could use the output.
        unsafe {
            FSEventStreamStop(self.stream);
            FSEventStreamInvalidate(self.stream);
            dispatch_sync_f(self.queue, ptr::null_mut(), nothing);
            FSEventStreamRelease(self.stream);
            dispatch_release(self.queue);
            drop(Box::from_raw(self.output));
        }
    }
}

/// The streams of this process.
#[derive(Debug)]
pub struct CoreServicesStreams {
    wakeup: Arc<OwnedFd>,
    readable: OwnedFd,
    sender: mpsc::Sender<(EventStreamId, StreamEvent)>,
    events: mpsc::Receiver<(EventStreamId, StreamEvent)>,
    running: Vec<RunningStream>,
    last: u64,
}

impl CoreServicesStreams {
    /// Creates a value without streams.
    ///
    /// # Errors
    ///
    /// As `pipe(2)`.
    pub fn new() -> io::Result<Self> {
        let (readable, wakeup) = rustix::pipe::pipe()?;
        for end in [&readable, &wakeup] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(end, true)?;
        }
        let (sender, events) = mpsc::channel();
        let wakeup = Arc::new(wakeup);
        Ok(Self { wakeup, readable, sender, events, running: Vec::new(), last: 0 })
    }
}

impl AsFd for CoreServicesStreams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}

impl EventStreams for CoreServicesStreams {
    fn current_id(&mut self) -> u64 {
        FSEventsGetCurrentEventId()
    }

    fn open(&mut self, request: StreamRequest<'_>) -> io::Result<EventStreamId> {
        let StreamRequest { root, since, latency } = request;
        let path = string(&CString::new(root.as_os_str().as_bytes())?);
        let path = path.ok_or_else(|| io::Error::other("FSEvents needs a path in UTF-8"))?;
        self.last += 1;
        let id = EventStreamId(self.last);
        let output = StreamOutput(id, self.sender.clone(), self.wakeup.clone());
        let (output, none, seconds) =
            (Box::into_raw(Box::new(output)), ptr::null(), latency.as_secs_f64());
        let mut context = StreamContext(0, output.cast(), [none; 3]);
        // SAFETY: All objects live until the stream has copied or retained them, and the output
        // until no callback runs; see `RunningStream`.
        let is_started = unsafe {
            let paths = Owned(CFArrayCreate(none, &path.0, 1, &raw const kCFTypeArrayCallBacks));
            let stream = FSEventStreamCreate(
                none,
                on_events,
                &mut context,
                paths.0,
                since,
                seconds,
                STREAM_FLAGS,
            );
            if stream.is_null() {
                drop(Box::from_raw(output));
                return Err(io::Error::other("FSEvents cannot create a stream"));
            }
            let queue = dispatch_queue_create(c"lsyncd.fsevents".as_ptr(), none);
            self.running.push(RunningStream { id, stream, queue, output });
            FSEventStreamSetDispatchQueue(stream, queue);
            FSEventStreamStart(stream) != 0
        };
        if !is_started {
            self.close(id);
            return Err(io::Error::other("FSEvents cannot start a stream"));
        }
        Ok(id)
    }

    fn close(&mut self, stream: EventStreamId) {
        self.running.retain(|running| running.id != stream);
    }

    fn flush(&mut self) {
        for running in &self.running {
            // SAFETY: The stream is started, and this is not the thread of its queue.
            unsafe { FSEventStreamFlushSync(running.stream) }
        }
    }

    fn take(&mut self) -> Vec<(EventStreamId, StreamEvent)> {
        // Before the events: a byte that is written meanwhile leads to another call.
        while rustix::io::read(&self.readable, &mut [0; 64]).is_ok_and(|read| read > 0) {}
        self.events.try_iter().collect()
    }
}

/// The callback, with an array of dictionaries.
unsafe extern "C" fn on_events(
    _: Object,
    output: *mut c_void,
    count: usize,
    entries: Object,
    flags: *const u32,
    ids: *const u64,
) {
    // SAFETY: The output lives while callbacks run. The arrays have this number of elements.
    let (output, flags, ids) = unsafe {
        let output = &*output.cast::<StreamOutput>();
        (output, slice::from_raw_parts(flags, count), slice::from_raw_parts(ids, count))
    };
    for (at, (&flags, &id)) in (0..).zip(flags.iter().zip(ids)) {
        // SAFETY: It is a position in the array, whose elements are dictionaries.
        let value = |key| {
            string(key).map_or(ptr::null(), |key| unsafe {
                CFDictionaryGetValue(CFArrayGetValueAtIndex(entries, at), key.0)
            })
        };
        let (path, inode) = (path(value(c"path")), number(value(c"fileID")));
        // The receiver is gone only while the program exits.
        let _ = output.1.send((output.0, StreamEvent { path, flags, id, inode }));
    }
    // If the pipe is full, it is readable.
    let _ = rustix::io::write(&output.2, &[1]);
}

/// Returns the bytes of a string, and none if it is missing or too long.
fn path(string: Object) -> Vec<u8> {
    let mut buffer = [0_u8; PATH_SIZE];
    let size = PATH_SIZE.cast_signed();
    // SAFETY: It is a string, and the buffer has this size.
    let is_path = !string.is_null()
        && unsafe { CFStringGetCString(string, buffer.as_mut_ptr().cast(), size, UTF8) } != 0;
    let path = CStr::from_bytes_until_nul(&buffer).ok().filter(|_| is_path);
    path.unwrap_or_default().to_bytes().to_vec()
}

fn number(number: Object) -> Option<u64> {
    let mut value = 0_i64;
    // SAFETY: It is a number, and the place has the size of `kCFNumberSInt64Type`, 4.
    let is_number =
        !number.is_null() && unsafe { CFNumberGetValue(number, 4, (&raw mut value).cast()) } != 0;
    is_number.then_some(value.cast_unsigned())
}
