//! Loader of configuration files, which are Lua code.
//!
//! A file runs with the names that `prelude.lua` defines. Then the declarations are read into a
//! [`Config`]. All errors are found here, before anything is started.

mod daemon;
mod dry_load;
mod error;
mod exit_codes;
mod fields;
mod hook;
mod host;
mod patterns;
mod rsync_args;
mod sync;
mod tunnel;

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use mirror_core::{mirror::scripted::RestartMode, path::Escaped, settings};
use mlua::{Function, Lua, LuaOptions, StdLib, Table};

use crate::{
    config::{
        Config, Overrides, RuleSources, SyncConfig, SyncKind, SyncPositions, TargetBase,
        check_target,
    },
    frontend::Loaded,
    report::{Category, Log, os_error_text},
    script::{RereadSync, Scripts},
};
use fields::Fields;
use host::PreludeHost;
use sync::SyncReader;

pub use error::ConfigError;
use error::SettingError;

/// Files to load, with the overrides of the command line.
#[derive(Clone, Debug)]
pub struct LoadRequest {
    /// Lua files that run before the configuration, in their order.
    pub scripts: Vec<PathBuf>,
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Options that take precedence over the settings of the file.
    pub overrides: Overrides,
    /// Directory that relative paths are resolved against.
    pub start_dir: PathBuf,
    /// Purpose of the loading.
    pub purpose: LoadPurpose,
}

/// Purpose of loading a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadPurpose {
    /// The configuration is going to be run.
    Run,
    /// The configuration is only checked: the file can neither run programs for their effects nor
    /// change files.
    Check,
}

/// Runs the files of `request` and reads the declarations.
///
/// # Errors
///
/// The reason why there is nothing to run.
pub fn load(request: &LoadRequest, log: &Log) -> Result<Loaded, ConfigError> {
    let host = PreludeHost::new(log.clone(), request.start_dir.clone());
    let lua = Lua::new_with(StdLib::ALL_SAFE, LuaOptions::default())
        .map_err(|error| internal_error(&error))?;
    let mut scripts = Scripts::new(&lua).map_err(|error| internal_error(&error))?;
    let table =
        host.table(&lua, request.overrides.delay).map_err(|error| internal_error(&error))?;
    let prelude = run_prelude(&lua, &table, &scripts).map_err(|error| internal_error(&error))?;
    let skipped = if request.purpose == LoadPurpose::Check {
        Some(dry_load::install(&lua).map_err(|error| internal_error(&error))?)
    } else {
        None
    };
    let read = run_and_read(&lua, &host, &prelude, request);
    let recorded = host.take_errors();
    if read.is_err() || !recorded.is_empty() {
        // An undefined global may be the cause.
        log_warnings(&host.take_warnings(), log);
    }
    let mut loaded = match read {
        Ok(loaded) if recorded.is_empty() => loaded,
        Ok(_) => return Err(ConfigError::Invalid(recorded)),
        Err(missing @ ConfigError::MissingSource(_)) if recorded.is_empty() => return Err(missing),
        Err(ConfigError::Invalid(lines) | ConfigError::MissingSource(lines)) => {
            return Err(ConfigError::Invalid([recorded, lines].concat()));
        }
        Err(exit @ ConfigError::Exit(_)) => return Err(exit),
    };
    loaded.warnings.splice(0..0, host.take_warnings());
    loaded.warnings.extend(skipped.into_iter().flat_map(|skipped| skipped.take()));
    let has_script = loaded.config.syncs.iter().any(SyncConfig::has_script);
    if has_script || scripts.has_pending_callbacks() || scripts.has_programs() {
        // From now on `exit` ends the daemon instead of the loading.
        let exit = scripts.exit_function().and_then(|exit| table.set("exit", exit));
        exit.map_err(|error| internal_error(&error))?;
        scripts.set_reread(reread(prelude, request.clone(), loaded.config.clone()));
        loaded.scripts = Some(scripts);
    }
    Ok(loaded)
}

/// Runs the files and reads the declarations.
fn run_and_read(
    lua: &Lua,
    host: &PreludeHost,
    prelude: &Table,
    request: &LoadRequest,
) -> Result<Loaded, ConfigError> {
    for file in request.scripts.iter().chain(&request.file) {
        host.set_running_file(file);
        run(lua, host, file)?;
    }
    let seal: Function = prelude.get("seal").map_err(|error| internal_error(&error))?;
    seal.call::<()>(()).map_err(|error| load_error(host, &error))?;
    read(host, prelude, request)
}

fn run_prelude(lua: &Lua, host: &Table, scripts: &Scripts) -> mlua::Result<Table> {
    let prelude = lua.load(include_str!("prelude.lua")).set_name("=prelude");
    prelude.call((host, scripts.runtime_loader()?))
}

/// Returns the function that reads a sync again after its script has changed the exclusions.
fn reread(prelude: Table, request: LoadRequest, config: Config) -> RereadSync {
    Box::new(move |number| {
        let why = |error: mlua::Error| error.to_string();
        let syncs: Table = prelude.get("syncs").map_err(why)?;
        let entry: Table = syncs.get(number).map_err(why)?;
        let insist = config.syncs.iter().any(|sync| sync.insist);
        let read = read_sync(&config, &request, SyncEntry { table: &entry, number, insist });
        read.map(|(sync, _)| sync).map_err(|error| match error {
            SettingError::Lua(why) | SettingError::Fatal(why) => why,
        })
    })
}

fn run(lua: &Lua, host: &PreludeHost, file: &Path) -> Result<(), ConfigError> {
    let named = Escaped(file.as_os_str().as_bytes()).to_string();
    let text = fs::read(file).map_err(|error| {
        let why = os_error_text(&error);
        ConfigError::invalid(format!("error loading {named}: cannot read {named}: {why}"))
    })?;
    let name = [b"@", file.as_os_str().as_bytes()].concat();
    let chunk = lua.load(chunk(&text)).set_name(String::from_utf8_lossy(&name));
    let chunk = chunk.set_mode(mlua::chunk::ChunkMode::Text).into_function().map_err(|error| {
        ConfigError::invalid(format!("error loading {named}: {}", error::lua_message(&error)))
    })?;
    let ended = chunk.call::<()>(());
    match (host.take_abort(), ended) {
        (Some(why), _) => Err(why),
        (None, Err(error)) => {
            let why = error::lua_message(&error);
            Err(ConfigError::invalid(format!("error preparing {named}: {why}")))
        }
        (None, Ok(())) => Ok(()),
    }
}

/// Returns the code of a file as Lua's own loader does: without a byte order mark, and without a
/// first line that begins with `#`.
fn chunk(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if !text.starts_with(b"#") {
        return text;
    }
    // The newline stays, so that line numbers are right.
    let end = text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len());
    text.get(end..).unwrap_or_default()
}

/// Reads the declarations of the files. Errors are collected, so that all are reported at once.
fn read(host: &PreludeHost, prelude: &Table, request: &LoadRequest) -> Result<Loaded, ConfigError> {
    let values: Table = prelude.get("values").map_err(|error| internal_error(&error))?;
    let value_positions: Table =
        prelude.get("value_places").map_err(|error| internal_error(&error))?;
    let (daemon, errors) = daemon::daemon(&values, request);
    let position_of = |name| value_position(host, &value_positions, name);
    let located = |(name, error)| format_error(request, &position_of(name), name, error);
    let mut errors: Vec<_> = errors.into_iter().flat_map(located).collect();
    let switches =
        daemon::switch_warnings(&values).map(|(name, why)| format!("{}{why}", position_of(name)));
    let warnings = switches.collect();
    let insist = daemon::insist(&values, request);
    // With `insist` a sync waits for its source to appear.
    let missing = host.take_missing_source_errors();
    let missing_lines = if insist { 0 } else { missing.len() };
    errors.extend(missing.into_iter().take(missing_lines));
    let declared: Table = prelude.get("tunnels").map_err(|error| internal_error(&error))?;
    let (tunnels, tunnel_errors) = tunnel::read(&declared, host);
    errors.extend(tunnel_errors);
    let config = Config { daemon, syncs: Vec::new(), tunnels };
    let files = request.scripts.iter().chain(&request.file).cloned().collect();
    let positions = SyncPositions::new(&request.start_dir, files);
    let mut loaded = Loaded { config, warnings, positions, scripts: None, hash: String::new() };
    let syncs: Table = prelude.get("syncs").map_err(|error| internal_error(&error))?;
    for (entry, number) in syncs.sequence_values::<Table>().zip(1..) {
        let entry = entry.map_err(|error| internal_error(&error))?;
        if entry.get("has_failed").unwrap_or_default() {
            continue;
        }
        match read_or_report(
            host,
            &loaded.config,
            request,
            SyncEntry { table: &entry, number, insist },
        ) {
            Ok((sync, warnings)) => {
                let position: String = entry.get("place").unwrap_or_default();
                loaded.positions.add(&sync.name, &position);
                loaded.positions.add_rules(&sync.name, rule_sources(&entry, request));
                let named = warnings.into_iter().map(|warning| format!("{}: {warning}", sync.name));
                let located = named.map(|warning| loaded.positions.with_position(warning));
                loaded.warnings.extend(located);
                loaded.config.syncs.push(sync);
            }
            Err(lines) => errors.extend(lines),
        }
    }
    match errors.len() {
        0 => Ok(loaded),
        count if count == missing_lines => Err(ConfigError::MissingSource(errors)),
        _ => Err(ConfigError::Invalid(errors)),
    }
}

/// Returns the sources of the rules of a sync.
fn rule_sources(entry: &Table, request: &LoadRequest) -> RuleSources {
    let table = entry.get::<Table>("config").ok();
    let fields = table.as_ref().map_or(Fields::EMPTY, |table| Fields::new(table, ""));
    patterns::rule_sources(fields, &request.start_dir)
}

/// Sync that the prelude has collected.
#[derive(Clone, Copy)]
struct SyncEntry<'a> {
    table: &'a Table,
    /// Number of the sync, from 1 on.
    number: usize,
    /// True if a failed first transfer is retried.
    insist: bool,
}

/// Reads a sync. After an error the setting is removed and the rest is read again, so that all
/// errors are found.
fn read_or_report(
    host: &PreludeHost,
    config: &Config,
    request: &LoadRequest,
    entry: SyncEntry<'_>,
) -> Result<(SyncConfig, Vec<String>), Vec<String>> {
    let position: String = entry.table.get("place").unwrap_or_default();
    let mut lines = Vec::new();
    let mut removed = Vec::new();
    loop {
        let error = match read_sync(config, request, entry) {
            Ok(read) if lines.is_empty() => return Ok(read),
            Ok(_) => return Err(lines),
            Err(error) => error,
        };
        let key = error.key();
        let error_lines = error_lines(host, request, &position, error);
        // The removed setting may be missed next.
        if lines.ends_with(&error_lines) || key.as_ref().is_some_and(|key| removed.contains(key)) {
            return Err(lines);
        }
        lines.extend(error_lines);
        let Some(key) = key.filter(|key| remove_setting(entry.table, key)) else {
            return Err(lines);
        };
        removed.push(key);
    }
}

/// Formats an error of the sync at this position.
fn error_lines(
    host: &PreludeHost,
    request: &LoadRequest,
    position: &str,
    error: SettingError,
) -> Vec<String> {
    let key = error.key();
    let is_about_target = matches!(&error, SettingError::Lua(why) if why.starts_with("the target"));
    let shown_key = if is_about_target { Some("target") } else { key.as_deref() };
    let position =
        shown_key.map_or_else(|| position.to_owned(), |key| host.key_position(position, key));
    format_error(request, &position, key.as_deref().unwrap_or("this sync"), error)
}

/// Returns the position of a name in `settings`.
fn value_position(host: &PreludeHost, value_positions: &Table, name: &str) -> String {
    let of = value_positions.get::<Table>(name);
    let text = |key| of.as_ref().ok().and_then(|of| of.get::<String>(key).ok());
    let position = text("place").unwrap_or_default();
    text("key").map_or(position.clone(), |key| host.key_position(&position, &key))
}

/// Formats an error with its position.
fn format_error(
    request: &LoadRequest,
    position: &str,
    what: &str,
    error: SettingError,
) -> Vec<String> {
    match (error, &request.file) {
        (SettingError::Lua(why), Some(file)) => {
            let file = Escaped(file.as_os_str().as_bytes());
            vec![format!("error preparing {file}: {position}{why}")]
        }
        (SettingError::Lua(why), None) => vec![format!("{position}{why}")],
        // The original prints just the first line.
        (SettingError::Fatal(why), _) => vec![why, format!("{position}{what} cannot be used")],
    }
}

/// Removes a setting from a sync that is invalid anyway. Returns false if it is not there.
fn remove_setting(entry: &Table, key: &str) -> bool {
    let (outer, name) = key.rsplit_once('.').unwrap_or(("config", key));
    let table = entry.get::<Table>("config").and_then(|config| match outer {
        "config" => Ok(config),
        outer => config.get(outer),
    });
    let Ok(table) = table else { return false };
    let is_there = table.contains_key(name).unwrap_or_default();
    is_there && table.raw_remove(name).is_ok()
}

/// Reads a sync. Returns it with its warnings.
fn read_sync(
    config: &Config,
    request: &LoadRequest,
    entry: SyncEntry<'_>,
) -> Result<(SyncConfig, Vec<String>), SettingError> {
    let SyncEntry { table: entry, number, insist } = entry;
    let lua_error = |error: mlua::Error| SettingError::Lua(error.to_string());
    let table: Table = entry.get("config").map_err(lua_error)?;
    let base: String = entry.get("base").map_err(lua_error)?;
    let base = host::parse_base(&base).ok_or_else(|| SettingError::Lua("no such base".into()))?;
    let (start_dir, tunnels) = (&*request.start_dir, &*config.tunnels);
    let has_script = entry.get("has_script").map_err(lua_error)?;
    let has_startup: bool = entry.get("begins").map_err(lua_error)?;
    let has_action: bool = entry.get("acts").unwrap_or_default();
    let (writes, max_delete) = (config.daemon.writes, request.overrides.max_delete);
    let reader = SyncReader {
        table: &table,
        base,
        has_script,
        restart_mode: if has_startup { RestartMode::Clear } else { RestartMode::Keep },
        has_action,
        number,
        start_dir,
        insist,
        max_delete,
        writes,
        tunnels,
    };
    let (mut sync, mut warnings) = reader.read()?;
    if base == settings::SyncBase::Own && !has_action && !has_startup && sync::is_idle(&table) {
        warnings.push(
            "source is watched without an action: write default.rsync, default.rsyncssh or \
             default.direct first, or functions such as onCreate"
                .into(),
        );
    }
    if has_action {
        // A script may use its target in any way.
        return Ok((sync, warnings));
    }
    let target_base = TargetBase { mode: config.daemon.mode, start_dir: &request.start_dir };
    if matches!(sync.kind, SyncKind::Rsync | SyncKind::Rsyncssh) {
        patterns::refuse_per_directory(&sync, &request.start_dir)?;
    }
    let filters = [Arc::clone(&sync.filter)];
    let checked = check_target(sync.kind, &sync.source, &sync.target, &filters, target_base)?;
    warnings.extend(checked.warning);
    sync.unchecked_target = checked.unchecked;
    Ok((sync, warnings))
}

fn load_error(host: &PreludeHost, error: &mlua::Error) -> ConfigError {
    host.take_abort().unwrap_or_else(|| ConfigError::invalid(error::lua_message(error)))
}

/// Creates the error for failures that only lack of memory or a bug causes.
fn internal_error(error: &mlua::Error) -> ConfigError {
    ConfigError::invalid(format!("cannot run Lua: {}", error::lua_message(error)))
}

/// Logs warnings about a configuration.
pub fn log_warnings(warnings: &[String], log: &Log) {
    for warning in warnings {
        log.say(Category::Warn, warning);
    }
}

#[cfg(test)]
mod tests;
