//! The programs that are compared, and how each is started.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    place::{Arena, Place},
    running::Running,
};

/// What can do the work of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Tool {
    /// The least that anything could do: the change itself and one run of the copier.
    Floor,
    /// A second floor, where the issue names one.
    RsyncArchive,
    /// Lsyncd as Debian has it.
    Original,
    /// The release build of this checkout.
    Ours,
    /// watchman with a trigger that runs rsync.
    Watchman,
    /// inotifywait in a loop that runs rsync.
    InotifyLoop,
}

impl Tool {
    /// Its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::RsyncArchive => "rsync -a",
            Self::Original => "original",
            Self::Ours => "ours",
            Self::Watchman => "watchman",
            Self::InotifyLoop => "inotifywait",
        }
    }

    /// The program that has to be installed, if any.
    pub(crate) const fn program(self) -> Option<&'static str> {
        match self {
            Self::Floor | Self::Ours => None,
            Self::RsyncArchive => Some("rsync"),
            Self::Original => Some("lsyncd"),
            Self::Watchman => Some("watchman"),
            Self::InotifyLoop => Some("inotifywait"),
        }
    }
}

/// How changes are carried to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `-direct`.
    Direct,
    /// `-rsync`.
    Rsync,
}

impl Mode {
    const fn option(self) -> &'static str {
        match self {
            Self::Direct => "-direct",
            Self::Rsync => "-rsync",
        }
    }
}

/// The rsync options of a sync without options of its own, in the original and in ours.
pub(crate) const RSYNC_OPTIONS: [&str; 3] = ["-lts", "-r", "--delete"];

/// What a daemon has to do.
#[derive(Clone, Debug)]
pub(crate) struct Order<'a> {
    /// How.
    pub(crate) mode: Mode,
    /// From where.
    pub(crate) source: &'a Place,
    /// To where.
    pub(crate) targets: &'a [Place],
    /// The delay in seconds; without one, none for the original, and ours takes its default.
    pub(crate) delay: Option<u32>,
    /// A pattern of what is left out.
    pub(crate) excluded: Option<&'a str>,
    /// More words for our own command line.
    pub(crate) ours: &'a [&'a str],
    /// Programs that come before those of the system.
    pub(crate) programs: Option<&'a Place>,
}

/// Starts `tool`, which is none of the floors.
///
/// # Errors
///
/// When it cannot be started.
pub(crate) fn start(
    tool: Tool,
    ours: &Path,
    order: &Order<'_>,
    arena: &Arena,
) -> io::Result<Running> {
    let mut command = match tool {
        Tool::Original => original(order, arena)?,
        Tool::Ours => our_own(ours, order),
        Tool::InotifyLoop => inotify_loop(order)?,
        Tool::Watchman => return watchman(order, arena),
        Tool::Floor | Tool::RsyncArchive => return Err(io::Error::other("a floor is no daemon")),
    };
    if let Some(programs) = order.programs {
        command.env("PATH", path_with(programs.path())?);
    }
    Running::start(&command, &arena.place("output")?)
}

fn original(order: &Order<'_>, arena: &Arena) -> io::Result<Command> {
    let mut command = Command::new("lsyncd");
    command.arg("-nodaemon");
    let delay = order.delay.unwrap_or(0);
    if order.excluded.is_none() && order.programs.is_none() {
        command.arg("-delay").arg(delay.to_string());
        add_syncs(&mut command, order);
        return Ok(command);
    }
    // It has no options for what is left out, nor for another rsync than that in /usr/bin, so it
    // gets a configuration file.
    let exclude = order.excluded.map(|it| format!("exclude = {{ [[{it}]] }},"));
    let rsync = order.programs.map(|programs| {
        format!("rsync = {{ binary = [[{}]] }},", programs.path().join("rsync").display())
    });
    let mut file = File::create(arena.place("original.lua")?.path())?;
    for target in order.targets {
        writeln!(
            file,
            "sync {{ default.rsync, source = [[{}]], target = [[{}]], delay = {delay}, {} {} }}",
            order.source.path().display(),
            target.path().display(),
            exclude.as_deref().unwrap_or_default(),
            rsync.as_deref().unwrap_or_default(),
        )?;
    }
    command.arg(arena.place("original.lua")?.path());
    Ok(command)
}

fn our_own(program: &Path, order: &Order<'_>) -> Command {
    let mut command = Command::new(program);
    command.arg("-nodaemon").args(order.ours);
    if let Some(delay) = order.delay {
        command.arg("-delay").arg(delay.to_string());
    }
    if let Some(excluded) = order.excluded {
        command.args(["-exclude", excluded]);
    }
    add_syncs(&mut command, order);
    command
}

fn add_syncs(command: &mut Command, order: &Order<'_>) {
    for target in order.targets {
        command.arg(order.mode.option()).args([order.source.path(), target.path()]);
    }
}

/// The loop that people write: wait, let it calm down for a tenth of a second, run rsync.
const INOTIFY_LOOP: &str = r#"
inotifywait --quiet --monitor --recursive \
    --event close_write,create,delete,move,attrib "$1" |
while read -r _; do
    while read -r -t 0.1 _; do :; done
    rsync -lts -r --delete "$1" "$2"
done"#;

fn inotify_loop(order: &Order<'_>) -> io::Result<Command> {
    let target = order.targets.first().ok_or_else(|| io::Error::other("no target"))?;
    let mut command = Command::new("bash");
    command.args(["-c", INOTIFY_LOOP, "bash"]).args([order.source.content(), target.content()]);
    Ok(command)
}

/// A server of its own, and a trigger that runs rsync.
fn watchman(order: &Order<'_>, arena: &Arena) -> io::Result<Running> {
    let home = arena.directory("watchman")?;
    let file = |name: &str| home.path().join(name);
    let mut server = Command::new("watchman");
    server.env("HOME", home.path()).arg("--foreground");
    for (option, name) in
        [("sockname", "socket"), ("logfile", "log"), ("pidfile", "pid"), ("statefile", "state")]
    {
        server.arg(format!("--{option}={}", file(name).display()));
    }
    let mut running = Running::start(&server, &arena.place("output")?)?;
    let socket = file("socket");
    running.wait_until("watchman listens", |_| socket.exists())?;
    let target = order.targets.first().ok_or_else(|| io::Error::other("no target"))?;
    let source = order.source.path().display().to_string();
    ask_watchman(&socket, &format!(r#"["watch", "{source}"]"#))?;
    let [links, recursive, delete] = RSYNC_OPTIONS;
    let trigger = format!(
        r#"["trigger", "{source}", {{"name": "mirror", "stdin": "/dev/null",
            "command": ["rsync", "{links}", "{recursive}", "{delete}", "{source}/", "{}/"]}}]"#,
        target.path().display(),
    );
    ask_watchman(&socket, &trigger.replace('\n', " "))?;
    Ok(running)
}

fn ask_watchman(socket: &Path, request: &str) -> io::Result<()> {
    let mut client = Command::new("watchman")
        .arg(format!("--sockname={}", socket.display()))
        .args(["--no-spawn", "--no-local", "--json-command"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = client.stdin.take() {
        stdin.write_all(request.as_bytes())?;
    }
    let answer = client.wait_with_output()?;
    let text = String::from_utf8_lossy(&answer.stdout);
    if answer.status.success() && !text.contains("\"error\"") {
        return Ok(());
    }
    Err(io::Error::other(format!("watchman answers {text}")))
}

/// Where the program `name` is, if it is installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|place| place.join(name)).find(|program| program.is_file())
}

fn path_with(directory: &Path) -> io::Result<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&old));
    std::env::join_paths(all).map_err(io::Error::other)
}
