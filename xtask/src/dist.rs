//! `cargo xtask dist`: builds an archive with static programs, and runs them in an empty root.

use std::{fs, path::Path, process::Command};

use crate::{
    assets,
    build::{self, BuildProfile, find_program, output_of, run_command, target_dir},
    deb::PackageTree,
};

/// Rust target of static programs.
const STATIC_TARGET: &str = "x86_64-unknown-linux-musl";

/// Options of the task.
#[derive(Clone, Copy, Debug, Default)]
struct DistOptions {
    is_debug: bool,
    is_tried: bool,
}

/// Builds the archive, and with `--try` runs its daemon.
///
/// # Errors
///
/// Returns the reason if it can't be built, or did not behave.
pub(crate) fn run(words: &[String]) -> Result<(), Vec<String>> {
    let mut options = DistOptions::default();
    for word in words {
        match &**word {
            "--debug" => options.is_debug = true,
            "--try" => options.is_tried = true,
            other => return Err(vec![format!("{other} is no option of dist")]),
        }
    }
    perform(options).map_err(|why| vec![format!("dist: {why}")])
}

/// Tries a debug build. Returns the reason if that is impossible here.
///
/// # Errors
///
/// Returns the reason if it did not behave.
pub(crate) fn test() -> Result<Option<String>, String> {
    if let Some(obstacle) = obstacle().or_else(missing_for_static) {
        return Ok(Some(obstacle));
    }
    perform(DistOptions { is_debug: true, is_tried: true }).map(|()| None)
}

fn perform(options: DistOptions) -> Result<(), String> {
    let profile = if options.is_debug { BuildProfile::Debug } else { BuildProfile::Release };
    let missing = missing_for_static();
    if let Some(missing) = &missing {
        if options.is_tried {
            return Err(format!("there is nothing to try: {missing}"));
        }
        eprintln!("warning: the programs are not static, they need the libc of this machine");
        eprintln!("warning: {missing}");
    }
    let (target, libc) = match missing {
        None => (Some(STATIC_TARGET), "musl"),
        Some(_) => (None, "gnu"),
    };
    let programs = build::programs(profile, target)?;
    let tree = PackageTree::new()?;
    tree.add_programs(&programs)?;
    tree.add_units(&programs)?;
    tree.add_documents()?;
    let missing = tree.add_assets(&assets::generate()?)?;
    if !missing.is_empty() {
        return Err(format!("the archive would have no {}", missing.join(", no ")));
    }
    let machine = output_of({
        let mut uname = Command::new("uname");
        uname.arg("-m");
        uname
    })?;
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("lsyncd-{version}-{}-linux-{libc}", machine.trim());
    let archive = target_dir().join("dist").join(format!("{name}.tar.gz"));
    pack(&tree, &name, &archive)?;
    println!("{}", archive.display());
    if options.is_tried { try_archive(&archive, &name) } else { Ok(()) }
}

/// Returns what is missing for static programs, with the remedy.
fn missing_for_static() -> Option<String> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", STATIC_TARGET]);
    let library = output_of(rustc).unwrap_or_default();
    if library.trim().is_empty() || !Path::new(library.trim()).is_dir() {
        return Some(format!(
            "the standard library for {STATIC_TARGET} is missing: run `rustup target add \
             {STATIC_TARGET}`"
        ));
    }
    if find_program("musl-gcc").is_none() {
        return Some("musl-gcc is missing: install musl-tools".into());
    }
    None
}

/// Packs the tree below `usr` as a directory of this name, and writes the checksum beside it. Equal
/// trees give equal archives.
fn pack(tree: &PackageTree, name: &str, archive: &Path) -> Result<(), String> {
    let directory = archive.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]);
    tar.arg(format!("--transform=s,^usr,{name},")).arg("--directory").arg(tree.path());
    tar.args(["--use-compress-program=gzip -9n", "--create", "--file"]).arg(archive).arg("usr");
    run_command(tar)?;
    let mut checksum = Command::new("sha256sum");
    checksum.arg(archive.file_name().unwrap_or_default()).current_dir(directory);
    let text = output_of(checksum)?;
    let path = archive.with_extension("gz.sha256");
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Returns the reason for which the programs can't be run in an empty root.
fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("this needs the rights of root".into());
    }
    let missing = ["unshare", "chroot"].into_iter().find(|name| find_program(name).is_none());
    missing.map(|program| format!("this needs {program}"))
}

/// Runs the daemon of the archive in a root that has nothing else: first one pass, then in the
/// background.
fn try_archive(archive: &Path, name: &str) -> Result<(), String> {
    if let Some(obstacle) = obstacle() {
        return Err(obstacle);
    }
    let root = tempfile::tempdir().map_err(|error| format!("cannot try the archive: {error}"))?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(archive).arg("--directory").arg(root.path());
    run_command(tar)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-ec", TRIAL]);
    command.arg(root.path()).arg(name);
    run_command(command)
}

const TRIAL: &str = r#"
exec </dev/null
cd "$0"
mkdir proc source
mount -t proc proc proc
mkdir source/directory
echo content >source/directory/file
echo 'sync{ default.direct, source = "/source", target = "/target" }' >conf.lua
chroot . "/$1/bin/lsyncd" -version
chroot . "/$1/bin/lsyncd" -check /conf.lua >/dev/null
chroot . "/$1/bin/lsyncd" -nodaemon -onepass /conf.lua >/dev/null
cmp source/directory/file target/directory/file
chroot . "/$1/bin/lsyncd" -nodaemon /conf.lua >log 2>&1 &
daemon=$!
tries=0
until [ -e target/new ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 1200 ] || { cat log; exit 1; }
    echo "$tries" >source/new
    sleep 0.05
done
kill "$daemon"
code=0
wait "$daemon" || code=$?
[ "$code" = 143 ] || { cat log; exit 1; }
"#;
