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

use std::thread;

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
    let mut options = SoakOptions::parse(arguments).map_err(|problem| vec![problem])?;
    if options.program.is_none() {
        let built = build::daemon(BuildProfile::Release).map_err(|problem| vec![problem])?;
        options.program = Some(built);
    }
    // A thread of its own, whose mounts vanish with it.
    let results = thread::scope(|scope| {
        let run = scope.spawn(|| run_in_thread(&options));
        run.join().unwrap_or_else(|_| Err("the thread of the run has panicked".into()))
    });
    let results = results.map_err(|problem| vec![problem])?;
    let text = report::text(&results, &options);
    println!("{text}");
    if !results.growth.is_empty() {
        return Err(results.growth);
    }
    if options.write {
        report::write(&text).map_err(|problem| vec![problem])?;
    }
    Ok(())
}

fn run_in_thread(options: &SoakOptions) -> Result<SoakResults, String> {
    let base = options.directory.clone().unwrap_or_else(ScratchDir::default_base);
    enter_mount_namespace().map_err(|error| format!("a file system can't be mounted: {error}"))?;
    let mut scratch = ScratchDir::with_prefix("soak-", &base).map_err(|error| error.to_string())?;
    let program = options.program.clone().unwrap_or_default();
    let result = run::run(options, &program, &scratch);
    if result.is_err() {
        println!("kept: {}", scratch.keep().display());
        return result;
    }
    setup::unmount_all(&scratch).map_err(|error| error.to_string())?;
    result
}
