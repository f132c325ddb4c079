//! A configuration file: Lua code that says what is to be run.
//!
//! The file runs with the names that `prelude.lua` gives it; then what it said is read into a
//! [`Setup`]. Whatever is wrong is found here, before anything is started.

mod draft;
mod error;
mod fields;
mod hook;
mod host;
mod patterns;
mod pretend;
mod tunnel;
mod whole;
mod words;

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_core::path::Escaped;
use mlua::{Function, Lua, LuaOptions, StdLib, Table};

use crate::{
    report::{Category, Log, reason},
    setup::{Base, Overrides, Setup, check_target},
};
use draft::{Draft, Fault};
use host::Host;

pub use error::Refusal;

/// What is to be loaded, and what the command line says beside it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Lua files that run before the configuration, in their order.
    pub scripts: Vec<PathBuf>,
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// What comes before the file's own settings.
    pub overrides: Overrides,
    /// The directory from which relative paths count.
    pub here: PathBuf,
    /// What for.
    pub purpose: Purpose,
}

/// What a file is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be run.
    Run,
    /// To be looked at: then it can neither run programs for their effects nor change files.
    Check,
}

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What is to be run. There may be no sync in it.
    pub setup: Setup,
    /// What is odd, but no reason to refuse it.
    pub warnings: Vec<String>,
}

/// Runs the files of `request`, and reads what they say.
///
/// # Errors
///
/// Why there is nothing to run.
pub fn load(request: &Request, log: &Log) -> Result<Loaded, Refusal> {
    let host = Host::new(log.clone(), request.here.clone());
    let lua =
        Lua::new_with(StdLib::ALL_SAFE, LuaOptions::default()).map_err(|error| bug(&error))?;
    let front = prepare(&lua, &host, request).map_err(|error| bug(&error))?;
    let noted = if request.purpose == Purpose::Check {
        Some(pretend::install(&lua).map_err(|error| bug(&error))?)
    } else {
        None
    };
    for file in request.scripts.iter().chain(&request.file) {
        run(&lua, &host, file)?;
    }
    let seal: Function = front.get("seal").map_err(|error| bug(&error))?;
    seal.call::<()>(()).map_err(|error| refusal(&host, &error))?;
    let mut loaded = read(&front, request)?;
    loaded.warnings.extend(noted.into_iter().flat_map(|noted| noted.take()));
    Ok(loaded)
}

fn prepare(lua: &Lua, host: &Host, request: &Request) -> mlua::Result<Table> {
    let table = host.table(lua, request.overrides.delay)?;
    lua.load(include_str!("prelude.lua")).set_name("=prelude").call(table)
}

/// Runs one file.
fn run(lua: &Lua, host: &Host, file: &Path) -> Result<(), Refusal> {
    let named = Escaped(file.as_os_str().as_bytes()).to_string();
    let text = fs::read(file).map_err(|error| {
        let why = reason(&error);
        Refusal::because(format!("error loading {named}: cannot read {named}: {why}"))
    })?;
    let name = [b"@", file.as_os_str().as_bytes()].concat();
    let chunk = lua.load(chunk(&text)).set_name(String::from_utf8_lossy(&name));
    let chunk = chunk.set_mode(mlua::chunk::ChunkMode::Text).into_function().map_err(|error| {
        Refusal::because(format!("error loading {named}: {}", error::message(&error)))
    })?;
    let ended = chunk.call::<()>(());
    match (host.doom(), ended) {
        (Some(why), _) => Err(why),
        (None, Err(error)) => {
            let why = error::message(&error);
            Err(Refusal::because(format!("error preparing {named}: {why}")))
        }
        (None, Ok(())) => Ok(()),
    }
}

/// The code of a file, as Lua's own loader takes it: without a byte order mark, and without a
/// first line that begins with `#`.
fn chunk(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if !text.starts_with(b"#") {
        return text;
    }
    // The line feed stays, so that the numbers of lines are right.
    let end = text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len());
    text.get(end..).unwrap_or_default()
}

fn read(front: &Table, request: &Request) -> Result<Loaded, Refusal> {
    let values: Table = front.get("values").map_err(|error| bug(&error))?;
    let daemon = whole::daemon(&values, request).map_err(Refusal::because)?;
    let insist = whole::insist(&values, request);
    let gathered: Table = front.get("tunnels").map_err(|error| bug(&error))?;
    let tunnels = tunnel::read(&gathered).map_err(Refusal::because)?;
    let setup = Setup { daemon, syncs: Vec::new(), tunnels };
    let mut loaded = Loaded { setup, warnings: Vec::new() };
    let syncs: Table = front.get("syncs").map_err(|error| bug(&error))?;
    for (made, number) in syncs.sequence_values::<Table>().zip(1..) {
        let made = made.map_err(|error| bug(&error))?;
        let place: String = made.get("place").unwrap_or_default();
        add_sync(&mut loaded, request, (&made, number), insist).map_err(|fault| {
            Refusal::Because(vec![match (fault, &request.file) {
                (Fault::Lua(why), Some(file)) => {
                    let file = Escaped(file.as_os_str().as_bytes());
                    format!("error preparing {file}: {place}{why}")
                }
                (Fault::Lua(why), None) => format!("{place}{why}"),
                (Fault::Fatal(why), _) => why,
            }])
        })?;
    }
    Ok(loaded)
}

fn add_sync(
    loaded: &mut Loaded,
    request: &Request,
    (made, number): (&Table, usize),
    insist: bool,
) -> Result<(), Fault> {
    let wrong = |error: mlua::Error| Fault::Lua(error.to_string());
    let config: Table = made.get("config").map_err(wrong)?;
    let base: String = made.get("base").map_err(wrong)?;
    let base = host::base_named(&base).ok_or_else(|| Fault::Lua("no such base".into()))?;
    let (here, tunnels) = (&*request.here, &*loaded.setup.tunnels);
    let draft = Draft { config: &config, base, number, here, insist, tunnels };
    let (sync, warnings) = draft.read()?;
    let target_base = Base { mode: loaded.setup.daemon.mode, here: &request.here };
    let odd = check_target(sync.kind, &sync.source, &sync.target, target_base)?;
    let warnings = warnings.into_iter().chain(odd);
    loaded.warnings.extend(warnings.map(|warning| format!("{}: {warning}", sync.name)));
    loaded.setup.syncs.push(sync);
    Ok(())
}

fn refusal(host: &Host, error: &mlua::Error) -> Refusal {
    host.doom().unwrap_or_else(|| Refusal::because(error::message(error)))
}

/// What can only fail for want of memory, or by a mistake of ours.
fn bug(error: &mlua::Error) -> Refusal {
    Refusal::because(format!("cannot run Lua: {}", error::message(error)))
}

/// Says what is odd about a configuration.
pub fn say_warnings(warnings: &[String], log: &Log) {
    for warning in warnings {
        log.say(Category::Warn, warning);
    }
}

#[cfg(test)]
mod tests;
