//! Target: the reader of configuration files.
//!
//! An input is the text of a file; one that starts with a NUL byte describes a file instead. Files
//! run in this process, so only harmless ones are loaded, and for a check only.

mod generator;
mod guard;

use std::{fs, os::unix::ffi::OsStrExt, path::PathBuf};

use lsyncd::{
    check::warnings_at_start,
    config::Overrides,
    frontend::{
        Loaded,
        lua::{self, ConfigError, LoadPurpose, LoadRequest},
    },
    report::{Log, LogFilter, RunMode},
};
use mirror_core::settings::SETTINGS;
use tempfile::TempDir;

/// The name that files in `tests/configs` have for the directory that is made for them.
const PLACE: &[u8] = b"/srv/place";

/// Name of the configuration file.
const FILE: &str = "conf.lua";

/// Returns the tokens: words of the language, and the names of all settings.
#[must_use]
pub fn dictionary() -> Vec<&'static [u8]> {
    const TOKENS: &str = "sync{ settings{ tunnel{ } { , ; = == default. default.rsync default.rsyncssh \
        default.direct default source=\"/srv/place/www\" target=\"/srv/place/mirror\" \
        target=\"host:dir\" host=\"h\" targetdir=\"t\" rsync={ ssh={ _extra={ exclude={ filter={ \
        true false nil 0 1 -1 1e308 -1e-9 0x7fffffffffffffff 1/0 0/0 \"\" \"x\" '50%' \"- *.o\" \
        \"0 0 3 * * *\" [1] [\"a\"] [[ ]] -- --[[ local return if then end not and or # ~= // % ^ & | \
        << >> ~ _merge _verbatim \\0 \\n \\u{e9} t.x=t t[1]=t";
    let names = SETTINGS.iter().map(|setting| setting.name.as_bytes());
    let lines: [&[u8]; 4] = [b"\n", b" ", b"\0", b"\xff"];
    TOKENS
        .split(' ')
        .map(str::as_bytes)
        .filter(|it| !it.is_empty())
        .chain(names)
        .chain(lines)
        .collect()
}

/// Checks that a file is loaded the same way each time, or that the errors say what is wrong and
/// where.
///
/// # Panics
///
/// If an invariant is violated.
pub fn run(data: &[u8]) {
    let text = match data.strip_prefix(b"\0") {
        Some(choices) => generator::file(choices),
        None => data.to_vec(),
    };
    if guard::is_harmless(&text) {
        SANDBOX.with(|sandbox| sandbox.check(&text));
    }
}

thread_local! {
    static SANDBOX: ConfigSandbox = ConfigSandbox::new().expect("temporary directories can be made");
}

/// A directory with a configuration file and directories for syncs.
struct ConfigSandbox {
    /// Removes the directory in the end.
    _dir: TempDir,
    request: LoadRequest,
    file: PathBuf,
    log: Log,
}

impl ConfigSandbox {
    fn new() -> std::io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let top = dir.path().canonicalize()?;
        for name in ["www", "www/in", "home", "etc", "var", "mirror"] {
            fs::create_dir(top.join(name))?;
        }
        fs::write(top.join("etc/excludes.txt"), "*.tmp\n# comment\n+ keep.tmp\n")?;
        fs::write(top.join("etc/filters.txt"), "- *.o\nP /kept\n")?;
        let file = top.join("etc").join(FILE);
        let request = LoadRequest {
            scripts: Vec::new(),
            file: Some(file.clone()),
            overrides: Overrides::default(),
            start_dir: top,
            purpose: LoadPurpose::Check,
        };
        let mut filter = LogFilter::default();
        filter.add(b"scarce").expect("the category exists");
        let log = Log::new(filter);
        // From now on nothing is printed.
        log.begin(RunMode::Foreground, None, "").expect("there is no logfile to open");
        log.leave_terminal();
        Ok(Self { _dir: dir, request, file, log })
    }

    /// Loads a file with this text twice.
    fn check(&self, text: &[u8]) {
        let text = replace(text, PLACE, self.request.start_dir.as_os_str().as_bytes());
        fs::write(&self.file, &text).expect("the sandbox is writable");
        let (one, other) = (self.load(), self.load());
        match (one, other) {
            (Ok(one), Ok(other)) => {
                assert_eq!(one.warnings, other.warnings, "loaded differently the second time");
                // A reload would replace its syncs.
                assert!(one.config == other.config, "loaded differently: {:?}", one.config);
                self.check_loaded(&one);
            }
            (Err(ConfigError::Invalid(lines)), Err(ConfigError::Invalid(again)))
            | (Err(ConfigError::MissingSource(lines)), Err(ConfigError::MissingSource(again))) => {
                assert_eq!(lines, again, "refused differently the second time");
                check_lines(&lines);
            }
            (one, other) => {
                let [one, other] = [one, other].map(|it| it.map(|loaded| loaded.config));
                panic!("{one:?} and then {other:?}");
            }
        }
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        lua::load(&self.request, &self.log)
    }

    /// Checks a configuration that was accepted.
    fn check_loaded(&self, loaded: &Loaded) {
        let Loaded { config, warnings, positions, .. } = loaded;
        let files = [self.file.clone()];
        let lints = warnings_at_start(config, &files, &self.request.start_dir, positions);
        for warning in warnings.iter().chain(&lints) {
            check_text(warning);
        }
        for sync in &config.syncs {
            assert!(sync.source.is_absolute(), "the source {}", sync.source.display());
            assert!(!sync.name.is_empty(), "a sync without a name");
        }
    }
}

fn replace(text: &[u8], part: &[u8], by: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(part.len()).position(|window| window == part) {
        let (before, after) = rest.split_at(at);
        replaced.extend_from_slice(before);
        replaced.extend_from_slice(by);
        rest = after.get(part.len()..).unwrap_or_default();
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// Checks the reasons for which a file is refused. In the words of the original, some have a second
/// line with the position.
fn check_lines(lines: &[String]) {
    assert!(!lines.is_empty(), "refused without a reason");
    for line in lines {
        check_text(line);
    }
    let says_where = |line: &String| has_position(line) || names_a_setting(line);
    for (index, line) in lines.iter().enumerate() {
        let later = lines.get(index..).unwrap_or_default();
        assert!(
            later.iter().any(says_where),
            "neither position nor setting: {line:?} of {lines:?}"
        );
    }
}

/// Checks a message for people.
fn check_text(line: &str) {
    assert!(!line.trim().is_empty(), "an empty message");
    for kind in ["table: 0x", "function: 0x", "userdata: 0x", "builtin: "] {
        assert!(!line.contains(kind), "a message with an address: {line:?}");
    }
}

/// Returns true if a message names the file and a line in it.
fn has_position(line: &str) -> bool {
    let after = |at: usize| line.get(at + FILE.len()..).unwrap_or_default();
    let is_position = |rest: &str| {
        rest.strip_prefix(':').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    line.match_indices(FILE).any(|(at, _)| is_position(after(at)))
}

fn names_a_setting(line: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut words = line.split(|c| !is_name(c));
    words.any(|word| word == "settings" || SETTINGS.iter().any(|setting| setting.name == word))
}
