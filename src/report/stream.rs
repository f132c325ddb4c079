//! Standard output streams.

/// A standard output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdStream {
    /// stdout.
    Out,
    /// stderr.
    Err,
}
