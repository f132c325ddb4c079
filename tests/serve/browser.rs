//! A browser without a window, driven by the protocol `WebDriver`.
//!
//! <https://www.w3.org/TR/webdriver2/>

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::http::request;

/// Arguments of the browser: nothing of it contacts anybody.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// A browser with one page. It ends when it is dropped.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser with a driver of its own.
    pub(crate) fn start(chromium: &Path, driver: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, port) = line.split_once("successfully on port ")?;
                port.trim_end_matches('.').parse().ok()
            })
            .expect("the driver names its port");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let data = format!("--user-data-dir={}", profile.path().display());
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([data.as_str()]).collect();
        let options = json!({ "binary": chromium, "args": arguments });
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 15000 },
        } } });
        let mut browser = Self { driver, address, session: String::new(), _profile: profile };
        let started = browser.send("POST", "/session", &capabilities);
        started["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        browser
    }

    /// Loads the page of a server.
    pub(crate) fn open(&self, server: SocketAddr) {
        self.command("url", &json!({ "url": format!("http://{server}/") }));
    }

    /// Runs the body of a function in the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text of the element that a selector finds first.
    pub(crate) fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?}).innerText");
        self.run(&script).as_str().unwrap().to_owned()
    }

    /// Waits until an expression is true in the page.
    pub(crate) fn wait(&self, condition: &str) {
        // The policy of the page forbids `eval`, so the condition is a part of the script.
        let script = format!(
            "const [done] = arguments; const end = Date.now() + 10000;
             const check = () => {{ if ({condition}) done(true);
                 else if (Date.now() > end) done(false); else setTimeout(check, 20); }}; check();"
        );
        let arguments = json!({ "script": script, "args": [] });
        let is_true = self.command("execute/async", &arguments) == true;
        assert!(is_true, "{condition} did not happen; the page has:\n{}", self.text("body"));
    }

    /// Waits until an element has exactly this text.
    pub(crate) fn wait_for_text(&self, selector: &str, text: &str) {
        self.wait(&format!("document.querySelector({selector:?})?.textContent === {text:?}"));
    }

    /// Clicks on an element as a user does: it must be visible.
    pub(crate) fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.command(&format!("element/{element}/click"), &json!({}));
    }

    /// Types a text into an element.
    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.command(&format!("element/{element}/value"), &json!({ "text": text }));
    }

    /// Emulates the preference for a dark or light page.
    pub(crate) fn prefer(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// Emulates a screen.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// Writes a picture of the page to a file.
    pub(crate) fn picture(&self, path: &Path) {
        let format = json!({ "format": "png", "captureBeyondViewport": false });
        let picture = self.devtools("Page.captureScreenshot", &format);
        fs::write(path, from_base64(picture["data"].as_str().unwrap())).unwrap();
    }

    /// Complaints of the browser, such as violations of the policy and exceptions.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.command("se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().unwrap().iter();
        entries.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    fn find(&self, selector: &str) -> String {
        let query = json!({ "using": "css selector", "value": selector });
        let found = self.command("element", &query);
        let mut references = found.as_object().unwrap().values();
        references.next().unwrap().as_str().unwrap().to_owned()
    }

    fn command(&self, command: &str, parameters: &Value) -> Value {
        self.send("POST", &format!("/session/{}/{command}", self.session), parameters)
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = request(self.address, method, path, &[], &body.to_string());
        let value = answer.json()["value"].take();
        assert_eq!(answer.status, 200, "{path}: {}", value["message"]);
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // The driver ends the browser.
            let path = format!("/session/{}", self.session);
            request(self.address, "DELETE", &path, &[], "");
        }
        self.driver.kill().unwrap();
        self.driver.wait().unwrap();
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> =
        text.chars().filter_map(|c| DIGITS.find(c)).map(|at| u32::try_from(at).unwrap()).collect();
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
