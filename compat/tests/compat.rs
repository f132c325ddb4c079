//! The suite: runs all cases with both implementations, several at once.
//!
//! Arguments that are not options select cases by a part of their name, such as `rsync/`.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    process::{ExitCode, id},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use compat::{
    case::Case,
    expectation::Implementation,
    jail::{self, CaseOutcome, JailPrograms, JailRequest},
    verdict::{self, ExpectedOutcome},
};
use tempfile::TempDir;

/// Number of cases that run at once; they mostly wait.
const CONCURRENCY: usize = 8;
/// Time limit of an observation that must hold.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Time limit of an observation in a case that must fail.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(3);

/// A case, and one program with which it runs.
struct CaseRun<'a> {
    name: &'a str,
    case: &'a Case,
    tested: Implementation,
    program: PathBuf,
    expected: ExpectedOutcome,
}

fn main() -> ExitCode {
    let filters: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let cases = match read_cases(&filters) {
        Ok(cases) => cases,
        Err(errors) => {
            eprintln!("{}", errors.join("\n"));
            return ExitCode::FAILURE;
        }
    };
    let directory = mount_point();
    let start = Instant::now();
    let ours = Path::new(env!("CARGO_BIN_EXE_compat-ours"));
    match program_version(directory.path(), Implementation::Ours, ours) {
        Ok(_) => run(&cases, directory.path(), start),
        Err(CaseOutcome::NotRun(reason)) => {
            report_skipped(&format!("{} cases, as there can be no jail: {reason}", cases.len()));
            conclude(1, 0, start)
        }
        Err(other) => {
            eprintln!("ours does not print its version: {other:?}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the cases with both implementations, or with ours only.
fn run(cases: &BTreeMap<String, Case>, directory: &Path, start: Instant) -> ExitCode {
    let original = find_original(directory);
    match &original {
        Ok((_, version)) => println!("running {} cases with {version} and ours", cases.len()),
        Err(reason) => {
            println!("running {} cases with ours only", cases.len());
            report_skipped(&format!("all cases with the original: {reason}"));
        }
    }
    let mismatches = run_all(case_runs(cases, original.as_ref().ok()), directory);
    for (name, mismatches) in &mismatches {
        println!("\n---- {name}: {}\n{}", cases[name].title, mismatches.join("\n"));
    }
    // Counts like one skipped test.
    let skipped = usize::from(original.is_err());
    conclude(cases.len() - mismatches.len() + skipped, mismatches.len(), start)
}

/// Reports a skipped test in the form that `cargo xtask test` counts.
fn report_skipped(reason: &str) {
    println!("---- compat stdout ----\nskipped: {reason}");
}

fn conclude(passed: usize, failed: usize, start: Instant) -> ExitCode {
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; \
         0 filtered out; finished in {:.2}s\n",
        start.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads the cases whose name contains one of the filters, or all if there are none.
fn read_cases(filters: &[String]) -> Result<BTreeMap<String, Case>, Vec<String>> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(top.join("../docs/known-differences.md"))
        .map_err(|error| vec![format!("the list of known differences: {error}")])?;
    let files = case_files(&cases_directory())
        .map_err(|error| vec![format!("the cases cannot be listed: {error}")])?;
    let mut cases = BTreeMap::new();
    let mut errors = Vec::new();
    for (name, path) in files {
        let text = fs::read_to_string(&path).map_err(|error| error.to_string());
        match text.and_then(|text| Case::parse(&text)) {
            Ok(case) => {
                let unknown = verdict::unknown_differences(&case, &list).into_iter();
                errors.extend(unknown.map(|row| format!("{name}: no known difference: {row}")));
                cases.insert(name, case);
            }
            Err(error) => errors.push(format!("{}: {error}", path.display())),
        }
    }
    cases.retain(|name, _| filters.is_empty() || filters.iter().any(|part| name.contains(part)));
    if errors.is_empty() { Ok(cases) } else { Err(errors) }
}

fn cases_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// Returns the files below `top`, each with its name: the path from there on, without `.case`.
fn case_files(top: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    let mut directories = vec![top.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(top).unwrap_or(&path).with_extension("");
            files.push((name.to_string_lossy().into_owned(), path));
        }
    }
    Ok(files)
}

/// Creates the directory on which each jail mounts that of its case, invisible to the others.
fn mount_point() -> TempDir {
    // A jail has its own `/dev`, without shared memory.
    let base = env::temp_dir();
    let base = if base.starts_with("/dev") { PathBuf::from("/tmp") } else { base };
    let base = base.canonicalize().expect("there is a directory for temporary files");
    tempfile::Builder::new().prefix("compat-").tempdir_in(base).expect("a temporary directory")
}

/// Finds the original in `PATH`, and returns it with its version.
fn find_original(directory: &Path) -> Result<(PathBuf, String), String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let original = env::split_paths(&path)
        .map(|directory| directory.join("lsyncd"))
        .find(|candidate| candidate.is_file())
        .ok_or("lsyncd (Debian: lsyncd) is not installed")?;
    let output = program_version(directory, Implementation::Original, &original)
        .map_err(|outcome| format!("{} does not run: {outcome:?}", original.display()))?;
    let version =
        output.trim().strip_prefix("Version: ").filter(|version| version.starts_with("2."));
    let version =
        version.ok_or_else(|| format!("{} is not the original: {output}", original.display()))?;
    Ok((original, version.to_owned()))
}

fn program_version(
    directory: &Path,
    tested: Implementation,
    program: &Path,
) -> Result<String, CaseOutcome> {
    let outcome = run_in_jail(&jail_request(directory, None, tested, program));
    if let CaseOutcome::Passed(output) = outcome { Ok(output) } else { Err(outcome) }
}

fn jail_request(
    directory: &Path,
    case: Option<&str>,
    tested: Implementation,
    program: &Path,
) -> JailRequest {
    JailRequest {
        parent: id(),
        case: case.map(|name| cases_directory().join(format!("{name}.case"))),
        tested,
        directory: directory.to_owned(),
        timeout: TIMEOUT,
        programs: JailPrograms {
            jail: env!("CARGO_BIN_EXE_compat-jail").into(),
            recorder: env!("CARGO_BIN_EXE_compat-recorder").into(),
            tested: program.to_owned(),
        },
    }
}

fn run_in_jail(request: &JailRequest) -> CaseOutcome {
    jail::run(request).unwrap_or_else(|error| CaseOutcome::NotRun(error.to_string()))
}

/// Lists the runs of all cases. Those that must fail come first, as each takes its whole time
/// limit.
fn case_runs<'a>(
    cases: &'a BTreeMap<String, Case>,
    original: Option<&(PathBuf, String)>,
) -> Vec<CaseRun<'a>> {
    let ours = (Implementation::Ours, PathBuf::from(env!("CARGO_BIN_EXE_compat-ours")));
    let theirs = original.map(|(program, _)| (Implementation::Original, program.clone()));
    let version = original.map_or("", |(_, version)| version);
    let mut runs = Vec::new();
    for (name, case) in cases {
        for (tested, program) in [&ours].into_iter().chain(&theirs) {
            let (tested, program) = (*tested, program.clone());
            if let Some(expected) = verdict::expected_outcome(&case.expectation, tested, version) {
                runs.push(CaseRun { name, case, tested, program, expected });
            }
        }
    }
    runs.sort_by_key(|run| run.expected == ExpectedOutcome::Pass);
    runs
}

/// Executes the runs, and returns the mismatches by the names of the cases.
fn run_all(runs: Vec<CaseRun>, directory: &Path) -> BTreeMap<String, Vec<String>> {
    let pending = Mutex::new(runs.into_iter());
    let mismatches = Mutex::new(BTreeMap::<String, Vec<String>>::new());
    thread::scope(|scope| {
        for _ in 0..CONCURRENCY {
            scope.spawn(|| {
                while let Some(run) = next(&pending) {
                    let mismatch = run.execute(directory);
                    let state = if mismatch.is_some() { "FAILED" } else { "ok" };
                    println!("test {} ({}) ... {state}", run.name, run.tested.name());
                    if let Some(mismatch) = mismatch {
                        let mut all = mismatches.lock().expect("no other thread has panicked");
                        all.entry(run.name.to_owned()).or_default().push(mismatch);
                    }
                }
            });
        }
    });
    mismatches.into_inner().expect("no other thread has panicked")
}

fn next<T>(pending: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    pending.lock().expect("no other thread has panicked").next()
}

impl CaseRun<'_> {
    fn execute(&self, directory: &Path) -> Option<String> {
        let mut request = jail_request(directory, Some(self.name), self.tested, &self.program);
        if self.expected == ExpectedOutcome::Fail {
            request.timeout = FAILURE_TIMEOUT;
        }
        verdict::mismatch(self.case, self.tested, self.expected, &run_in_jail(&request))
    }
}
