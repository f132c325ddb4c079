//! Runs one case with one implementation in a jail.

use std::process;

fn main() {
    process::exit(compat::jail::main(compat::runner::run));
}
