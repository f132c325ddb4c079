//! How rsync and ssh are called: the tables `rsync` and `ssh` of a sync.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use mirror_core::{
    path::Escaped,
    plan::{
        options::{DeletePolicy, ListForm, RsyncOptions, Rules},
        ssh::rsh_word,
    },
    settings::{self, Setting, Table as Names, Word},
};
use mlua::Value;

use super::fields::{Fields, quoted, text};
use crate::report::reason;

/// What `archive` switches on where nothing else is said; what it leaves off needs no word.
const ARCHIVE: [&str; 5] = ["links", "perms", "times", "group", "owner"];

/// What rsync is told, and what is odd about it.
pub(super) struct Words {
    pub(super) options: RsyncOptions,
    pub(super) warnings: Vec<String>,
}

impl Words {
    /// From the table `rsync`, and for a target behind ssh from the table `ssh`.
    pub(super) fn read(rsync: Fields<'_>, ssh: Option<Fields<'_>>) -> Result<Self, String> {
        let mut options = RsyncOptions {
            short: Vec::new(),
            extra: extra(rsync)?,
            long: Vec::new(),
            delete: DeletePolicy::Always,
            // Only the value itself counts in the original, and this deletes.
            delete_excluded: rsync.value("delete_excluded") == Value::Boolean(true),
            rules: Rules::None,
            form: ListForm::FilesFrom,
        };
        let archive = rsync.is_on("archive");
        for setting in settings::of(Names::Rsync) {
            let unset = rsync.value(setting.name).is_nil();
            let is_on = if unset && archive {
                ARCHIVE.contains(&setting.name)
            } else {
                rsync.is_on(setting.name)
            };
            if is_on {
                add(&mut options, rsync, setting)?;
            }
        }
        if archive {
            options.short.push(b'D');
        }
        let mut warnings = Vec::new();
        if matches!(rsync.value("_extra"), Value::String(_)) {
            warnings.push("rsync._extra is ignored: it must be a list, _extra = { \"..\" }".into());
        }
        warnings.extend(missing_file(rsync, "password_file")?);
        warnings.extend(options.extra.iter().filter_map(|word| {
            let path = word.strip_prefix(b"--password-file=")?;
            missing("--password-file in rsync._extra", path)
        }));
        if let Some(ssh) = ssh {
            warnings.extend(missing_file(ssh, "identityFile")?);
            warnings.extend(missing_keys(ssh)?);
            warnings.extend(odd_ssh_options(ssh)?);
            options.long.extend(remote_shell(ssh)?);
        }
        Ok(Self { options, warnings })
    }
}

fn add(options: &mut RsyncOptions, rsync: Fields<'_>, setting: &Setting) -> Result<(), String> {
    match setting.word {
        Word::None => {}
        Word::Short(letter) => options.short.push(letter),
        Word::Long(word) => options.long.push(word.into()),
        Word::Value(word) => {
            let value = rsync.text(setting.name)?.unwrap_or_default();
            options.long.push([word.as_bytes(), &value].concat());
        }
    }
    Ok(())
}

fn missing_file(fields: Fields<'_>, name: &str) -> Result<Option<String>, String> {
    Ok(fields.text(name)?.and_then(|path| missing(name, &path)))
}

/// A file that is not there. One that a program finds by itself, such as `~/.ssh/key`, is not
/// looked for.
fn missing(name: &str, path: &[u8]) -> Option<String> {
    let named = Some(path).filter(|path| path.starts_with(b"/"))?;
    let why = reason(&fs::metadata(OsStr::from_bytes(named)).err()?);
    Some(format!("{name}: cannot find {}: {why}", Escaped(path)))
}

/// Keys that ssh is given by words of its own.
fn missing_keys(ssh: Fields<'_>) -> Result<Vec<String>, String> {
    let words = extra(ssh)?;
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let key = match word.strip_prefix(b"-i") {
            Some(b"") => words.get(at + 1).map(Vec::as_slice),
            key => key,
        };
        found.extend(key.and_then(|key| missing("-i in ssh._extra", key)));
    }
    if let Some(options) = ssh.table("options")? {
        for pair in options.pairs::<Value, Value>() {
            let (name, value) = pair.map_err(|error| error.to_string())?;
            let is_key = text(&name).is_some_and(|it| it.eq_ignore_ascii_case(b"identityfile"));
            let key = text(&value).filter(|_| is_key);
            found.extend(key.and_then(|key| missing("IdentityFile in ssh.options", &key)));
        }
    }
    Ok(found)
}

/// Options of ssh without their names.
fn odd_ssh_options(ssh: Fields<'_>) -> Result<Option<String>, String> {
    let Some(options) = ssh.table("options")? else { return Ok(None) };
    let listed = options.raw_get::<Option<String>>(1).unwrap_or_default();
    Ok(listed.map(|option| {
        format!(
            "ssh.options has {} without a name: it is taken as a whole option; write \
             options = {{ NAME = \"VALUE\" }}",
            quoted(option.as_bytes())
        )
    }))
}

/// The original ignores a text here, so this does.
fn extra(fields: Fields<'_>) -> Result<Vec<Vec<u8>>, String> {
    match fields.value("_extra") {
        Value::Table(_) => fields.texts("_extra"),
        _ => Ok(Vec::new()),
    }
}

/// `--rsh` with the options of ssh, if there are any. rsync splits it at blanks and knows quotes.
fn remote_shell(ssh: Fields<'_>) -> Result<Option<Vec<u8>>, String> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    if let Some(file) = ssh.text("identityFile")? {
        words.extend([b"-i".to_vec(), file]);
    }
    if let Some(options) = ssh.table("options")? {
        let mut pairs = Vec::new();
        for pair in options.pairs::<Value, Value>() {
            let (name, value) = pair.map_err(|error| error.to_string())?;
            let (is_listed, name, value) =
                (matches!(name, Value::Integer(_)), text(&name), text(&value));
            let (Some(name), Some(value)) = (name, value) else {
                return Err("ssh.options must be a table of texts".into());
            };
            // In a list each is an option as a whole: "Compression=yes".
            pairs.push(if is_listed { value } else { [name, b"=".to_vec(), value].concat() });
        }
        // A table of Lua has no order, and two loads of one file must say the same.
        pairs.sort_unstable();
        words.extend(pairs.into_iter().flat_map(|pair| [b"-o".to_vec(), pair]));
    }
    if let Some(port) = ssh.text("port")? {
        words.extend([b"-p".to_vec(), port]);
    }
    words.extend(extra(ssh)?);
    let binary = ssh.text("binary")?.unwrap_or_else(|| b"ssh".to_vec());
    if words.is_empty() && binary == b"ssh" {
        return Ok(None);
    }
    words.insert(0, binary);
    Ok(Some(rsh_word(&words)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlua::{Lua, Table};

    /// The words for a table `rsync` and one `ssh`.
    fn words(rsync: &str, ssh: Option<&str>) -> String {
        let lua = Lua::new();
        let table =
            |text: &str| -> Table { lua.load(format!("return {{{text}}}")).eval().unwrap() };
        let (rsync, ssh) = (table(rsync), ssh.map(table));
        let ssh = ssh.as_ref().map(|ssh| Fields::new(ssh, "ssh."));
        let words = Words::read(Fields::new(&rsync, "rsync."), ssh).unwrap();
        let RsyncOptions { short, extra, long, .. } = words.options;
        let short = (!short.is_empty()).then(|| [b"-".to_vec(), short].concat());
        let all: Vec<String> = short
            .iter()
            .chain(&extra)
            .chain(&long)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        all.join("|")
    }

    #[test]
    fn switches_are_letters_of_one_word() {
        assert_eq!(words("links=true, times=1, protect_args='x', acls=false", None), "-lts");
        assert_eq!(words("", None), "");
        assert_eq!(words("compress=true, whole_file=true", None), "-zW");
    }

    #[test]
    fn archive_fills_what_is_unset() {
        assert_eq!(words("archive=true", None), "-ltpgoD");
        assert_eq!(words("archive=true, owner=false, xattrs=true", None), "-ltpgXD");
    }

    #[test]
    fn the_users_words_come_before_the_long_options_in_their_order() {
        let rsync = "usermap='a:b', timeout=10/2, bwlimit=1.5, append=true, _extra={'--x', '-y'}, chmod=666";
        let expected = "--x|-y|--append|--bwlimit=1.5|--chmod=666|--timeout=5|--usermap=a:b";
        assert_eq!(words(rsync, None), expected);
        assert_eq!(words("_extra='--x'", None), "");
    }

    #[test]
    fn the_options_of_ssh_are_one_word() {
        assert_eq!(words("rsh='x'", Some("")), "--rsh=x");
        assert_eq!(
            words(
                "",
                Some("identityFile='/a b', port=22, options={User='u', A='it'}, _extra={'-T'}")
            ),
            "--rsh=ssh -i '/a b' -o A=it -o User=u -p 22 -T"
        );
        assert_eq!(words("", Some("options={'A=b', C='d'}")), "--rsh=ssh -o A=b -o C=d");
        assert_eq!(words("", Some("binary='/x/ssh'")), "--rsh=/x/ssh");
        assert_eq!(words("", Some("_extra={[[o'k]]}")), "--rsh=ssh 'o''k'");
    }
}
