//! An rsync that fails or hangs on request.

use std::{ffi::OsString, fs, path::PathBuf};

use rustix::process::Pid;

use super::{Sandbox, needs::find_program};

/// A directory with an `rsync` that can be made to fail or hang.
#[derive(Debug)]
pub(crate) struct FakeRsync {
    directory: PathBuf,
}

impl FakeRsync {
    /// Creates an rsync that works at first.
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        let directory = sandbox.create_dir("programs");
        let fake = Self { directory };
        let real = find_program("rsync").expect("the test asked for rsync");
        // The shell replaces itself by rsync, so that the daemon waits for it.
        let script = format!(
            "#!/bin/sh\n\
             here='{here}'\n\
             if [ -e \"$here/fails\" ]; then read code <\"$here/fails\"; exit \"$code\"; fi\n\
             if [ -e \"$here/hangs\" ]; then\n\
                 echo $$ > \"$here/new\"; mv \"$here/new\" \"$here/pid\"\n\
                 while [ -e \"$here/hangs\" ]; do sleep 0.1; done\n\
             fi\n\
             exec '{real}' \"$@\"\n",
            here = fake.directory.display(),
            real = real.display(),
        );
        sandbox.write_program(&fake.directory.join("rsync"), script.as_bytes());
        fake
    }

    /// Returns a `PATH` in which it comes first.
    pub(crate) fn search_path(&self) -> OsString {
        let old = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(self.directory.clone()).chain(std::env::split_paths(&old));
        std::env::join_paths(all).unwrap()
    }

    /// Makes it fail with exit code 12, or work again.
    pub(crate) fn set_failing(&self, failing: bool) {
        if failing { self.fail_with(12) } else { self.set("fails", false) }
    }

    /// Makes it fail with this exit code.
    pub(crate) fn fail_with(&self, code: i32) {
        // Replaced atomically, because it may be read at any time.
        let new = self.directory.join("fails.new");
        fs::write(&new, format!("{code}\n")).unwrap();
        fs::rename(new, self.directory.join("fails")).unwrap();
    }

    /// Makes it hang, or work again.
    pub(crate) fn set_hanging(&self, hanging: bool) {
        self.set("hangs", hanging);
    }

    /// Returns the process that hangs.
    pub(crate) fn hanging_process(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.directory.join("pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    fn set(&self, name: &str, on: bool) {
        let flag = self.directory.join(name);
        if on { fs::write(flag, "").unwrap() } else { fs::remove_file(flag).unwrap() }
    }
}
