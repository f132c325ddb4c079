//! Functions in Rust for the prelude of configuration files.

use std::{
    cell::RefCell,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    rc::Rc,
};

use mirror_core::{
    path::Escaped,
    settings::{self, NameHint, SettingsTable, SyncBase, ValueType},
};
use mlua::{Error, Function, Lua, LuaString, Result, Table, Value};

use super::error::ConfigError;
use crate::{
    config::{SourceError, SyncPositions, awaited_source, canonical_source},
    report::{Category, Log},
};

/// State that the functions share.
#[derive(Clone)]
pub(super) struct PreludeHost {
    log: Log,
    start_dir: PathBuf,
    /// Reason to abort loading, even if the file caught the Lua error.
    abort: Rc<RefCell<Option<ConfigError>>>,
    /// Errors that did not abort loading: lines for people.
    errors: Rc<RefCell<Vec<String>>>,
    /// Errors about sources that do not exist yet. They count only if `insist` is off.
    missing_source_errors: Rc<RefCell<Vec<String>>>,
    /// Warnings about the file.
    warnings: Rc<RefCell<Vec<String>>>,
    /// The file that is being run.
    running_file: Rc<RefCell<PathBuf>>,
}

/// Exit codes of rsync in the original's defaults.
pub(super) const RSYNC_CODES: [(i32, &str); 20] = [
    (0, "ok"),
    (1, "die"),
    (2, "die"),
    (3, "again"),
    (4, "die"),
    (5, "again"),
    (6, "again"),
    (10, "again"),
    (11, "again"),
    (12, "again"),
    (14, "again"),
    (20, "again"),
    (21, "again"),
    (22, "again"),
    (23, "ok"),
    (24, "ok"),
    (25, "die"),
    (30, "again"),
    (35, "again"),
    (255, "again"),
];

impl PreludeHost {
    pub(super) fn new(log: Log, start_dir: PathBuf) -> Self {
        Self {
            log,
            start_dir,
            abort: Rc::default(),
            errors: Rc::default(),
            missing_source_errors: Rc::default(),
            warnings: Rc::default(),
            running_file: Rc::default(),
        }
    }

    /// Sets the file that is run from now on.
    pub(super) fn set_running_file(&self, file: &Path) {
        file.clone_into(&mut self.running_file.borrow_mut());
    }

    /// Takes the errors, in the order in which they were found.
    pub(super) fn take_errors(&self) -> Vec<String> {
        self.errors.take()
    }

    /// Takes the errors about sources that do not exist yet.
    pub(super) fn take_missing_source_errors(&self) -> Vec<String> {
        self.missing_source_errors.take()
    }

    /// Takes the warnings.
    pub(super) fn take_warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// Returns the position of a key in Lua's notation: its own line if found, else that of the
    /// call at `position`.
    pub(super) fn key_position(&self, position: &str, key: &str) -> String {
        let positions =
            SyncPositions::new(&self.start_dir, vec![self.running_file.borrow().clone()]);
        positions.key_position(position, key).unwrap_or_else(|| position.to_owned())
    }

    /// Records an error in a call at `position`.
    pub(super) fn record_error(&self, position: &str, why: &str, key: Option<&str>) {
        let position =
            key.map_or_else(|| position.to_owned(), |key| self.key_position(position, key));
        let running = self.running_file.borrow();
        let file = Escaped(running.as_os_str().as_bytes());
        self.errors.borrow_mut().push(format!("error preparing {file}: {position}{why}"));
    }

    /// Takes the reason to abort loading, if there is one.
    pub(super) fn take_abort(&self) -> Option<ConfigError> {
        self.abort.borrow_mut().take()
    }

    /// Creates the `host` table of the prelude. `delay` overrides that of every sync.
    pub(super) fn table(&self, lua: &Lua, delay: Option<f64>) -> Result<Table> {
        let table = lua.create_table()?;
        table.set("delay", delay)?;
        table.set("rsync_codes", lua.create_table_from(RSYNC_CODES)?)?;
        table.set("gauge", lua.create_function(|lua, base: String| known_names(lua, &base))?)?;
        table.set(
            "unknown",
            lua.create_function(|_, (table, name, base): (String, Value, Option<String>)| {
                Ok(unknown_name_hint(&table, &name, base.as_deref().and_then(parse_base)))
            })?,
        )?;
        table.set(
            "unknown_default",
            lua.create_function(|_, name: String| Ok(unknown_default_hint(&name)))?,
        )?;
        table.set(
            "getinfo",
            lua.create_function(|lua, (what, _): (Value, Value)| getinfo(lua, what))?,
        )?;
        self.add_reporting_functions(lua, &table)?;
        self.add_abort_functions(lua, &table)?;
        self.add_directory_functions(lua, &table)?;
        Ok(table)
    }

    /// Adds the functions that abort loading.
    fn add_abort_functions(&self, lua: &Lua, table: &Table) -> Result<()> {
        let host = self.clone();
        let doom = move |_: &Lua, why: LuaString| -> Result<()> {
            Err(host.abort_load(ConfigError::invalid(why.to_string_lossy())))
        };
        table.set("doom", lua.create_function(doom)?)?;
        let host = self.clone();
        let exit = move |_: &Lua, code: i64| -> Result<()> {
            let code = u8::try_from(code & 0xff).unwrap_or(u8::MAX);
            Err(host.abort_load(ConfigError::Exit(code)))
        };
        table.set("exit", lua.create_function(exit)?)
    }

    /// Adds the functions that record errors and warnings.
    fn add_reporting_functions(&self, lua: &Lua, table: &Table) -> Result<()> {
        let host = self.clone();
        let note =
            move |_: &Lua, (position, why, key): (LuaString, LuaString, Option<LuaString>)| {
                let key = key.map(|key| key.to_string_lossy());
                host.record_error(
                    &position.to_string_lossy(),
                    &why.to_string_lossy(),
                    key.as_deref(),
                );
                Ok(())
            };
        table.set("note", lua.create_function(note)?)?;
        let host = self.clone();
        let refuse = move |_: &Lua, why: LuaString| {
            host.errors.borrow_mut().push(why.to_string_lossy());
            Ok(())
        };
        table.set("refuse", lua.create_function(refuse)?)?;
        let host = self.clone();
        let missing = move |_: &Lua, (position, name): (LuaString, LuaString)| {
            host.warn_of_missing_global(&position.to_string_lossy(), &name.to_string_lossy());
            Ok(())
        };
        table.set("missing", lua.create_function(missing)?)
    }

    /// Warns of reading an undefined global in a file of the user, not in our own Lua code.
    fn warn_of_missing_global(&self, position: &str, name: &str) {
        let is_in_file = position.contains(['/', '.']);
        let text = format!(
            "{position}the global {name} is undefined, so this is nil; if a string is meant, write \
             \"{name}\""
        );
        let mut warnings = self.warnings.borrow_mut();
        if is_in_file && !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Adds the functions for directories and the log.
    fn add_directory_functions(&self, lua: &Lua, table: &Table) -> Result<()> {
        let host = self.clone();
        table.set(
            "source",
            lua.create_function(move |lua, (source, position): (Value, LuaString)| {
                host.source(lua, &source, &position.to_string_lossy())
            })?,
        )?;
        let host = self.clone();
        table.set("realdir", lua.create_function(move |lua, path| host.realdir(lua, &path))?)?;
        let host = self.clone();
        table.set("readdir", lua.create_function(move |lua, path| host.readdir(lua, &path))?)?;
        let host = self.clone();
        table.set(
            "log",
            lua.create_function(move |_, (category, text): (LuaString, LuaString)| {
                host.log_message(&category.as_bytes(), &text.to_string_lossy());
                Ok(())
            })?,
        )
    }

    fn abort_load(&self, why: ConfigError) -> Error {
        self.abort.borrow_mut().get_or_insert(why);
        Error::runtime("the file was refused")
    }

    /// Returns the canonical path of a source with a trailing slash. `None` if it is invalid, which
    /// is recorded as an error.
    fn source(&self, lua: &Lua, source: &Value, position: &str) -> Result<Option<LuaString>> {
        let position = self.key_position(position, "source");
        let Some(text) = lua.coerce_string(source.clone())? else {
            let kind = source.type_name();
            self.errors
                .borrow_mut()
                .push(format!("{position}source must be a string, not a {kind}"));
            return Ok(None);
        };
        let bytes = text.as_bytes();
        let source = OsStr::from_bytes(&bytes);
        let mut lines = match canonical_source(&self.start_dir, source) {
            Ok(path) => return with_slash(lua, &path).map(Some),
            Err(SourceError(lines)) => lines,
        };
        lines.push(format!("{position}the source cannot be used"));
        if let Some(path) = awaited_source(&self.start_dir, source) {
            // `insist` may be set later in the file.
            self.missing_source_errors.borrow_mut().extend(lines);
            return with_slash(lua, &path).map(Some);
        }
        self.errors.borrow_mut().extend(lines);
        Ok(None)
    }

    fn realdir(&self, lua: &Lua, path: &LuaString) -> Result<Option<LuaString>> {
        let found = canonical_source(&self.start_dir, OsStr::from_bytes(&path.as_bytes()));
        found.ok().map(|path| with_slash(lua, &path)).transpose()
    }

    /// Returns the names in a directory, each with a flag that is true for directories.
    fn readdir(&self, lua: &Lua, path: &LuaString) -> Result<Option<Table>> {
        let bytes = path.as_bytes();
        let Ok(listing) = fs::read_dir(self.start_dir.join(OsStr::from_bytes(&bytes))) else {
            let text = format!("cannot open dir [{}].", Escaped(&bytes));
            self.log.say(Category::Error, text);
            return Ok(None);
        };
        let names = lua.create_table()?;
        for entry in listing.flatten() {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            names.raw_set(lua.create_string(entry.file_name().as_bytes())?, is_directory)?;
        }
        Ok(Some(names))
    }

    fn log_message(&self, category: &[u8], text: &str) {
        let category = match category {
            b"Normal" => Category::Normal,
            b"Warn" | b"Warning" => Category::Warn,
            b"Error" => Category::Error,
            // Other categories are filtered by name.
            other => Category::named(&String::from_utf8_lossy(other)),
        };
        self.log.say(category, text);
    }
}

fn with_slash(lua: &Lua, path: &std::path::Path) -> Result<LuaString> {
    let mut bytes = path.as_os_str().as_bytes().to_vec();
    if !bytes.ends_with(b"/") {
        bytes.push(b'/');
    }
    lua.create_string(bytes)
}

/// Returns the known names for a tunnel, or for a sync with this base.
fn known_names(lua: &Lua, base: &str) -> Result<Table> {
    if base == "tunnel" {
        return names_of_table(lua, SettingsTable::Tunnel);
    }
    let base = parse_base(base).ok_or_else(|| Error::runtime("no such base"))?;
    let table = lua.create_table()?;
    for setting in settings::of(SettingsTable::Sync).filter(|setting| setting.is_for(base)) {
        match (setting.value_type, setting.name) {
            (ValueType::Table, "rsync") => {
                table.set("rsync", names_of_table(lua, SettingsTable::Rsync)?)?;
            }
            (ValueType::Table, "ssh") => {
                table.set("ssh", names_of_table(lua, SettingsTable::Ssh)?)?;
            }
            (_, name) => table.set(name, true)?,
        }
    }
    Ok(table)
}

fn names_of_table(lua: &Lua, names: SettingsTable) -> Result<Table> {
    lua.create_table_from(settings::of(names).map(|setting| (setting.name, true)))
}

/// Parses the prelude's name of a base.
pub(super) fn parse_base(name: &str) -> Option<SyncBase> {
    Some(match name {
        "own" => SyncBase::Own,
        "rsync" => SyncBase::Rsync,
        "rsyncssh" => SyncBase::Rsyncssh,
        "direct" => SyncBase::Direct,
        _ => return None,
    })
}

/// Returns the hint for an unknown `default.NAME`, with a leading blank.
fn unknown_default_hint(name: &str) -> String {
    match settings::nearest(name, ["rsync", "rsyncssh", "direct"].into_iter()) {
        Some(nearest) => format!(" Did you mean \"default.{nearest}\"?"),
        None => " There are default.rsync, default.rsyncssh and default.direct.".into(),
    }
}

/// Returns the hint for an unknown name, with a leading blank. `None` if `settings` knows it.
fn unknown_name_hint(table: &str, name: &Value, base: Option<SyncBase>) -> Option<String> {
    let names = match table {
        "settings" => SettingsTable::Settings,
        "sync" => SettingsTable::Sync,
        "rsync." => SettingsTable::Rsync,
        "ssh." => SettingsTable::Ssh,
        "tunnel." => SettingsTable::Tunnel,
        _ => return Some(String::new()),
    };
    let Value::String(name) = name else { return Some(String::new()) };
    let name = name.to_string_lossy();
    let is_known = settings::of(names).any(|setting| setting.name == name);
    if is_known && names == SettingsTable::Settings {
        return None;
    }
    Some(match settings::hint(names, &name, base) {
        Some(NameHint::DidYouMean(other)) if other != name => format!(" Did you mean \"{other}\"?"),
        Some(NameHint::Instead(what)) => format!(" Hint: {what}."),
        Some(NameHint::BelongsIn(position)) => format!(" It belongs in {position}."),
        Some(NameHint::DidYouMean(_)) | None => String::new(),
    })
}

/// Implements `debug.getinfo`, by which configuration files find their own path.
fn getinfo(lua: &Lua, what: Value) -> Result<Option<Table>> {
    let table = lua.create_table()?;
    if let Value::Function(function) = what {
        return function_info(&table, &function).map(|()| Some(table));
    }
    let Value::Integer(level) = what else {
        return Err(Error::runtime("getinfo takes a level or a function"));
    };
    let level = usize::try_from(level).unwrap_or(usize::MAX);
    let found = lua.inspect_stack(level, |frame| {
        let source = frame.source();
        table.set("source", source.source.as_deref())?;
        table.set("short_src", source.short_src.as_deref())?;
        table.set("what", source.what)?;
        table.set("linedefined", source.line_defined)?;
        table.set("currentline", frame.current_line())
    });
    found.map(|set| set.map(|()| table)).transpose()
}

fn function_info(table: &Table, function: &Function) -> Result<()> {
    let info = function.info();
    table.set("source", info.source)?;
    table.set("short_src", info.short_src)?;
    table.set("what", info.what)?;
    table.set("linedefined", info.line_defined)
}
