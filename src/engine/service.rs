//! Notifications to the service manager: readiness, reloads, shutdown, status and watchdog.
//!
//! Without a service manager nothing is scheduled, so an idle daemon does not wake up.

use std::time::Duration;

use mirror_core::{
    fleet::{Fleet, Member},
    input::TargetLink,
    mirror::{Availability, Backlog, Mirror, SyncMember, TargetState},
    time::Moment,
};

use super::Engine;
use crate::{
    daemon::{ServiceManager, ServiceNotification},
    report::{Category, Log},
};

/// Interval of extensions while sources are being watched for the first time.
const EXTENSION_INTERVAL: Duration = Duration::from_secs(10);

/// Time that each extension asks for.
const EXTENSION: Duration = Duration::from_mins(1);

/// Minimum time between two status lines.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Time after which a status line is renewed while transfers run without events.
const BUSY_STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Sender of the notifications, with their schedule.
#[derive(Debug, Default)]
pub(super) struct ServiceNotifier {
    connection: Option<ServiceConnection>,
}

#[derive(Debug)]
struct ServiceConnection {
    manager: ServiceManager,
    phase: ServicePhase,
    status: StatusLine,
    /// Time of the next notification to the watchdog.
    next_ping: Option<Moment>,
    has_failed: bool,
    log: Log,
}

/// Phase of the daemon, as the service manager knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServicePhase {
    /// Some sources are neither watched nor known to be unavailable.
    Starting {
        next_extension: Moment,
    },
    Running,
    Stopping,
}

/// The status line, and the schedule of the next one.
#[derive(Debug)]
struct StatusLine {
    sent: String,
    sent_at: Moment,
    is_outdated: bool,
}

impl ServiceNotifier {
    /// Records a change that the status may show.
    pub(super) fn touch(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.status.is_outdated = true;
        }
    }

    /// Returns the time of the next notification. It depends on whether jobs are running. `None`:
    /// not before a change.
    pub(super) fn due(&self, is_busy: bool) -> Option<Moment> {
        let connection = self.connection.as_ref()?;
        let (extension, status) = match connection.phase {
            ServicePhase::Starting { next_extension } => {
                (Some(next_extension), connection.status.due(is_busy))
            }
            ServicePhase::Running => (None, connection.status.due(is_busy)),
            ServicePhase::Stopping => (None, None),
        };
        extension.into_iter().chain(status).chain(connection.next_ping).min()
    }

    /// Sends what is due at `now`.
    pub(super) fn step(&mut self, fleet: &Fleet, now: Moment, is_busy: bool) {
        let Some(connection) = &mut self.connection else { return };
        connection.ping(now);
        if !fleet.is_running() {
            return connection.stopping();
        }
        connection.start(fleet, now);
        if connection.status.due(is_busy).is_some_and(|due| due <= now)
            && let Some(line) = connection.status.renew(&describe(fleet, now), now)
        {
            connection.send(&[ServiceNotification::Status(line)]);
        }
    }

    /// Reports that a reload begins. The first start is a matter of its own.
    pub(super) fn reloading(&mut self) {
        if let Some(connection) = &mut self.connection
            && connection.phase == ServicePhase::Running
        {
            connection.send(&[ServiceNotification::Reloading]);
        }
    }

    /// Reports that a reload was applied or refused.
    pub(super) fn reloaded(&mut self) {
        if let Some(connection) = &mut self.connection
            && connection.phase == ServicePhase::Running
        {
            connection.send(&[ServiceNotification::Ready]);
        }
    }

    /// Reports that the daemon exits.
    pub(super) fn stopping(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.stopping();
        }
    }
}

impl ServiceConnection {
    fn new(manager: ServiceManager, log: Log, now: Moment) -> Self {
        Self {
            next_ping: manager.watchdog().map(|_| now),
            manager,
            phase: ServicePhase::Starting { next_extension: now + EXTENSION_INTERVAL },
            status: StatusLine { sent: String::new(), sent_at: Moment::ORIGIN, is_outdated: true },
            has_failed: false,
            log,
        }
    }

    /// Notifies the watchdog twice within its time limit.
    fn ping(&mut self, now: Moment) {
        if self.next_ping.is_some_and(|at| at <= now) {
            self.send(&[ServiceNotification::Alive]);
            self.next_ping = self.manager.watchdog().map(|limit| now + limit / 2);
        }
    }

    /// Reports the end of the start, or asks for more time.
    fn start(&mut self, fleet: &Fleet, now: Moment) {
        let ServicePhase::Starting { next_extension } = self.phase else { return };
        let is_open = |member: &Member| *member.source().availability() == Availability::Covering;
        if !fleet.members().iter().any(is_open) {
            self.phase = ServicePhase::Running;
            self.send(&[ServiceNotification::Ready]);
        } else if next_extension <= now {
            self.phase = ServicePhase::Starting { next_extension: now + EXTENSION_INTERVAL };
            self.send(&[ServiceNotification::ExtendTimeout(EXTENSION)]);
        }
    }

    fn stopping(&mut self) {
        if self.phase != ServicePhase::Stopping {
            self.phase = ServicePhase::Stopping;
            let status = ServiceNotification::Status("stopping".into());
            self.send(&[ServiceNotification::Stopping, status]);
        }
    }

    fn send(&mut self, notifications: &[ServiceNotification]) {
        let Err(error) = self.manager.send(notifications) else { return };
        // The next ones fail for the same reason.
        if !std::mem::replace(&mut self.has_failed, true) {
            let text = format_args!("cannot notify the service manager at $NOTIFY_SOCKET: {error}");
            self.log.say(Category::Warn, text);
        }
    }
}

impl StatusLine {
    fn due(&self, is_busy: bool) -> Option<Moment> {
        let first = self.sent.is_empty();
        if first {
            Some(Moment::ORIGIN)
        } else if self.is_outdated {
            Some(self.sent_at + STATUS_INTERVAL)
        } else {
            is_busy.then(|| self.sent_at + BUSY_STATUS_INTERVAL)
        }
    }

    /// Takes over this line at `now`. Returns it if it differs from the last one.
    fn renew(&mut self, line: &str, now: Moment) -> Option<String> {
        self.is_outdated = false;
        self.sent_at = now;
        if self.sent == line {
            return None;
        }
        line.clone_into(&mut self.sent);
        Some(self.sent.clone())
    }
}

/// State of a sync, in the order in which the line lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SyncSummary {
    InSync,
    Idle,
    Transferring,
    Pending,
    Held,
    SettingUp,
    SourceGone,
    TargetAway,
}

impl SyncSummary {
    const ALL: [Self; 8] = [
        Self::InSync,
        Self::Idle,
        Self::Transferring,
        Self::Pending,
        Self::Held,
        Self::SettingUp,
        Self::SourceGone,
        Self::TargetAway,
    ];

    const fn text(self) -> &'static str {
        match self {
            Self::InSync => "in sync",
            // The effect of the work of a script is unknown.
            Self::Idle => "idle",
            Self::Transferring => "transferring",
            Self::Pending => "with pending changes",
            Self::Held => "with held deletions",
            Self::SettingUp => "setting up watches",
            Self::SourceGone => "without source",
            Self::TargetAway => "without target",
        }
    }

    fn of(member: &Member) -> Self {
        if member.source().why_unavailable().is_some() {
            return Self::SourceGone;
        }
        if *member.source().availability() == Availability::Covering {
            return Self::SettingUp;
        }
        match member {
            Member::BuiltIn(mirror) => Self::of_mirror(mirror),
            Member::Scripted(mirror) if mirror.target_link() == TargetLink::Down => {
                Self::TargetAway
            }
            Member::Scripted(mirror) if !mirror.jobs().is_empty() => Self::Transferring,
            Member::Scripted(mirror) if mirror.is_live() && mirror.queue().is_empty() => Self::Idle,
            Member::Scripted(_) => Self::Pending,
        }
    }

    fn of_mirror(mirror: &Mirror) -> Self {
        let is_away = matches!(mirror.target(), TargetState::Away(_));
        if is_away || mirror.target_link() == TargetLink::Down {
            Self::TargetAway
        } else if !mirror.jobs().is_empty() {
            Self::Transferring
        } else if mirror.backlog() != Backlog::Nothing {
            Self::Pending
        } else if mirror.held().next().is_some() {
            Self::Held
        } else {
            Self::InSync
        }
    }
}

/// Describes all syncs in one line.
fn describe(fleet: &Fleet, now: Moment) -> String {
    let all: Vec<SyncSummary> = fleet.members().iter().map(SyncSummary::of).collect();
    let counts =
        SyncSummary::ALL.map(|state| (all.iter().filter(|it| **it == state).count(), state));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> =
        counts.map(|(count, state)| format!("{count} {}", state.text())).collect();
    let syncs = if all.len() == 1 { "sync" } else { "syncs" };
    let oldest = fleet.mirrors().filter_map(Mirror::oldest).min();
    let oldest =
        oldest.map_or(String::new(), |at| format!("; oldest change {}", age(now.since(at))));
    format!("{} {syncs}: {}{oldest}", all.len(), counts.join(", "))
}

/// Formats an age in its largest unit.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        86_400.. => format!("{} d", seconds / 86_400),
    }
}

impl Engine {
    /// Notifies this service manager from now on.
    pub(crate) fn notifying(mut self, manager: Option<ServiceManager>) -> Self {
        let (log, now) = (self.log.clone(), self.now());
        let connect = |manager| ServiceConnection::new(manager, log, now);
        self.service = ServiceNotifier { connection: manager.map(connect) };
        self
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixDatagram, sync::Arc};

    use mirror_core::{
        effect::Effect,
        fleet::{FleetLimits, MirrorSpec},
        fs_event::MirrorId,
        input::Input,
        mirror::{Insist, MirrorSettings},
        plan::options::DeletePolicy,
        queue::{Debounce, OpenWait},
    };

    use super::*;

    /// A fleet with one mirror, its notifier, and the socket of the service manager.
    struct NotifierTest {
        fleet: Fleet,
        notifier: ServiceNotifier,
        socket: UnixDatagram,
        _dir: tempfile::TempDir,
    }

    impl NotifierTest {
        fn new(watchdog: Option<Duration>) -> Self {
            let settings = MirrorSettings {
                host: mirror_core::mirror::TargetHost::Local,
                has_snapshots: false,
                delete: DeletePolicy::Always,
                debounce: Debounce::DEFAULT,
                open_wait: OpenWait::NONE,
                init: false,
                insist: Insist::Yes,
                filter: Arc::default(),
                target_link: TargetLink::Up,
                max_jobs: 1,
                connection: None,
            };
            let mut fleet = Fleet::new(vec![MirrorSpec::BuiltIn(settings)], FleetLimits::default());
            fleet.begin(&mut Vec::new());
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("socket");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            let manager = ServiceManager::connect(path.as_os_str(), watchdog).unwrap();
            let connection = ServiceConnection::new(manager, Log::default(), Moment::ORIGIN);
            let notifier = ServiceNotifier { connection: Some(connection) };
            Self { fleet, notifier, socket, _dir: dir }
        }

        fn handle(&mut self, input: Input, seconds: u64) -> Vec<Effect> {
            let mut effects = Vec::new();
            self.fleet.handle(input, at(seconds), &mut effects);
            self.notifier.touch();
            effects
        }

        /// Expects these messages in the step at this time, and the next one at `due`.
        #[track_caller]
        fn expect(&mut self, seconds: u64, messages: &[&str], due: Option<u64>) {
            self.notifier.step(&self.fleet, at(seconds), false);
            let mut buffer = [0; 1000];
            let mut found = Vec::new();
            while let Ok(length) = self.socket.recv(&mut buffer) {
                found.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
            assert_eq!(found, messages);
            assert_eq!(self.notifier.due(false), due.map(at));
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::new(Duration::from_secs(seconds))
    }

    const WATCHING: &str = "STATUS=1 sync: 1 setting up watches";

    #[test]
    fn a_long_start_is_extended_until_each_source_is_watched() {
        let mut test = NotifierTest::new(None);
        test.expect(0, &[WATCHING], Some(10));
        test.expect(9, &[], Some(10));
        test.expect(10, &["EXTEND_TIMEOUT_USEC=60000000"], Some(20));
        test.handle(Input::Covered(MirrorId(0)), 12);
        test.expect(12, &["READY=1", "STATUS=1 sync: 1 in sync"], None);
    }

    #[test]
    fn a_missing_source_does_not_delay_readiness() {
        let mut test = NotifierTest::new(None);
        let reason = String::from("it is missing");
        test.handle(Input::CannotCover { mirror: MirrorId(0), reason }, 1);
        test.expect(1, &["READY=1", "STATUS=1 sync: 1 without source"], None);
    }

    #[test]
    fn status_lines_are_at_least_a_second_apart_and_none_repeats() {
        let mut test = NotifierTest::new(None);
        test.handle(Input::Covered(MirrorId(0)), 5);
        test.expect(5, &["READY=1", "STATUS=1 sync: 1 in sync"], None);
        test.handle(Input::FullDue(MirrorId(0)), 5);
        test.expect(5, &[], Some(6));
        let pending = "STATUS=1 sync: 1 with pending changes; oldest change 120 s";
        let pending = pending.replace("120 s", "2 min");
        test.expect(125, &[&pending], None);
        test.notifier.touch();
        assert_eq!(test.notifier.due(false), Some(at(126)));
        test.expect(127, &[], None);
        assert_eq!(test.notifier.due(true), Some(at(132)));
    }

    #[test]
    fn the_watchdog_is_notified_twice_within_its_limit() {
        let mut test = NotifierTest::new(Some(Duration::from_mins(1)));
        test.handle(Input::Covered(MirrorId(0)), 0);
        let first = ["WATCHDOG=1", "READY=1", "STATUS=1 sync: 1 in sync"];
        test.expect(0, &first, Some(30));
        test.expect(29, &[], Some(30));
        test.expect(31, &["WATCHDOG=1"], Some(61));
    }

    #[test]
    fn reload_and_shutdown_are_reported_after_the_start_only() {
        let mut test = NotifierTest::new(None);
        test.notifier.reloading();
        test.notifier.reloaded();
        test.expect(0, &[WATCHING], Some(10));
        test.handle(Input::Covered(MirrorId(0)), 1);
        test.expect(1, &["READY=1", "STATUS=1 sync: 1 in sync"], None);
        test.notifier.reloaded();
        test.expect(1, &["READY=1"], None);
        test.notifier.stopping();
        test.notifier.stopping();
        test.notifier.reloaded();
        test.expect(2, &["STOPPING=1\nSTATUS=stopping"], None);
    }

    #[test]
    fn nothing_is_due_without_a_service_manager() {
        let mut notifier = ServiceNotifier::default();
        notifier.touch();
        assert_eq!(notifier.due(true), None);
    }

    #[test]
    fn ages_have_one_unit() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (90_000, "1 d")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
