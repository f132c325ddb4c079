//! File systems that do not answer, because their server or their FUSE program hangs.
//!
//! Jobs and the poller wait for them on threads of their own. The engine looks at sources and
//! targets when it loads a configuration, and must not wait: it would transfer nothing, answer no
//! request, and not even exit.

use std::{
    fs, iter,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use mirror_core::path::Escaped;

use super::{SyncRegistry, TargetPlace, base_dir};

/// Maximum time for all paths together.
const LIMIT: Duration = Duration::from_secs(3);

impl SyncRegistry {
    /// Checks that all local sources and targets answer.
    ///
    /// # Errors
    ///
    /// The lines for the log and the user.
    pub(super) fn check_answers(&self) -> Result<(), Vec<String>> {
        let base = base_dir();
        let paths = self.iter().flat_map(|(_, instance)| {
            let target = match TargetPlace::of(&instance.config, &base) {
                Some(TargetPlace::Directory(path) | TargetPlace::WithQuota(path)) => Some(path),
                Some(TargetPlace::Port { .. }) | None => None,
            };
            iter::once(instance.source.path().to_owned()).chain(target)
        });
        // To open a directory reaches the program; its attributes may be known.
        let silent = first_silent(paths.collect(), |path| drop(fs::read_dir(path)), LIMIT);
        silent.map_or(Ok(()), |path| {
            let path = Escaped(path.as_os_str().as_encoded_bytes());
            Err(vec![format!(
                "{path} does not answer: reload when its file system does, or unmount it"
            )])
        })
    }
}

/// Looks at the paths in another thread, which stays as long as one of them does not answer.
/// Returns the first one for which the look takes until the limit.
fn first_silent(
    paths: Vec<PathBuf>,
    look: impl Fn(&Path) + Send + 'static,
    limit: Duration,
) -> Option<PathBuf> {
    let (answer, answers) = mpsc::channel();
    let looked_at = paths.clone();
    let look_at_all = move || {
        // Nobody receives the answer after the limit.
        looked_at.iter().all(|path| {
            look(path);
            answer.send(()).is_ok()
        });
    };
    // Without a thread nothing is known.
    thread::Builder::new().name("path-check".into()).spawn(look_at_all).ok()?;
    let end = Instant::now() + limit;
    let left = || end.saturating_duration_since(Instant::now());
    paths.into_iter().find(|_| answers.recv_timeout(left()).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn the_first_path_that_does_not_answer_is_found() {
        let paths: Vec<PathBuf> = ["/a", "/b", "/c"].map(PathBuf::from).into();
        let find =
            |look: Box<dyn Fn(&Path) + Send>, limit| first_silent(paths.clone(), look, limit);
        assert_eq!(find(Box::new(|_| ()), Duration::from_mins(1)), None);
        let (release, hang) = mpsc::channel::<()>();
        let hang = Mutex::new(hang);
        let look = move |path: &Path| {
            if path == Path::new("/b") {
                let _ = hang.lock().unwrap().recv();
            }
        };
        assert_eq!(find(Box::new(look), Duration::from_millis(200)), Some("/b".into()));
        drop(release);
    }
}
