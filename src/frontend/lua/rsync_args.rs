//! Reader of the tables `rsync` and `ssh` of a sync: the arguments of rsync and its remote shell.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use mirror_core::{
    path::Escaped,
    plan::{
        options::{DeletePolicy, ExcludeRules, ListForm, RsyncOptions},
        ssh::rsh_arg,
    },
    settings::{self, RsyncArgForm, Setting, SettingsTable},
};
use mlua::Value;

use super::fields::{Fields, quoted, text};
use crate::report::os_error_text;

/// Options that `archive` switches on if they are not set. Options that it leaves off need no
/// argument.
const ARCHIVE: [&str; 5] = ["links", "perms", "times", "group", "owner"];

/// Arguments of rsync, and warnings about them.
pub(super) struct RsyncArgs {
    pub(super) options: RsyncOptions,
    pub(super) warnings: Vec<String>,
}

impl RsyncArgs {
    /// Reads the table `rsync`, and for a target over ssh the table `ssh`.
    pub(super) fn read(rsync: Fields<'_>, ssh: Option<Fields<'_>>) -> Result<Self, String> {
        let mut options = RsyncOptions {
            short: Vec::new(),
            extra: extra_args(rsync)?,
            long: Vec::new(),
            delete: DeletePolicy::Always,
            // Only this value counts in the original, as the option deletes.
            delete_excluded: rsync.value("delete_excluded") == Value::Boolean(true),
            rules: ExcludeRules::None,
            form: ListForm::FilesFrom,
        };
        let archive = rsync.is_on("archive");
        for setting in settings::of(SettingsTable::Rsync) {
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
        warnings.extend(missing_setting_file_warning(rsync, "password_file")?);
        warnings.extend(options.extra.iter().filter_map(|arg| {
            let path = arg.strip_prefix(b"--password-file=")?;
            missing_file_warning("--password-file in rsync._extra", path)
        }));
        if let Some(ssh) = ssh {
            warnings.extend(missing_setting_file_warning(ssh, "identityFile")?);
            warnings.extend(missing_key_warnings(ssh)?);
            warnings.extend(unnamed_ssh_option_warning(ssh)?);
            options.long.extend(remote_shell(ssh)?);
        }
        Ok(Self { options, warnings })
    }
}

fn add(options: &mut RsyncOptions, rsync: Fields<'_>, setting: &Setting) -> Result<(), String> {
    match setting.rsync_arg {
        RsyncArgForm::None => {}
        RsyncArgForm::Short(letter) => options.short.push(letter),
        RsyncArgForm::Long(arg) => options.long.push(arg.into()),
        RsyncArgForm::Value(arg) => {
            let value = rsync.text(setting.name)?.unwrap_or_default();
            options.long.push([arg.as_bytes(), &value].concat());
        }
    }
    Ok(())
}

fn missing_setting_file_warning(fields: Fields<'_>, name: &str) -> Result<Option<String>, String> {
    Ok(fields.text(name)?.and_then(|path| missing_file_warning(name, &path)))
}

/// Warns of a missing file. Only absolute paths are checked: programs expand others such as
/// `~/.ssh/key` themselves.
fn missing_file_warning(name: &str, path: &[u8]) -> Option<String> {
    let named = Some(path).filter(|path| path.starts_with(b"/"))?;
    let why = os_error_text(&fs::metadata(OsStr::from_bytes(named)).err()?);
    Some(format!("{name}: cannot find {}: {why}", Escaped(path)))
}

/// Warns of missing keys in the options of ssh.
fn missing_key_warnings(ssh: Fields<'_>) -> Result<Vec<String>, String> {
    let args = extra_args(ssh)?;
    let mut found = Vec::new();
    for (at, arg) in args.iter().enumerate() {
        let key = match arg.strip_prefix(b"-i") {
            Some(b"") => args.get(at + 1).map(Vec::as_slice),
            key => key,
        };
        found.extend(key.and_then(|key| missing_file_warning("-i in ssh._extra", key)));
    }
    if let Some(options) = ssh.table("options")? {
        for pair in options.pairs::<Value, Value>() {
            let (name, value) = pair.map_err(|error| error.to_string())?;
            let is_key = text(&name).is_some_and(|it| it.eq_ignore_ascii_case(b"identityfile"));
            let key = text(&value).filter(|_| is_key);
            found.extend(
                key.and_then(|key| missing_file_warning("IdentityFile in ssh.options", &key)),
            );
        }
    }
    Ok(found)
}

/// Warns of options of ssh without a name.
fn unnamed_ssh_option_warning(ssh: Fields<'_>) -> Result<Option<String>, String> {
    let Some(options) = ssh.table("options")? else { return Ok(None) };
    let listed = options.raw_get::<Option<String>>(1).unwrap_or_default();
    Ok(listed.map(|option| {
        format!(
            "ssh.options has {} without a name: it is used as a complete option; write options = \
             {{ NAME = \"VALUE\" }}",
            quoted(option.as_bytes())
        )
    }))
}

/// Returns the list `_extra`. A text is ignored, as in the original.
fn extra_args(fields: Fields<'_>) -> Result<Vec<Vec<u8>>, String> {
    if fields.value("_extra").is_table() { fields.texts("_extra") } else { Ok(Vec::new()) }
}

/// Returns `--rsh` with the options of ssh, if there are any. rsync splits it at blanks and
/// understands quotes.
fn remote_shell(ssh: Fields<'_>) -> Result<Option<Vec<u8>>, String> {
    let mut args: Vec<Vec<u8>> = Vec::new();
    if let Some(file) = ssh.text("identityFile")? {
        args.extend([b"-i".to_vec(), file]);
    }
    if let Some(options) = ssh.table("options")? {
        let mut pairs = Vec::new();
        for pair in options.pairs::<Value, Value>() {
            let (name, value) = pair.map_err(|error| error.to_string())?;
            let (is_listed, name, value) =
                (matches!(name, Value::Integer(_)), text(&name), text(&value));
            let (Some(name), Some(value)) = (name, value) else {
                return Err("ssh.options must be a table of strings".into());
            };
            // An entry of a list is a complete option: "Compression=yes".
            pairs.push(if is_listed { value } else { [name, b"=".to_vec(), value].concat() });
        }
        // A Lua table has no order, and two loads of one file must give equal results.
        pairs.sort_unstable();
        args.extend(pairs.into_iter().flat_map(|pair| [b"-o".to_vec(), pair]));
    }
    if let Some(port) = ssh.text("port")? {
        args.extend([b"-p".to_vec(), port]);
    }
    args.extend(extra_args(ssh)?);
    let binary = ssh.text("binary")?.unwrap_or_else(|| b"ssh".to_vec());
    if args.is_empty() && binary == b"ssh" {
        return Ok(None);
    }
    args.insert(0, binary);
    Ok(Some(rsh_arg(&args)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlua::{Lua, Table};

    /// Returns the arguments for a table `rsync` and a table `ssh`.
    fn args(rsync: &str, ssh: Option<&str>) -> String {
        let lua = Lua::new();
        let table =
            |text: &str| -> Table { lua.load(format!("return {{{text}}}")).eval().unwrap() };
        let (rsync, ssh) = (table(rsync), ssh.map(table));
        let ssh = ssh.as_ref().map(|ssh| Fields::new(ssh, "ssh."));
        let args = RsyncArgs::read(Fields::new(&rsync, "rsync."), ssh).unwrap();
        let RsyncOptions { short, extra, long, .. } = args.options;
        let short = (!short.is_empty()).then(|| [b"-".to_vec(), short].concat());
        let all: Vec<String> = short
            .iter()
            .chain(&extra)
            .chain(&long)
            .map(|arg| String::from_utf8_lossy(arg).into_owned())
            .collect();
        all.join("|")
    }

    #[test]
    fn switches_are_joined_short_options() {
        assert_eq!(args("links=true, times=1, protect_args='x', acls=false", None), "-lts");
        assert_eq!(args("", None), "");
        assert_eq!(args("compress=true, whole_file=true", None), "-zW");
    }

    #[test]
    fn archive_sets_unset_switches() {
        assert_eq!(args("archive=true", None), "-ltpgoD");
        assert_eq!(args("archive=true, owner=false, xattrs=true", None), "-ltpgXD");
    }

    #[test]
    fn extra_args_precede_long_options() {
        let rsync = "usermap='a:b', timeout=10/2, bwlimit=1.5, append=true, _extra={'--x', '-y'}, chmod=666";
        let expected = "--x|-y|--append|--bwlimit=1.5|--chmod=666|--timeout=5|--usermap=a:b";
        assert_eq!(args(rsync, None), expected);
        assert_eq!(args("_extra='--x'", None), "");
    }

    #[test]
    fn ssh_options_become_one_rsh_argument() {
        assert_eq!(args("rsh='x'", Some("")), "--rsh=x");
        assert_eq!(
            args(
                "",
                Some("identityFile='/a b', port=22, options={User='u', A='it'}, _extra={'-T'}")
            ),
            "--rsh=ssh -i '/a b' -o A=it -o User=u -p 22 -T"
        );
        assert_eq!(args("", Some("options={'A=b', C='d'}")), "--rsh=ssh -o A=b -o C=d");
        assert_eq!(args("", Some("binary='/x/ssh'")), "--rsh=/x/ssh");
        assert_eq!(args("", Some("_extra={[[o'k]]}")), "--rsh=ssh 'o''k'");
    }
}
