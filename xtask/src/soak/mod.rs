//! `cargo xtask soak`: one daemon with 50 targets, under churn and faults of all kinds.
//!
//! The process of the daemon stays the same for the whole run. At each checkpoint the faults are
//! over and every target equals its source; memory and descriptors are then as they were before.

mod checkpoint;
mod churn;
mod driver;
mod faults;
mod gauges;
mod lags;
mod options;
mod report;
mod run;
mod setup;
mod targets;

use std::{path::Path, thread};

use options::SoakOptions;
use run::SoakResults;

use crate::{
    bench::scratch::ScratchDir,
    build::{self, BuildProfile},
    damage::disk::enter_mount_namespace,
};

/// Runs the daemon, and reports what it did.
///
/// # Errors
///
/// Returns what is wrong, or an error of the command line. The directory is kept then.
pub(crate) fn run(arguments: &[String]) -> Result<(), Vec<String>> {
    let options = SoakOptions::parse(arguments).map_err(|problem| vec![problem])?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => build::daemon(BuildProfile::Release).map_err(|problem| vec![problem])?,
    };
    // A thread of its own, whose mounts vanish with it.
    let results = thread::scope(|scope| {
        let run = scope.spawn(|| run_in_thread(&options, &program));
        run.join().unwrap_or_else(|_| Err("the thread of the run has panicked".into()))
    });
    let results = results.map_err(|problem| vec![problem])?;
    let text = report::text(&results, &options, &program);
    println!("{text}");
    if !results.growth.is_empty() {
        return Err(results.growth);
    }
    if options.write {
        report::write(&text).map_err(|problem| vec![problem])?;
    }
    Ok(())
}

fn run_in_thread(options: &SoakOptions, program: &Path) -> Result<SoakResults, String> {
    let base = options.directory.clone().unwrap_or_else(ScratchDir::default_base);
    enter_mount_namespace().map_err(|error| format!("a file system can't be mounted: {error}"))?;
    let mut scratch = ScratchDir::with_prefix("soak-", &base).map_err(|error| error.to_string())?;
    let result = run::run(options, program, &scratch);
    if result.is_err() {
        println!("kept: {}", scratch.keep().display());
        return result;
    }
    setup::unmount_all(&scratch).map_err(|error| error.to_string())?;
    result
}
