//! The page in a browser.

use std::{env, path::PathBuf};

use lsyncd::control::{
    request::{Request, Selection},
    status::{PendingReport, ReloadReport, SyncReport, SyncState},
};
use serde_json::Value;

use crate::{
    browser::Browser,
    example::{batch, document, failing, held, now, realistic, sync},
    program,
    server::{Place, TOKEN},
};

/// Starts a browser, or skips the test.
macro_rules! browser {
    () => {
        Browser::start(&program!("chromium"), &program!("chromedriver"))
    };
}

/// Asserts that the browser has nothing to complain about, except lost connections.
fn assert_clean(browser: &Browser) {
    let mut complaints = browser.complaints();
    complaints.retain(|text| !text.contains("Failed to load resource"));
    assert!(complaints.is_empty(), "{complaints:?}");
}

/// The texts of all elements that a selector finds.
fn texts(browser: &Browser, selector: &str) -> Vec<String> {
    let script =
        format!("return [...document.querySelectorAll({selector:?})].map((it) => it.textContent)");
    let found = browser.run(&script);
    found.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_state_has_its_name_and_the_urgent_ones_come_first() {
    let browser = browser!();
    let place = Place::new();
    let all: Vec<SyncReport> =
        SyncState::ALL.iter().map(|&state| sync(state.name(), state)).collect();
    let daemon = place.daemon(document(all));
    let server = place.serve();
    browser.open(server.address());
    browser.wait_for_text("#verdict", "5 of 11 syncs need attention");
    let names = texts(&browser, ".row .name b");
    let labels = texts(&browser, ".row .state b");
    let shown: Vec<_> =
        names.iter().map(String::as_str).zip(labels.iter().map(String::as_str)).collect();
    assert_eq!(
        shown,
        [
            ("failing", "Failing paths"),
            ("retrying", "Retrying"),
            ("source_unavailable", "Source unavailable"),
            ("no_tunnel", "No tunnel"),
            ("held", "Held"),
            ("stopped", "Stopped"),
            ("paused", "Paused"),
            ("setting_up", "Setting up"),
            ("full_transfer", "Full transfer"),
            ("pending", "Pending"),
            ("in_sync", "In sync"),
        ]
    );
    assert!(browser.text(".row .state small").starts_with("for 2 h"));

    daemon.set(document(vec![sync("a", SyncState::InSync), sync("b", SyncState::InSync)]));
    browser.wait_for_text("#verdict", "Everything is in sync");
    assert_eq!(browser.text("#detail"), "2 syncs · no change is waiting");
    daemon.set(document(vec![sync("a", SyncState::InSync), sync("b", SyncState::Paused)]));
    browser.wait_for_text("#verdict", "1 in sync, 1 paused");
    let mut pending = sync("b", SyncState::Pending);
    pending.oldest_change = Some(300.0);
    daemon.set(document(vec![sync("a", SyncState::InSync), pending]));
    browser.wait_for_text("#verdict", "1 of 2 syncs is catching up");
    assert_eq!(browser.text("#detail"), "2 syncs · at most 5 min behind");
    daemon.set(document(Vec::new()));
    browser.wait_for_text("#verdict", "No syncs are configured");
    assert_clean(&browser);
}

#[test]
fn nothing_looks_in_sync_while_the_daemon_is_away() {
    let browser = browser!();
    let place = Place::new();
    let daemon = place.daemon(document(vec![sync("web", SyncState::InSync)]));
    let server = place.serve();
    browser.open(server.address());
    browser.wait_for_text("#verdict", "Everything is in sync");
    browser.click(".row");

    daemon.stop();
    browser.wait_for_text("#verdict", "State unknown");
    let page = browser.text("body").to_lowercase();
    assert_eq!(page.matches("in sync").count(), 1, "only the filter's name: {page}");
    assert_eq!(browser.text(".row .state b"), "Unknown");
    let notice = browser.text("#notice");
    assert!(notice.starts_with("The daemon does not answer: "), "{notice}");
    assert!(notice.contains("What is below was true at "), "{notice}");
    assert_eq!(browser.run("return document.title"), "? State unknown – lsyncd");

    let _daemon = place.daemon(document(vec![sync("web", SyncState::InSync)]));
    browser.wait_for_text("#verdict", "Everything is in sync");
    browser.wait("document.querySelector('#notice').hidden");

    drop(server);
    browser.wait_for_text("#verdict", "State unknown");
    let notice = browser.text("#notice");
    assert!(notice.contains("lost its connection to lsyncctl serve"), "{notice}");
    assert_clean(&browser);
}

#[test]
fn names_of_any_kind_are_only_text() {
    let browser = browser!();
    let place = Place::new();
    let names = [
        "<script>window.bad = 1</script>",
        "<img src=x onerror='window.bad = 1'>",
        "\"'><b onmouseover=alert(1)>",
        "right\u{202e}gnp.exe",
        "line\nfeed\u{7f}\0",
        "bad\\xff\\xfe",
        "zero\u{200b}width",
    ];
    let syncs = names.iter().map(|&name| {
        let mut one = sync(name, SyncState::Held);
        one.message = Some(name.to_owned());
        one.held = vec![held(7, &names)];
        one.failed = vec![failing(name, name)];
        one.pending = PendingReport {
            waiting: 7,
            names: names.iter().map(|&name| name.to_owned()).collect(),
            ..PendingReport::default()
        };
        one.last_failure = Some(name.to_owned());
        one
    });
    let daemon = place.daemon(document(syncs.collect()));
    daemon.set_batches(names.iter().map(|&name| batch(1, name, &names)).collect());
    let server = place.serve();
    browser.open(server.address());
    browser.wait("document.querySelectorAll('.row').length === 7");
    browser.run("document.querySelectorAll('.row').forEach((row) => row.click())");
    browser.wait("document.querySelectorAll('[data-key=history] td').length === 42");
    let shown = texts(&browser, ".row .name b");
    assert_eq!(
        shown,
        [
            "<script>window.bad = 1</script>",
            "<img src=x onerror='window.bad = 1'>",
            "\"'><b onmouseover=alert(1)>",
            "right\\u{202e}gnp.exe",
            "line\\u{a}feed\\u{7f}\\u{0}",
            "bad\\xff\\xfe",
            "zero\\u{200b}width",
        ]
    );
    assert_eq!(browser.run("return window.bad ?? null"), Value::Null);
    let scripts = "return document.querySelectorAll('script, img, main b[onmouseover]').length";
    assert_eq!(browser.run(scripts), 1);
    let hidden = "return /[\\u202e\\u200b\\0]/.test(document.documentElement.outerHTML)";
    assert_eq!(browser.run(hidden), false);
    assert_clean(&browser);
}

#[test]
fn a_hundred_syncs_are_found_sorted_and_filtered() {
    let browser = browser!();
    let place = Place::new();
    let numbered = |number: u32| {
        let state = match number {
            7 => SyncState::Retrying,
            50..60 => SyncState::Pending,
            _ => SyncState::InSync,
        };
        let mut one = sync(&format!("sync-{number}"), state);
        one.oldest_change = (state == SyncState::Pending).then(|| f64::from(number));
        one
    };
    let daemon = place.daemon(document((0..100).map(numbered).collect()));
    let server = place.serve();
    browser.open(server.address());
    browser.wait_for_text("#verdict", "1 of 100 syncs needs attention");
    let shown = || texts(&browser, ".row .name b");
    assert_eq!(shown().len(), 100);
    assert_eq!(shown()[0], "sync-7");
    assert_eq!(
        texts(&browser, "#filters button"),
        ["All100", "Needs attention1", "Catching up10", "In sync89", "Paused0"]
    );
    browser.click("[data-filter=busy]");
    assert_eq!(shown().len(), 10);
    browser.run(
        "const sort = document.querySelector('#sort'); sort.value = 'behind';
         sort.dispatchEvent(new Event('change'))",
    );
    assert_eq!(shown()[0], "sync-59");
    browser.click("[data-filter=all]");
    browser.type_into("#search", "SYNC-9");
    assert_eq!(shown().len(), 11);
    browser.type_into("#search", "9x");
    assert_eq!(browser.text("#empty"), "No sync matches.");

    // A row keeps focus and details while others change.
    browser.run("document.querySelector('#search').value = ''");
    browser.run("document.querySelector('#search').dispatchEvent(new Event('input'))");
    browser.run(
        "[...document.querySelectorAll('.row')].find((it) => \
                 it.textContent.includes('sync-20')).focus()",
    );
    browser.run("document.activeElement.click()");
    let mut changed = document((0..100).map(numbered).collect());
    changed.syncs[20].state = SyncState::Held;
    daemon.set(changed);
    browser.wait_for_text("#verdict", "2 of 100 syncs need attention");
    let focused = browser.run("return document.activeElement.textContent");
    assert!(focused.as_str().unwrap().contains("sync-20"), "{focused}");
    assert_eq!(browser.run("return document.activeElement.ariaExpanded"), "true");
    assert_clean(&browser);
}

/// Finds texts whose colour is too close to their background, by WCAG 2.1 (AA).
const LOW_CONTRAST: &str = "
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const channel = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const below = (node) => {
        for (; node; node = node.parentElement) {
            const color = parse(getComputedStyle(node).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const bad = [];
    for (const node of document.querySelectorAll('body *')) {
        const own = [...node.childNodes].some((it) => it.nodeType === 3 && it.data.trim());
        if (!own || !node.checkVisibility()) continue;
        const [a, b] = [light(parse(getComputedStyle(node).color)), light(below(node))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) bad.push(node.textContent.trim() + ': ' + ratio.toFixed(2));
    }
    return bad.slice(0, 10);";

/// Things that stick out of the width of the screen.
const TOO_WIDE: &str = "
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll('body *')].filter((it) =>
        it.getBoundingClientRect().right > width && !it.closest('.scroll'))
        .map((it) => it.tagName + '.' + it.className).slice(0, 10);";

/// Controls and charts without a name for screen readers.
const UNNAMED: &str = "
    return [...document.querySelectorAll('button, input, select, [role=img], [tabindex]')].filter(
        (it) => it.checkVisibility() && !it.innerText && !it.ariaLabel && !it.closest('label'))
        .map((it) => it.outerHTML);";

#[test]
fn the_page_is_legible_on_each_screen_in_light_and_dark() {
    let browser = browser!();
    let place = Place::new();
    let mut example = realistic();
    let long = "a-long-name-without-any-place-to-break-".repeat(4);
    example.syncs[3].name.clone_from(&long);
    example.syncs[3].target = format!("host:/{long}");
    example.daemon.reload = Some(ReloadReport { time: now(), error: Some(long.clone()) });
    let daemon = place.daemon(example);
    let batches = |name: &str| batch(1, name, &["index.html", "a/b"]);
    daemon.set_batches(["homes", "invoices", "media", &long].map(batches).into());
    let server = place.serve_control();
    browser.open(server.address());
    browser.wait_for_text("#verdict", "2 of 8 syncs need attention");
    browser.type_into("#token", TOKEN);
    browser.click("#unlock button");
    browser.run("document.querySelectorAll('.row').forEach((row) => row.click())");
    browser.wait("document.querySelectorAll('[data-key=history]').length === 4");
    let none = Value::Array(Vec::new());
    let check_all = |state: &str| {
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            for (width, height) in [(1280, 900), (360, 740), (320, 600)] {
                browser.resize(width, height);
                let place = format!("{state}, {scheme}, {width}");
                assert_eq!(browser.run(LOW_CONTRAST), none, "{place}");
                assert_eq!(browser.run(TOO_WIDE), none, "{place}");
            }
        }
    };
    check_all("live");
    let background = "return getComputedStyle(document.body).backgroundColor";
    assert_ne!(browser.run(background), "rgb(246, 247, 248)");
    daemon.stop();
    browser.wait_for_text("#verdict", "State unknown");
    check_all("stale");
    assert_eq!(browser.run(UNNAMED), none);
    assert_clean(&browser);
}

/// Shows the details of one sync, and no others.
fn open_only(browser: &Browser, name: &str) {
    browser
        .run("document.querySelectorAll('.row[aria-expanded=true]').forEach((it) => it.click())");
    browser.run(&format!(
        "[...document.querySelectorAll('.row')].find((it) => \
         it.querySelector('.name b').textContent === '{name}').click()"
    ));
    browser.wait("document.querySelector('.panel:not([hidden])')");
}

#[test]
fn details_and_commands_of_a_sync() {
    let browser = browser!();
    let place = Place::new();
    let daemon = place.daemon(realistic());
    daemon.set_batches(vec![batch(1, "homes", &["ines/notes.txt"])]);
    let server = place.serve_control();
    browser.open(server.address());
    browser.wait_for_text("#verdict", "2 of 8 syncs need attention");
    open_only(&browser, "homes");
    browser.wait("document.querySelector('[data-key=history]')");
    let panel = browser.text(".panel:not([hidden])");
    for text in ["ines/.cache/lock", "permission denied", "in 1 min", "ines/notes.txt", "48 kB"] {
        assert!(panel.contains(text), "{text} is not in {panel}");
    }
    assert!(!panel.contains("Pause"), "{panel}");
    let limit = Some(20);
    let homes = Selection { sync: Some("homes".to_owned()), path: None };
    assert_eq!(daemon.next_request(), Request::History { selection: homes.clone(), limit });

    browser.type_into("#token", "not-the-token-of-it");
    browser.click("#unlock button");
    browser.wait("document.querySelector('[data-key=retry]')");
    browser.click("[data-key=retry]");
    browser.wait_for_text("#unlocked", "The token is wrong.");
    assert!(daemon.was_only_shown());
    browser.type_into("#token", TOKEN);
    browser.click("#unlock button");
    browser.click("[data-key=retry]");
    browser.wait("document.querySelector('.actions [role=status]')?.textContent === 'retry: done'");
    assert_eq!(daemon.next_request(), Request::Retry(homes));

    open_only(&browser, "invoices");
    browser.click("[data-key='held names']");
    assert!(browser.text(".panel:not([hidden])").contains("and 2\u{2009}728 more"));
    daemon.next_request();
    browser.click("[data-key=release]");
    browser.wait("document.querySelector('#confirm').open");
    assert!(browser.text("#confirm-text").starts_with("2\u{2009}731 entries are then deleted"));
    browser.click("#confirm button[value=no]");
    browser.click("[data-key=release]");
    browser.click("#confirm-yes");
    let invoices = Selection { sync: Some("invoices".to_owned()), path: None };
    assert_eq!(daemon.next_request(), Request::Release(invoices));
    assert_clean(&browser);
}

#[test]
fn a_change_of_the_state_leaves_the_buttons_in_place() {
    let browser = browser!();
    let place = Place::new();
    let state = |path: &str, reason: &str, names: &[&str]| {
        let mut homes = sync("homes", SyncState::Failing);
        homes.failed = vec![failing(path, reason)];
        homes.held = vec![held(3, names)];
        homes.last_failure = Some(reason.to_owned());
        document(vec![homes])
    };
    let daemon = place.daemon(state("a", "no space", &["gone"]));
    daemon.set_batches(vec![batch(1, "homes", &["a"])]);
    let server = place.serve_control();
    browser.open(server.address());
    browser.wait("document.querySelector('#token').offsetParent !== null");
    browser.type_into("#token", TOKEN);
    browser.click("#unlock button");
    open_only(&browser, "homes");
    browser.wait("document.querySelector('[data-key=history]')");
    browser.run("document.querySelector('[data-key=retry]').focus()");
    let replaced = "return window.before.filter((it) => !it.isConnected).map((it) => it.innerText)";
    let none = Value::Array(Vec::new());

    // What has begun on a button must end on the same one, or nothing is clicked.
    browser.run("window.before = [...document.querySelectorAll('.panel button, .panel summary')]");
    daemon.set(state("b", "permission denied", &["gone"]));
    browser.wait("document.querySelector('[data-key=failing]').innerText.includes('denied')");
    assert_eq!(browser.run(replaced), none);
    assert_eq!(browser.run("return window.before.length"), 6);
    assert_eq!(browser.run("return document.activeElement.dataset.key"), "retry");

    daemon.set(state("b", "permission denied", &["gone", "also gone"]));
    browser.wait("document.querySelector('.panel').textContent.includes('and 1 more')");
    browser.run("window.before = window.before.filter((it) => it.dataset.key !== 'release')");
    browser.run("window.before = window.before.filter((it) => it.tagName !== 'SUMMARY')");
    assert_eq!(browser.run(replaced), none);
    assert_clean(&browser);
}

/// Makes the picture of the documentation: `PICTURES=docs/images cargo test --test serve picture`.
#[test]
fn the_picture_of_the_documentation_can_be_made() {
    let browser = browser!();
    let place = Place::new();
    let daemon = place.daemon(realistic());
    daemon.set_batches(vec![
        batch(1, "homes", &["ines/notes.txt"]),
        batch(2, "homes", &["tom/mail/inbox", "tom/mail/sent"]),
    ]);
    let server = place.serve();
    browser.resize(1120, 800);
    browser.prefer("light");
    browser.open(server.address());
    browser.wait_for_text("#verdict", "2 of 8 syncs need attention");
    browser.run(EXAMPLE_LAG);
    let keep = tempfile::tempdir().unwrap();
    let directory = env::var_os("PICTURES").map_or_else(|| keep.path().to_owned(), PathBuf::from);
    let path = directory.join("page.png");
    browser.picture(&path);
    let size = path.metadata().unwrap().len();
    assert!((10_000..200_000).contains(&size), "{size}");
    assert_clean(&browser);
}

/// Six hours of lag, as no test has the time to wait for.
const EXAMPLE_LAG: &str = "
    const wave = (seed) => Array.from({ length: 120 }, (_, x) => {
        const noise = Math.abs(Math.sin(x * 12.9898 + seed * 78.233) * 43758.5453) % 1;
        const peak = noise > 0.93 ? 14 * noise : noise > 0.7 ? 2 * noise : 0.35 * noise;
        return seed === 6 && x > 114 ? (x - 114) * 160 : peak;
    });
    const names = known.status.syncs.map((sync) => sync.name);
    lag = { seconds_per_point: 180, syncs: new Map(names.map((name, at) => [name, wave(at)])) };
    render();";
