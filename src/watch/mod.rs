//! Where changes come from.
