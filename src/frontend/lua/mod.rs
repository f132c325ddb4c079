//! A configuration file: Lua code that says what is to be run.
//!
//! The file runs with the names that `prelude.lua` gives it; then what it said is read into a
//! [`Setup`]. Whatever is wrong is found here, before anything is started.

mod codes;
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

use mirror_core::{path::Escaped, settings};
use mlua::{Function, Lua, LuaOptions, StdLib, Table};

use crate::{
    config::{Base, Kind, Overrides, Places, Setup, Sync, check_target},
    frontend::Loaded,
    report::{Category, Log, reason},
    script::{Reread, Scripts},
};
use draft::Draft;
use host::Host;

use error::Fault;
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

/// Runs the files of `request`, and reads what they say.
///
/// # Errors
///
/// Why there is nothing to run.
pub fn load(request: &Request, log: &Log) -> Result<Loaded, Refusal> {
    let host = Host::new(log.clone(), request.here.clone());
    let lua =
        Lua::new_with(StdLib::ALL_SAFE, LuaOptions::default()).map_err(|error| bug(&error))?;
    let mut scripts = Scripts::new(&lua).map_err(|error| bug(&error))?;
    let table = host.table(&lua, request.overrides.delay).map_err(|error| bug(&error))?;
    let front = prepare(&lua, &table, &scripts).map_err(|error| bug(&error))?;
    let noted = if request.purpose == Purpose::Check {
        Some(pretend::install(&lua).map_err(|error| bug(&error))?)
    } else {
        None
    };
    let read = run_and_read(&lua, &host, &front, request);
    let noted_faults = host.noted();
    if read.is_err() || !noted_faults.is_empty() {
        // A global that is not there may be the cause.
        say_warnings(&host.warnings(), log);
    }
    let mut loaded = match read {
        Ok(loaded) if noted_faults.is_empty() => loaded,
        Ok(_) => return Err(Refusal::Because(noted_faults)),
        Err(Refusal::Because(lines)) => {
            return Err(Refusal::Because([noted_faults, lines].concat()));
        }
        Err(exit @ Refusal::Exit(_)) => return Err(exit),
    };
    loaded.warnings.splice(0..0, host.warnings());
    loaded.warnings.extend(noted.into_iter().flat_map(|noted| noted.take()));
    let has_script = loaded.setup.syncs.iter().any(Sync::has_script);
    if has_script || scripts.has_plans() || scripts.has_programs() {
        // What ended the loading ends the daemon from now on.
        let exit = scripts.exit_function().and_then(|exit| table.set("exit", exit));
        exit.map_err(|error| bug(&error))?;
        scripts.set_reread(reread(front, request.clone(), loaded.setup.clone()));
        loaded.scripts = Some(scripts);
    }
    Ok(loaded)
}

/// Runs the files, and reads what they said.
fn run_and_read(
    lua: &Lua,
    host: &Host,
    front: &Table,
    request: &Request,
) -> Result<Loaded, Refusal> {
    for file in request.scripts.iter().chain(&request.file) {
        host.begin(file);
        run(lua, host, file)?;
    }
    let seal: Function = front.get("seal").map_err(|error| bug(&error))?;
    seal.call::<()>(()).map_err(|error| refusal(host, &error))?;
    read(host, front, request)
}

fn prepare(lua: &Lua, host: &Table, scripts: &Scripts) -> mlua::Result<Table> {
    let prelude = lua.load(include_str!("prelude.lua")).set_name("=prelude");
    prelude.call((host, scripts.loader()?))
}

/// How a sync is read again whose script has changed what it leaves out.
fn reread(front: Table, request: Request, setup: Setup) -> Reread {
    Box::new(move |number| {
        let why = |error: mlua::Error| error.to_string();
        let syncs: Table = front.get("syncs").map_err(why)?;
        let made: Table = syncs.get(number).map_err(why)?;
        let insist = setup.syncs.iter().any(|sync| sync.insist);
        let read = read_sync(&setup, &request, (&made, number), insist);
        read.map(|(sync, _)| sync).map_err(|fault| match fault {
            Fault::Lua(why) | Fault::Fatal(why) => why,
        })
    })
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

/// Reads what the files said. What is wrong is noted, so that all of it is told at once.
fn read(host: &Host, front: &Table, request: &Request) -> Result<Loaded, Refusal> {
    let values: Table = front.get("values").map_err(|error| bug(&error))?;
    let value_places: Table = front.get("value_places").map_err(|error| bug(&error))?;
    let (daemon, faults) = whole::daemon(&values, request);
    let place_of = |name| place_of_value(host, &value_places, name);
    let told = |(name, fault)| lines_of(request, &place_of(name), name, fault);
    let mut wrong: Vec<_> = faults.into_iter().flat_map(told).collect();
    let odd = whole::odd(&values).map(|(name, why)| format!("{}{why}", place_of(name)));
    let warnings = odd.collect();
    let insist = whole::insist(&values, request);
    // With it a sync waits until its source is there.
    wrong.extend(host.awaited().into_iter().filter(|_| !insist));
    let gathered: Table = front.get("tunnels").map_err(|error| bug(&error))?;
    let (tunnels, faults) = tunnel::read(&gathered, host);
    wrong.extend(faults);
    let setup = Setup { daemon, syncs: Vec::new(), tunnels };
    let files = request.scripts.iter().chain(&request.file).cloned().collect();
    let places = Places::new(&request.here, files);
    let mut loaded = Loaded { setup, warnings, places, scripts: None };
    let syncs: Table = front.get("syncs").map_err(|error| bug(&error))?;
    for (made, number) in syncs.sequence_values::<Table>().zip(1..) {
        let made = made.map_err(|error| bug(&error))?;
        if made.get("has_failed").unwrap_or_default() {
            continue;
        }
        match read_or_note(host, &loaded.setup, request, (&made, number), insist) {
            Ok((sync, warnings)) => {
                let place: String = made.get("place").unwrap_or_default();
                loaded.places.add(&sync.name, &place);
                let named = warnings.into_iter().map(|warning| format!("{}: {warning}", sync.name));
                let located = named.map(|warning| loaded.places.located(warning));
                loaded.warnings.extend(located);
                loaded.setup.syncs.push(sync);
            }
            Err(lines) => wrong.extend(lines),
        }
    }
    if wrong.is_empty() { Ok(loaded) } else { Err(Refusal::Because(wrong)) }
}

/// Reads a sync. If something is wrong, that is left out and the rest is read again, so that all
/// that is wrong with it is found.
fn read_or_note(
    host: &Host,
    setup: &Setup,
    request: &Request,
    (made, number): (&Table, usize),
    insist: bool,
) -> Result<(Sync, Vec<String>), Vec<String>> {
    let place: String = made.get("place").unwrap_or_default();
    let mut lines = Vec::new();
    let mut left_out = Vec::new();
    loop {
        let fault = match read_sync(setup, request, (made, number), insist) {
            Ok(read) if lines.is_empty() => return Ok(read),
            Ok(_) => return Err(lines),
            Err(fault) => fault,
        };
        let key = fault.key();
        let told = told(host, request, &place, fault);
        // What is left out may be missed next.
        if lines.ends_with(&told) || key.as_ref().is_some_and(|key| left_out.contains(key)) {
            return Err(lines);
        }
        lines.extend(told);
        let Some(key) = key.filter(|key| leave_out(made, key)) else { return Err(lines) };
        left_out.push(key);
    }
}

/// What is wrong with the sync at this place, as lines for people.
fn told(host: &Host, request: &Request, place: &str, fault: Fault) -> Vec<String> {
    let key = fault.key();
    let is_of_target = matches!(&fault, Fault::Lua(why) if why.starts_with("the target"));
    let key_there = if is_of_target { Some("target") } else { key.as_deref() };
    let place = key_there.map_or_else(|| place.to_owned(), |key| host.place_of_key(place, key));
    lines_of(request, &place, key.as_deref().unwrap_or("this sync"), fault)
}

/// Where one of the `settings` stands.
fn place_of_value(host: &Host, value_places: &Table, name: &str) -> String {
    let of = value_places.get::<Table>(name);
    let text = |key| of.as_ref().ok().and_then(|of| of.get::<String>(key).ok());
    let place = text("place").unwrap_or_default();
    text("key").map_or(place.clone(), |key| host.place_of_key(&place, &key))
}

/// Says at which place what is wrong.
fn lines_of(request: &Request, place: &str, what: &str, fault: Fault) -> Vec<String> {
    match (fault, &request.file) {
        (Fault::Lua(why), Some(file)) => {
            let file = Escaped(file.as_os_str().as_bytes());
            vec![format!("error preparing {file}: {place}{why}")]
        }
        (Fault::Lua(why), None) => vec![format!("{place}{why}")],
        // The original says just the first line.
        (Fault::Fatal(why), _) => vec![why, format!("{place}{what} can't be used")],
    }
}

/// Takes what is wrong out of a sync that can't be used any more. `false` if it is not there.
fn leave_out(made: &Table, key: &str) -> bool {
    let (outer, name) = key.rsplit_once('.').unwrap_or(("config", key));
    let table = made.get::<Table>("config").and_then(|config| match outer {
        "config" => Ok(config),
        outer => config.get(outer),
    });
    let Ok(table) = table else { return false };
    let is_there = table.contains_key(name).unwrap_or_default();
    is_there && table.raw_remove(name).is_ok()
}

/// The sync, and what is odd about it.
fn read_sync(
    setup: &Setup,
    request: &Request,
    (made, number): (&Table, usize),
    insist: bool,
) -> Result<(Sync, Vec<String>), Fault> {
    let wrong = |error: mlua::Error| Fault::Lua(error.to_string());
    let config: Table = made.get("config").map_err(wrong)?;
    let base: String = made.get("base").map_err(wrong)?;
    let base = host::base_named(&base).ok_or_else(|| Fault::Lua("no such base".into()))?;
    let (here, tunnels) = (&*request.here, &*setup.tunnels);
    let has_script = made.get("has_script").map_err(wrong)?;
    let begins = made.get("begins").map_err(wrong)?;
    let (writes, max_delete) = (setup.daemon.writes, request.overrides.max_delete);
    let draft = Draft {
        config: &config,
        base,
        has_script,
        begins,
        number,
        here,
        insist,
        max_delete,
        writes,
        tunnels,
    };
    let (sync, mut warnings) = draft.read()?;
    let acts: bool = made.get("acts").unwrap_or_default();
    if base == settings::Base::Own && !acts && !begins && draft::is_idle(&config) {
        warnings.push(
            "source is watched, and nothing is done: write default.rsync, default.rsyncssh or \
             default.direct in front, or functions such as onCreate"
                .into(),
        );
    }
    if acts {
        // What a target means to a script is its own business.
        return Ok((sync, warnings));
    }
    let target_base = Base { mode: setup.daemon.mode, here: &request.here };
    let extra = patterns::of_extra(&sync, &request.here);
    if matches!(sync.kind, Kind::Rsync | Kind::Rsyncssh) {
        patterns::refuse_per_directory(&sync, &extra)?;
    }
    let filters = [&*sync.filter, &extra];
    warnings.extend(check_target(sync.kind, &sync.source, &sync.target, &filters, target_base)?);
    Ok((sync, warnings))
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
