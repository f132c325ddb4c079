//! What waits to be carried out.

mod batch;
mod group;
mod heard;
mod hints;
mod index;
mod large;
mod limits;
mod open;
pub mod ordered;
mod pace;
mod places;
mod rest;
mod status;
mod steps;
mod walk;

#[cfg(test)]
mod tests;

pub use batch::{Batch, Settled};
pub use heard::Heard;
pub use index::{Inserted, PlaceSet};
pub use limits::{Limits, MOST_FAILURES, MOST_HINTS, MOST_IN_DIRECTORY, MOST_PLACES};
pub(crate) use open::OpenFiles;
pub use open::{MOST_OPEN, OpenWait};
pub use pace::Pace;
pub use places::{Places, Seq};
pub use rest::{FIRST_REST, LONGEST_REST};
pub use status::{Counts, Stage};
pub use walk::Iter;
