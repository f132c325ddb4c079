//! Target: the buffers of inotify and fanotify.
//!
//! The input is parsed as it is, and it also describes events that are encoded as the kernel does
//! and cut off at any byte.

use std::ops::Range;

use mirror_platform::{
    fanotify::{FanotifyEntry, FanotifyEvent, FanotifyEvents},
    file_handle::FileHandle,
    inotify::{InotifyEvent, InotifyEventKind, InotifyEvents, WatchId},
};

use crate::input::InputReader;

/// Maximum number of events that an input describes.
const MAX_EVENTS: usize = 12;
/// Size of `struct inotify_event` without its name. The kernel pads names to multiples of it.
const INOTIFY_HEADER: usize = 16;
/// Size of `struct fanotify_event_metadata`.
const FANOTIFY_HEADER: usize = 24;
/// Size of the header of an information record, and of the file system's id that follows.
const RECORD_HEADER: usize = 12;
/// Largest number of bytes in a file handle, `MAX_HANDLE_SZ`.
const MAX_HANDLE: usize = 128;
/// Information records with a name, and one with a handle only.
const RECORD_KINDS: [u8; 5] = [1, 2, 3, 10, 12];

/// Bits of `<sys/inotify.h>` with their meaning. A rename has a cookie.
const INOTIFY_KINDS: [(u32, InotifyEventKind); 13] = [
    (0x2, InotifyEventKind::Modify),
    (0x4, InotifyEventKind::Attrib),
    (0x8, InotifyEventKind::CloseWrite),
    (0x40, InotifyEventKind::MovedFrom(0)),
    (0x80, InotifyEventKind::MovedTo(0)),
    (0x100, InotifyEventKind::Create),
    (0x200, InotifyEventKind::Delete),
    (0x400, InotifyEventKind::DeleteSelf),
    (0x800, InotifyEventKind::MoveSelf),
    (0x2000, InotifyEventKind::Unmount),
    (0x4000, InotifyEventKind::Overflow),
    (0x8000, InotifyEventKind::Ignored),
    (0x1, InotifyEventKind::Unknown),
];
const INOTIFY_DIRECTORY: u32 = 0x4000_0000;

/// Bits of `<linux/fanotify.h>`, in the order of the fields of a mask.
const FANOTIFY_BITS: [u64; 8] = [0x100, 0x200, 0x2, 0x8, 0x4, 0x1000_0000, 0x4000_0000, 0x4000];

/// Returns the tokens.
#[must_use]
pub fn dictionary() -> Vec<&'static [u8]> {
    vec![
        b"\x10\0\0\0",
        b"\x18\0\0\0",
        b"\x40\0\0\0",
        b"\0\x40\0\0",
        b"\0\x01\0\x40",
        b"\x02\0\x20\0",
        b"\x0a\0\x24\0",
        b"\x0c\0\x24\0",
        b"\x08\0\0\0\x01\0\0\0",
        b"name\0\0\0\0\0\0\0\0\0\0\0\0",
    ]
}

/// Checks that exactly the events that lie wholly in the buffer are returned.
///
/// # Panics
///
/// If an invariant is violated.
pub fn run(data: &[u8]) {
    check_inotify(data, &inotify_ranges(data));
    check_fanotify(data, &fanotify_ranges(data));
    encoded_inotify(&mut InputReader::new(data));
    encoded_fanotify(&mut InputReader::new(data));
}

fn check_inotify(data: &[u8], ranges: &[Range<usize>]) {
    let events: Vec<_> = InotifyEvents::new(data).collect();
    assert_eq!(events.len(), ranges.len(), "number of events");
    for (event, range) in events.iter().zip(ranges) {
        check_name(event.name, data, range);
        let alone: Vec<_> = InotifyEvents::new(slice(data, range)).collect();
        assert_eq!(alone, [*event], "an event depends on its neighbours");
    }
    for cut in cuts(data, ranges) {
        let whole = ranges.iter().filter(|range| range.end <= cut).count();
        let parsed: Vec<_> = InotifyEvents::new(slice(data, &(0..cut))).collect();
        assert_eq!(Some(&*parsed), events.get(..whole), "cut at {cut}");
    }
}

fn check_fanotify(data: &[u8], ranges: &[Range<usize>]) {
    let events: Vec<_> = FanotifyEvents::new(data).collect();
    assert_eq!(events.len(), ranges.len(), "number of events");
    for (event, range) in events.iter().zip(ranges) {
        for entry in event.entry.iter().chain(&event.renamed_to) {
            check_name(entry.name, data, range);
            check_inside(entry.key(), data, range);
            let handle = FileHandle::from_bytes(entry.handle());
            assert_eq!(handle.as_ref().map(FileHandle::as_bytes), Some(entry.handle()));
        }
        let alone: Vec<_> = FanotifyEvents::new(slice(data, range)).collect();
        assert_eq!(alone, [*event], "an event depends on its neighbours");
    }
    for cut in cuts(data, ranges) {
        let whole = ranges.iter().filter(|range| range.end <= cut).count();
        let parsed: Vec<_> = FanotifyEvents::new(slice(data, &(0..cut))).collect();
        assert_eq!(Some(&*parsed), events.get(..whole), "cut at {cut}");
    }
}

/// Returns the ranges of the events of inotify that lie wholly in `data`.
fn inotify_ranges(data: &[u8]) -> Vec<Range<usize>> {
    let length = |event: &[u8]| {
        let name = u32::from_ne_bytes(*event.get(12..)?.first_chunk()?);
        usize::try_from(name).ok()?.checked_add(INOTIFY_HEADER)
    };
    ranges(data, length)
}

/// Returns the ranges of the events of fanotify that lie wholly in `data`, up to the first one that
/// is shorter than its header.
fn fanotify_ranges(data: &[u8]) -> Vec<Range<usize>> {
    let length = |event: &[u8]| {
        let length = u32::from_ne_bytes(*event.first_chunk()?);
        usize::try_from(length).ok().filter(|&length| length >= FANOTIFY_HEADER)
    };
    ranges(data, length)
}

/// Returns the ranges of consecutive events, given the length of the event at the start of bytes.
fn ranges(data: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while let Some(rest) = data.get(start..).filter(|rest| !rest.is_empty())
        && let Some(length) = length(rest).filter(|&length| length <= rest.len())
    {
        ranges.push(start..start + length);
        start += length;
    }
    ranges
}

/// Returns the positions at which the buffer is cut off: around the ends of events, and of a short
/// buffer everywhere.
fn cuts(data: &[u8], ranges: &[Range<usize>]) -> Vec<usize> {
    if data.len() <= 96 {
        return (0..=data.len()).collect();
    }
    let around = |range: &Range<usize>| [range.end.saturating_sub(1), range.end, range.end + 1];
    ranges.iter().take(MAX_EVENTS).flat_map(around).filter(|&cut| cut <= data.len()).collect()
}

fn slice<'a>(data: &'a [u8], range: &Range<usize>) -> &'a [u8] {
    data.get(range.clone()).unwrap_or_default()
}

fn check_name(name: &[u8], data: &[u8], range: &Range<usize>) {
    assert!(!name.contains(&0), "a name with a NUL");
    check_inside(name, data, range);
}

/// Checks that bytes are a part of one event in the buffer.
fn check_inside(part: &[u8], data: &[u8], range: &Range<usize>) {
    let event = slice(data, range).as_ptr_range();
    let part = part.as_ptr_range();
    let is_inside = event.start <= part.start && part.end <= event.end;
    assert!(is_inside || part.is_empty(), "bytes from outside of the event");
}

/// Takes a name as a directory can list it, padded with NULs to a multiple of `unit`.
fn padded_name(reader: &mut InputReader<'_>, unit: usize) -> (Vec<u8>, Vec<u8>) {
    let length = usize::from(reader.byte());
    let is_allowed = |byte: &&u8| !matches!(byte, 0 | b'/');
    let name: Vec<u8> = reader.bytes(length).iter().filter(is_allowed).copied().collect();
    let mut padded = name.clone();
    padded.resize((name.len() + 1).next_multiple_of(unit), 0);
    (name, padded)
}

/// An event of inotify before it is encoded.
struct InotifySpec {
    watch: i32,
    kind: InotifyEventKind,
    is_directory: bool,
    name: Vec<u8>,
    end: usize,
}

/// Encodes the events that an input describes, cuts the buffer off, and checks what is parsed.
fn encoded_inotify(reader: &mut InputReader<'_>) {
    let mut buffer = Vec::new();
    let mut expected = Vec::new();
    while !reader.is_empty() && expected.len() < MAX_EVENTS {
        let (bit, kind) = reader.pick(&INOTIFY_KINDS);
        let is_directory = reader.byte() & 1 == 1;
        let (watch, cookie) = (reader.number().cast_signed(), reader.number());
        let (name, mut padded) = padded_name(reader, INOTIFY_HEADER);
        if name.is_empty() {
            padded.clear();
        }
        let mask = bit | if is_directory { INOTIFY_DIRECTORY } else { 0 };
        buffer.extend_from_slice(&watch.to_ne_bytes());
        buffer.extend([mask, cookie, length_of(&padded)].iter().flat_map(|it| it.to_ne_bytes()));
        buffer.extend_from_slice(&padded);
        let kind = match kind {
            InotifyEventKind::MovedFrom(_) => InotifyEventKind::MovedFrom(cookie),
            InotifyEventKind::MovedTo(_) => InotifyEventKind::MovedTo(cookie),
            other => other,
        };
        expected.push(InotifySpec { watch, kind, is_directory, name, end: buffer.len() });
    }
    buffer.truncate(cut_off(reader, buffer.len()));
    let expected: Vec<_> = expected.iter().filter(|event| event.end <= buffer.len()).collect();
    let of = |spec: &&InotifySpec| InotifyEventFields {
        watch: WatchId(spec.watch),
        kind: spec.kind,
        is_directory: spec.is_directory,
        name: spec.name.clone(),
    };
    let parsed: Vec<_> = InotifyEvents::new(&buffer).map(InotifyEventFields::from).collect();
    assert_eq!(parsed, expected.iter().map(of).collect::<Vec<_>>());
    check_inotify(&buffer, &inotify_ranges(&buffer));
}

/// The fields of an event, owned.
#[derive(Debug, PartialEq, Eq)]
struct InotifyEventFields {
    watch: WatchId,
    kind: InotifyEventKind,
    is_directory: bool,
    name: Vec<u8>,
}

impl From<InotifyEvent<'_>> for InotifyEventFields {
    fn from(event: InotifyEvent<'_>) -> Self {
        let InotifyEvent { watch, kind, is_directory, name } = event;
        Self { watch, kind, is_directory, name: name.to_vec() }
    }
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Takes the length to which a buffer is cut off. Mostly it stays whole.
fn cut_off(reader: &mut InputReader<'_>, length: usize) -> usize {
    if reader.byte() < 0x80 {
        return length;
    }
    usize::try_from(reader.number()).unwrap_or(0) % (length + 1)
}

/// The key of a directory and the name of an entry.
type EntryFields = (Vec<u8>, Vec<u8>);

/// An event of fanotify before it is encoded.
#[derive(Debug, PartialEq, Eq)]
struct FanotifySpec {
    /// True for the bits of [`FANOTIFY_BITS`].
    bits: [bool; 8],
    entry: Option<EntryFields>,
    renamed_to: Option<EntryFields>,
}

/// Encodes the events that an input describes, cuts the buffer off, and checks what is parsed.
fn encoded_fanotify(reader: &mut InputReader<'_>) {
    let mut buffer = Vec::new();
    let mut expected = Vec::new();
    while !reader.is_empty() && expected.len() < MAX_EVENTS {
        let spec = encode_fanotify(reader, &mut buffer);
        expected.push((spec, buffer.len()));
    }
    buffer.truncate(cut_off(reader, buffer.len()));
    expected.retain(|(_, end)| *end <= buffer.len());
    let expected: Vec<_> = expected.into_iter().map(|(spec, _)| spec).collect();
    let parsed: Vec<_> = FanotifyEvents::new(&buffer).map(fanotify_fields).collect();
    assert_eq!(parsed, expected);
    check_fanotify(&buffer, &fanotify_ranges(&buffer));
}

/// Takes an event and appends it in the kernel's format.
fn encode_fanotify(reader: &mut InputReader<'_>, buffer: &mut Vec<u8>) -> FanotifySpec {
    let chosen = reader.byte();
    let bits = std::array::from_fn(|at| chosen >> at & 1 == 1);
    let set = FANOTIFY_BITS.iter().zip(bits).filter(|(_, is_set)| *is_set);
    let mask = set.fold(0, |mask, (bit, _)| mask | bit);
    let mut spec = FanotifySpec { bits, entry: None, renamed_to: None };
    let mut records = Vec::new();
    for _ in 0..reader.below(4) {
        let kind = reader.pick(&RECORD_KINDS);
        let entry = encode_record(reader, kind, &mut records);
        match kind {
            2 | 10 => spec.entry = Some(entry),
            12 => spec.renamed_to = Some(entry),
            _ => {}
        }
    }
    buffer.extend_from_slice(&(length_of(&records) + 24).to_ne_bytes());
    // The version, a reserved byte, and the length of this header.
    buffer.extend_from_slice(&[3, 0, 24, 0]);
    buffer.extend_from_slice(&u64::to_ne_bytes(mask));
    // No descriptor, and a process.
    buffer.extend([-1_i32, 1234].iter().flat_map(|it| it.to_ne_bytes()));
    buffer.extend_from_slice(&records);
    spec
}

/// Takes an information record and appends it in the kernel's format.
fn encode_record(reader: &mut InputReader<'_>, kind: u8, records: &mut Vec<u8>) -> EntryFields {
    let handle_length = reader.below(MAX_HANDLE + 1);
    let mut handle = reader.bytes(handle_length).to_vec();
    handle.resize(handle_length, 0xaa);
    let mut key = b"filesys!".to_vec();
    key.extend([length_of(&handle), 1].iter().flat_map(|it| it.to_ne_bytes()));
    key.extend_from_slice(&handle);
    let has_name = matches!(kind, 2 | 10 | 12);
    let (name, padded) = if has_name { padded_name(reader, 4) } else { Default::default() };
    let length = (RECORD_HEADER - 8 + key.len() + padded.len()).next_multiple_of(4);
    let size = u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes();
    let start = records.len();
    records.extend_from_slice(&[kind, 0]);
    records.extend_from_slice(&size);
    records.extend_from_slice(&key);
    records.extend_from_slice(&padded);
    records.resize(start + length, 0);
    (key, name)
}

fn fanotify_fields(event: FanotifyEvent<'_>) -> FanotifySpec {
    let mask = event.mask;
    let entry = |entry: FanotifyEntry<'_>| (entry.key().to_vec(), entry.name.to_vec());
    FanotifySpec {
        bits: [
            mask.create,
            mask.delete,
            mask.modify,
            mask.close,
            mask.attrib,
            mask.rename,
            mask.is_directory,
            mask.overflow,
        ],
        entry: event.entry.map(entry),
        renamed_to: event.renamed_to.map(entry),
    }
}
