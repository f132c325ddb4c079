//! What Rust does for the Lua code of a configuration file.

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
    settings::{self, Base, Hint, Table as Names, Takes},
};
use mlua::{Error, Function, Lua, LuaString, Result, Table, Value};

use super::error::Refusal;
use crate::{
    config::{BadSource, Places, awaited_source, canonical_source},
    report::{Category, Log},
};

/// What the functions share.
#[derive(Clone)]
pub(super) struct Host {
    log: Log,
    here: PathBuf,
    /// Why the file can't be taken, though it may have caught the error.
    doom: Rc<RefCell<Option<Refusal>>>,
    /// What is wrong with it, and did not end it: lines for people.
    noted: Rc<RefCell<Vec<String>>>,
    /// What is wrong with them unless sources are waited for.
    awaited: Rc<RefCell<Vec<String>>>,
    /// What is odd about it.
    warnings: Rc<RefCell<Vec<String>>>,
    /// The file that runs.
    running: Rc<RefCell<PathBuf>>,
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
        Self {
            log,
            here,
            doom: Rc::default(),
            noted: Rc::default(),
            awaited: Rc::default(),
            warnings: Rc::default(),
            running: Rc::default(),
        }
    }

    /// Says which file runs from now on.
    pub(super) fn begin(&self, file: &Path) {
        file.clone_into(&mut self.running.borrow_mut());
    }

    /// What is wrong with the files, in the order in which it was found. It is given once.
    pub(super) fn noted(&self) -> Vec<String> {
        self.noted.take()
    }

    /// What is wrong with sources that are not there, where nobody waits for them. It is given once.
    pub(super) fn awaited(&self) -> Vec<String> {
        self.awaited.take()
    }

    /// What is odd about the files. It is given once.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// The place of a key, as Lua writes places: that of the call in which it stands, `place`, but
    /// with a line of its own if it is found there.
    pub(super) fn place_of_key(&self, place: &str, key: &str) -> String {
        let places = Places::new(&self.here, vec![self.running.borrow().clone()]);
        places.of_key(place, key).unwrap_or_else(|| place.to_owned())
    }

    /// Notes what is wrong with a call that stands at `place`.
    pub(super) fn note(&self, place: &str, why: &str, key: Option<&str>) {
        let place = key.map_or_else(|| place.to_owned(), |key| self.place_of_key(place, key));
        let running = self.running.borrow();
        let file = Escaped(running.as_os_str().as_bytes());
        self.noted.borrow_mut().push(format!("error preparing {file}: {place}{why}"));
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
            lua.create_function(|_, (table, name, base): (String, Value, Option<String>)| {
                Ok(unknown(&table, &name, base.as_deref().and_then(base_named)))
            })?,
        )?;
        table.set(
            "unknown_default",
            lua.create_function(|_, name: String| Ok(unknown_default(&name)))?,
        )?;
        table.set("getinfo", lua.create_function(getinfo)?)?;
        self.add_notes(lua, &table)?;
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

    /// The functions that note what is wrong or odd.
    fn add_notes(&self, lua: &Lua, table: &Table) -> Result<()> {
        let host = self.clone();
        let note = move |_: &Lua, (place, why, key): (LuaString, LuaString, Option<LuaString>)| {
            let key = key.map(|key| key.to_string_lossy());
            host.note(&place.to_string_lossy(), &why.to_string_lossy(), key.as_deref());
            Ok(())
        };
        table.set("note", lua.create_function(note)?)?;
        let host = self.clone();
        let refuse = move |_: &Lua, why: LuaString| {
            host.noted.borrow_mut().push(why.to_string_lossy());
            Ok(())
        };
        table.set("refuse", lua.create_function(refuse)?)?;
        let host = self.clone();
        let missing = move |_: &Lua, (place, name): (LuaString, LuaString)| {
            host.warn_of_missing(&place.to_string_lossy(), &name.to_string_lossy());
            Ok(())
        };
        table.set("missing", lua.create_function(missing)?)
    }

    /// A global was read that is not there. What our own code in Lua reads is its own business.
    fn warn_of_missing(&self, place: &str, name: &str) {
        let is_in_file = place.contains(['/', '.']);
        let text = format!(
            "{place}there is no global {name}, so this is nil; if a text is meant, write \"{name}\""
        );
        let mut warnings = self.warnings.borrow_mut();
        if is_in_file && !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// The functions that look at directories, and the log.
    fn add_directories(&self, lua: &Lua, table: &Table) -> Result<()> {
        let host = self.clone();
        table.set(
            "source",
            lua.create_function(move |lua, (source, place): (Value, LuaString)| {
                host.source(lua, &source, &place.to_string_lossy())
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
    /// `None` if there is none, which is noted.
    fn source(&self, lua: &Lua, source: &Value, place: &str) -> Result<Option<LuaString>> {
        let place = self.place_of_key(place, "source");
        let Some(text) = lua.coerce_string(source.clone())? else {
            let kind = source.type_name();
            self.noted.borrow_mut().push(format!("{place}source must be a text, not a {kind}"));
            return Ok(None);
        };
        let bytes = text.as_bytes();
        let source = OsStr::from_bytes(&bytes);
        let mut lines = match canonical_source(&self.here, source) {
            Ok(path) => return with_slash(lua, &path).map(Some),
            Err(BadSource(lines)) => lines,
        };
        lines.push(format!("{place}the source can't be used"));
        if let Some(path) = awaited_source(&self.here, source) {
            // What the settings say of it may come later.
            self.awaited.borrow_mut().extend(lines);
            return with_slash(lua, &path).map(Some);
        }
        self.noted.borrow_mut().extend(lines);
        Ok(None)
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

/// What there is to say of a default that is not there, behind a blank.
fn unknown_default(name: &str) -> String {
    match settings::nearest(name, ["rsync", "rsyncssh", "direct"].into_iter()) {
        Some(nearest) => format!(" Did you mean \"default.{nearest}\"?"),
        None => " There are default.rsync, default.rsyncssh and default.direct.".into(),
    }
}

/// `None` for a known setting of `settings`; else what there is to say of the name, behind a blank.
fn unknown(table: &str, name: &Value, base: Option<Base>) -> Option<String> {
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
    Some(match settings::hint(names, &name, base) {
        Some(Hint::Perhaps(other)) if other != name => format!(" Did you mean \"{other}\"?"),
        Some(Hint::Instead(what)) => format!(" Hint: {what}."),
        Some(Hint::Belongs(place)) => format!(" It belongs into {place}."),
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
