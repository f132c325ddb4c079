//! What waits to be carried out.

mod index;

pub use index::PlaceSet;
