//! The suite: plays all cases with both programs, many at once.
//!
//! Words that are no options choose cases by a part of their name.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{ExitCode, id},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use compat::{
    case::Case,
    gate::{self, Expected},
    jail::{self, Errand, Programs, Verdict},
    mark::Side,
};
use tempfile::TempDir;

/// How many cases are played at once; they mostly wait.
const AT_ONCE: usize = 8;
/// How long something may take that must be seen.
const PATIENCE: Duration = Duration::from_mins(1);
/// The same where it must not be seen.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);

/// A case, and one program with which it is played.
struct Trial<'a> {
    name: &'a str,
    case: &'a Case,
    side: Side,
    program: PathBuf,
    expected: Expected,
}

fn main() -> ExitCode {
    let chosen: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let cases = match read_cases(&chosen) {
        Ok(cases) => cases,
        Err(errors) => {
            eprintln!("{}", errors.join("\n"));
            return ExitCode::FAILURE;
        }
    };
    let place = place();
    let began = Instant::now();
    match program_version(place.path(), Side::Ours, Path::new(env!("CARGO_BIN_EXE_compat-ours"))) {
        Ok(_) => play(&cases, place.path(), began),
        Err(Verdict::Impossible(why)) => {
            skip(&format!("{} cases, as there can be no jail: {why}", cases.len()));
            conclude(1, 0, began)
        }
        Err(other) => {
            eprintln!("ours does not tell its version: {other:?}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the cases with both programs, or with ours only.
fn play(cases: &BTreeMap<String, Case>, place: &Path, began: Instant) -> ExitCode {
    let original = find_original(place);
    match &original {
        Ok((_, version)) => println!("running {} cases with {version} and ours", cases.len()),
        Err(why) => {
            println!("running {} cases with ours only", cases.len());
            skip(&format!("all that is played with the original: {why}"));
        }
    }
    let objections = play_all(trials(cases, original.as_ref().ok()), place);
    for (name, objections) in &objections {
        println!("\n---- {name}: {}\n{}", cases[name].title, objections.join("\n"));
    }
    // Like one test that could not look at what it is there for.
    let skipped = usize::from(original.is_err());
    conclude(cases.len() - objections.len() + skipped, objections.len(), began)
}

/// Tells what could not be looked at, as `cargo xtask test` expects it.
fn skip(why: &str) {
    println!("---- compat stdout ----\nskipped: {why}");
}

fn conclude(passed: usize, failed: usize, began: Instant) -> ExitCode {
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; \
         0 filtered out; finished in {:.2}s\n",
        began.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All cases, or those whose names have a chosen word in them.
fn read_cases(chosen: &[String]) -> Result<BTreeMap<String, Case>, Vec<String>> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(top.join("../docs/known-differences.md"))
        .map_err(|error| vec![format!("the list of known differences: {error}")])?;
    let mut cases = BTreeMap::new();
    let mut errors = Vec::new();
    for entry in fs::read_dir(top.join("cases")).expect("there are cases") {
        let path = entry.expect("they can be listed").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).map_err(|error| error.to_string());
        match text.and_then(|text| Case::parse(&text)) {
            Ok(case) => {
                let unknown = gate::unknown_rows(&case, &list).into_iter();
                errors.extend(unknown.map(|row| format!("{name}: no known difference: {row}")));
                cases.insert(name, case);
            }
            Err(error) => errors.push(format!("{}: {error}", path.display())),
        }
    }
    cases.retain(|name, _| chosen.is_empty() || chosen.iter().any(|word| name.contains(word)));
    if errors.is_empty() { Ok(cases) } else { Err(errors) }
}

/// Where each jail mounts the directory of its case, which the others do not see.
fn place() -> TempDir {
    // A jail has a `/dev` of its own, with no shared memory in it.
    let base = env::temp_dir();
    let base = if base.starts_with("/dev") { PathBuf::from("/tmp") } else { base };
    let base = base.canonicalize().expect("there is a directory for temporary files");
    tempfile::Builder::new().prefix("compat-").tempdir_in(base).expect("a temporary directory")
}

/// The original, and what it says of its version.
fn find_original(place: &Path) -> Result<(PathBuf, String), String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let original = env::split_paths(&path)
        .map(|directory| directory.join("lsyncd"))
        .find(|candidate| candidate.is_file())
        .ok_or("lsyncd (Debian: lsyncd) is not there")?;
    let said = program_version(place, Side::Theirs, &original)
        .map_err(|verdict| format!("{} does not run: {verdict:?}", original.display()))?;
    let version = said.trim().strip_prefix("Version: ").filter(|version| version.starts_with("2."));
    let version = version.ok_or_else(|| format!("{} is none: {said}", original.display()))?;
    Ok((original, version.to_owned()))
}

fn program_version(place: &Path, side: Side, tested: &Path) -> Result<String, Verdict> {
    let verdict = send(&errand(place, None, side, tested));
    if let Verdict::Passed(said) = verdict { Ok(said) } else { Err(verdict) }
}

fn errand(place: &Path, case: Option<&str>, side: Side, tested: &Path) -> Errand {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    Errand {
        parent: id(),
        case: case.map(|name| cases.join(format!("{name}.case"))),
        side,
        place: place.to_owned(),
        patience: PATIENCE,
        programs: Programs {
            jail: env!("CARGO_BIN_EXE_compat-jail").into(),
            recorder: env!("CARGO_BIN_EXE_compat-recorder").into(),
            tested: tested.to_owned(),
        },
    }
}

fn send(errand: &Errand) -> Verdict {
    jail::send(errand).unwrap_or_else(|error| Verdict::Impossible(error.to_string()))
}

/// What has to be played. First what takes long: what must not be seen is waited for.
fn trials<'a>(
    cases: &'a BTreeMap<String, Case>,
    original: Option<&(PathBuf, String)>,
) -> Vec<Trial<'a>> {
    let ours = (Side::Ours, PathBuf::from(env!("CARGO_BIN_EXE_compat-ours")));
    let theirs = original.map(|(program, _)| (Side::Theirs, program.clone()));
    let version = original.map_or("", |(_, version)| version);
    let mut trials = Vec::new();
    for (name, case) in cases {
        for (side, program) in [&ours].into_iter().chain(&theirs) {
            if let Some(expected) = gate::expected(&case.mark, *side, version) {
                trials.push(Trial { name, case, side: *side, program: program.clone(), expected });
            }
        }
    }
    trials.sort_by_key(|trial| trial.expected == Expected::Pass);
    trials
}

/// Plays them, and returns what is wrong, by the names of the cases.
fn play_all(trials: Vec<Trial>, place: &Path) -> BTreeMap<String, Vec<String>> {
    let waiting = Mutex::new(trials.into_iter());
    let objections = Mutex::new(BTreeMap::<String, Vec<String>>::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(trial) = next(&waiting) {
                    let objection = trial.play(place);
                    let state = if objection.is_some() { "FAILED" } else { "ok" };
                    println!("test {} ({}) ... {state}", trial.name, trial.side.name());
                    if let Some(objection) = objection {
                        let mut all = objections.lock().expect("no other has panicked");
                        all.entry(trial.name.to_owned()).or_default().push(objection);
                    }
                }
            });
        }
    });
    objections.into_inner().expect("no other has panicked")
}

fn next<T>(waiting: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    waiting.lock().expect("no other has panicked").next()
}

impl Trial<'_> {
    fn play(&self, place: &Path) -> Option<String> {
        let mut errand = errand(place, Some(self.name), self.side, &self.program);
        if self.expected == Expected::Fail {
            errand.patience = SHORT_PATIENCE;
        }
        gate::objection(self.case, self.side, self.expected, &send(&errand))
    }
}
