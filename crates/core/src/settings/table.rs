//! The table.

use super::{
    RsyncArgForm, Setting, SettingScope, SyncBase,
    ValueType::{
        self, Budget, Codes, Command, CommandOrFunction, Delete, Flag, FlagOrFunction, Function,
        List, Number, OneOf, Path, Patterns, Table, Text,
    },
};

const ALL: &[SyncBase] = &[SyncBase::Own, SyncBase::Rsync, SyncBase::Rsyncssh, SyncBase::Direct];
const BUILT_IN: &[SyncBase] = &[SyncBase::Rsync, SyncBase::Rsyncssh, SyncBase::Direct];
const NOT_SSH: &[SyncBase] = &[SyncBase::Own, SyncBase::Rsync, SyncBase::Direct];
const SSH: &[SyncBase] = &[SyncBase::Rsyncssh];
const DIRECT: &[SyncBase] = &[SyncBase::Direct];
const OWN: &[SyncBase] = &[SyncBase::Own];
const NOT_RSYNC: &[SyncBase] = &[SyncBase::Own, SyncBase::Rsyncssh, SyncBase::Direct];
const WITH_RSYNC_CODES: &[SyncBase] = &[SyncBase::Rsyncssh, SyncBase::Direct];

/// A setting without a default and without an argument of rsync.
const fn setting(
    name: &'static str,
    scope: SettingScope,
    value_type: ValueType,
    doc: &'static str,
) -> Setting {
    Setting { name, scope, value_type, default: "", doc, rsync_arg: RsyncArgForm::None }
}

const fn global(
    name: &'static str,
    value_type: ValueType,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    setting(name, SettingScope::Settings, value_type, doc).or(default)
}

/// A setting of syncs on some bases. It has no default unless [`or`](Setting::or) adds one.
const fn sync(
    bases: &'static [SyncBase],
    name: &'static str,
    value_type: ValueType,
    doc: &'static str,
) -> Setting {
    setting(name, SettingScope::Sync(bases), value_type, doc)
}

const fn ssh(name: &'static str, value_type: ValueType, doc: &'static str) -> Setting {
    setting(name, SettingScope::Ssh, value_type, doc)
}

const fn tunnel(name: &'static str, value_type: ValueType, doc: &'static str) -> Setting {
    setting(name, SettingScope::Tunnel, value_type, doc)
}

const fn rsync(name: &'static str, value_type: ValueType, doc: &'static str) -> Setting {
    setting(name, SettingScope::Rsync, value_type, doc)
}

const fn short(name: &'static str, letter: u8, doc: &'static str) -> Setting {
    Setting { rsync_arg: RsyncArgForm::Short(letter), ..rsync(name, Flag, doc).or("false") }
}

const fn long(name: &'static str, option: &'static str, doc: &'static str) -> Setting {
    Setting { rsync_arg: RsyncArgForm::Long(option), ..rsync(name, Flag, doc).or("false") }
}

const fn value(
    name: &'static str,
    option: &'static str,
    value_type: ValueType,
    doc: &'static str,
) -> Setting {
    Setting { rsync_arg: RsyncArgForm::Value(option), ..rsync(name, value_type, doc) }
}

impl Setting {
    const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }
}

/// All settings. The arguments for rsync have this order, which is the original's.
pub const SETTINGS: &[Setting] = &[
    global("logfile", Path, "", "log file, in addition to the terminal in the foreground; reopened after a rotation"),
    global("logFormat", OneOf(&["text", "json"]), "\"text\"", "format of the log file and of the terminal: the lines of the original, or one JSON object a line"),
    global("pidfile", Path, "", "file that holds the process id; locked while the daemon runs"),
    global("nodaemon", Flag, "false", "stays in the foreground"),
    global("onepass", Flag, "false", "exits when all syncs have made their first transfer: with 0 if everything was transferred, with 255 if paths failed twice or deletions are held"),
    global("statusFile", Path, "", "file with the state of all syncs"),
    global("statusInterval", Number(0), "10", "seconds between writes of the status file during activity, 0 to write it at each change; an idle daemon writes it once a minute"),
    global("statusIntervall", Number(0), "", "old spelling of statusInterval"),
    global("logfacility", Text, "\"user\"", "syslog facility"),
    global("logident", Text, "\"lsyncd\"", "syslog identifier"),
    global("insist", Flag, "false", "retries a failed startup instead of exiting"),
    global("inotifyMode", OneOf(&["", "CloseWrite", "Modify", "CloseWrite or Modify"]), "\"CloseWrite\"", "writes that count as changes: the close after a write, each write, or both; for built-in targets a file that stays open also counts after openQuiet"),
    global("maxProcesses", Number(0), "", "maximum number of concurrent transfers of all syncs; less than 1 means 1"),
    global("maxDelays", Number(0), "", "overrides maxDelays of the syncs that follow"),
    global("watch", OneOf(&["auto", "inotify", "fanotify"]), "\"auto\"", "watch backend"),
    global("stateDir", Path, "", "directory for snapshots of the sources: a restart transfers only what has changed since. Each daemon needs one of its own"),
    global("stateInterval", Number(0), "120", "minimum number of seconds between two snapshots of a source"),
    global("socket", Path, "", "control socket for lsyncctl, readable by its owner only; \"\" for none. By default in $RUNTIME_DIRECTORY, beside the pidfile, or in $XDG_RUNTIME_DIR/lsyncd"),
    global("socketGroup", Text, "", "group that may read the state by a second, read-only socket: with the suffix .status.sock beside the control socket"),
    global("shareConnections", Flag, "true", "uses one ssh connection for all syncs to a host, except those with an rsh of their own"),
    sync(ALL, "name", Text, "name in the status file and in log messages").or("\"Sync1\""),
    sync(ALL, "source", Path, "directory to mirror"),
    sync(NOT_SSH, "target", Text, "destination: any that rsync accepts for default.rsync, a local directory for default.direct"),
    sync(SSH, "host", Text, "destination host, as for ssh"),
    sync(SSH, "targetdir", Text, "destination directory on that host"),
    sync(ALL, "delay", Number(0), "seconds from the oldest change to the transfer of all pending changes; without it, a lone change is transferred at once, and a burst after 0.1 s without a further change (a dense one after 0.02 s), at the latest after 1 s"),
    sync(BUILT_IN, "openQuiet", Number(0), "seconds without a write after which a file that is still open for writing is transferred; a closed file does not wait. Without effect if inotifyMode counts each write").or("1"),
    sync(BUILT_IN, "openMaxWait", Number(0), "seconds after its first write at which an open file is transferred at the latest; with 0, open files do not wait").or("10"),
    sync(ALL, "maxDelays", Number(0), "number of pending changes at which all of them are transferred at once; less than 1 means 1. A sync with a built-in target uses it only together with delay").or("1000"),
    sync(ALL, "maxProcesses", Number(0), "maximum number of concurrent transfers of this sync; less than 1 means 1. default.direct makes one transfer, with several threads").or("1"),
    sync(BUILT_IN, "delete", Delete, "deletes entries of the target that the source does not have: always, never, only at the startup, or only after it").or("true"),
    sync(BUILT_IN, "maxDelete", Budget, "maximum of unseen deletions, those that no event reported: a share of the entries of the target, which applies from 10 deletions on, or a number. Beyond it they are held, and all of them while the source is empty").or("\"50%\""),
    sync(BUILT_IN, "maxDeleteSeen", Budget, "the same for deletions that an event reported").or("false"),
    sync(ALL, "replacedSource", OneOf(crate::guard::ReplacedSource::NAMES), "reaction to another file system in place of the source: wait for the right one, accept the new one at SIGHUP, or accept it with maxDelete as the limit").or("\"wait\""),
    sync(BUILT_IN, "trustTarget", Flag, "believes a snapshot without a look at the target: nothing but this sync changes it, and it is never restored from a backup. Needed for targets on other machines that can't be marked").or("false"),
    sync(ALL, "marker", Text, "name that must exist in the source; the sync waits while it is missing"),
    sync(BUILT_IN, "modifyWindow", Number(0), "maximum difference in seconds between file times that count as equal, for targets without fractions of seconds; detected if unset"),
    sync(DIRECT, "durable", Flag, "flushes each file and its directory to disk before the next change").or("false"),
    sync(ALL, "init", FlagOrFunction, "begins with a full transfer; a function replaces it").or("true"),
    sync(ALL, "exclude", Patterns, "rsync patterns of excluded paths"),
    sync(ALL, "excludeFrom", Path, "file with such patterns, one per line"),
    sync(ALL, "filter", Patterns, "rsync filter rules, which precede all patterns"),
    sync(ALL, "filterFrom", Path, "file with such rules, one per line"),
    sync(ALL, "crontab", List, "times of full transfers: second minute hour day month weekday, in local time"),
    sync(BUILT_IN, "batchSizeLimit", Number(0), "size in bytes above which each file is transferred by a call of its own: parallel to the others if maxProcesses allows it, else after them"),
    sync(BUILT_IN, "listForm", OneOf(&["files-from", "filter"]), "form in which a batch passes its paths to rsync; wrappers of rsync may expect the filter rules of the original").or("\"files-from\""),
    sync(BUILT_IN, "rsync", Table, "options of rsync"),
    sync(SSH, "ssh", Table, "options of ssh"),
    sync(ALL, "exitcodes", Codes, "classes of the program's exit codes"),
    sync(WITH_RSYNC_CODES, "rsyncExitCodes", Codes, "classes of rsync's exit codes"),
    sync(SSH, "sshExitCodes", Codes, "classes of the exit codes of an ssh that renames: only \"die\" has an effect, since a failed rename becomes a transfer"),
    sync(BUILT_IN, "onSynced", CommandOrFunction, "runs after each transferred batch: a shell command, a program with its arguments, or a function"),
    sync(BUILT_IN, "onSyncedFailure", OneOf(&["warn", "retry", "hold"]), "reaction to a failed onSynced: a warning, a retry with the batch, or a stop of the sync until SIGHUP").or("\"warn\""),
    sync(ALL, "tunnel", Table, "tunnel that must be up before anything is transferred"),
    sync(ALL, "checkgauge", Table, "additional keys that this sync may have; false accepts any"),
    sync(ALL, "subdirs", Flag, "reports events below subdirectories to a script, too").or("true"),
    sync(ALL, "monitor", Text, "accepted, without effect; see watch"),
    sync(ALL, "action", Function, "called when changes are due"),
    sync(ALL, "collect", Function, "called when a program has exited; returns the class of its exit code"),
    sync(ALL, "prepare", Function, "called with the settings of the sync, which it can change"),
    sync(ALL, "full", Function, "called for a full transfer"),
    sync(ALL, "onFull", Function, "called for a full transfer"),
    sync(ALL, "onAttrib", Function, "called for an entry whose attributes changed"),
    sync(OWN, "collapse", Flag, "accepted, without effect"),
    sync(OWN, "onCreate", Function, "called for a created entry"),
    sync(OWN, "onModify", Function, "called for a modified file"),
    sync(OWN, "onDelete", Function, "called for a deleted entry"),
    sync(OWN, "onStartup", Function, "called at the startup"),
    sync(NOT_RSYNC, "onMove", FlagOrFunction, "called for a renamed entry; false makes a rename a deletion and a creation"),
    rsync("binary", Text, "program, looked up in PATH if it has no slash").or("\"rsync\""),
    rsync("archive", Flag, "switches on links, perms, times, group, owner, devices and specials unless they are set").or("false"),
    short("links", b'l', "copies symbolic links as links").or("true"),
    short("times", b't', "preserves modification times").or("true"),
    short("protect_args", b's', "protects names from the shell of the remote host").or("true"),
    short("perms", b'p', "preserves permissions"),
    short("group", b'g', "preserves groups"),
    short("owner", b'o', "preserves owners"),
    short("acls", b'A', "preserves access control lists"),
    short("backup", b'b', "keeps a backup of replaced and deleted files"),
    short("checksum", b'c', "compares checksums instead of sizes and times"),
    short("compress", b'z', "compresses the transferred data"),
    short("copy_dirlinks", b'k', "copies the directories that links refer to"),
    short("copy_links", b'L', "copies the files and directories that links refer to"),
    short("cvs_exclude", b'C', "excludes the files that CVS ignores; refused, since its per-directory files would apply to full transfers only"),
    short("dry_run", b'n', "transfers nothing"),
    short("executability", b'E', "preserves executability"),
    short("hard_links", b'H', "preserves hard links"),
    short("ignore_times", b'I', "also transfers files of equal size and time"),
    short("ipv4", b'4', "uses IPv4"),
    short("ipv6", b'6', "uses IPv6"),
    short("keep_dirlinks", b'K', "follows links to directories on the target"),
    short("one_file_system", b'x', "does not cross file system boundaries"),
    short("omit_dir_times", b'O', "omits the times of directories"),
    short("omit_link_times", b'J', "omits the times of symbolic links"),
    short("prune_empty_dirs", b'm', "omits empty directories"),
    short("quiet", b'q', "suppresses messages other than errors"),
    short("sparse", b'S', "writes runs of zeros as holes"),
    short("update", b'u', "skips files that are newer on the target"),
    short("verbose", b'v', "increases verbosity"),
    short("whole_file", b'W', "transfers whole files instead of differences"),
    short("xattrs", b'X', "preserves extended attributes"),
    rsync("delete_excluded", Flag, "full transfers also delete excluded entries").or("false"),
    long("append", "--append", "appends to shorter files"),
    long("append_verify", "--append-verify", "appends to shorter files, and verifies the whole file"),
    value("backup_dir", "--backup-dir=", Text, "directory for backups"),
    value("bwlimit", "--bwlimit=", Text, "maximum transfer rate"),
    value("chmod", "--chmod=", Text, "changes of the transferred permissions"),
    value("chown", "--chown=", Text, "owner and group on the target"),
    long("copy_unsafe_links", "--copy-unsafe-links", "copies what links out of the source refer to"),
    value("groupmap", "--groupmap=", Text, "mapping of groups"),
    long("existing", "--existing", "creates no new files"),
    long("inplace", "--inplace", "updates files in place"),
    value("password_file", "--password-file=", Path, "file with the password for an rsync daemon"),
    value("rsh", "--rsh=", Text, "remote shell program"),
    value("rsync_path", "--rsync-path=", Text, "rsync program on the remote host"),
    value("suffix", "--suffix=", Text, "suffix of backups"),
    value("temp_dir", "--temp-dir=", Text, "directory for temporary files"),
    value("timeout", "--timeout=", Number(0), "seconds without I/O after which a transfer fails"),
    value("usermap", "--usermap=", Text, "mapping of owners"),
    rsync("_extra", List, "additional arguments of rsync"),
    ssh("binary", Text, "program, looked up in PATH if it has no slash").or("\"ssh\""),
    ssh("identityFile", Path, "private key"),
    ssh("options", Table, "options of ssh_config by name"),
    ssh("port", Text, "port of the host"),
    ssh("_extra", List, "additional arguments of ssh"),
    tunnel("name", Text, "name in the status file and in log messages").or("\"Tunnel1\""),
    tunnel("mode", OneOf(&["command", "pool"]), "in a pool, each program gets a port of its own, ^localport").or("\"command\""),
    tunnel("command", Command, "tunnel program and its arguments: a list, or a string that is split at blanks"),
    tunnel("parallel", Number(1), "number of programs that run at the same time").or("1"),
    tunnel("retryDelay", Number(0), "seconds until a program that exited before it was ready is restarted; doubled each time, up to 50 seconds").or("10"),
    tunnel("readyDelay", Number(0), "seconds after which a running program counts as ready; in a pool it is ready earlier if its port accepts connections").or("5"),
    tunnel("localhost", Text, "value of ^localhost").or("\"localhost\""),
    tunnel("checkCommand", Text, "accepted, without effect"),
    tunnel("checkExitCodes", Table, "accepted, without effect"),
    tunnel("checkMaxFailed", Number(0), "accepted, without effect"),
    tunnel("distribution", OneOf(&["rr"]), "order in which transfers use the programs of a pool: round robin").or("\"rr\""),
];
