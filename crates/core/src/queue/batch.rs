//! Places that are carried out together, and what became of them.

use alloc::{sync::Arc, vec::Vec};

use crate::{
    job::{Place, Rename, Work},
    path::TreePath,
    queue::{Heard, PlaceSet},
};

/// Places that left the queue together and come back to it together.
///
/// It can't be copied, and only [`Places::settle`](crate::queue::Places::settle) takes it: so no batch is settled twice, and one
/// that is forgotten is a warning of the compiler.
#[must_use = "a batch that is not settled blocks its places for ever"]
#[derive(Debug)]
pub struct Batch {
    pub(super) number: u64,
    pub(super) places: Arc<PlaceSet>,
    pub(super) heard: Arc<Heard>,
    pub(super) moves: Arc<[Rename]>,
    /// The file, if it is all there is, since it is too large to go with others.
    pub(super) large: Option<TreePath>,
}

impl Batch {
    /// The places.
    #[must_use]
    pub const fn places(&self) -> &Arc<PlaceSet> {
        &self.places
    }

    /// What was heard of the places.
    #[must_use]
    pub const fn heard(&self) -> &Arc<Heard> {
        &self.heard
    }

    /// Renames that may save transfers, oldest first. Both ends of each are among the places.
    #[must_use]
    pub const fn moves(&self) -> &Arc<[Rename]> {
        &self.moves
    }

    /// Whether it is one large file.
    #[must_use]
    pub const fn is_large(&self) -> bool {
        self.large.is_some()
    }

    /// The batch as work for an executor.
    #[must_use]
    pub fn work(&self) -> Work {
        let heard = Arc::clone(&self.heard);
        if let Some(file) = &self.large {
            return Work::Large { path: file.clone(), heard };
        }
        Work::Batch { places: Arc::clone(&self.places), heard, moves: Arc::clone(&self.moves) }
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// All of it is on the target.
    All,
    /// All but these places, which rest and then wait again.
    Except(Vec<Place>),
    /// Nothing is known to be on the target: the whole batch waits again, from now on and as old
    /// as it was. When to try again is for the caller to say.
    Nothing,
}
