//! Texts of `-help`, `-version` and `-monitor`.

/// Version of the package.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Names that `-monitor` accepts on this system. `fsevents` is accepted too, as by the original.
pub(super) const MONITORS: &str = "\
This Lsyncd supports these monitors:
   inotify

";

/// Returns the help text.
pub(super) fn text() -> String {
    format!("lsyncd version: {VERSION}\n\n{USAGE}\n{OPTIONS}\n{END}\n")
}

const USAGE: &str = "\
USAGE:
  from a configuration file:
    lsyncd [OPTIONS] CONFIG-FILE
  by rsync, to whatever rsync takes as a target:
    lsyncd [OPTIONS] -rsync SOURCE TARGET
  by rsync, to a directory behind ssh:
    lsyncd [OPTIONS] -rsyncssh SOURCE HOST TARGETDIR
  to another directory of this machine, without rsync:
    lsyncd [OPTIONS] -direct SOURCE TARGET
  The last three can be given several times, and mixed.
";

const OPTIONS: &str = "\
OPTIONS: (one dash or two)
  -check                say what would be done and what looks wrong, and do nothing;
                        with -check=strict a warning ends it with 1
  -delay SECONDS        how long to gather changes; without it a change goes out
                        after a short quiet time
  -exclude PATTERN      leave out what matches, with rsync's meaning; repeatable
  -help, -h             this text
  -insist               keep trying if a startup fails
  -log all              show everything
  -log scarce           show errors and warnings only
  -log CATEGORY         show this category too, such as Exec; repeatable
  -logfile FILE         append to FILE; a daemon without one uses syslog
  -maxDelete BUDGET     the most deletions that nobody saw happen: a share such as
                        50% (the default), a number, or false for any
  -monitor NAME         taken for the sake of old command lines; alone it lists the names
  -nodaemon             stay in the foreground
  -onepass              end once all targets are equal to their sources
  -pidfile FILE         write the process id to FILE, and lock it
  -script FILE          run a Lua file first; repeatable
  -sshopts WORDS        more words for the ssh of -rsyncssh
  -try                  as -check, and reach each target
  -version, -V          print the version
  -watch HOW            auto (the best for a source), inotify or fanotify
";

const END: &str = "\
LICENSE:
  GPL version 2, or any later version.

SEE:
  man lsyncd
";
