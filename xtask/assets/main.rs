//! `cargo xtask assets`: writes manual pages and completions of the programs.
//!
//! Those of `lsyncctl` are made from the definition of its command line, those of `lsyncd` from its
//! table of options, and `lsyncd.conf(5)` from the table of settings. This is an example of the
//! package `lsyncd`, so that the programs need not contain the generators.
#![forbid(unsafe_code)]

mod completions;
mod daemon_page;
mod settings_page;
#[cfg(test)]
mod tests;

use std::{env, fs, io, path::Path, process::ExitCode};

use clap::CommandFactory;
use lsyncd::ctl::args::{CompletionShell, CtlArgs};

/// The manual to which all pages belong.
const MANUAL: &str = "Lsyncd";

fn main() -> ExitCode {
    let Some(directory) = env::args_os().nth(1) else {
        eprintln!("usage: assets DIRECTORY");
        return ExitCode::FAILURE;
    };
    match write_all(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", Path::new(&directory).display());
            ExitCode::FAILURE
        }
    }
}

/// Writes everything below a directory, and removes what was there.
///
/// # Errors
///
/// If a file cannot be written.
fn write_all(directory: &Path) -> io::Result<()> {
    let [pages, completions] = ["man", "completions"].map(|name| directory.join(name));
    for directory in [&pages, &completions] {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)?;
    }
    // A shell finds completions by these names.
    for shell in ["bash", "zsh", "fish"] {
        fs::create_dir(completions.join(shell))?;
    }
    clap_mangen::generate_to(CtlArgs::command(), &pages)?;
    fs::write(pages.join("lsyncd.1"), daemon_page::page())?;
    fs::write(pages.join("lsyncd.conf.5"), settings_page::page())?;
    for (shell, name) in [
        (CompletionShell::Bash, "bash/lsyncctl"),
        (CompletionShell::Zsh, "zsh/_lsyncctl"),
        (CompletionShell::Fish, "fish/lsyncctl.fish"),
    ] {
        fs::write(completions.join(name), shell.script(CtlArgs::command()))?;
    }
    fs::write(completions.join("bash/lsyncd"), completions::bash())?;
    fs::write(completions.join("zsh/_lsyncd"), completions::zsh())?;
    fs::write(completions.join("fish/lsyncd.fish"), completions::fish())
}
