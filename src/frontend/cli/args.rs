//! Parser of the command line. Nothing is looked up on the machine.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    slice,
};

use mirror_core::{
    guard::{self, MaxDelete},
    path::Escaped,
};

use super::lua_number;
use crate::{
    config::WatchBackend,
    report::{LogFilter, LogFormat},
};

/// Parsed command line. Nothing is resolved or checked against the disk.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Invocation {
    /// `-log`: categories to log.
    pub filter: LogFilter,
    /// `-delay`: seconds, of any sign and size.
    pub delay: Option<f64>,
    /// `-maxDelete`: limit of unseen deletions.
    pub max_delete: Option<MaxDelete>,
    /// `-insist`: retry a failed startup.
    pub insist: bool,
    /// `-logfile`.
    pub logfile: Option<OsString>,
    /// `-logFormat`.
    pub log_format: Option<LogFormat>,
    /// `-monitor`: an event monitor by the original's name.
    pub monitor: Option<OsString>,
    /// `-nodaemon`: stay in the foreground.
    pub nodaemon: bool,
    /// `-onepass`: exit after the startup of all syncs.
    pub onepass: bool,
    /// `-stateDir`.
    pub state_dir: Option<OsString>,
    /// `-full`: start with full transfers.
    pub full: bool,
    /// `-pidfile`.
    pub pidfile: Option<OsString>,
    /// `-script`: Lua files, in their order.
    pub scripts: Vec<OsString>,
    /// `-sshopts`: arguments for ssh, not split yet.
    pub sshopts: Option<OsString>,
    /// `-rsync`, `-rsyncssh` and `-direct`, in their order.
    pub syncs: Vec<SyncArgs>,
    /// The configuration file.
    pub config: Option<OsString>,
    /// `-exclude`: rsync patterns for all these syncs, in their order.
    pub excludes: Vec<OsString>,
    /// `-watch`.
    pub watch: WatchBackend,
    /// `-check` and `-try`.
    pub check: CheckMode,
    /// `-v`: a check prints all settings and calls.
    pub verbose: bool,
    /// `-check=strict`: a warning is a failure.
    pub strict: bool,
    /// `-configExitCode`: exit code of an invalid configuration.
    pub config_exit_code: Option<u8>,
}

/// Kind of check to run instead of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckMode {
    /// No check: the configuration is run.
    #[default]
    Off,
    /// `-check`: no target is contacted.
    Offline,
    /// `-try`: the targets are contacted.
    Online,
}

/// A sync of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncArgs {
    /// `-rsync SOURCE TARGET`
    Rsync {
        /// Any directory.
        source: OsString,
        /// Any target that rsync supports.
        target: OsString,
    },
    /// `-rsyncssh SOURCE HOST TARGETDIR`
    Rsyncssh {
        /// Any directory.
        source: OsString,
        /// Host name for ssh.
        host: OsString,
        /// Directory on that host.
        targetdir: OsString,
    },
    /// `-direct SOURCE TARGET`
    Direct {
        /// Any directory.
        source: OsString,
        /// Another directory of this machine.
        target: OsString,
    },
}

/// Reason to exit without running anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EarlyExit {
    /// `-help` was given.
    Help,
    /// Neither a sync nor a configuration file was given.
    NoSync,
    /// `-version` was given.
    Version,
    /// `-monitor` was given without a name.
    Monitors,
    /// The command line is invalid, for these reasons: lines for people.
    Invalid(Vec<String>),
    /// A source is missing, which can change at any time: lines for people.
    MissingSource(Vec<String>),
}

impl EarlyExit {
    /// Creates an error with one line.
    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(vec![why.into()])
    }
}

impl Invocation {
    /// Parses the arguments after the program name, in the three passes of the original: log
    /// categories, `-help`, and then everything from left to right.
    ///
    /// # Errors
    ///
    /// The first reason to exit, in that order.
    pub fn parse(args: &[OsString]) -> Result<Self, EarlyExit> {
        let filter = log_categories(args)?;
        // Even if it is the argument of another option.
        if args.iter().any(|arg| option_name(arg) == Some(b"help")) {
            return Err(EarlyExit::Help);
        }
        let mut invocation = Self { filter, ..Self::default() };
        let mut rest = args.iter();
        let mut configs = Vec::new();
        while let Some(arg) = rest.next() {
            match option_name(arg) {
                None => configs.push(arg.clone()),
                Some(name) => {
                    let mut arguments = OptionArgs { name, rest: &mut rest };
                    let known =
                        invocation.parse_switch(name) || invocation.parse_option(&mut arguments)?;
                    if !known {
                        let arg = Escaped(arg.as_bytes());
                        let why = format!("unknown option command line option {arg}");
                        return Err(EarlyExit::invalid(why));
                    }
                }
            }
        }
        invocation.with_config_file(configs)
    }

    /// Parses an option without arguments. Returns false if there is none of that name.
    fn parse_switch(&mut self, name: &[u8]) -> bool {
        let switch = match name {
            b"insist" => &mut self.insist,
            b"nodaemon" => &mut self.nodaemon,
            b"onepass" => &mut self.onepass,
            b"full" => &mut self.full,
            b"v" => &mut self.verbose,
            _ => return false,
        };
        *switch = true;
        true
    }

    /// Parses an option with arguments. Returns false if there is none of that name.
    fn parse_option(&mut self, arguments: &mut OptionArgs<'_, '_>) -> Result<bool, EarlyExit> {
        match arguments.name {
            b"delay" => self.delay = Some(seconds(&arguments.one()?)?),
            b"maxDelete" => self.max_delete = Some(max_delete(&arguments.one()?)?),
            b"configExitCode" => self.config_exit_code = Some(config_exit_code(&arguments.one()?)?),
            // The first pass has parsed it.
            b"log" => drop(arguments.one()?),
            b"logfile" => self.logfile = Some(arguments.one()?),
            b"logFormat" => self.log_format = Some(log_format(&arguments.one()?)?),
            b"pidfile" => self.pidfile = Some(arguments.one()?),
            b"stateDir" => self.state_dir = Some(arguments.one()?),
            b"script" => self.scripts.push(arguments.one()?),
            b"sshopts" => self.sshopts = Some(arguments.one()?),
            b"exclude" => self.excludes.push(arguments.one()?),
            b"watch" => self.watch = watch(&arguments.one()?)?,
            b"check=strict" => {
                self.strict = true;
                self.check = self.check.max(CheckMode::Offline);
            }
            b"try=strict" => (self.strict, self.check) = (true, CheckMode::Online),
            b"check" => self.check = self.check.max(CheckMode::Offline),
            b"try" => self.check = CheckMode::Online,
            // The next argument is the name, even if it looks like an option.
            b"monitor" => {
                self.monitor = Some(arguments.rest.next().cloned().ok_or(EarlyExit::Monitors)?);
            }
            b"version" | b"V" => return Err(EarlyExit::Version),
            b"h" => return Err(EarlyExit::Help),
            _ => return self.parse_sync(arguments),
        }
        Ok(true)
    }

    /// Parses an option that declares a sync. Returns false if there is none of that name.
    fn parse_sync(&mut self, arguments: &mut OptionArgs<'_, '_>) -> Result<bool, EarlyExit> {
        let sync = match arguments.name {
            b"rsync" => {
                let [source, target] = arguments.take()?;
                SyncArgs::Rsync { source, target }
            }
            b"rsyncssh" => {
                let [source, host, targetdir] = arguments.take()?;
                SyncArgs::Rsyncssh { source, host, targetdir }
            }
            b"direct" => {
                let [source, target] = arguments.take()?;
                SyncArgs::Direct { source, target }
            }
            _ => return Ok(false),
        };
        self.syncs.push(sync);
        Ok(true)
    }

    fn with_config_file(mut self, mut configs: Vec<OsString>) -> Result<Self, EarlyExit> {
        self.config = configs.pop();
        match (&self.config, self.syncs.is_empty()) {
            (None, true) => Err(EarlyExit::NoSync),
            (Some(_), false) => Err(EarlyExit::invalid(
                "There cannot be command line syncs and a config file together.",
            )),
            (Some(_), true) if !configs.is_empty() => {
                Err(EarlyExit::invalid("There can only be one config file in the command line."))
            }
            (None, false) | (Some(_), true) => Ok(self),
        }
    }
}

/// An option and the arguments after it.
struct OptionArgs<'a, 'w> {
    name: &'a [u8],
    rest: &'a mut slice::Iter<'w, OsString>,
}

impl OptionArgs<'_, '_> {
    fn one(&mut self) -> Result<OsString, EarlyExit> {
        let [arg] = self.take()?;
        Ok(arg)
    }

    /// Takes `N` arguments, even if they look like options.
    fn take<const N: usize>(&mut self) -> Result<[OsString; N], EarlyExit> {
        let args: Vec<OsString> = self.rest.by_ref().take(N).cloned().collect();
        let name = Escaped(self.name);
        args.try_into().map_err(|_| EarlyExit::invalid(format!("{name} needs {N} arguments")))
    }
}

/// Returns the name of an option without its one or two dashes. `None` if the argument is no
/// option.
fn option_name(arg: &OsStr) -> Option<&[u8]> {
    let name = arg.as_bytes().strip_prefix(b"-")?;
    Some(name.strip_prefix(b"-").unwrap_or(name))
}

/// First pass: collects each `-log`, even if it is the argument of another option.
fn log_categories(args: &[OsString]) -> Result<LogFilter, EarlyExit> {
    let mut filter = LogFilter::default();
    for pair in args.windows(2) {
        if let [option, category] = pair
            && option_name(option) == Some(b"log")
        {
            filter.add(category.as_bytes()).map_err(|_| {
                let category = Escaped(category.as_bytes());
                EarlyExit::invalid(format!("'{category}' is not a valid logging category"))
            })?;
        }
    }
    Ok(filter)
}

/// Finds the exit code for an invalid configuration. The rest of the command line may be invalid,
/// and the option may be the argument of another one.
pub(super) fn find_config_exit_code(args: &[OsString]) -> Option<u8> {
    let mut values = args.windows(2).filter_map(|pair| match pair {
        [option, value] if option_name(option) == Some(b"configExitCode") => {
            config_exit_code(value).ok()
        }
        _ => None,
    });
    values.next_back()
}

fn config_exit_code(arg: &OsStr) -> Result<u8, EarlyExit> {
    let code = arg.to_str().and_then(|text| text.parse().ok()).filter(|&code| code > 0);
    code.ok_or_else(|| {
        let arg = Escaped(arg.as_bytes());
        EarlyExit::invalid(format!("configExitCode must be a number from 1 to 255, not '{arg}'"))
    })
}

fn seconds(arg: &OsStr) -> Result<f64, EarlyExit> {
    lua_number::parse(arg.as_bytes()).ok_or_else(|| {
        let arg = Escaped(arg.as_bytes());
        EarlyExit::invalid(format!("delay must be a number and >= 0, not '{arg}'"))
    })
}

fn max_delete(arg: &OsStr) -> Result<MaxDelete, EarlyExit> {
    MaxDelete::parse(arg.as_bytes()).ok_or_else(|| {
        let given = format!("'{}'", Escaped(arg.as_bytes()));
        EarlyExit::invalid(guard::invalid_max_delete("maxDelete", &given))
    })
}

fn log_format(arg: &OsStr) -> Result<LogFormat, EarlyExit> {
    LogFormat::named(arg.as_bytes()).ok_or_else(|| {
        let other = Escaped(arg.as_bytes());
        EarlyExit::invalid(format!("logFormat must be text or json, not '{other}'"))
    })
}

fn watch(arg: &OsStr) -> Result<WatchBackend, EarlyExit> {
    match arg.as_bytes() {
        b"auto" => Ok(WatchBackend::Auto),
        b"inotify" => Ok(WatchBackend::Inotify),
        b"fanotify" => Ok(WatchBackend::Fanotify),
        other => {
            let other = Escaped(other);
            Err(EarlyExit::invalid(format!(
                "watch must be auto, inotify or fanotify, not '{other}'"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &str) -> Result<Invocation, EarlyExit> {
        // `''` is the empty argument.
        let args: Vec<OsString> =
            args.split_whitespace().map(|arg| arg.replace("''", "").into()).collect();
        Invocation::parse(&args)
    }

    /// Asserts that parsing `args` ends with `exit`.
    fn ends(args: &str, exit: EarlyExit) {
        assert_eq!(parse(args), Err(exit), "{args}");
    }

    fn invalid(args: &str, why: &str) {
        ends(args, EarlyExit::invalid(why));
    }

    /// Asserts what `args` add to a sync from `a` to `b`.
    fn adds(args: &str, change: impl FnOnce(&mut Invocation)) {
        let sync = SyncArgs::Rsync { source: "a".into(), target: "b".into() };
        let mut expected = Invocation { syncs: vec![sync], ..Invocation::default() };
        change(&mut expected);
        assert_eq!(parse(&format!("{args} -rsync a b")), Ok(expected), "{args}");
    }

    #[test]
    fn options_take_one_dash_or_two() {
        for dash in ["-", "--"] {
            adds(&format!("{dash}insist"), |i| i.insist = true);
            adds(&format!("{dash}nodaemon"), |i| i.nodaemon = true);
            adds(&format!("{dash}check"), |i| i.check = CheckMode::Offline);
            adds(&format!("{dash}check=strict"), |i| {
                (i.check, i.strict) = (CheckMode::Offline, true);
            });
            adds(&format!("{dash}try {dash}check=strict"), |i| {
                (i.check, i.strict) = (CheckMode::Online, true);
            });
            adds(&format!("{dash}try"), |i| i.check = CheckMode::Online);
            adds(&format!("{dash}v"), |i| i.verbose = true);
            adds(&format!("{dash}onepass"), |i| i.onepass = true);
            adds(&format!("{dash}full"), |i| i.full = true);
            adds(&format!("{dash}delay 0x10"), |i| i.delay = Some(16.0));
            adds(&format!("{dash}delay -1"), |i| i.delay = Some(-1.0));
            adds(&format!("{dash}logfile f"), |i| i.logfile = Some("f".into()));
            adds(&format!("{dash}logFormat json"), |i| i.log_format = Some(LogFormat::Json));
            adds(&format!("{dash}maxDelete 10%"), |i| i.max_delete = Some(MaxDelete::Share(10)));
            adds(&format!("{dash}maxDelete false"), |i| i.max_delete = Some(MaxDelete::Unlimited));
            adds(&format!("{dash}pidfile f"), |i| i.pidfile = Some("f".into()));
            adds(&format!("{dash}stateDir d"), |i| i.state_dir = Some("d".into()));
            adds(&format!("{dash}monitor m"), |i| i.monitor = Some("m".into()));
            adds(&format!("{dash}sshopts s"), |i| i.sshopts = Some("s".into()));
            adds(&format!("{dash}script 1 {dash}script 2"), |i| {
                i.scripts = vec!["1".into(), "2".into()];
            });
            adds(&format!("{dash}exclude 1 {dash}exclude 2"), |i| {
                i.excludes = vec!["1".into(), "2".into()];
            });
            adds(&format!("{dash}configExitCode 78"), |i| i.config_exit_code = Some(78));
            adds(&format!("{dash}watch inotify"), |i| i.watch = WatchBackend::Inotify);
            adds(&format!("{dash}log Exec"), |i| i.filter.add(b"Exec").unwrap());
        }
    }

    #[test]
    fn last_option_wins() {
        adds("-delay -1 -delay 2", |i| i.delay = Some(2.0));
        adds("-logfile 1 -logfile 2", |i| i.logfile = Some("2".into()));
    }

    #[test]
    fn an_argument_may_look_like_an_option() {
        adds("-logfile -nodaemon", |i| i.logfile = Some("-nodaemon".into()));
        adds("-monitor -nodaemon", |i| i.monitor = Some("-nodaemon".into()));
        adds("-pidfile ''", |i| i.pidfile = Some(OsString::new()));
    }

    #[test]
    fn syncs_keep_their_order() {
        let sync = |a: &str, b: &str| (OsString::from(a), OsString::from(b));
        let (source, target) = sync("c", "d");
        let (from, host) = sync("e", "f");
        adds("-direct c d -rsyncssh e f g", |i| {
            i.syncs.insert(0, SyncArgs::Direct { source, target });
            i.syncs.insert(1, SyncArgs::Rsyncssh { source: from, host, targetdir: "g".into() });
        });
    }

    #[test]
    fn a_config_file_may_stand_anywhere() {
        for args in ["conf -insist", "-insist conf"] {
            let invocation = parse(args).unwrap();
            assert!(invocation.insist && invocation.config == Some("conf".into()), "{args}");
        }
        assert_eq!(parse("''").unwrap().config, Some(OsString::new()));
    }

    #[test]
    fn passes_run_one_after_the_other() {
        let no_category = "'foo' is not a valid logging category";
        invalid("-log foo", no_category);
        invalid("-help -log foo", no_category);
        invalid("-version -log foo", no_category);
        invalid("-logfile --log foo", no_category);
        invalid("-log -help", "'-help' is not a valid logging category");
        invalid("-log ''", "'' is not a valid logging category");
        ends("-help", EarlyExit::Help);
        ends("-foo --help", EarlyExit::Help);
        ends("-logfile -help", EarlyExit::Help);
        ends("-version -help", EarlyExit::Help);
        ends("-log all -help", EarlyExit::Help);
    }

    #[test]
    fn first_reason_to_exit_wins() {
        ends("-version -foo", EarlyExit::Version);
        invalid("-foo -version", "unknown option command line option -foo");
        ends("--version -delay abc", EarlyExit::Version);
        ends("-delay -1 -version", EarlyExit::Version);
        invalid("-delay abc -version", "delay must be a number and >= 0, not 'abc'");
        invalid("-delay abc -foo", "delay must be a number and >= 0, not 'abc'");
        ends("a b -version", EarlyExit::Version);
        ends("-rsync a b -monitor", EarlyExit::Monitors);
        ends("conf conf -monitor", EarlyExit::Monitors);
    }

    #[test]
    fn errors_match_the_original() {
        for arg in
            ["-foo", "--foo", "---insist", "-", "--", "-Insist", "-ins", "-delay=1", "-rsync=a"]
        {
            invalid(&format!("{arg} conf"), &format!("unknown option command line option {arg}"));
        }
        invalid("--runner x", "unknown option command line option --runner");
        invalid("conf conf -foo", "unknown option command line option -foo");
        for name in ["delay", "log", "logfile", "pidfile", "script", "sshopts", "exclude", "watch"]
        {
            invalid(&format!("--{name}"), &format!("{name} needs 1 arguments"));
        }
        invalid("-rsync a", "rsync needs 2 arguments");
        invalid("-direct", "direct needs 2 arguments");
        invalid("-rsyncssh a b", "rsyncssh needs 3 arguments");
        invalid("-delay ''", "delay must be a number and >= 0, not ''");
        invalid(
            "-maxDelete many",
            "maxDelete must be a share such as \"50%\", a number, or false, not 'many'",
        );
        for code in ["0", "256", "-1", "x", "''"] {
            let shown = code.replace("''", "");
            invalid(
                &format!("-configExitCode {code}"),
                &format!("configExitCode must be a number from 1 to 255, not '{shown}'"),
            );
        }
        invalid("-watch poll", "watch must be auto, inotify or fanotify, not 'poll'");
        invalid("a b", "There can only be one config file in the command line.");
        invalid("a ''", "There can only be one config file in the command line.");
        let both = "There cannot be command line syncs and a config file together.";
        invalid("conf -rsync a b", both);
        invalid("-direct a b ''", both);
    }

    #[test]
    fn help_is_printed_without_a_sync() {
        ends("", EarlyExit::NoSync);
        ends("-nodaemon -insist", EarlyExit::NoSync);
        ends("-h", EarlyExit::Help);
        ends("-V", EarlyExit::Version);
        adds("-logfile -h -pidfile -V", |i| {
            (i.logfile, i.pidfile) = (Some("-h".into()), Some("-V".into()));
        });
    }

    #[test]
    fn arguments_are_bytes() {
        let bytes = OsStr::from_bytes(b"\xff\n").to_owned();
        let args = ["-logfile".into(), bytes.clone(), bytes.clone()];
        let invocation = Invocation::parse(&args).unwrap();
        assert_eq!((invocation.logfile, invocation.config), (Some(bytes.clone()), Some(bytes)));
        let unknown = [OsStr::from_bytes(b"-\xff\n").to_owned()];
        let why = "unknown option command line option -\\xff\\n";
        assert_eq!(Invocation::parse(&unknown), Err(EarlyExit::invalid(why)));
    }
}
