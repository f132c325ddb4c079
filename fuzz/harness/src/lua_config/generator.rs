//! Generator of configuration files: each byte of the input is a choice.

use mirror_core::settings::{self, SettingsTable, ValueType};

use crate::input::InputReader;

/// Maximum number of declarations, and of settings in one table.
const MAX_DECLARATIONS: usize = 6;
const MAX_SETTINGS: usize = 8;

/// Values that are wrong for most settings.
const ODD_VALUES: [&str; 16] = [
    "nil",
    "false",
    "0",
    "-1",
    "1e308",
    "0/0",
    "1/0",
    "9007199254740993",
    "\"\"",
    "\"\\0\"",
    "\"\\255\"",
    "{}",
    "{ {} }",
    "{ 1, 'a', false }",
    "{ a = 1, b = { c = 2 } }",
    "default.rsync.prepare",
];

const TEXTS: [&str; 14] = [
    "'x'",
    "'a b'",
    "'-e'",
    "'host:dir'",
    "'host::module/dir'",
    "'rsync://h/m'",
    "'/srv/place/mirror'",
    "'/srv/place/www/in'",
    "'etc'",
    "'*.o'",
    "'+ */'",
    "'0 0 3 * * *'",
    "[[^source/^pathname]]",
    "12",
];

/// Returns the text of the file that the choices describe.
pub(super) fn file(choices: &[u8]) -> Vec<u8> {
    let mut reader = InputReader::new(choices);
    let mut text = String::from("local shared = { delay = 3, exclude = { 'a' } }\n");
    for _ in 0..MAX_DECLARATIONS {
        if reader.is_empty() {
            break;
        }
        text += &declaration(&mut reader);
    }
    text.into_bytes()
}

fn declaration(reader: &mut InputReader<'_>) -> String {
    match reader.below(8) {
        0 => format!("settings{{ {} }}\n", fields(reader, SettingsTable::Settings)),
        1 => {
            let (name, value) = setting(reader, SettingsTable::Settings);
            format!("settings.{name} = {value}\n")
        }
        2 => format!("local made = tunnel{{ {} }}\n", fields(reader, SettingsTable::Tunnel)),
        _ => sync(reader),
    }
}

fn sync(reader: &mut InputReader<'_>) -> String {
    let base = reader.pick(&["default.rsync", "default.direct", "default.rsyncssh", "default"]);
    let source = reader.pick(&["'/srv/place/www'", "'www/in'", "'home'", "'missing'", "''"]);
    let target = match base {
        "default.rsyncssh" => "host = 'h', targetdir = 'd'",
        "default.direct" => reader.pick(&["target = '/srv/place/mirror'", "target = 'mirror/x'"]),
        _ => reader.pick(&["target = 'h:d'", "target = '/srv/place/mirror'", "target = 'h::m/x'"]),
    };
    let shared = if reader.below(4) == 0 { "shared, " } else { "" };
    let fields = fields(reader, SettingsTable::Sync);
    format!("sync{{ {base}, {shared}source = {source}, {target}, {fields} }}\n")
}

fn fields(reader: &mut InputReader<'_>, table: SettingsTable) -> String {
    let mut fields = Vec::new();
    for _ in 0..reader.below(MAX_SETTINGS) {
        let (name, value) = setting(reader, table);
        fields.push(format!("{name} = {value}"));
    }
    fields.join(", ")
}

/// Returns the name of a setting, and a value that mostly fits.
fn setting(reader: &mut InputReader<'_>, table: SettingsTable) -> (&'static str, String) {
    let known: Vec<_> = settings::of(table).collect();
    let setting = reader.pick(&known);
    let value = if reader.below(8) == 0 {
        reader.pick(&ODD_VALUES).to_owned()
    } else {
        value(reader, setting.value_type, setting.name)
    };
    (setting.name, value)
}

fn value(reader: &mut InputReader<'_>, value_type: ValueType, name: &str) -> String {
    match value_type {
        ValueType::Flag | ValueType::FlagOrFunction => reader.pick(&["true", "false"]).to_owned(),
        ValueType::Number(_) => number(reader),
        ValueType::Text | ValueType::Path => reader.pick(&TEXTS).to_owned(),
        ValueType::OneOf(texts) => format!("'{}'", reader.pick(texts)),
        ValueType::List => list(reader),
        ValueType::Patterns => match reader.below(2) {
            0 => reader.pick(&TEXTS).to_owned(),
            _ => list(reader),
        },
        ValueType::Budget => reader.pick(&["'50%'", "'100%'", "'0%'", "7", "false"]).to_owned(),
        ValueType::Delete => reader.pick(&["true", "false", "'startup'", "'running'"]).to_owned(),
        ValueType::Table if name == "ssh" => {
            format!("{{ {} }}", fields(reader, SettingsTable::Ssh))
        }
        ValueType::Table => format!("{{ {} }}", fields(reader, SettingsTable::Rsync)),
        ValueType::Codes => "{ [0] = 'ok', [23] = 'again', [1] = 'die' }".to_owned(),
        ValueType::Function => reader.pick(&["'cp ^source ^target'", "'/bin/x a'"]).to_owned(),
        ValueType::Command | ValueType::CommandOrFunction => {
            reader.pick(&["'x y'", "{ '/bin/x', 'y' }"]).to_owned()
        }
    }
}

fn number(reader: &mut InputReader<'_>) -> String {
    match reader.below(4) {
        0 => reader.byte().to_string(),
        1 => reader.number().to_string(),
        2 => format!("'{}'", reader.byte()),
        _ => format!("{}.5", reader.byte()),
    }
}

fn list(reader: &mut InputReader<'_>) -> String {
    let items: Vec<&str> = (0..reader.below(4)).map(|_| reader.pick(&TEXTS)).collect();
    format!("{{ {} }}", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_harmless() {
        let mut sizes = 0;
        for seed in 0..300_u64 {
            let choices: Vec<u8> = (0..80)
                .map(|at| (seed * 7919 + at * at * 31 + (at << 3)).to_le_bytes()[0])
                .collect();
            let text = file(&choices);
            let shown = String::from_utf8_lossy(&text).into_owned();
            assert!(super::super::guard::is_harmless(&text), "{shown}");
            sizes += text.len();
        }
        assert!(sizes > 30_000, "{sizes}");
        assert!(file(b"").starts_with(b"local"));
    }
}
