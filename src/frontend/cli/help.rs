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
  by rsync, to any target that rsync accepts:
    lsyncd [OPTIONS] -rsync SOURCE TARGET
  by rsync over ssh, with renames on the target:
    lsyncd [OPTIONS] -rsyncssh SOURCE HOST TARGETDIR
  to another directory of this machine, without rsync:
    lsyncd [OPTIONS] -direct SOURCE TARGET
  The last three can be repeated and mixed.
";

const OPTIONS: &str = "\
OPTIONS: (one dash or two)
  -check                print every setting, rsync call and warning, and exit;
                        with -check=strict, exit with 1 if there are warnings
  -configExitCode N     exit with N instead of 255 if the command line or the
                        configuration is invalid
  -delay SECONDS        transfer changes after this time; without it, a change is
                        transferred after a short quiet time
  -exclude PATTERN      exclude what matches this rsync pattern; repeatable
  -help, -h             print this text
  -insist               retry a failed startup instead of exiting
  -log all              log all categories
  -log scarce           log errors and warnings only
  -log CATEGORY         log this category, too, such as Exec; repeatable
  -logfile FILE         append to FILE; a daemon without one uses syslog
  -maxDelete BUDGET     limit of deletions that no event reported: a share such as
                        50% (the default), a number, or false for no limit
  -monitor NAME         accepted for compatibility; alone it lists the names
  -nodaemon             stay in the foreground
  -onepass              exit once all targets equal their sources
  -pidfile FILE         write the process id to FILE, and lock it
  -script FILE          run a Lua file first; repeatable
  -sshopts ARGS         additional arguments of ssh for -rsyncssh
  -try                  like -check, and contact each target
  -version, -V          print the version
  -watch BACKEND        auto (selects by the source), inotify or fanotify
";

const END: &str = "\
LICENSE:
  GPL version 2, or any later version.

SEE:
  docs/configuration.md
";
