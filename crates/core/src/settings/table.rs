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
    global("logfile", Path, "", "where messages go, beside the terminal in the foreground; opened anew when it was rotated"),
    global("pidfile", Path, "", "where the number of the process is written and locked"),
    global("nodaemon", Flag, "false", "stay in the foreground"),
    global("onepass", Flag, "false", "end when all syncs have made their first transfer: with 0 if all has arrived, with 255 if a second try did not help either or deletions are held"),
    global("statusFile", Path, "", "where the state of all syncs is written"),
    global("statusInterval", Number(0), "10", "seconds between two writes of the status file while something happens; 0 for each time. While nothing happens it is written each minute"),
    global("statusIntervall", Number(0), "", "an old spelling of statusInterval"),
    global("logfacility", Text, "\"user\"", "the facility in the system's log"),
    global("logident", Text, "\"lsyncd\"", "the name in the system's log"),
    global("insist", Flag, "false", "try a failed startup again, rather than ending"),
    global("inotifyMode", OneOf(&["", "CloseWrite", "Modify", "CloseWrite or Modify"]), "\"CloseWrite\"", "whether a change counts when the file is closed, or when it is written to; for targets of ours a file that stays open counts, too, after openQuiet"),
    global("maxProcesses", Number(0), "", "the most transfers at once, of all syncs together; less than 1 is 1"),
    global("maxDelays", Number(0), "", "overrides maxDelays of the syncs that follow"),
    global("watch", OneOf(&["auto", "inotify", "fanotify"]), "\"auto\"", "how changes are noticed"),
    global("shareConnections", Flag, "true", "all syncs to one host share one connection of ssh, unless they have an rsh of their own"),
    sync(ALL, "name", Text, "its name in the status file and in messages").or("\"Sync1\""),
    sync(ALL, "source", Path, "the directory that is mirrored"),
    sync(NOT_SSH, "target", Text, "where it goes: for rsync whatever rsync takes, for direct a directory"),
    sync(SSH, "host", Text, "the machine that ssh reaches"),
    sync(SSH, "targetdir", Text, "the directory on that machine"),
    sync(ALL, "delay", Number(0), "seconds until the oldest change goes out, with all others; without it changes go out after 0.1 s of quiet, at the latest after 1 s"),
    sync(BUILT_IN, "openQuiet", Number(0), "seconds without a write after which a file that somebody has open for writing goes out as it is; closed, it goes at once. Not with an inotifyMode that counts each write").or("1"),
    sync(BUILT_IN, "openMaxWait", Number(0), "seconds after the first write at which it goes out at the latest; 0 to hold nothing back").or("10"),
    sync(ALL, "maxDelays", Number(0), "with so many changes waiting, all of them go out; less than 1 is 1").or("1000"),
    sync(ALL, "maxProcesses", Number(0), "the most transfers of this sync at once, where less than 1 is 1; direct has one, of several threads").or("1"),
    sync(BUILT_IN, "delete", Delete, "whether what the source does not have is deleted on the target").or("true"),
    sync(BUILT_IN, "maxDelete", Budget, "the most deletions that nobody saw happen, such as at a start: a share of what the target holds, which counts from 10 deletions on, or a number; beyond it they are held, and all of them while the source is empty").or("\"50%\""),
    sync(BUILT_IN, "maxDeleteSeen", Budget, "the same for deletions that were seen to happen in the source").or("false"),
    sync(ALL, "replacedSource", OneOf(crate::guard::ReplacedSource::NAMES), "what to do when another file system stands where the source was: wait for the right one, accept it at the next SIGHUP, or take it with maxDelete as the budget").or("\"wait\""),
    sync(ALL, "marker", Text, "a name that has to be in the source itself: without it the sync waits"),
    sync(BUILT_IN, "modifyWindow", Number(0), "seconds by which times of files may differ and still count as equal, where the target keeps no fractions; without it that is found out"),
    sync(DIRECT, "durable", Flag, "whether each file and its directory are on the disk before the next change").or("false"),
    sync(ALL, "init", FlagOrFunction, "whether it begins with a full transfer").or("true"),
    sync(ALL, "exclude", Patterns, "what is left out, as patterns of rsync"),
    sync(ALL, "excludeFrom", Path, "a file of such patterns, one a line"),
    sync(ALL, "filter", Patterns, "what is left out, as filter rules of rsync; they come before all patterns"),
    sync(ALL, "filterFrom", Path, "a file of such rules, one a line"),
    sync(ALL, "crontab", List, "when a full transfer is made: second minute hour day month weekday, in local time"),
    sync(BUILT_IN, "batchSizeLimit", Number(0), "files of more bytes are transferred each by a call of its own: beside the others where maxProcesses allows more than one, else after them"),
    sync(BUILT_IN, "listForm", OneOf(&["files-from", "filter"]), "how a batch names its files to rsync; programs in the place of rsync may expect filter rules, as the original gives them").or("\"files-from\""),
    sync(BUILT_IN, "rsync", Table, "how rsync is called"),
    sync(SSH, "ssh", Table, "how ssh is called"),
    sync(ALL, "exitcodes", Codes, "what the exit codes of the program mean"),
    sync(WITH_RSYNC_CODES, "rsyncExitCodes", Codes, "what the exit codes of rsync mean"),
    sync(SSH, "sshExitCodes", Codes, "what the exit codes of the ssh mean that renames: only \"die\" counts, since a rename that fails is a transfer"),
    sync(BUILT_IN, "onSynced", CommandOrFunction, "what is done whenever a batch is on the target: a shell command, a program and its words, or a function"),
    sync(BUILT_IN, "onSyncedFailure", OneOf(&["warn", "retry", "hold"]), "what follows if that fails: a warning, the batch and it once more, or nothing until SIGHUP").or("\"warn\""),
    sync(ALL, "tunnel", Table, "a tunnel that has to stand before anything is transferred"),
    sync(ALL, "checkgauge", Table, "further names that this sync may have; false for any"),
    sync(ALL, "subdirs", Flag, "false: a script is told of what is in the source itself only").or("true"),
    sync(ALL, "monitor", Text, "accepted, without effect: see watch"),
    sync(ALL, "action", Function, "what is done when changes are due"),
    sync(ALL, "collect", Function, "what the end of a program means"),
    sync(ALL, "prepare", Function, "a last look at the settings of the sync"),
    sync(ALL, "full", Function, "what is done for a full transfer"),
    sync(ALL, "onFull", Function, "what is done for a full transfer"),
    sync(ALL, "onAttrib", Function, "what is done when attributes changed"),
    sync(OWN, "collapse", Flag, "accepted, without effect"),
    sync(OWN, "onCreate", Function, "what is done for what was made"),
    sync(OWN, "onModify", Function, "what is done for what was changed"),
    sync(OWN, "onDelete", Function, "what is done for what was deleted"),
    sync(OWN, "onStartup", Function, "what is done at the startup"),
    sync(NOT_RSYNC, "onMove", FlagOrFunction, "what is done for what was renamed; false: it is sent again and deleted"),
    rsync("binary", Text, "the program, looked up in PATH if it has no slash").or("\"rsync\""),
    rsync("archive", Flag, "switches links, perms, times, group, owner, devices and specials on where nothing else is said").or("false"),
    short("links", b'l', "symbolic links as such").or("true"),
    short("times", b't', "times of files").or("true"),
    short("protect_args", b's', "names reach the other side as they are").or("true"),
    short("perms", b'p', "permissions"),
    short("group", b'g', "groups"),
    short("owner", b'o', "owners"),
    short("acls", b'A', "access control lists"),
    short("backup", b'b', "keep what is replaced or deleted"),
    short("checksum", b'c', "compare contents rather than sizes and times"),
    short("compress", b'z', "compress what is sent"),
    short("copy_dirlinks", b'k', "links to directories as directories"),
    short("copy_links", b'L', "links as what they point to"),
    short("cvs_exclude", b'C', "leave out what CVS does; refused, since its files in each directory hold at a start only"),
    short("dry_run", b'n', "transfer nothing"),
    short("executability", b'E', "whether files can be executed"),
    short("hard_links", b'H', "hard links as such"),
    short("ignore_times", b'I', "transfer what is equal in size and time, too"),
    short("ipv4", b'4', "use IPv4"),
    short("ipv6", b'6', "use IPv6"),
    short("keep_dirlinks", b'K', "follow links to directories on the target"),
    short("one_file_system", b'x', "stay on one file system"),
    short("omit_dir_times", b'O', "no times of directories"),
    short("omit_link_times", b'J', "no times of links"),
    short("prune_empty_dirs", b'm', "no empty directories"),
    short("quiet", b'q', "say less"),
    short("sparse", b'S', "holes stay holes"),
    short("update", b'u', "leave what is newer on the target"),
    short("verbose", b'v', "say more"),
    short("whole_file", b'W', "send whole files, not differences"),
    short("xattrs", b'X', "extended attributes"),
    rsync("delete_excluded", Flag, "a full transfer deletes also what is excluded").or("false"),
    long("append", "--append", "append to shorter files"),
    long("append_verify", "--append-verify", "append to shorter files, and check the whole"),
    value("backup_dir", "--backup-dir=", Text, "where backups go"),
    value("bwlimit", "--bwlimit=", Text, "the most that is sent in a second"),
    value("chmod", "--chmod=", Text, "changes of permissions on the way"),
    value("chown", "--chown=", Text, "owner and group on the target"),
    long("copy_unsafe_links", "--copy-unsafe-links", "links out of the tree as what they point to"),
    value("groupmap", "--groupmap=", Text, "groups on the target"),
    long("existing", "--existing", "make no new files"),
    long("inplace", "--inplace", "write into the files themselves"),
    value("password_file", "--password-file=", Path, "the password for an rsync daemon"),
    value("rsh", "--rsh=", Text, "the program that reaches the other side"),
    value("rsync_path", "--rsync-path=", Text, "the program rsync on the other side"),
    value("suffix", "--suffix=", Text, "the end of the names of backups"),
    value("temp_dir", "--temp-dir=", Text, "where unfinished files are kept"),
    value("timeout", "--timeout=", Number(0), "seconds of silence after which a transfer has failed"),
    value("usermap", "--usermap=", Text, "owners on the target"),
    rsync("_extra", List, "further words for rsync"),
    ssh("binary", Text, "the program, looked up in PATH if it has no slash").or("\"ssh\""),
    ssh("identityFile", Path, "the key to log in with"),
    ssh("options", Table, "options of ssh_config, by their names"),
    ssh("port", Text, "the port of the other side"),
    ssh("_extra", List, "further words for ssh"),
    tunnel("name", Text, "its name in the status file and in messages").or("\"Tunnel1\""),
    tunnel("mode", OneOf(&["command", "pool"]), "whether each program gets a port of its own, ^localport").or("\"command\""),
    tunnel("command", Command, "the program that makes it, as a list or as a text that is split at blanks"),
    tunnel("parallel", Number(1), "how many of it run beside each other").or("1"),
    tunnel("retryDelay", Number(0), "seconds until a program that ended before it was ready is started again; then twice as long each time, up to 5 minutes").or("10"),
    tunnel("readyDelay", Number(0), "seconds that a program has to live until it counts as ready; in a pool it does before if something listens on its port").or("5"),
    tunnel("localhost", Text, "what ^localhost stands for").or("\"localhost\""),
    tunnel("checkCommand", Text, "accepted, without effect"),
    tunnel("checkExitCodes", Table, "accepted, without effect"),
    tunnel("checkMaxFailed", Number(0), "accepted, without effect"),
    tunnel("distribution", OneOf(&["rr"]), "in which turn transfers take the programs of a pool").or("\"rr\""),
];
