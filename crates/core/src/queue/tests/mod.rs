//! Scripts for a queue, with its expected answers.

mod complexity;
mod large_files;
mod path_set;
mod random;
mod reference;
mod rules;
mod script;
