//! What waits to be carried out.

mod group;
mod hints;
mod index;
mod large;
pub mod ordered;
mod pace;
mod places;
mod rest;
mod status;
mod steps;
mod walk;

#[cfg(test)]
mod tests;

pub use index::{Inserted, PlaceSet};
pub use pace::Pace;
pub use places::{
    Batch, Limits, MOST_FAILURES, MOST_HINTS, MOST_IN_DIRECTORY, MOST_PLACES, Places, Seq, Settled,
};
pub use rest::{FIRST_REST, LONGEST_REST};
pub use status::{Counts, Stage};
pub use walk::Iter;
