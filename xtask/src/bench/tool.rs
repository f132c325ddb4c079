//! The compared programs, and their start.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
};

use super::{
    process::MeteredProcess,
    scratch::{ScratchDir, ScratchPath},
};

/// A program that can do the work of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Tool {
    /// The lower bound: the change itself and one run of the copier.
    Floor,
    /// A second lower bound.
    RsyncArchive,
    /// Debian's Lsyncd.
    Original,
    /// The release build of this checkout.
    Ours,
    /// watchman with a trigger that runs rsync.
    Watchman,
    /// inotifywait in a loop that runs rsync.
    InotifyLoop,
}

impl Tool {
    /// Returns the name in the table.
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

    /// Returns the command of a Lsyncd, ours or the original.
    ///
    /// # Errors
    ///
    /// If the tool is none.
    pub(crate) fn lsyncd(self, ours: &Path) -> io::Result<Command> {
        match self {
            Self::Ours => Ok(Command::new(ours)),
            Self::Original => Ok(Command::new("lsyncd")),
            Self::Floor | Self::RsyncArchive | Self::Watchman | Self::InotifyLoop => {
                Err(io::Error::other(format!("{} is no Lsyncd", self.name())))
            }
        }
    }

    /// Returns the program that must be installed, if any.
    pub(crate) const fn required_program(self) -> Option<&'static str> {
        match self {
            Self::Floor | Self::Ours => None,
            Self::RsyncArchive => Some("rsync"),
            Self::Original => Some("lsyncd"),
            Self::Watchman => Some("watchman"),
            Self::InotifyLoop => Some("inotifywait"),
        }
    }
}

/// The way of mirroring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BenchMode {
    /// `-direct`.
    Direct,
    /// `-rsync`.
    Rsync,
}

impl BenchMode {
    const fn option(self) -> &'static str {
        match self {
            Self::Direct => "-direct",
            Self::Rsync => "-rsync",
        }
    }
}

/// The rsync options of a sync without options of its own, in the original and in ours.
pub(crate) const RSYNC_OPTIONS: [&str; 3] = ["-lts", "-r", "--delete"];

/// Parameters of a daemon.
#[derive(Clone, Debug)]
pub(crate) struct DaemonSpec<'a> {
    pub(crate) mode: BenchMode,
    pub(crate) source: &'a ScratchPath,
    pub(crate) targets: &'a [ScratchPath],
    /// The delay in seconds. `None`: no delay for the original, the default for ours.
    pub(crate) delay: Option<u32>,
    /// An exclude pattern.
    pub(crate) exclude: Option<&'a str>,
    /// Additional arguments for our daemon.
    pub(crate) our_args: &'a [&'a str],
    /// A directory that precedes those of the system in `PATH`.
    pub(crate) programs: Option<&'a ScratchPath>,
}

/// Starts `tool`, which must not be a floor.
///
/// # Errors
///
/// If it cannot be started.
pub(crate) fn start(
    tool: Tool,
    ours: &Path,
    spec: &DaemonSpec<'_>,
    scratch: &ScratchDir,
) -> io::Result<MeteredProcess> {
    let mut command = match tool {
        Tool::Original => original_command(spec, scratch)?,
        Tool::Ours => ours_command(ours, spec),
        Tool::InotifyLoop => inotify_loop_command(spec)?,
        Tool::Watchman => return start_watchman(spec, scratch),
        Tool::Floor | Tool::RsyncArchive => return Err(io::Error::other("a floor is no daemon")),
    };
    if let Some(programs) = spec.programs {
        command.env("PATH", path_with(programs.path())?);
    }
    MeteredProcess::start(&command, &scratch.path("output")?)
}

fn original_command(spec: &DaemonSpec<'_>, scratch: &ScratchDir) -> io::Result<Command> {
    let mut command = Command::new("lsyncd");
    command.arg("-nodaemon");
    let delay = spec.delay.unwrap_or(0);
    if spec.exclude.is_none() && spec.programs.is_none() {
        command.arg("-delay").arg(delay.to_string());
        add_syncs(&mut command, spec);
        return Ok(command);
    }
    // It has no option for excludes, nor for another rsync than that in /usr/bin, so it gets a
    // configuration file.
    let exclude = spec.exclude.map(|it| format!("exclude = {{ [[{it}]] }},"));
    let rsync = spec.programs.map(|programs| {
        format!("rsync = {{ binary = [[{}]] }},", programs.path().join("rsync").display())
    });
    let mut file = File::create(scratch.path("original.lua")?.path())?;
    for target in spec.targets {
        writeln!(
            file,
            "sync {{ default.rsync, source = [[{}]], target = [[{}]], delay = {delay}, {} {} }}",
            spec.source.path().display(),
            target.path().display(),
            exclude.as_deref().unwrap_or_default(),
            rsync.as_deref().unwrap_or_default(),
        )?;
    }
    command.arg(scratch.path("original.lua")?.path());
    Ok(command)
}

fn ours_command(program: &Path, spec: &DaemonSpec<'_>) -> Command {
    let mut command = Command::new(program);
    command.arg("-nodaemon").args(spec.our_args);
    if let Some(delay) = spec.delay {
        command.arg("-delay").arg(delay.to_string());
    }
    if let Some(exclude) = spec.exclude {
        command.args(["-exclude", exclude]);
    }
    add_syncs(&mut command, spec);
    command
}

fn add_syncs(command: &mut Command, spec: &DaemonSpec<'_>) {
    for target in spec.targets {
        command.arg(spec.mode.option()).args([spec.source.path(), target.path()]);
    }
}

/// A typical user script: wait for a change and a pause of a tenth of a second, then run rsync.
const INOTIFY_LOOP: &str = r#"
inotifywait --quiet --monitor --recursive \
    --event close_write,create,delete,move,attrib "$1" |
while read -r _; do
    while read -r -t 0.1 _; do :; done
    rsync -lts -r --delete "$1" "$2"
done"#;

fn inotify_loop_command(spec: &DaemonSpec<'_>) -> io::Result<Command> {
    let target = spec.targets.first().ok_or_else(|| io::Error::other("no target"))?;
    let mut command = Command::new("bash");
    command
        .args(["-c", INOTIFY_LOOP, "bash"])
        .args([spec.source.with_slash(), target.with_slash()]);
    Ok(command)
}

/// Starts a private watchman server, and sets a trigger that runs rsync.
fn start_watchman(spec: &DaemonSpec<'_>, scratch: &ScratchDir) -> io::Result<MeteredProcess> {
    let home = scratch.create_dir("watchman")?;
    let file = |name: &str| home.path().join(name);
    let mut server = Command::new("watchman");
    server.env("HOME", home.path()).arg("--foreground");
    for (option, name) in
        [("sockname", "socket"), ("logfile", "log"), ("pidfile", "pid"), ("statefile", "state")]
    {
        server.arg(format!("--{option}={}", file(name).display()));
    }
    let mut running = MeteredProcess::start(&server, &scratch.path("output")?)?;
    let socket = file("socket");
    running.wait_until("watchman listens", |_| socket.exists())?;
    let target = spec.targets.first().ok_or_else(|| io::Error::other("no target"))?;
    let source = spec.source.path().display().to_string();
    send_to_watchman(&socket, &format!(r#"["watch", "{source}"]"#))?;
    let [links, recursive, delete] = RSYNC_OPTIONS;
    let trigger = format!(
        r#"["trigger", "{source}", {{"name": "mirror", "stdin": "/dev/null",
            "command": ["rsync", "{links}", "{recursive}", "{delete}", "{source}/", "{}/"]}}]"#,
        target.path().display(),
    );
    send_to_watchman(&socket, &trigger.replace('\n', " "))?;
    Ok(running)
}

fn send_to_watchman(socket: &Path, request: &str) -> io::Result<()> {
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

fn path_with(directory: &Path) -> io::Result<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&old));
    std::env::join_paths(all).map_err(io::Error::other)
}
