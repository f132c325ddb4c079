//! `cargo xtask damage`: mirrors under faults of their environment.
//!
//! Each cell of the matrix starts the real daemon for a kind of sync, puts a load on its source,
//! and lets a fault happen. Afterwards the trees are equal, no process and no temporary file is
//! left, nothing was deleted that the source still has, and the status never was "in sync" while
//! the target lacked a change.

mod cell;
pub(crate) mod control;
pub(crate) mod disk;
mod facts;
pub(crate) mod fault;
pub(crate) mod leftovers;
mod load;
mod machine;
pub(crate) mod matrix;
#[path = "../../../tests/live/support/network.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, dead_code, reason = "written for tests")]
pub(crate) mod network;
mod options;
mod process_limit;
mod results;
mod sentinels;
pub(crate) mod setup;
mod state_disk;
mod status_watch;
mod table;

use std::{
    env,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use cell::DamageEnvironment;
use machine::DamageMachine;
use matrix::DamageCell;
use options::DamageOptions;
use results::{CellOutcome, DamageResults};

use crate::{
    bench::scratch::ScratchDir,
    build::{self, BuildProfile},
};

/// Runs the selected cells.
///
/// # Errors
///
/// Returns the reports of red cells, or an error of the command line. With `CI=true` also the cells
/// that a complete machine can run.
pub(crate) fn run(arguments: &[String]) -> Result<(), Vec<String>> {
    let options = DamageOptions::parse(arguments).map_err(|problem| vec![problem])?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => build::daemon(BuildProfile::Debug).map_err(|problem| vec![problem])?,
    };
    let base = options.directory.clone().unwrap_or_else(ScratchDir::default_base);
    let machine = DamageMachine::inspect(options.old_rsync.is_some());
    let environment = DamageEnvironment {
        program: &program,
        base: &base,
        may_mount: machine.may_mount(),
        old_rsync: options.old_rsync.as_deref(),
        seed: options.seed,
    };
    let results = DamageResults::default();
    run_all(&options, &machine, &environment, &results);
    if options.write {
        table::write(&results, &options).map_err(|problem| vec![problem])?;
    }
    results.report(env::var_os("CI").is_some_and(|ci| ci == "true"))
}

fn run_all(
    options: &DamageOptions,
    machine: &DamageMachine,
    environment: &DamageEnvironment<'_>,
    results: &DamageResults,
) {
    let all = if options.is_short { DamageCell::short() } else { DamageCell::all() };
    let cells: Vec<DamageCell> =
        all.into_iter().filter(|cell| options.selects(*cell)).rev().collect();
    let cells = Mutex::new(cells);
    let next = || cells.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let worker = || {
        while let Some(cell) = next() {
            if !cell.is_meaningful() {
                continue;
            }
            if let Some(reason) = machine.obstacle(cell) {
                results.add(cell, CellOutcome::Skipped(reason));
                continue;
            }
            let start = Instant::now();
            let (outcome, states) = match cell::run(cell, environment) {
                Ok(states) => (CellOutcome::Green, states),
                Err(report) => (CellOutcome::Red(report), String::new()),
            };
            let seconds = start.elapsed().as_secs_f64();
            println!("{cell}: {} ({seconds:.1} s) {states}", outcome.word());
            results.add(cell, outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(worker);
        }
    });
}
