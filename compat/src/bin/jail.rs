//! Plays one case with one program, where it can do no harm.

use std::process;

fn main() {
    process::exit(compat::jail::main(compat::play::play));
}
