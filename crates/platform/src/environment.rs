//! Changes of the environment.

use std::{env, ffi::OsString, io};

use crate::answers::WaitingLooks;

/// Removes variables from the environment, which later children then do not inherit. Returns their
/// values, in the given order.
///
/// # Errors
///
/// If this process has more than one thread, or their number is unknown, because another thread may
/// read the environment at the same time. Then nothing is removed.
pub fn take_variables<const N: usize>(names: [&str; N]) -> io::Result<[Option<OsString>; N]> {
    let values = names.map(env::var_os);
    if values.iter().all(Option::is_none) {
        return Ok(values);
    }
    let _looks = WaitingLooks::without_other_threads("change the environment")?;
    for name in names {
        // SAFETY: this is the only thread, so no other one reads or writes the environment, and
        // none can start before the call. Those that look at a path do not use it.
        unsafe { env::remove_var(name) };
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, thread};

    #[test]
    fn a_process_with_threads_keeps_its_environment() {
        let (end, wait) = mpsc::channel::<()>();
        let other = thread::spawn(move || wait.recv());
        // Cargo sets this variable.
        assert!(take_variables(["CARGO_PKG_NAME"]).is_err());
        assert!(env::var_os("CARGO_PKG_NAME").is_some());
        assert_eq!(take_variables(["LSYNCD_TEST_UNSET"]).unwrap(), [None]);
        drop(end);
        assert!(other.join().unwrap().is_err());
    }
}
