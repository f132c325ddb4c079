//! `cargo xtask cross`: builds the programs for systems other than this machine's.
//!
//! Debian has a Rust compiler with the source of the standard library, so that any target can be
//! built. zig is the C compiler and linker for all of them; `stubs` has what it lacks of macOS.

mod options;
mod packages;
mod target;
mod tools;

use std::time::{Duration, Instant};

use crate::build::run_command;
use options::CrossOptions;
use target::CrossTarget;
use tools::CrossTools;

/// Live tests that the native programs must pass: changes of all kinds, in both modes of transfer.
const SMOKE: &str = "changes::";

/// Builds for all targets, and runs the programs of this machine.
///
/// # Errors
///
/// Returns the targets that failed and, if that is required, the reason for which nothing can be
/// built here.
pub(crate) fn run(words: &[String]) -> Result<(), Vec<String>> {
    let options = CrossOptions::parse(words).map_err(|why| vec![why])?;
    let tools = match CrossTools::fetch() {
        Ok(tools) => tools,
        Err(why) if options.is_required => return Err(vec![format!("cross: {why}")]),
        Err(why) => {
            println!("cross: skipped: {}", why.replace('\n', " / "));
            return Ok(());
        }
    };
    let mut lines = Vec::new();
    let mut problems = Vec::new();
    for target in &options.targets {
        let start = Instant::now();
        let outcome = build(&tools, *target, options.package.as_deref());
        let line = report(*target, start.elapsed(), &outcome);
        let list = if outcome.is_err() { &mut problems } else { &mut lines };
        list.push(line);
    }
    for line in lines {
        println!("{line}");
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Builds for a target, and tests the result if it is native. Returns what was done.
fn build(
    tools: &CrossTools,
    target: CrossTarget,
    package: Option<&str>,
) -> Result<&'static str, String> {
    if target.is_native() && package.is_none() {
        // This links the programs, too. A build before it would have other features of the
        // dependencies, and compile most of them twice.
        let mut test = tools.cargo_for(target, "test");
        test.args(["--package", "lsyncd", "--test", "live", "--", SMOKE]);
        return run_command(test).map(|()| "linked, and passed live tests");
    }
    let mut build = tools.cargo_for(target, "build");
    match package {
        Some(package) => build.args(["--package", package]),
        None => build.args(["--package", "lsyncd", "--bins"]),
    };
    run_command(build)?;
    if target.checks_tests() && package.is_none() {
        let mut check = tools.cargo_for(target, "check");
        // Of the packages that are tested on a Mac: the default members.
        check.arg("--all-targets");
        return run_command(check).map(|()| "linked, and its tests checked");
    }
    Ok("linked")
}

/// Returns the line about a target.
fn report(
    target: CrossTarget,
    elapsed: Duration,
    outcome: &Result<&'static str, String>,
) -> String {
    let seconds = elapsed.as_secs();
    let outcome = match outcome {
        Ok(done) => done,
        Err(_) => "failed",
    };
    format!("{}: {outcome} ({seconds} s)", target.rust)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_about_a_target_has_its_name_result_and_time() {
        let target = CrossTarget::named("x86_64-apple-darwin").unwrap();
        let line = |outcome| report(target, Duration::from_millis(2_900), &outcome);
        assert_eq!(line(Ok("linked")), "x86_64-apple-darwin: linked (2 s)");
        assert_eq!(line(Err("exit code".into())), "x86_64-apple-darwin: failed (2 s)");
    }
}
