//! `lsyncd.conf(5)`.

use mirror_core::settings::{
    self, RsyncArgForm, Setting, SettingScope, SettingsTable, SyncBase, ValueType,
};
use roff::{Roff, bold, italic, roman};

use crate::MANUAL;

const EXAMPLE: &str = "\
settings{
    logfile    = \"/var/log/lsyncd.log\",
    statusFile = \"/run/lsyncd.status\",
}

sync{
    default.rsync,
    source  = \"/srv/www\",
    target  = \"backup:/srv/www\",
    exclude = { \"*.tmp\", \"/cache/\" },
    rsync   = { archive = true, compress = true },
}";

/// The tables with their headings and introductions.
const TABLES: [TableSection; 5] = [
    TableSection {
        table: SettingsTable::Settings,
        title: "settings{}",
        text: "Settings of the daemon. Those of the command line take precedence.",
    },
    TableSection {
        table: SettingsTable::Sync,
        title: "sync{}",
        text: "A source with its target, based on default.rsync, default.rsyncssh, default.direct \
               or functions of its own.",
    },
    TableSection {
        table: SettingsTable::Rsync,
        title: "rsync = {}",
        text: "Options of rsync, in a sync.",
    },
    TableSection {
        table: SettingsTable::Ssh,
        title: "ssh = {}",
        text: "Options of ssh, in a sync on default.rsyncssh.",
    },
    TableSection {
        table: SettingsTable::Tunnel,
        title: "tunnel{}",
        text: "A program that makes targets reachable.",
    },
];

struct TableSection {
    table: SettingsTable,
    title: &'static str,
    text: &'static str,
}

/// Returns the page.
pub(crate) fn page() -> String {
    let mut page = Roff::new();
    page.control("TH", ["LSYNCD.CONF", "5", "", env!("CARGO_PKG_VERSION"), MANUAL]);
    page.control("SH", ["NAME"]);
    page.text([roman("lsyncd.conf - configuration file of lsyncd")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A configuration file is a Lua program that declares the syncs. It runs once when the \
         daemon starts, and again when it reloads the file. All errors are reported at once, \
         before anything starts. `lsyncd -check FILE` validates a file and starts nothing.",
    )]);
    page.control("PP", []);
    page.text([roman(
        "The name of the file is free. A flag is on with any value except false and nil.",
    )]);
    page.control("SH", ["EXAMPLE"]);
    page.control("nf", []);
    page.text([roman(EXAMPLE)]);
    page.control("fi", []);
    for TableSection { table, title, text } in TABLES {
        page.control("SH", [title]);
        page.text([roman(text)]);
        for setting in settings::of(table) {
            write_setting(&mut page, setting);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([roman("lsyncd(1), lsyncctl(1), rsync(1), ssh_config(5)")]);
    page.render()
}

fn write_setting(page: &mut Roff, setting: &Setting) {
    page.control("TP", []);
    page.text([bold(setting.name), roman(" ("), italic(type_text(setting.value_type)), roman(")")]);
    let mut text = sentence(setting.doc);
    if !setting.default.is_empty() {
        text += " Default: ";
        text += setting.default;
        text.push('.');
    }
    text += &scope_text(setting);
    page.text([roman(text)]);
}

/// Returns a text with a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).chain(['.']).collect()
}

fn type_text(value_type: ValueType) -> String {
    let text = match value_type {
        ValueType::Flag => "flag",
        ValueType::Number(least) => return format!("number, at least {least}"),
        ValueType::Text => "string",
        ValueType::OneOf(choices) => {
            let choices: Vec<String> = choices.iter().map(|it| format!("\"{it}\"")).collect();
            return choices.join(", ");
        }
        ValueType::Path => "path",
        ValueType::List => "list of strings",
        ValueType::Patterns | ValueType::Command => "string or list of strings",
        ValueType::CommandOrFunction => "string, list of strings or function",
        ValueType::Budget => "share such as \"50%\", number, or false",
        ValueType::Delete => "true, false, \"startup\", \"running\"",
        ValueType::Table => "table",
        ValueType::Codes => "table from exit codes to \"ok\", \"again\", \"die\"",
        ValueType::Function => "function",
        ValueType::FlagOrFunction => "flag or function",
    };
    text.to_owned()
}

/// Returns the bases of a setting of syncs, or the argument of one of rsync.
fn scope_text(setting: &Setting) -> String {
    match (setting.scope, setting.rsync_arg) {
        (_, RsyncArgForm::Short(letter)) => format!(" Argument of rsync: -{}.", char::from(letter)),
        (_, RsyncArgForm::Long(option) | RsyncArgForm::Value(option)) => {
            format!(" Argument of rsync: {option}.")
        }
        (SettingScope::Sync(bases), RsyncArgForm::None) if bases.len() < 4 => {
            let bases: Vec<&str> = bases.iter().map(|base| base_name(*base)).collect();
            format!(" For {}.", bases.join(", "))
        }
        (
            SettingScope::Settings
            | SettingScope::Sync(_)
            | SettingScope::Rsync
            | SettingScope::Ssh
            | SettingScope::Tunnel,
            RsyncArgForm::None,
        ) => String::new(),
    }
}

const fn base_name(base: SyncBase) -> &'static str {
    match base {
        SyncBase::Own => "syncs with functions of their own",
        SyncBase::Rsync => "default.rsync",
        SyncBase::Rsyncssh => "default.rsyncssh",
        SyncBase::Direct => "default.direct",
    }
}
