//! What Rust does for the Lua code of scripts.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, TcpListener},
    os::{
        fd::RawFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::Path,
    rc::Rc,
    sync::Arc,
};

use mirror_core::{
    job::{Job, JobId, Rename, Scope, Work},
    mirror::scripted::{Scripted, Spawned},
    notice::Kind,
    path::{Escaped, TreePath},
    queue::{
        Heard, PlaceSet,
        ordered::{Entry, Etype, EventId, Pick},
    },
    time::Moment,
};
use mirror_platform::clock::{ticks, ticks_per_second};
use mlua::{
    AnyUserData, Error, Function, HookTriggers, Lua, LuaString, Result, Table, UserData, Value,
};

use rustix::process::{Pid, Signal, kill_process};

use super::desk::{Desk, Order, Spawn};

/// The events of a list.
struct Ids(Vec<EventId>);

impl UserData for Ids {}

/// The number of a sync of the file, from 1 on.
type Number = usize;

/// The table of what the files of Lua beside this one need.
pub(super) fn table(lua: &Lua, desk: &Rc<Desk>) -> Result<Table> {
    let host = Host { lua, desk, table: lua.create_table()? };
    host.add_queue()?;
    host.add_lists()?;
    host.add_jobs()?;
    host.add_times()?;
    host.add_words()?;
    Ok(host.table)
}

struct Host<'a> {
    lua: &'a Lua,
    desk: &'a Rc<Desk>,
    table: Table,
}

impl Host<'_> {
    fn add<A, R>(
        &self,
        name: &str,
        act: impl Fn(&Lua, &Desk, A) -> Result<R> + 'static,
    ) -> Result<()>
    where
        A: mlua::FromLuaMulti,
        R: mlua::IntoLuaMulti,
    {
        let desk = Rc::clone(self.desk);
        let function = self.lua.create_function(move |lua, given: A| act(lua, &desk, given))?;
        self.table.set(name, function)
    }

    /// What there is to know of single events, and to do to them.
    fn add_queue(&self) -> Result<()> {
        self.add("status", |_, desk, (number, id): (Number, u64)| {
            let mirror = desk.mirror(number)?;
            Ok(mirror.queue().get(EventId(id)).map(|entry| entry.status().name()))
        })?;
        self.add("event", |lua, desk, (number, id): (Number, u64)| {
            let mirror = desk.mirror(number)?;
            let Some(entry) = mirror.queue().get(EventId(id)) else {
                return Ok((None, None, None));
            };
            let (place, to) = places(lua, entry)?;
            Ok((Some(entry.etype().name()), Some(place), to))
        })?;
        self.add("length", |_, desk, number: Number| Ok(desk.mirror(number)?.queue().len()))?;
        self.add("first", |_, desk, number: Number| {
            let now = desk.now.get();
            let first = desk.mirror(number)?.queue().first_due(now).map(Entry::id);
            if let Some(id) = first {
                desk.note_asked(number, &[id]);
            }
            Ok(first.map(|id| id.0))
        })?;
        self.add("discard", |_, desk, (number, id): (Number, u64)| {
            Ok(desk.mirror_mut(number)?.discard(EventId(id)).is_ok())
        })?;
        self.add("push_blanket", |_, desk, number: Number| {
            Ok(desk.mirror_mut(number)?.push_blanket().0)
        })?;
        self.add("push_full", |_, desk, (number, path): (Number, LuaString)| {
            let Some(path) = tree_path(&path.as_bytes()) else {
                return Err(Error::runtime("createFullEvent takes a path below the source"));
            };
            let seat = desk.seat(number)?;
            if let Some(mirror) = desk.fleet_mut()?.scripted(seat.mirror) {
                return Ok(Some(mirror.push_full(path).0));
            }
            desk.order(Order::Full(seat.mirror));
            Ok(None)
        })?;
        self.add("refilter", |_, desk, number: Number| {
            // While the file is loaded nothing has been read of it yet.
            if desk.seat(number).is_ok() {
                desk.mirror(number)?;
                desk.order_refilter(number);
            }
            Ok(())
        })
    }

    /// What there is to do with many events.
    fn add_lists(&self) -> Result<()> {
        self.add("select", |lua, desk, (number, test): (Number, Option<Function>)| {
            let selected = select(&*desk.mirror(number)?, test.as_ref(), desk.now.get());
            let ids = selected.map_err(|(id, error)| {
                desk.note_asked(number, &[id]);
                error
            })?;
            desk.note_asked(number, &ids);
            lua.create_userdata(Ids(ids))
        })?;
        self.add("size", |_, _, ids: AnyUserData| Ok(ids.borrow::<Ids>()?.0.len()))?;
        self.add("each", |_, _, (ids, act): (AnyUserData, Function)| {
            let ids = ids.borrow::<Ids>()?;
            ids.0.iter().try_for_each(|id| act.call::<()>(id.0))
        })?;
        self.add("paths", |lua, desk, (number, ids): (Number, AnyUserData)| {
            let (mirror, ids) = (desk.mirror(number)?, ids.borrow::<Ids>()?);
            let found = lua.create_table()?;
            for entry in ids.0.iter().filter_map(|id| mirror.queue().get(*id)) {
                let (place, to) = places(lua, entry)?;
                found.raw_push(place)?;
                to.map_or(Ok(()), |to| found.raw_push(to))?;
            }
            Ok(found)
        })
    }

    fn add_jobs(&self) -> Result<()> {
        type Given = (Number, Value, LuaString, Vec<LuaString>, Option<LuaString>);
        self.add("spawn", |_, desk, (number, events, program, words, stdin): Given| {
            let job = begin(desk, number, &ids_of(&events)?)?;
            Ok(job.map(|job| {
                let program = OsString::from_vec(program.as_bytes().to_vec());
                let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
                let stdin = stdin.map(|text| text.as_bytes().to_vec());
                let stdin = stdin.filter(|text| !text.is_empty());
                desk.order(Order::Spawn(Spawn { job, program, words, stdin }));
                job.0
            }))
        })?;
        self.add("transfer", |_, desk, (number, events, is_full): (Number, Value, bool)| {
            let ids = ids_of(&events)?;
            let work = work(&*desk.mirror(number)?, &ids, is_full);
            let job = begin(desk, number, &ids)?;
            let mirror = desk.seat(number)?.mirror;
            Ok(job.map(|id| {
                desk.order(Order::Transfer(Job { id, mirror, work }));
                id.0
            }))
        })?;
        self.add("insists", |_, desk, number: Number| Ok(desk.seat(number)?.insists))?;
        self.add("running", |_, desk, ()| {
            let fleet = desk.fleet()?;
            Ok(fleet.members().iter().map(|member| member.jobs().count()).sum::<usize>())
        })?;
        self.add("ends", |_, desk, ()| Ok(desk.exit.get().is_some()))?;
        self.add("exit", |lua, desk, code: i64| -> Result<()> {
            desk.exit.set(Some(u8::try_from(code & 0xff).unwrap_or(u8::MAX)));
            Err(asked_to_end(lua))
        })
    }

    fn add_times(&self) -> Result<()> {
        self.table.set("ticks_per_second", ticks_per_second())?;
        #[expect(clippy::cast_precision_loss, reason = "exact for millions of years")]
        self.add("ticks", |_, _, ()| Ok(ticks() as f64))?;
        self.add("wake_at", |_, desk, at: Option<f64>| {
            desk.wake_at.set(at);
            Ok(())
        })?;
        self.add("observe", |_, desk, (fd, read, write): (RawFd, bool, bool)| {
            desk.order(Order::Observe { fd, read, write });
            Ok(())
        })?;
        self.add("forget", |_, desk, fd: RawFd| {
            desk.order(Order::Forget(fd));
            Ok(())
        })
    }

    fn add_words(&self) -> Result<()> {
        self.add("escaped", |_, _, text: LuaString| Ok(Escaped(&text.as_bytes()).to_string()))?;
        self.add("traced", |lua, _, why: Value| match why {
            Value::Error(error) => lua.create_string(error.to_string().trim_end()),
            why => lua.traceback(Some(&why.to_string()?), 1),
        })?;
        self.add("free_port", |_, _, ()| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
            Ok(listener.and_then(|it| it.local_addr()).map(|address| address.port())?)
        })?;
        self.add("kill", |_, _, (pid, signal): (i32, i32)| {
            let pid = Pid::from_raw(pid).ok_or_else(|| Error::runtime("kill takes a process"))?;
            let signal = Signal::from_named_raw(signal)
                .ok_or_else(|| Error::runtime("kill takes a signal"))?;
            Ok(kill_process(pid, signal).is_ok())
        })?;
        self.add("file_size", |_, _, path: LuaString| {
            let bytes = path.as_bytes();
            let path = Path::new(std::ffi::OsStr::from_bytes(&bytes));
            Ok(path.metadata().ok().map(|found| found.len()))
        })
    }
}

/// A script that asked to end does nothing more: what catches this error gets one again with the next
/// step.
fn asked_to_end(lua: &Lua) -> Error {
    let each_step = HookTriggers::new().every_nth_instruction(1);
    let hooked = lua.set_global_hook(each_step, |lua, _| Err(asked_to_end(lua)));
    hooked.err().unwrap_or_else(|| Error::runtime("the script asked to end"))
}

/// The events that a script names: one of them, or a list.
fn ids_of(events: &Value) -> Result<Vec<EventId>> {
    match events {
        Value::Integer(id) => Ok(vec![EventId(id.cast_unsigned())]),
        Value::UserData(ids) => Ok(ids.borrow::<Ids>()?.0.clone()),
        _ => Err(Error::runtime("no event")),
    }
}

/// Starts a job for these events; if that can't be, a word that says why.
fn begin(
    desk: &Desk,
    number: Number,
    ids: &[EventId],
) -> Result<std::result::Result<JobId, &'static str>> {
    let mirror = desk.seat(number)?.mirror;
    Ok(desk.fleet_mut()?.spawn(mirror, ids).map_err(|why| match why {
        Spawned::NotNow => "now",
        Spawned::TooMany => "many",
        Spawned::Not(_) => "status",
    }))
}

/// What the test of a script takes, or at which event it failed.
fn select(
    mirror: &Scripted,
    test: Option<&Function>,
    now: Moment,
) -> std::result::Result<Vec<EventId>, (EventId, Error)> {
    let mut failed = Ok(());
    let ids = mirror.queue().select(now, |entry| {
        let Some(test) = test else { return Pick::Take };
        match test.call::<Value>(entry.id().0) {
            Ok(Value::Boolean(true)) => Pick::Take,
            Ok(Value::Boolean(false)) => Pick::Skip,
            Ok(_) => Pick::Stop,
            Err(error) => {
                failed = Err((entry.id(), error));
                Pick::Stop
            }
        }
    });
    failed.map(|()| ids)
}

/// The name of an event, and of a move the new one: from the root of the source on, a directory
/// with a slash at the end.
fn places(lua: &Lua, entry: &Entry) -> Result<(LuaString, Option<LuaString>)> {
    let text = |path: &TreePath| {
        let slash = if entry.kind() == Kind::Directory && !path.is_root() { "/" } else { "" };
        lua.create_string([b"/", path.as_bytes(), slash.as_bytes()].concat())
    };
    let place =
        if entry.etype().is_barrier() { lua.create_string("")? } else { text(entry.path())? };
    Ok((place, entry.to().map(text).transpose()?))
}

/// A path as scripts write it.
fn tree_path(text: &[u8]) -> Option<TreePath> {
    let text = text.strip_prefix(b"/").unwrap_or(text);
    let text = text.strip_suffix(b"/").unwrap_or(text);
    if text.is_empty() { Some(TreePath::root()) } else { TreePath::new(text) }
}

/// What is to be looked at for these events.
fn work(mirror: &Scripted, ids: &[EventId], is_full: bool) -> Work {
    let entries: Vec<&Entry> = ids.iter().filter_map(|id| mirror.queue().get(*id)).collect();
    if is_full && entries.iter().any(|entry| entry.etype() == Etype::Init) {
        return Work::full();
    }
    let (mut places, mut heard) = (PlaceSet::new(), Heard::default());
    let mut moves = Vec::new();
    for entry in entries {
        let is_whole = entry.kind() == Kind::Directory && entry.etype() != Etype::Attrib;
        let scope = if is_whole { Scope::Tree } else { Scope::Entry };
        places.insert(entry.path(), scope);
        // One event may stand for several: what comes into being may follow on what went.
        if entry.etype() == Etype::Create || entry.etype() == Etype::Modify {
            heard.written.insert(entry.path(), scope);
        }
        match entry.etype() {
            Etype::Create | Etype::Modify | Etype::Delete | Etype::Move => {
                heard.gone.insert(entry.path(), Scope::Entry);
            }
            Etype::Attrib | Etype::Init | Etype::Blanket | Etype::Full => {}
        }
        if let Some(to) = entry.to() {
            places.insert(to, scope);
            heard.gone.insert(to, Scope::Entry);
            heard.moved.insert(to, scope);
            moves.push(Rename { from: entry.path().clone(), to: to.clone() });
        }
    }
    Work::Batch { places: Arc::new(places), heard: Arc::new(heard), moves: moves.into() }
}
