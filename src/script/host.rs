//! Functions implemented in Rust for the Lua code of scripts.

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
    fleet::Fleet,
    fs_event::EntryKind,
    job::{Job, JobId, Rename, Scope, Work},
    mirror::scripted::{ScriptedMirror, SpawnError},
    path::{Escaped, TreePath},
    queue::{
        ObservedChanges, PathSet,
        event_queue::{Etype, EventId, Pick, QueuedEvent},
    },
    time::Moment,
};
use mirror_platform::clock::{ticks, ticks_per_second};
use mlua::{
    AnyUserData, Error, Function, HookTriggers, Lua, LuaString, Result, Table, UserData, Value,
};

use rustix::process::{Pid, Signal, kill_process};

use super::call_context::{ScriptRequest, ScriptState, SpawnRequest};

/// Event ids of a list.
struct EventIds(Vec<EventId>);

impl UserData for EventIds {}

/// Number of a sync in the file, from 1.
type SyncNumber = usize;

/// Creates the `host` table for the Lua files of this directory.
pub(super) fn host_table(lua: &Lua, state: &Rc<ScriptState>) -> Result<Table> {
    let host = HostFunctions { lua, state, table: lua.create_table()? };
    host.add_queue()?;
    host.add_lists()?;
    host.add_jobs()?;
    host.add_times()?;
    host.add_utilities()?;
    Ok(host.table)
}

struct HostFunctions<'a> {
    lua: &'a Lua,
    state: &'a Rc<ScriptState>,
    table: Table,
}

impl HostFunctions<'_> {
    fn add<A, R>(
        &self,
        name: &str,
        act: impl Fn(&Lua, &ScriptState, A) -> Result<R> + 'static,
    ) -> Result<()>
    where
        A: mlua::FromLuaMulti,
        R: mlua::IntoLuaMulti,
    {
        let state = Rc::clone(self.state);
        let function = self.lua.create_function(move |lua, given: A| act(lua, &state, given))?;
        self.table.set(name, function)
    }

    /// Adds functions for single events.
    fn add_queue(&self) -> Result<()> {
        self.add("status", |_, state, (number, id): (SyncNumber, u64)| {
            let status = |it: &ScriptedMirror| Some(it.queue().get(EventId(id))?.status().name());
            state.with_mirror(number, status)
        })?;
        self.add("event", |lua, state, (number, id): (SyncNumber, u64)| {
            state.with_mirror(number, |mirror| {
                let Some(entry) = mirror.queue().get(EventId(id)) else {
                    return Ok((None, None, None));
                };
                let (path, to) = event_paths(lua, entry)?;
                Ok((Some(entry.etype().name()), Some(path), to))
            })?
        })?;
        self.add("length", |_, state, number: SyncNumber| {
            state.with_mirror(number, |mirror| mirror.queue().len())
        })?;
        self.add("first", |_, state, number: SyncNumber| {
            let now = state.now.get();
            let first = |it: &ScriptedMirror| it.queue().first_due(now).map(QueuedEvent::id);
            let first = state.with_mirror(number, first)?;
            if let Some(id) = first {
                state.note_accessed(number, &[id]);
            }
            Ok(first.map(|id| id.0))
        })?;
        self.add("discard", |_, state, (number, id): (SyncNumber, u64)| {
            state.with_mirror_mut(number, |mirror| mirror.discard(EventId(id)).is_ok())
        })?;
        self.add("push_blanket", |_, state, number: SyncNumber| {
            state.with_mirror_mut(number, |mirror| mirror.push_blanket().0)
        })?;
        self.add("push_full", |_, state, (number, path): (SyncNumber, LuaString)| {
            let Some(path) = tree_path(&path.as_bytes()) else {
                return Err(Error::runtime("createFullEvent takes a path below the source"));
            };
            let id = state.binding(number)?.mirror;
            let push = |fleet: &mut Fleet| Some(fleet.scripted(id)?.push_full(path).0);
            let pushed = state.with_fleet_mut(push)?;
            if pushed.is_none() {
                state.request(ScriptRequest::Full(id));
            }
            Ok(pushed)
        })?;
        self.add("refilter", |_, state, number: SyncNumber| {
            // While the file is being loaded the sync has not been read yet.
            if state.binding(number).is_ok() {
                state.with_mirror(number, |_| ())?;
                state.request_refilter(number);
            }
            Ok(())
        })
    }

    /// Adds functions for lists of events.
    fn add_lists(&self) -> Result<()> {
        self.add("select", |lua, state, (number, test): (SyncNumber, Option<Function>)| {
            let now = state.now.get();
            let selected = state.with_mirror(number, |it| select(it, test.as_ref(), now))?;
            let ids = selected.map_err(|(id, error)| {
                state.note_accessed(number, &[id]);
                error
            })?;
            state.note_accessed(number, &ids);
            lua.create_userdata(EventIds(ids))
        })?;
        self.add("size", |_, _, ids: AnyUserData| Ok(ids.borrow::<EventIds>()?.0.len()))?;
        self.add("each", |_, _, (ids, act): (AnyUserData, Function)| {
            let ids = ids.borrow::<EventIds>()?;
            ids.0.iter().try_for_each(|id| act.call::<()>(id.0))
        })?;
        self.add("paths", |lua, state, (number, ids): (SyncNumber, AnyUserData)| {
            let ids = ids.borrow::<EventIds>()?;
            let found = lua.create_table()?;
            state.with_mirror(number, |mirror| {
                for entry in ids.0.iter().filter_map(|id| mirror.queue().get(*id)) {
                    let (path, to) = event_paths(lua, entry)?;
                    found.raw_push(path)?;
                    to.map_or(Ok(()), |to| found.raw_push(to))?;
                }
                Ok(found)
            })?
        })
    }

    fn add_jobs(&self) -> Result<()> {
        type SpawnArgs = (SyncNumber, Value, LuaString, Vec<LuaString>, Option<LuaString>);
        self.add("spawn", |_, state, (number, events, program, args, stdin): SpawnArgs| {
            let job = start_job(state, number, &ids_of(&events)?)?;
            Ok(job.map(|job| {
                let program = OsString::from_vec(program.as_bytes().to_vec());
                let args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
                let stdin = stdin.map(|text| text.as_bytes().to_vec());
                let stdin = stdin.filter(|text| !text.is_empty());
                state.request(ScriptRequest::Spawn(SpawnRequest { job, program, args, stdin }));
                job.0
            }))
        })?;
        self.add("transfer", |_, state, (number, events, is_full): (SyncNumber, Value, bool)| {
            let ids = ids_of(&events)?;
            let work = state.with_mirror(number, |it| work_for_events(it, &ids, is_full))?;
            let job = start_job(state, number, &ids)?;
            let mirror = state.binding(number)?.mirror;
            Ok(job.map(|id| {
                state.request(ScriptRequest::Transfer(Job::new(id, mirror, work)));
                id.0
            }))
        })?;
        self.add("insists", |_, state, number: SyncNumber| Ok(state.binding(number)?.insists))?;
        self.add("running", |_, state, ()| {
            state.with_fleet(|fleet| {
                fleet.members().iter().map(|member| member.jobs().len()).sum::<usize>()
            })
        })?;
        self.add("ends", |_, state, ()| Ok(state.exit_code.get().is_some()))?;
        self.add("exit", |lua, state, code: i64| -> Result<()> {
            state.exit_code.set(Some(u8::try_from(code & 0xff).unwrap_or(u8::MAX)));
            Err(exit_error(lua))
        })
    }

    fn add_times(&self) -> Result<()> {
        self.table.set("ticks_per_second", ticks_per_second())?;
        #[expect(clippy::cast_precision_loss, reason = "exact for millions of years")]
        self.add("ticks", |_, _, ()| Ok(ticks() as f64))?;
        self.add("wake_at", |_, state, at: Option<f64>| {
            state.next_alarm.set(at);
            Ok(())
        })?;
        self.add("observe", |_, state, (fd, read, write): (RawFd, bool, bool)| {
            state.request(ScriptRequest::Observe { fd, read, write });
            Ok(())
        })?;
        self.add("forget", |_, state, fd: RawFd| {
            state.request(ScriptRequest::Forget(fd));
            Ok(())
        })
    }

    fn add_utilities(&self) -> Result<()> {
        self.add("escaped", |_, _, text: LuaString| Ok(Escaped(&text.as_bytes()).to_string()))?;
        self.add("traced", |lua, _, why: Value| match why.as_error() {
            Some(error) => lua.create_string(error.to_string().trim_end()),
            None => lua.traceback(Some(&why.to_string()?), 1),
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

/// Returns the error that stops a script after it has requested an exit. Code that catches it gets
/// another one with the next instruction.
fn exit_error(lua: &Lua) -> Error {
    let each_step = HookTriggers::new().every_nth_instruction(1);
    let hooked = lua.set_global_hook(each_step, |lua, _| Err(exit_error(lua)));
    hooked.err().unwrap_or_else(|| Error::runtime("the script asked to end"))
}

/// Returns the ids of an event or a list.
fn ids_of(events: &Value) -> Result<Vec<EventId>> {
    if let Value::Integer(id) = events {
        return Ok(vec![EventId(id.cast_unsigned())]);
    }
    let Value::UserData(ids) = events else { return Err(Error::runtime("no event")) };
    Ok(ids.borrow::<EventIds>()?.0.clone())
}

/// Starts a job for these events. If that is not possible, returns a word with the reason.
fn start_job(
    state: &ScriptState,
    number: SyncNumber,
    ids: &[EventId],
) -> Result<std::result::Result<JobId, &'static str>> {
    let mirror = state.binding(number)?.mirror;
    let spawned = state.with_fleet_mut(|fleet| fleet.spawn(mirror, ids))?;
    Ok(spawned.map_err(|why| match why {
        SpawnError::NotNow => "now",
        SpawnError::TooMany => "many",
        SpawnError::Event(_) => "status",
    }))
}

/// Selects the events that the script's test accepts. Fails with the event at which the test
/// failed.
fn select(
    mirror: &ScriptedMirror,
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

/// Returns the path of an event, and for a move also the new one: relative to the root of the
/// source with a leading slash, and with a trailing slash for a directory.
fn event_paths(lua: &Lua, entry: &QueuedEvent) -> Result<(LuaString, Option<LuaString>)> {
    let text = |path: &TreePath| {
        let slash = if entry.kind() == EntryKind::Directory && !path.is_root() { "/" } else { "" };
        lua.create_string([b"/", path.as_bytes(), slash.as_bytes()].concat())
    };
    let path =
        if entry.etype().is_barrier() { lua.create_string("")? } else { text(entry.path())? };
    Ok((path, entry.to().map(text).transpose()?))
}

/// Parses a path in the notation of scripts.
fn tree_path(text: &[u8]) -> Option<TreePath> {
    let text = text.strip_prefix(b"/").unwrap_or(text);
    let text = text.strip_suffix(b"/").unwrap_or(text);
    if text.is_empty() { Some(TreePath::root()) } else { TreePath::new(text) }
}

/// Returns the work for these events.
fn work_for_events(mirror: &ScriptedMirror, ids: &[EventId], is_full: bool) -> Work {
    let entries: Vec<&QueuedEvent> = ids.iter().filter_map(|id| mirror.queue().get(*id)).collect();
    if is_full && entries.iter().any(|entry| entry.etype() == Etype::Init) {
        return Work::full();
    }
    let (mut paths, mut observed) = (PathSet::new(), ObservedChanges::default());
    let mut renames = Vec::new();
    for entry in entries {
        let is_whole = entry.kind() == EntryKind::Directory && entry.etype() != Etype::Attrib;
        let scope = if is_whole { Scope::Tree } else { Scope::Entry };
        paths.insert(entry.path(), scope);
        // One event may stand for several: a creation may follow a deletion.
        if entry.etype() == Etype::Create || entry.etype() == Etype::Modify {
            observed.written.insert(entry.path(), scope);
        }
        match entry.etype() {
            Etype::Create | Etype::Modify | Etype::Delete | Etype::Move => {
                observed.deleted.insert(entry.path(), Scope::Entry);
            }
            Etype::Attrib | Etype::Init | Etype::Blanket | Etype::Full => {}
        }
        if let Some(to) = entry.to() {
            paths.insert(to, scope);
            observed.deleted.insert(to, Scope::Entry);
            observed.renamed_to.insert(to, scope);
            renames.push(Rename { from: entry.path().clone(), to: to.clone() });
        }
    }
    Work::Batch { paths: Arc::new(paths), observed: Arc::new(observed), renames: renames.into() }
}
