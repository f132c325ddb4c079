//! Command line of the fuzzer on stable Rust. `cargo xtask fuzz` runs it.
#![forbid(unsafe_code)]

use std::{
    env, fs,
    io::{self, Write},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fuzz_harness::{
    runner::{FuzzError, FuzzRun, RunLimit, fuzz, replay},
    targets::{FuzzTarget, TARGETS},
};

const USAGE: &str = "\
usage: fuzz-harness [TARGET ..] [--minutes N] [--seed N] [--start N] [--record]
       fuzz-harness TARGET --replay FILE
       fuzz-harness TARGET --dictionary

  --minutes N     time for all targets together (default: 1)
  --seed N        seed of the mutations (default: from the clock)
  --start N       number of the first execution
  --record        writes each input to fuzz/artifacts/TARGET/current before it runs
  --replay FILE   runs one input
  --dictionary    prints the tokens in the format of libFuzzer";

/// Parsed command line.
struct FuzzArgs {
    targets: Vec<&'static FuzzTarget>,
    minutes: f64,
    run: FuzzRun,
    replay: Option<String>,
    dictionary: bool,
}

fn main() -> ExitCode {
    let result = parse(env::args().skip(1)).and_then(|args| match (&args.replay, &*args.targets) {
        (Some(file), [target]) => {
            let input = fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?;
            replay(target, &input)
        }
        (None, [target]) if args.dictionary => print_dictionary(target),
        (None, _) if !args.dictionary => fuzz_all(args),
        _ => Err(format!("one target is needed\n{USAGE}")),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<FuzzArgs, String> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let limit = RunLimit::Time(Duration::ZERO);
    let run = FuzzRun { seed: clock.as_secs(), start: 0, limit, record: false };
    let mut parsed =
        FuzzArgs { targets: Vec::new(), minutes: 1.0, run, replay: None, dictionary: false };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
        match &*arg {
            "--minutes" => parsed.minutes = number(&value()?)?,
            "--seed" => parsed.run.seed = number(&value()?)?,
            "--start" => parsed.run.start = number(&value()?)?,
            "--record" => parsed.run.record = true,
            "--replay" => parsed.replay = Some(value()?),
            "--dictionary" => parsed.dictionary = true,
            name => parsed.targets.push(FuzzTarget::find(name).ok_or_else(|| unknown(name))?),
        }
    }
    Ok(parsed)
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text} is no number\n{USAGE}"))
}

fn unknown(name: &str) -> String {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    format!("{name} is neither an option nor one of the targets {}\n{USAGE}", names.join(", "))
}

/// Runs the targets one after the other. After a finding the others still run.
fn fuzz_all(args: FuzzArgs) -> Result<(), String> {
    let targets = if args.targets.is_empty() { TARGETS.iter().collect() } else { args.targets };
    let count = u32::try_from(targets.len()).unwrap_or(1);
    let time = Duration::try_from_secs_f64(args.minutes * 60.0 / f64::from(count))
        .map_err(|error| format!("--minutes: {error}\n{USAGE}"))?;
    let run = FuzzRun { limit: RunLimit::Time(time), ..args.run };
    println!("seed {}", run.seed);
    let mut findings = Vec::new();
    for target in targets {
        match fuzz(target, &run) {
            Ok(summary) => {
                let per_second =
                    u128::from(summary.executions) * 1000 / summary.elapsed.as_millis().max(1);
                let (name, executions) = (target.name, summary.executions);
                println!("{name}: {executions} executions, {per_second} a second, no finding");
            }
            Err(FuzzError::Found(finding)) => findings.push(finding.to_string()),
            Err(error) => return Err(format!("{}: {error}", target.name)),
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(findings.join("\n")) }
}

fn print_dictionary(target: &FuzzTarget) -> Result<(), String> {
    let mut out = io::stdout().lock();
    for token in (target.dictionary)() {
        let escaped =
            token.iter().map(|byte| format!("\\x{byte:02x}")).collect::<Vec<_>>().concat();
        writeln!(out, "\"{escaped}\"").map_err(|error| error.to_string())?;
    }
    Ok(())
}
