//! The assets are complete, and the programs that read them accept them.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use clap::CommandFactory;
use lsyncd::{
    ctl::args::CtlArgs,
    frontend::cli::help::{OPTIONS, SYNC_OPTIONS},
};
use mirror_core::settings::SETTINGS;
use tempfile::TempDir;

use super::write_all;

fn assets() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write_all(directory.path()).unwrap();
    directory
}

fn read(assets: &TempDir, path: &str) -> String {
    fs::read_to_string(assets.path().join(path)).expect(path)
}

/// Returns the text of a page without the escapes of roff.
fn page(assets: &TempDir, name: &str) -> String {
    read(assets, &format!("man/{name}")).replace("\\-", "-").replace("\\fB", "").replace("\\fR", "")
}

#[test]
fn each_command_and_option_of_lsyncctl_is_documented_and_completed() {
    let assets = assets();
    let mut command = CtlArgs::command();
    command.build();
    let completions = ["bash/lsyncctl", "zsh/_lsyncctl", "fish/lsyncctl.fish"]
        .map(|name| read(&assets, &format!("completions/{name}")));
    let overview = page(&assets, "lsyncctl.1");
    let commands = command.get_subcommands().filter(|it| !it.is_hide_set());
    for subcommand in commands {
        let name = subcommand.get_name();
        assert!(overview.contains(&format!("lsyncctl-{name}(1)")), "{name}");
        let page = page(&assets, &format!("lsyncctl-{name}.1"));
        for completion in &completions {
            assert!(completion.contains(name), "{name}");
        }
        for option in subcommand.get_arguments().filter_map(|arg| arg.get_long()) {
            assert!(page.contains(&format!("--{option}")), "{name}: {option}: {page}");
            for completion in &completions {
                assert!(completion.contains(option), "{name}: {option}");
            }
        }
    }
    assert!(overview.contains("--socket") && overview.contains("LSYNCD_SOCKET"));
    assert!(overview.contains("Nagios"), "the exit codes are missing");
}

#[test]
fn each_option_of_lsyncd_is_documented_and_completed() {
    let assets = assets();
    let page = page(&assets, "lsyncd.1");
    let completions = ["bash/lsyncd", "zsh/_lsyncd", "fish/lsyncd.fish"]
        .map(|name| read(&assets, &format!("completions/{name}")));
    for option in SYNC_OPTIONS.iter().chain(&OPTIONS) {
        assert!(page.contains(option.text), "{}", option.text);
        for name in option.names {
            assert!(page.contains(name), "{name}");
            for completion in &completions {
                assert!(completion.contains(name.trim_start_matches('-')), "{name}");
            }
        }
    }
}

#[test]
fn each_setting_is_documented() {
    let assets = assets();
    let page = page(&assets, "lsyncd.conf.5");
    for setting in SETTINGS {
        assert!(page.contains(&format!("\n{} (", setting.name)), "{}", setting.name);
        assert!(page.contains(setting.default), "{}", setting.name);
    }
}

/// Runs a program on a file. Returns its output, or `None` if it is not installed.
fn check(program: &str, arguments: &[&str], file: &Path) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .arg(file)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    Some(if output.status.success() { stderr.into_owned() } else { format!("failed: {stderr}") })
}

#[test]
fn pages_have_no_warnings() {
    let assets = assets();
    let arguments = ["-man", "-Tutf8", "-ww", "-z"];
    let mut count = 0;
    for entry in fs::read_dir(assets.path().join("man")).unwrap() {
        let path = entry.unwrap().path();
        let Some(warnings) = check("groff", &arguments, &path) else {
            println!("skipped: this needs groff");
            return;
        };
        assert_eq!(warnings, "", "{}", path.display());
        count += 1;
    }
    assert!(count > 10);
}

#[test]
fn shells_accept_their_completions() {
    let assets = assets();
    let mut checked = 0;
    for shell in ["bash", "zsh", "fish"] {
        for entry in fs::read_dir(assets.path().join("completions").join(shell)).unwrap() {
            let path = entry.unwrap().path();
            if let Some(warnings) = check(shell, &["-n"], &path) {
                assert_eq!(warnings, "", "{}", path.display());
                checked += 1;
            }
        }
    }
    // Everybody has bash; zsh and fish are checked where they are installed.
    assert!(checked >= 2, "bash is missing");
}

/// Returns what bash completes after these words.
fn completed(assets: &TempDir, words: &[&str]) -> Vec<String> {
    let script = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                  compopt() { :; }; _lsyncd; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(assets.path().join("completions/bash/lsyncd"))
        .args(words)
        .current_dir(assets.path())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    stdout.lines().map(Into::into).collect()
}

#[test]
fn bash_completes_options_and_their_arguments() {
    let assets = assets();
    assert_eq!(completed(&assets, &["lsyncd", "-nod"]), ["-nodaemon"]);
    let found = completed(&assets, &["lsyncd", "-log"]);
    assert!(found.len() > 1 && found.contains(&"-logfile".to_owned()), "{found:?}");
    assert_eq!(completed(&assets, &["lsyncd", "-watch", "f"]), ["fanotify"]);
    assert_eq!(completed(&assets, &["lsyncd", "--watch", "i"]), ["inotify"]);
    assert_eq!(completed(&assets, &["lsyncd", "-rsync", "ma"]), ["man"]);
    fs::write(assets.path().join("odd name"), "").unwrap();
    assert_eq!(completed(&assets, &["lsyncd", "odd"]), ["odd name"]);
}
