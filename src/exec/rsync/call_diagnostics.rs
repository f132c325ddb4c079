//! Diagnostics of rsync that concern a call as a whole.

/// The end of a diagnostic about a read-only file system.
const READ_ONLY: &[u8] = b"Read-only file system (30)";

/// Returns true if the file system of the target is read-only.
pub(super) fn reports_read_only(line: &[u8]) -> bool {
    line.ends_with(READ_ONLY)
}

/// Returns true if the file system of the target became read-only or fails, so that other changes
/// of the call may have failed, too.
pub(super) fn reports_broken_file_system(line: &[u8]) -> bool {
    let ends: [&[u8]; 2] = [READ_ONLY, b"Input/output error (5)"];
    ends.iter().any(|end| line.ends_with(end))
}

/// Returns true if the connection was closed before the remote side has said anything.
pub(super) fn reports_no_answer(line: &[u8]) -> bool {
    const CLOSED: &[u8] = b"connection unexpectedly closed (0 bytes received so far)";
    line.starts_with(b"rsync: ") && line.windows(CLOSED.len()).any(|window| window == CLOSED)
}

/// Returns true if rsync could not start one of its processes because of a temporary shortage.
pub(super) fn reports_shortage(line: &[u8]) -> bool {
    let has = |part: &[u8]| line.windows(part.len()).any(|window| window == part);
    let failed: [&[u8]; 4] = [b" fork failed in ", b" fork: ", b" pipe failed in ", b" pipe: "];
    let too_little: [&[u8]; 3] = [
        b"Resource temporarily unavailable (11)",
        b"Cannot allocate memory (12)",
        b"Too many open files (24)",
    ];
    // A quoted name means that the line is about that file.
    line.starts_with(b"rsync: ")
        && !line.contains(&b'"')
        && failed.iter().any(|part| has(part))
        && too_little.iter().any(|end| line.ends_with(end))
}
