//! What Rust does for the Lua code of a configuration file.

use std::{cell::RefCell, ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::PathBuf, rc::Rc};

use mirror_core::{
    path::Escaped,
    settings::{self, Base, Hint, Table as Names, Takes},
};
use mlua::{Error, Function, Lua, LuaString, Result, Table, Value};

use super::error::Refusal;
use crate::{
    report::{Category, Log},
    setup::{BadSource, canonical_source},
};

/// What the functions share.
#[derive(Clone)]
pub(super) struct Host {
    log: Log,
    here: PathBuf,
    /// Why the file can't be taken, though it may have caught the error.
    doom: Rc<RefCell<Option<Refusal>>>,
}

/// The exit codes of rsync as the original's default has them.
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

impl Host {
    pub(super) fn new(log: Log, here: PathBuf) -> Self {
        Self { log, here, doom: Rc::default() }
    }

    /// Why the file can't be taken, if something said so for good.
    pub(super) fn doom(&self) -> Option<Refusal> {
        self.doom.borrow_mut().take()
    }

    /// The table for the prelude. `delay` overrides that of every sync.
    pub(super) fn table(&self, lua: &Lua, delay: Option<f64>) -> Result<Table> {
        let table = lua.create_table()?;
        table.set("delay", delay)?;
        table.set("rsync_codes", lua.create_table_from(RSYNC_CODES)?)?;
        table.set("gauge", lua.create_function(|lua, base: String| gauge(lua, &base))?)?;
        table.set(
            "unknown",
            lua.create_function(|_, (table, name): (String, Value)| Ok(unknown(&table, &name)))?,
        )?;
        table.set("getinfo", lua.create_function(getinfo)?)?;
        self.add_refusals(lua, &table)?;
        self.add_directories(lua, &table)?;
        Ok(table)
    }

    /// The functions that end the loading.
    fn add_refusals(&self, lua: &Lua, table: &Table) -> Result<()> {
        let host = self.clone();
        let doom = move |_: &Lua, why: LuaString| -> Result<()> {
            Err(host.refuse(Refusal::because(why.to_string_lossy())))
        };
        table.set("doom", lua.create_function(doom)?)?;
        let host = self.clone();
        let exit = move |_: &Lua, code: i64| -> Result<()> {
            let code = u8::try_from(code & 0xff).unwrap_or(u8::MAX);
            Err(host.refuse(Refusal::Exit(code)))
        };
        table.set("exit", lua.create_function(exit)?)
    }

    /// The functions that look at directories, and the log.
    fn add_directories(&self, lua: &Lua, table: &Table) -> Result<()> {
        let host = self.clone();
        table.set("source", lua.create_function(move |lua, source| host.source(lua, &source))?)?;
        let host = self.clone();
        table.set("realdir", lua.create_function(move |lua, path| host.realdir(lua, &path))?)?;
        let host = self.clone();
        table.set("readdir", lua.create_function(move |lua, path| host.readdir(lua, &path))?)?;
        let host = self.clone();
        table.set(
            "log",
            lua.create_function(move |_, (category, text): (LuaString, LuaString)| {
                host.say(&category.as_bytes(), &text.to_string_lossy());
                Ok(())
            })?,
        )
    }

    fn refuse(&self, why: Refusal) -> Error {
        self.doom.borrow_mut().get_or_insert(why);
        Error::runtime("the file was refused")
    }

    /// The canonical path of a source, with a slash at its end.
    fn source(&self, lua: &Lua, source: &Value) -> Result<LuaString> {
        let Some(text) = lua.coerce_string(source.clone())? else {
            let kind = source.type_name();
            return Err(
                self.refuse(Refusal::because(format!("source must be a text, not a {kind}")))
            );
        };
        let found = canonical_source(&self.here, OsStr::from_bytes(&text.as_bytes()));
        match found {
            Ok(path) => with_slash(lua, &path),
            Err(BadSource(lines)) => Err(self.refuse(Refusal::Because(lines))),
        }
    }

    fn realdir(&self, lua: &Lua, path: &LuaString) -> Result<Option<LuaString>> {
        let found = canonical_source(&self.here, OsStr::from_bytes(&path.as_bytes()));
        found.ok().map(|path| with_slash(lua, &path)).transpose()
    }

    /// The names in a directory, each with whether it is one.
    fn readdir(&self, lua: &Lua, path: &LuaString) -> Result<Option<Table>> {
        let bytes = path.as_bytes();
        let Ok(listing) = fs::read_dir(self.here.join(OsStr::from_bytes(&bytes))) else {
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

    fn say(&self, category: &[u8], text: &str) {
        let category = match category {
            b"Normal" => Category::Normal,
            b"Warn" | b"Warning" => Category::Warn,
            b"Error" => Category::Error,
            // Whether it is wanted is asked by its name.
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

/// The names that a sync on a base may have, or a tunnel.
fn gauge(lua: &Lua, base: &str) -> Result<Table> {
    if base == "tunnel" {
        return inner_gauge(lua, Names::Tunnel);
    }
    let base = base_named(base).ok_or_else(|| Error::runtime("no such base"))?;
    let table = lua.create_table()?;
    for setting in settings::of(Names::Sync).filter(|setting| setting.is_for(base)) {
        match (setting.takes, setting.name) {
            (Takes::Table, "rsync") => table.set("rsync", inner_gauge(lua, Names::Rsync)?)?,
            (Takes::Table, "ssh") => table.set("ssh", inner_gauge(lua, Names::Ssh)?)?,
            (_, name) => table.set(name, true)?,
        }
    }
    Ok(table)
}

fn inner_gauge(lua: &Lua, names: Names) -> Result<Table> {
    lua.create_table_from(settings::of(names).map(|setting| (setting.name, true)))
}

/// What the prelude calls the base of a sync.
pub(super) fn base_named(name: &str) -> Option<Base> {
    Some(match name {
        "own" => Base::Own,
        "rsync" => Base::Rsync,
        "rsyncssh" => Base::Rsyncssh,
        "direct" => Base::Direct,
        _ => return None,
    })
}

/// `None` for a known setting of `settings`; else what there is to say of the name, behind a blank.
fn unknown(table: &str, name: &Value) -> Option<String> {
    let names = match table {
        "settings" => Names::Settings,
        "sync" => Names::Sync,
        "rsync." => Names::Rsync,
        "ssh." => Names::Ssh,
        "tunnel." => Names::Tunnel,
        _ => return Some(String::new()),
    };
    let Value::String(name) = name else { return Some(String::new()) };
    let name = name.to_string_lossy();
    let is_known = settings::of(names).any(|setting| setting.name == name);
    if is_known && names == Names::Settings {
        return None;
    }
    Some(match settings::hint(names, &name) {
        Some(Hint::Perhaps(other)) if other != name => format!(" Did you mean \"{other}\"?"),
        Some(Hint::Instead(what)) => format!(" Hint: {what}."),
        Some(Hint::Perhaps(_)) | None => String::new(),
    })
}

/// What configuration files ask of `debug.getinfo`: where they are.
fn getinfo(lua: &Lua, (what, _): (Value, Value)) -> Result<Option<Table>> {
    let table = lua.create_table()?;
    let level = match what {
        Value::Function(function) => return of_function(&table, &function).map(|()| Some(table)),
        Value::Integer(level) => usize::try_from(level).unwrap_or(usize::MAX),
        _ => return Err(Error::runtime("getinfo takes a level or a function")),
    };
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

fn of_function(table: &Table, function: &Function) -> Result<()> {
    let info = function.info();
    table.set("source", info.source)?;
    table.set("short_src", info.short_src)?;
    table.set("what", info.what)?;
    table.set("linedefined", info.line_defined)
}
