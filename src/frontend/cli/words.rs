//! The words of the command line: what was said, before anything is looked up.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    slice,
};

use mirror_core::{
    guard::{self, MaxDelete},
    path::Escaped,
};

use super::number;
use crate::{config::Watch, report::Filter};

/// What the command line says. Nothing of it was looked up or checked against the disk.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Invocation {
    /// `-log`: which messages are wanted.
    pub filter: Filter,
    /// `-delay`: seconds, of any sign and size.
    pub delay: Option<f64>,
    /// `-maxDelete`: the budget for deletions that nobody saw happen.
    pub max_delete: Option<MaxDelete>,
    /// `-insist`: whether a failed startup is tried again.
    pub insist: bool,
    /// `-logfile`.
    pub logfile: Option<OsString>,
    /// `-monitor`: a source of events by the original's name for it.
    pub monitor: Option<OsString>,
    /// `-nodaemon`: whether to stay in the foreground.
    pub nodaemon: bool,
    /// `-onepass`: whether to end after the startup of all syncs.
    pub onepass: bool,
    /// `-pidfile`.
    pub pidfile: Option<OsString>,
    /// `-script`: Lua files, in their order.
    pub scripts: Vec<OsString>,
    /// `-sshopts`: words for ssh, not split yet.
    pub sshopts: Option<OsString>,
    /// `-rsync`, `-rsyncssh` and `-direct`, in their order.
    pub syncs: Vec<SyncWords>,
    /// The configuration file.
    pub config: Option<OsString>,
    /// `-exclude`: patterns of rsync for all these syncs, in their order.
    pub excludes: Vec<OsString>,
    /// `-watch`.
    pub watch: Watch,
    /// `-check` and `-try`.
    pub check: Check,
    /// `-check=strict`: whether a warning is a failure.
    pub strict: bool,
}

/// Whether only to say what would be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// No: it is to be done.
    #[default]
    No,
    /// `-check`: without reaching any target.
    Look,
    /// `-try`: the targets are reached, too.
    Reach,
}

/// A sync of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncWords {
    /// `-rsync SOURCE TARGET`
    Rsync {
        /// Any directory.
        source: OsString,
        /// Whatever rsync takes.
        target: OsString,
    },
    /// `-rsyncssh SOURCE HOST TARGETDIR`
    Rsyncssh {
        /// Any directory.
        source: OsString,
        /// Where ssh goes.
        host: OsString,
        /// A directory there.
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

/// Why the command line leads to no daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The help was asked for.
    Help,
    /// Nothing was said.
    Nothing,
    /// The version was asked for.
    Version,
    /// The names for `-monitor` were asked for.
    Monitors,
    /// It can't be done, for these reasons: lines for people.
    Refused(Vec<String>),
}

impl Ending {
    /// A refusal for one reason.
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(vec![why.into()])
    }
}

impl Invocation {
    /// Reads the words behind the name of the program, in the three passes of the original: the
    /// categories of the log, the wish for help, and then everything from left to right.
    ///
    /// # Errors
    ///
    /// The first reason to end that is come upon in that order.
    pub fn parse(words: &[OsString]) -> Result<Self, Ending> {
        let filter = scan_for_categories(words)?;
        // Even where it is the argument of another option.
        if words.iter().any(|word| option_name(word) == Some(b"help")) {
            return Err(Ending::Help);
        }
        let mut invocation = Self { filter, ..Self::default() };
        let mut rest = words.iter();
        let mut configs = Vec::new();
        while let Some(word) = rest.next() {
            match option_name(word) {
                None => configs.push(word.clone()),
                Some(name) => {
                    let mut arguments = Arguments { name, rest: &mut rest };
                    let known = invocation.switch(name) || invocation.option(&mut arguments)?;
                    if !known {
                        let word = Escaped(word.as_bytes());
                        let why = format!("unknown option command line option {word}");
                        return Err(Ending::refused(why));
                    }
                }
            }
        }
        invocation.choose_config(configs)
    }

    /// Takes in an option that has no argument. `false` if there is none of that name.
    fn switch(&mut self, name: &[u8]) -> bool {
        let switch = match name {
            b"insist" => &mut self.insist,
            b"nodaemon" => &mut self.nodaemon,
            b"onepass" => &mut self.onepass,
            _ => return false,
        };
        *switch = true;
        true
    }

    /// Takes in an option with arguments. `false` if there is none of that name.
    fn option(&mut self, arguments: &mut Arguments<'_, '_>) -> Result<bool, Ending> {
        match arguments.name {
            b"delay" => self.delay = Some(seconds(&arguments.one()?)?),
            b"maxDelete" => self.max_delete = Some(max_delete(&arguments.one()?)?),
            // The first pass dealt with it.
            b"log" => drop(arguments.one()?),
            b"logfile" => self.logfile = Some(arguments.one()?),
            b"pidfile" => self.pidfile = Some(arguments.one()?),
            b"script" => self.scripts.push(arguments.one()?),
            b"sshopts" => self.sshopts = Some(arguments.one()?),
            b"exclude" => self.excludes.push(arguments.one()?),
            b"watch" => self.watch = watch(&arguments.one()?)?,
            b"check=strict" => {
                self.strict = true;
                self.check = self.check.max(Check::Look);
            }
            b"try=strict" => (self.strict, self.check) = (true, Check::Reach),
            b"check" => self.check = self.check.max(Check::Look),
            b"try" => self.check = Check::Reach,
            // Whatever follows is the name, even if it looks like an option.
            b"monitor" => {
                self.monitor = Some(arguments.rest.next().cloned().ok_or(Ending::Monitors)?);
            }
            b"version" | b"V" => return Err(Ending::Version),
            b"h" => return Err(Ending::Help),
            _ => return self.sync(arguments),
        }
        Ok(true)
    }

    /// Takes in an option that makes a sync. `false` if there is none of that name.
    fn sync(&mut self, arguments: &mut Arguments<'_, '_>) -> Result<bool, Ending> {
        let sync = match arguments.name {
            b"rsync" => {
                let [source, target] = arguments.take()?;
                SyncWords::Rsync { source, target }
            }
            b"rsyncssh" => {
                let [source, host, targetdir] = arguments.take()?;
                SyncWords::Rsyncssh { source, host, targetdir }
            }
            b"direct" => {
                let [source, target] = arguments.take()?;
                SyncWords::Direct { source, target }
            }
            _ => return Ok(false),
        };
        self.syncs.push(sync);
        Ok(true)
    }

    fn choose_config(mut self, mut configs: Vec<OsString>) -> Result<Self, Ending> {
        self.config = configs.pop();
        match (&self.config, self.syncs.is_empty()) {
            (None, true) => Err(Ending::Nothing),
            (Some(_), false) => Err(Ending::refused(
                "There cannot be command line syncs and a config file together.",
            )),
            (Some(_), true) if !configs.is_empty() => {
                Err(Ending::refused("There can only be one config file in the command line."))
            }
            (None, false) | (Some(_), true) => Ok(self),
        }
    }
}

/// The words that follow an option.
struct Arguments<'a, 'w> {
    name: &'a [u8],
    rest: &'a mut slice::Iter<'w, OsString>,
}

impl Arguments<'_, '_> {
    fn one(&mut self) -> Result<OsString, Ending> {
        let [word] = self.take()?;
        Ok(word)
    }

    /// Takes `N` words, whatever they look like.
    fn take<const N: usize>(&mut self) -> Result<[OsString; N], Ending> {
        let words: Vec<OsString> = self.rest.by_ref().take(N).cloned().collect();
        let name = Escaped(self.name);
        words.try_into().map_err(|_| Ending::refused(format!("{name} needs {N} arguments")))
    }
}

/// The name of an option without its one or two dashes. `None` if the word is no option.
fn option_name(word: &OsStr) -> Option<&[u8]> {
    let name = word.as_bytes().strip_prefix(b"-")?;
    Some(name.strip_prefix(b"-").unwrap_or(name))
}

/// The first pass: each `-log`, even where it is the argument of another option.
fn scan_for_categories(words: &[OsString]) -> Result<Filter, Ending> {
    let mut filter = Filter::default();
    for pair in words.windows(2) {
        if let [option, category] = pair
            && option_name(option) == Some(b"log")
        {
            filter.add(category.as_bytes()).map_err(|_| {
                let category = Escaped(category.as_bytes());
                Ending::refused(format!("'{category}' is not a valid logging category"))
            })?;
        }
    }
    Ok(filter)
}

fn seconds(word: &OsStr) -> Result<f64, Ending> {
    number::parse(word.as_bytes()).ok_or_else(|| {
        let word = Escaped(word.as_bytes());
        Ending::refused(format!("delay must be a number and >= 0, not '{word}'"))
    })
}

fn max_delete(word: &OsStr) -> Result<MaxDelete, Ending> {
    MaxDelete::parse(word.as_bytes()).ok_or_else(|| {
        let given = format!("'{}'", Escaped(word.as_bytes()));
        Ending::refused(guard::wrong_max_delete("maxDelete", &given))
    })
}

fn watch(word: &OsStr) -> Result<Watch, Ending> {
    match word.as_bytes() {
        b"auto" => Ok(Watch::Auto),
        b"inotify" => Ok(Watch::Inotify),
        b"fanotify" => Ok(Watch::Fanotify),
        other => {
            let other = Escaped(other);
            Err(Ending::refused(format!("watch must be auto, inotify or fanotify, not '{other}'")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Invocation, Ending> {
        // `''` is the empty word.
        let words: Vec<OsString> =
            words.split_whitespace().map(|word| word.replace("''", "").into()).collect();
        Invocation::parse(&words)
    }

    /// Words that are refused, with the line that says why; or that print something.
    fn ends(words: &str, ending: Ending) {
        assert_eq!(parse(words), Err(ending), "{words}");
    }

    fn refused(words: &str, why: &str) {
        ends(words, Ending::refused(why));
    }

    /// What `words` say beyond a sync from `a` to `b`.
    fn says(words: &str, change: impl FnOnce(&mut Invocation)) {
        let sync = SyncWords::Rsync { source: "a".into(), target: "b".into() };
        let mut expected = Invocation { syncs: vec![sync], ..Invocation::default() };
        change(&mut expected);
        assert_eq!(parse(&format!("{words} -rsync a b")), Ok(expected), "{words}");
    }

    #[test]
    fn every_option_is_taken_with_one_dash_or_two() {
        for dash in ["-", "--"] {
            says(&format!("{dash}insist"), |i| i.insist = true);
            says(&format!("{dash}nodaemon"), |i| i.nodaemon = true);
            says(&format!("{dash}check"), |i| i.check = Check::Look);
            says(&format!("{dash}check=strict"), |i| {
                (i.check, i.strict) = (Check::Look, true);
            });
            says(&format!("{dash}try {dash}check=strict"), |i| {
                (i.check, i.strict) = (Check::Reach, true);
            });
            says(&format!("{dash}try"), |i| i.check = Check::Reach);
            says(&format!("{dash}onepass"), |i| i.onepass = true);
            says(&format!("{dash}delay 0x10"), |i| i.delay = Some(16.0));
            says(&format!("{dash}delay -1"), |i| i.delay = Some(-1.0));
            says(&format!("{dash}logfile f"), |i| i.logfile = Some("f".into()));
            says(&format!("{dash}maxDelete 10%"), |i| i.max_delete = Some(MaxDelete::Share(10)));
            says(&format!("{dash}maxDelete false"), |i| i.max_delete = Some(MaxDelete::Unlimited));
            says(&format!("{dash}pidfile f"), |i| i.pidfile = Some("f".into()));
            says(&format!("{dash}monitor m"), |i| i.monitor = Some("m".into()));
            says(&format!("{dash}sshopts s"), |i| i.sshopts = Some("s".into()));
            says(&format!("{dash}script 1 {dash}script 2"), |i| {
                i.scripts = vec!["1".into(), "2".into()];
            });
            says(&format!("{dash}exclude 1 {dash}exclude 2"), |i| {
                i.excludes = vec!["1".into(), "2".into()];
            });
            says(&format!("{dash}watch inotify"), |i| i.watch = Watch::Inotify);
            says(&format!("{dash}log Exec"), |i| i.filter.add(b"Exec").unwrap());
        }
    }

    #[test]
    fn the_last_one_counts() {
        says("-delay -1 -delay 2", |i| i.delay = Some(2.0));
        says("-logfile 1 -logfile 2", |i| i.logfile = Some("2".into()));
    }

    #[test]
    fn an_argument_may_look_like_an_option() {
        says("-logfile -nodaemon", |i| i.logfile = Some("-nodaemon".into()));
        says("-monitor -nodaemon", |i| i.monitor = Some("-nodaemon".into()));
        says("-pidfile ''", |i| i.pidfile = Some(OsString::new()));
    }

    #[test]
    fn syncs_are_kept_in_their_order() {
        let sync = |a: &str, b: &str| (OsString::from(a), OsString::from(b));
        let (source, target) = sync("c", "d");
        let (from, host) = sync("e", "f");
        says("-direct c d -rsyncssh e f g", |i| {
            i.syncs.insert(0, SyncWords::Direct { source, target });
            i.syncs.insert(1, SyncWords::Rsyncssh { source: from, host, targetdir: "g".into() });
        });
    }

    #[test]
    fn a_config_file_may_stand_anywhere() {
        for words in ["conf -insist", "-insist conf"] {
            let invocation = parse(words).unwrap();
            assert!(invocation.insist && invocation.config == Some("conf".into()), "{words}");
        }
        assert_eq!(parse("''").unwrap().config, Some(OsString::new()));
    }

    #[test]
    fn the_three_passes_come_one_after_the_other() {
        let no_category = "'foo' is not a valid logging category";
        refused("-log foo", no_category);
        refused("-help -log foo", no_category);
        refused("-version -log foo", no_category);
        refused("-logfile --log foo", no_category);
        refused("-log -help", "'-help' is not a valid logging category");
        refused("-log ''", "'' is not a valid logging category");
        ends("-help", Ending::Help);
        ends("-foo --help", Ending::Help);
        ends("-logfile -help", Ending::Help);
        ends("-version -help", Ending::Help);
        ends("-log all -help", Ending::Help);
    }

    #[test]
    fn what_is_reached_first_counts() {
        ends("-version -foo", Ending::Version);
        refused("-foo -version", "unknown option command line option -foo");
        ends("--version -delay abc", Ending::Version);
        ends("-delay -1 -version", Ending::Version);
        refused("-delay abc -version", "delay must be a number and >= 0, not 'abc'");
        refused("-delay abc -foo", "delay must be a number and >= 0, not 'abc'");
        ends("a b -version", Ending::Version);
        ends("-rsync a b -monitor", Ending::Monitors);
        ends("conf conf -monitor", Ending::Monitors);
    }

    #[test]
    fn errors_have_the_words_of_the_original() {
        for word in
            ["-foo", "--foo", "---insist", "-", "--", "-Insist", "-ins", "-delay=1", "-rsync=a"]
        {
            refused(&format!("{word} conf"), &format!("unknown option command line option {word}"));
        }
        refused("--runner x", "unknown option command line option --runner");
        refused("conf conf -foo", "unknown option command line option -foo");
        for name in ["delay", "log", "logfile", "pidfile", "script", "sshopts", "exclude", "watch"]
        {
            refused(&format!("--{name}"), &format!("{name} needs 1 arguments"));
        }
        refused("-rsync a", "rsync needs 2 arguments");
        refused("-direct", "direct needs 2 arguments");
        refused("-rsyncssh a b", "rsyncssh needs 3 arguments");
        refused("-delay ''", "delay must be a number and >= 0, not ''");
        refused(
            "-maxDelete many",
            "maxDelete must be a share such as \"50%\", a number, or false, not 'many'",
        );
        refused("-watch poll", "watch must be auto, inotify or fanotify, not 'poll'");
        refused("a b", "There can only be one config file in the command line.");
        refused("a ''", "There can only be one config file in the command line.");
        let both = "There cannot be command line syncs and a config file together.";
        refused("conf -rsync a b", both);
        refused("-direct a b ''", both);
    }

    #[test]
    fn without_a_sync_there_is_the_help() {
        ends("", Ending::Nothing);
        ends("-nodaemon -insist", Ending::Nothing);
        ends("-h", Ending::Help);
        ends("-V", Ending::Version);
        says("-logfile -h -pidfile -V", |i| {
            (i.logfile, i.pidfile) = (Some("-h".into()), Some("-V".into()));
        });
    }

    #[test]
    fn words_are_bytes() {
        let odd = OsStr::from_bytes(b"\xff\n").to_owned();
        let words = ["-logfile".into(), odd.clone(), odd.clone()];
        let invocation = Invocation::parse(&words).unwrap();
        assert_eq!((invocation.logfile, invocation.config), (Some(odd.clone()), Some(odd)));
        let unknown = [OsStr::from_bytes(b"-\xff\n").to_owned()];
        let why = "unknown option command line option -\\xff\\n";
        assert_eq!(Invocation::parse(&unknown), Err(Ending::refused(why)));
    }
}
