//! The metrics, alerts and dashboard, checked by the tool of Prometheus.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use lsyncd::control::metrics::{METRICS, MetricKind, exposition, exposition_without_daemon};
use serde_json::Value;

use crate::{
    example::{document, realistic, sync},
    program,
};

const ALERTS: &str = include_str!("../../contrib/prometheus-alerts.yml");
const DASHBOARD: &str = include_str!("../../contrib/grafana-dashboard.json");
const GUIDE: &str = include_str!("../../docs/monitoring.md");

/// Runs the tool, and returns what it says if it does not succeed.
fn promtool(tool: &Path, arguments: &[&str], directory: &Path, input: &str) -> Result<(), String> {
    let mut child = Command::new(tool)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() { Ok(()) } else { Err(text) }
}

#[test]
fn the_metrics_follow_the_conventions() {
    let tool = program!("promtool");
    let check = |text: &str| promtool(&tool, &["check", "metrics"], Path::new("/"), text);
    let mut hostile = document(vec![sync("a\"\\\n} 1", lsyncd::control::status::SyncState::Held)]);
    hostile.syncs[0].totals.lag.add(0.5);
    for text in [exposition(&realistic()), exposition(&hostile), exposition_without_daemon()] {
        assert_eq!(check(&text), Ok(()), "{text}");
    }
    check("lsyncd_up{ 1\n").unwrap_err();
}

#[test]
fn the_alerts_fire_when_they_should() {
    let tool = program!("promtool");
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("prometheus-alerts.yml", ALERTS);
    write("test.yml", include_str!("alerts-test.yml"));
    let run = |arguments: &[&str]| promtool(&tool, arguments, directory.path(), "");
    assert_eq!(run(&["check", "rules", "prometheus-alerts.yml"]), Ok(()));
    assert_eq!(run(&["test", "rules", "test.yml"]), Ok(()));
    write("prometheus-alerts.yml", &ALERTS.replace("> 900", "> 9000"));
    run(&["test", "rules", "test.yml"]).unwrap_err();
}

/// The names of metrics in an expression, without the suffixes of histograms.
fn names_in(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics = words.filter(|word| word.starts_with("lsyncd_"));
    let is_histogram =
        |name: &str| METRICS.iter().any(|it| it.name == name && it.kind == MetricKind::Histogram);
    metrics
        .map(|name| {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|it| name.strip_suffix(it));
            base.filter(|base| is_histogram(base)).unwrap_or(name)
        })
        .collect()
}

fn assert_known(text: &str) {
    for name in names_in(text) {
        assert!(METRICS.iter().any(|metric| metric.name == name), "there is no {name}: {text}");
    }
}

#[test]
fn alerts_dashboard_and_guide_name_metrics_that_exist() {
    assert_known(ALERTS);
    assert_known(include_str!("alerts-test.yml"));
    assert_known(GUIDE);
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()) {
        let expression = target["expr"].as_str().unwrap();
        assert!(!names_in(expression).is_empty(), "{expression}");
        assert_known(expression);
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        assert_known(&variable["query"].to_string());
    }
}

#[test]
fn the_expressions_of_the_dashboard_are_valid() {
    let tool = program!("promtool");
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions = targets.map(|target| {
        let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
        format!("      - {{ record: 'x:y:z', expr: '{expression}' }}\n")
    });
    let rules: String = expressions.collect();
    let rules = format!("groups:\n  - name: dashboard\n    rules:\n{rules}");
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("rules.yml"), &rules).unwrap();
    let arguments = ["check", "rules", "--lint=none", "rules.yml"];
    assert_eq!(promtool(&tool, &arguments, directory.path(), ""), Ok(()), "{rules}");
}

#[test]
fn the_guide_has_each_metric_with_its_type() {
    for metric in METRICS {
        let row = format!("| `{}` | {} |", metric.name, metric.kind.name());
        assert!(GUIDE.contains(&row), "docs/monitoring.md: {row} is missing");
    }
}
