//! Scripts that a queue plays, and what it has to answer.

mod index;
mod large;
mod random;
mod rows;
mod script;
mod speed;
mod twin;
