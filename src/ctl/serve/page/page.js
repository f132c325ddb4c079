// The status page. Every name goes through `visible` and `textContent`: it may have any bytes.
"use strict";

// How a state is called and grouped, in the order of urgency.
const STATES = {
  failing: ["Failing paths", "need"],
  retrying: ["Retrying", "need"],
  source_unavailable: ["Source unavailable", "need"],
  no_tunnel: ["No tunnel", "need"],
  held: ["Held", "held"],
  stopped: ["Stopped", "off"],
  paused: ["Paused", "off"],
  setting_up: ["Setting up", "busy"],
  full_transfer: ["Full transfer", "busy"],
  pending: ["Pending", "busy"],
  in_sync: ["In sync", "ok"],
};
const URGENCY = Object.keys(STATES);
const UNKNOWN = ["Unknown", "off"];
// Shapes, so that colour is not the only sign.
const SHAPES = {
  ok: "M6 0a6 6 0 1 0 0 12A6 6 0 1 0 6 0",
  busy: "M6 0a6 6 0 1 0 0 12V0",
  need: "M6 0l6 12H0z",
  held: "M6 0l6 6-6 6-6-6z",
  off: "M0 4.5h12v3H0z",
};
const FILTERS = [
  ["all", "All", () => true],
  ["need", "Needs attention", (group) => group === "need" || group === "held"],
  ["busy", "Catching up", (group) => group === "busy"],
  ["ok", "In sync", (group) => group === "ok"],
  ["off", "Paused", (group) => group === "off"],
];
// Seconds after which a state is too old to be believed.
const STALE = 12;
const CHART_POINTS = 120;
const COMMANDS = [
  ["flush", "Flush", "Transfer all present changes now"],
  ["retry", "Retry now", "Retry everything that waits after a failure"],
  ["pause", "Pause", "Start no transfer until it is resumed"],
  ["resume", "Resume", "End the pause"],
  ["resync", "Resync", "Start a full transfer"],
];

// What is known: the last state, when it and the last sign of life came (in ms).
const known = { status: null, statusAt: 0, ageAtStatus: 0, seenAt: 0, answers: false,
  connected: false, error: null, everAnswered: false };
const view = { filter: "all", search: "", sort: "urgency" };
const rows = new Map();
let lag = { seconds_per_point: 180, syncs: new Map() };
let token = null;

const $ = (id) => document.getElementById(id);

function visible(text) {
  const hidden = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
  return String(text).replace(hidden, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

function make(tag, className, ...content) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const part of content) node.append(part instanceof Node ? part : visible(part));
  return node;
}

function draw(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function setText(node, text) {
  const shown = visible(text);
  if (node.textContent !== shown) node.textContent = shown;
}

function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

function duration(seconds) {
  if (seconds < 0.95) return seconds < 0.05 ? "0 s" : `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

function clock(seconds) {
  const time = new Date(seconds * 1000);
  const sameDay = time.toDateString() === new Date().toDateString();
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
  return sameDay ? time.toLocaleTimeString(undefined, options)
    : time.toLocaleString(undefined, { ...options, month: "short", day: "numeric" });
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) { count /= 1000; at += 1; }
  return `${at && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[at]}`;
}

const number = (count) => count.toLocaleString("en").replaceAll(",", "\u2009");
const many = (count, one, others) => `${number(count)} ${count === 1 ? one : others}`;

// Seconds since the state in hand was true.
const statusAge = () => known.ageAtStatus + (Date.now() - known.statusAt) / 1000;
// Seconds since the daemon was last known to be in that state.
const seenAge = () => (Date.now() - known.seenAt) / 1000;
const isStale = () => !known.status || !known.connected || !known.answers || seenAge() > STALE;
const daemonNow = () => known.status.time + statusAge();

function groupOf(sync) {
  return isStale() ? UNKNOWN[1] : (STATES[sync.state] || UNKNOWN)[1];
}

// Seconds that a sync is behind; null: unknown.
function behind(sync) {
  if (isStale()) return null;
  if (sync.oldest_change !== null) return sync.oldest_change + statusAge();
  const none = ["in_sync", "pending", "failing", "held", "paused"];
  return none.includes(sync.state) ? 0 : null;
}

// ---- the head of the page

function renderHead() {
  const stale = isStale();
  document.body.classList.toggle("stale", stale);
  renderNotice(stale);
  const syncs = known.status ? known.status.syncs : [];
  let group = "";
  let verdict;
  if (stale) {
    verdict = known.everAnswered || known.error ? "State unknown" : "Connecting";
    group = known.everAnswered || known.error ? "need" : "";
  } else {
    [verdict, group] = verdictOf(syncs);
  }
  setText($("verdict"), verdict);
  setClass($("verdict"), group ? `verdict-${group}` : "");
  setText($("detail"), stale ? "" : detailOf(syncs));
  document.title = visible(stale ? `? ${verdict} – lsyncd` : `${verdict} – lsyncd`);
}

function verdictOf(syncs) {
  const count = (name) => syncs.filter((sync) => groupOf(sync) === name).length;
  const [need, held, busy, off] = ["need", "held", "busy", "off"].map(count);
  const of = (n) => syncs.length === 1 ? "The sync" : n === syncs.length ? `All ${n} syncs`
    : `${n} of ${syncs.length} syncs`;
  const verb = (n, one, others) => n === 1 ? one : others;
  if (known.status.daemon.is_exiting) return ["The daemon is exiting", "held"];
  if (syncs.length === 0) return ["No syncs are configured", ""];
  if (need + held > 0) {
    const n = need + held;
    return [`${of(n)} ${verb(n, "needs", "need")} attention`, need ? "need" : "held"];
  }
  if (busy > 0) return [`${of(busy)} ${verb(busy, "is", "are")} catching up`, ""];
  if (off === syncs.length) return [`${of(off)} ${verb(off, "is", "are")} paused`, ""];
  const rest = syncs.length - off;
  return [off ? `${rest} in sync, ${off} paused` : "Everything is in sync", ""];
}

function detailOf(syncs) {
  const lags = syncs.map(behind);
  const parts = [many(syncs.length, "sync", "syncs")];
  const most = Math.max(0, ...lags.filter((it) => it !== null));
  const unknown = lags.filter((it) => it === null).length;
  if (syncs.length > unknown) {
    parts.push(most > 0 ? `at most ${duration(most)} behind` : "no change is waiting");
  }
  if (unknown) parts.push(`${number(unknown)} with unknown lag`);
  const held = syncs.flatMap((sync) => sync.held).reduce((sum, it) => sum + it.count, 0);
  if (held) parts.push(`${many(held, "deletion", "deletions")} held`);
  const failed = syncs.reduce((sum, sync) => sum + sync.pending.failed, 0);
  if (failed) parts.push(`${many(failed, "path", "paths")} failing`);
  return parts.join(" · ");
}

function renderNotice(stale) {
  let text = "";
  const from = known.status
    ? ` What is below was true at ${clock(known.status.time)}, ${duration(statusAge())} ago.` : "";
  if (!known.connected && (known.everAnswered || known.error)) {
    text = `This page has lost its connection to lsyncctl serve.${from}`;
  } else if (known.error) {
    text = `The daemon does not answer: ${known.error}.${from}`;
  } else if (stale && known.status) {
    text = `There was no news for ${duration(seenAge())}.${from}`;
  }
  const notice = $("notice");
  setText(notice, text);
  notice.hidden = !text;
}

function renderDaemon() {
  const list = $("daemon");
  list.replaceChildren();
  if (!known.status) return;
  const daemon = known.status.daemon;
  const add = (name, value, bad) => list.append(make("dt", "", name),
    make("dd", bad ? "bad" : "", value));
  add("Version", `${daemon.version}, process ${daemon.pid}, started ${clock(daemon.started)}`);
  const limit = daemon.watch_limit === null ? "" : ` of ${number(daemon.watch_limit)}`;
  const polled = daemon.polled_directories
    ? `, ${many(daemon.polled_directories, "directory", "directories")} polled` : "";
  const near = daemon.watch_limit !== null && daemon.watches > 0.9 * daemon.watch_limit;
  add("Watches", `${number(daemon.watches)}${limit}${polled}`, near);
  if (daemon.overflows) add("Overflows", `${number(daemon.overflows)}: each caused a rescan`);
  const reload = daemon.reload;
  if (reload && reload.error !== null) {
    add("Reload", `refused at ${clock(reload.time)}: ${reload.error}`, true);
  } else {
    add("Reload", reload ? `accepted at ${clock(reload.time)}` : "none yet");
  }
  const files = daemon.config_files.length ? daemon.config_files.join(", ") : "command line";
  add("Configuration", `${files} (${daemon.config_hash.slice(0, 12)})`);
}

// ---- the list

function renderFilters() {
  const box = $("filters");
  const syncs = known.status ? known.status.syncs : [];
  if (!box.children.length) {
    for (const [name, label] of FILTERS) {
      const button = make("button", "", label, make("span", "count"));
      button.type = "button";
      button.dataset.filter = name;
      button.addEventListener("click", () => { view.filter = name; render(); });
      box.append(button);
    }
  }
  FILTERS.forEach(([name, , matches], at) => {
    const button = box.children[at];
    const count = syncs.filter((sync) => matches(groupOf(sync))).length;
    setText(button.querySelector(".count"), isStale() && name !== "all" ? "?" : number(count));
    button.setAttribute("aria-pressed", String(view.filter === name));
  });
}

function selected() {
  const matches = FILTERS.find(([name]) => name === view.filter)[2];
  const words = view.search.toLowerCase();
  const syncs = (known.status ? known.status.syncs : []).map((sync, at) => ({ sync, at }));
  // Of an old state nothing is known, so no group hides anything.
  const chosen = syncs.filter(({ sync }) => (isStale() || matches(groupOf(sync)))
    && [sync.name, sync.source, sync.target].some((it) => it.toLowerCase().includes(words)));
  const by = {
    urgency: (a, b) => URGENCY.indexOf(a.sync.state) - URGENCY.indexOf(b.sync.state),
    behind: (a, b) => (behind(b.sync) ?? Infinity) - (behind(a.sync) ?? Infinity) || 0,
    name: (a, b) => a.sync.name.localeCompare(b.sync.name, undefined, { numeric: true }),
    configuration: () => 0,
  }[view.sort];
  return chosen.sort((a, b) => by(a, b) || a.at - b.at).map(({ sync }) => sync);
}

function renderList() {
  const list = $("syncs");
  const syncs = selected();
  const focused = document.activeElement;
  const present = new Set(known.status ? known.status.syncs.map((sync) => sync.name) : []);
  for (const [name, row] of rows) {
    if (!present.has(name)) { row.item.remove(); rows.delete(name); }
  }
  const wanted = syncs.map((sync) => {
    const row = rows.get(sync.name) || addRow(sync.name);
    updateRow(row, sync);
    return row.item;
  });
  arrange(list, wanted);
  if (focused !== document.activeElement && list.contains(focused)) focused.focus();
  const empty = $("empty");
  empty.hidden = syncs.length > 0 || !known.status || present.size === 0;
  setText(empty, "No sync matches.");
}

function addRow(name) {
  const item = make("li");
  const button = make("button", "row");
  const row = { item, button, name, shape: draw("path", {}), label: make("b"), since: make("small"),
    title: make("b"), route: make("small"), why: make("small", "why"), lag: make("span"),
    waiting: make("small"), spark: make("span", "spark"), panel: make("div", "panel"),
    history: null, message: make("span"), parts: new Map(), sparkKey: "" };
  row.message.setAttribute("role", "status");
  const icon = draw("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, row.shape);
  button.append(make("span", "state", icon, row.label, row.since),
    make("span", "name", row.title, row.route, row.why),
    make("span", "behind", row.lag, row.waiting), row.spark, make("span", "mark"));
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  row.panel.hidden = true;
  row.panel.id = `panel-${++addRow.count}`;
  button.setAttribute("aria-controls", row.panel.id);
  button.addEventListener("click", () => toggle(row));
  item.append(button, row.panel);
  rows.set(name, row);
  return row;
}
addRow.count = 0;

function toggle(row) {
  row.panel.hidden = !row.panel.hidden;
  row.button.setAttribute("aria-expanded", String(!row.panel.hidden));
  if (row.history && row.history.error) row.history = null;
  if (!row.panel.hidden) loadHistory(row);
  render();
}

function updateRow(row, sync) {
  const stale = isStale();
  const [label, group] = stale ? UNKNOWN : STATES[sync.state] || [sync.state, "off"];
  setClass(row.item, group);
  row.shape.setAttribute("d", SHAPES[group]);
  setText(row.label, label);
  setText(row.since, stale ? "" : `for ${duration(Math.max(0, daemonNow() - sync.since))}`);
  setText(row.title, sync.name);
  setText(row.route, `${sync.source} → ${sync.target}`);
  const why = stale ? "" : reasonOf(sync);
  setText(row.why, why);
  row.why.hidden = !why;
  const seconds = behind(sync);
  setText(row.lag, seconds === null ? "unknown" : seconds === 0 ? "0 s" : duration(seconds));
  const { waiting, in_flight } = sync.pending;
  setClass(row.lag, seconds ? "" : "none");
  setText(row.waiting, seconds === null ? "" : waiting + in_flight > 0
    ? many(waiting + in_flight, "path", "paths") : seconds > 0 ? "behind" : "");
  updateSpark(row, sync);
  if (!row.panel.hidden) updatePanel(row, sync);
}

// Why a sync is not in sync, in one line.
function reasonOf(sync) {
  if (sync.message) return sync.message;
  if (sync.held.length) return sync.held[0].message;
  if (sync.failed.length) {
    const [first] = sync.failed;
    return first.reason ? `${first.path}: ${first.reason}` : first.path;
  }
  return sync.state === "in_sync" ? "" : sync.last_failure || "";
}

// ---- charts

function pointsOf(sync) {
  const points = lag.syncs.get(sync.name) || [];
  return Array(Math.max(0, CHART_POINTS - points.length)).fill(null)
    .concat(points.slice(-CHART_POINTS));
}

const highest = (points) => Math.max(0, ...points.filter((it) => it !== null));

function chart(points, height) {
  const top = Math.max(1, highest(points));
  const y = (value) => (height - 1 - (height - 2) * value / top).toFixed(1);
  let line = "";
  let area = "";
  points.forEach((value, x) => {
    if (value === null) return;
    const starts = x === 0 || points[x - 1] === null;
    const ends = x + 1 === points.length || points[x + 1] === null;
    // A single point is a short line.
    line += starts ? `M${x} ${y(value)}h.5` : `L${x} ${y(value)}`;
    area += starts ? `M${x} ${height}V${y(value)}` : `L${x} ${y(value)}`;
    if (ends) area += `V${height}z`;
  });
  return draw("svg", { viewBox: `0 0 ${CHART_POINTS - 1} ${height}`, preserveAspectRatio: "none",
    "aria-hidden": "true" },
  draw("path", { class: "base", d: `M0 ${height}H${CHART_POINTS - 1}` }),
  draw("path", { class: "area", d: area }), draw("path", { class: "line", d: line }));
}

function updateSpark(row, sync) {
  const points = pointsOf(sync);
  const key = JSON.stringify(points);
  if (row.sparkKey === key) return;
  row.sparkKey = key;
  const isKnown = points.some((it) => it !== null);
  row.spark.replaceChildren(chart(points, 28),
    make("small", "", isKnown ? `at most ${duration(highest(points))}` : ""));
  row.spark.title = lagSummary(points);
}

function lagSummary(points) {
  const values = points.filter((it) => it !== null);
  if (!values.length) return "Lag over the last 6 hours: not known yet";
  return `Lag over the last 6 hours: at most ${duration(highest(points))}`;
}

// ---- details of a sync

function updatePanel(row, sync) {
  const stale = isStale();
  // Marked text stays marked.
  const marked = getSelection();
  const isMarked = !marked.isCollapsed && row.panel.contains(marked.anchorNode);
  if (isMarked && !stale) return;
  const controls = token !== null;
  const counts = sync.next_try !== null || sync.failed.some((it) => it.next_try !== null);
  const second = counts && !stale ? Math.floor(daemonNow()) : 0;
  const { failed, held, pending } = sync;
  const present = stale ? [] : [
    kept(row, "held", [held, sync.state, sync.message, sync.target, controls],
      () => heldSection(row, sync)),
    kept(row, "failed", [failed, pending.failed, second], () => failedSection(sync)),
    kept(row, "pending", pending, () => pendingSection(sync)),
  ];
  const parts = [
    kept(row, "actions", [controls, sync.is_paused, stale], () => actions(row, sync, stale)),
    ...present,
    kept(row, "facts", [sync, stale, second], () => facts(sync, stale)),
    kept(row, "chart", row.sparkKey, () => chartSection(sync)),
    kept(row, "history", row.history, () => historySection(row)),
  ];
  replaceKeepingFocus(row.panel, parts.filter(Boolean));
}

// A part of the panel: as it stands, unless something that it shows has changed. A click that has
// begun on a button must end on the same one.
function kept(row, name, shown, build) {
  const key = JSON.stringify(shown);
  if (row.parts.get(name)?.key !== key) row.parts.set(name, { key, node: build() });
  return row.parts.get(name).node;
}

// Replaces the content, and puts the focus and scrolling back.
function replaceKeepingFocus(panel, parts) {
  const focused = panel.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const tables = () => [...panel.querySelectorAll(".scroll")];
  const scrolled = new Map(tables().map((it) => [it.dataset.key, it.scrollLeft]));
  arrange(panel, parts);
  for (const it of tables()) it.scrollLeft = scrolled.get(it.dataset.key) || 0;
  if (focused && !panel.contains(document.activeElement)) {
    const again = [...panel.querySelectorAll("[data-key]")].find((it) => it.dataset.key === focused);
    if (again) again.focus();
  }
}

// Gives an element these children, without touching those that are in place.
function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  children.forEach((child, at) => {
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] || null);
  });
}

function section(title, ...content) {
  return make("section", "", make("h3", "", title), ...content);
}

function actions(row, sync, stale) {
  if (token === null) return null;
  const box = make("div", "actions");
  for (const [command, label, hint] of COMMANDS) {
    if (command === (sync.is_paused ? "pause" : "resume")) continue;
    const button = make("button", "", label);
    button.type = "button";
    button.title = hint;
    button.disabled = stale;
    button.dataset.key = command;
    button.addEventListener("click", () => order(row, command));
    box.append(button);
  }
  box.append(row.message);
  return box;
}

function facts(sync, stale) {
  const list = make("dl");
  const add = (name, value, bad) => list.append(make("dt", "", name),
    make("dd", bad ? "bad" : "", value));
  add("Source", sync.source);
  add("Target", `${sync.target} (${sync.kind})`);
  if (!stale) {
    if (sync.is_paused && sync.state !== "paused") add("Paused", "by an operator");
    if (sync.next_try !== null) add("Next try", inFuture(sync.next_try));
    if (sync.last_failure) add("Last failure", sync.last_failure, true);
    if (sync.hook_failure && sync.hook_failure !== sync.last_failure) {
      add("Last failure of onSynced", sync.hook_failure.replace(/^onSynced: /, ""), true);
    }
    if (sync.connection) add("Connection", sync.connection);
  }
  add("Last success", sync.last_success === null ? "none yet" : clock(sync.last_success));
  add("Watched by", sync.watcher);
  const { transfers, sent_files, sent_bytes, deleted } = sync.totals;
  const total = Object.values(transfers).reduce((sum, it) => sum + it, 0);
  add("Since the start", `${many(total, "transfer", "transfers")}, ${many(sent_files, "file", "files")} and `
    + `${bytes(sent_bytes)} sent, `
    + many(deleted, "deletion", "deletions"));
  return list;
}

function inFuture(time) {
  const seconds = time - daemonNow();
  return seconds > 0 ? `in ${duration(seconds)}` : "now";
}

function chartSection(sync) {
  const points = pointsOf(sync);
  const box = make("div", "chart");
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", lagSummary(points));
  box.append(chart(points, 80),
    make("div", "scale", make("span", "", duration(Math.max(1, highest(points)))),
      make("span", "", "0 s")),
    make("div", "span", make("span", "", "6 h ago"), make("span", "", "now")));
  return section("Lag over the last 6 hours", box);
}

function names(all, count) {
  const list = make("ul", "names");
  for (const name of all) list.append(make("li", "", name));
  if (count > all.length) {
    list.append(make("li", "more", all.length ? `and ${number(count - all.length)} more`
      : `${number(count)} without a name`));
  }
  return list;
}

function heldSection(row, sync) {
  if (!sync.held.length && sync.state !== "held") return null;
  const content = [];
  for (const held of sync.held) {
    const of = held.total === null ? "" : ` of ${number(held.total)} entries on the target`;
    const list = names(held.names, held.count);
    const details = make("details", "", make("summary", "", "Show their names"), list);
    details.open = row.showsHeld === true;
    details.addEventListener("toggle", () => { row.showsHeld = details.open; });
    details.firstChild.dataset.key = "held names";
    content.push(make("p", "", `${many(held.count, "deletion", "deletions")}${of}. `
      + held.message), details);
  }
  if (!sync.held.length && sync.message) content.push(make("p", "", sync.message));
  if (token !== null) {
    const button = make("button", "danger", "Release …");
    button.type = "button";
    button.dataset.key = "release";
    button.addEventListener("click", () => confirmRelease(row, sync));
    content.push(make("div", "actions", button));
  }
  return section("Held", ...content);
}

function failedSection(sync) {
  if (!sync.failed.length) return null;
  const lines = sync.failed.map((path) => [["path names", path.path], ["path", path.reason || ""],
    ["number", number(path.tries)],
    ["number", path.next_try === null ? "later" : inFuture(path.next_try)]]);
  const more = sync.pending.failed > sync.failed.length
    ? [make("p", "", `and ${number(sync.pending.failed - sync.failed.length)} more`)] : [];
  return section("Failing paths", table("failing",
    [["", "Path"], ["", "Reason"], ["number", "Failures"], ["number", "Next try"]], lines), ...more);
}

function pendingSection(sync) {
  const { waiting, in_flight, open, names: first } = sync.pending;
  if (!waiting && !in_flight && !open) return null;
  const text = [`${number(waiting)} waiting`, `${number(in_flight)} in transfer`];
  if (open) text.push(`${many(open, "file", "files")} still being written`);
  return section("Pending", make("p", "", text.join(", ")), names(first, waiting + in_flight));
}

const OUTCOMES = { done: "done", partial: "partly failed", failed: "failed",
  hook_failed: "onSynced failed", stopped: "stopped" };

function historySection(row) {
  const { history } = row;
  if (history === null) return section("Recent transfers", make("p", "", "Loading"));
  if (history.error) return section("Recent transfers", make("p", "bad", history.error));
  if (!history.batches.length) return section("Recent transfers", make("p", "", "none yet"));
  const lines = [...history.batches].reverse().map((batch) => {
    const outcome = OUTCOMES[batch.outcome] || batch.outcome;
    const code = batch.outcome !== "done" && batch.code !== null ? ` (${batch.code})` : "";
    const more = batch.paths > batch.names.length && batch.names.length
      ? `, and ${number(batch.paths - batch.names.length)} more` : "";
    const paths = batch.is_full ? "everything"
      : batch.names.length ? batch.names.join(", ") + more : many(batch.paths, "path", "paths");
    const why = batch.message ? `: ${batch.message}` : "";
    return [["", clock(batch.started)], [batch.names.length ? "path names" : "path", paths],
      [batch.outcome === "done" ? "" : "path bad", outcome + code + why],
      ["number", duration(batch.duration)], ["number", batch.lag === null ? "" : duration(batch.lag)],
      ["number", batch.sent_bytes === null ? "" : bytes(batch.sent_bytes)]];
  });
  return section("Recent transfers", table("history", [["", "Started"], ["", "Paths"],
    ["", "Result"], ["number", "Duration"], ["number", "Lag"], ["number", "Sent"]], lines));
}

function table(key, heads, lines) {
  const row = (tag, cells) => {
    const line = make("tr");
    for (const [className, text] of cells) {
      const cell = make(tag, className, text);
      if (tag === "th") cell.scope = "col";
      line.append(cell);
    }
    return line;
  };
  const body = make("tbody", "", ...lines.map((cells) => row("td", cells)));
  const box = make("div", "scroll", make("table", "", make("thead", "", row("th", heads)), body));
  // So that the keyboard can scroll it.
  box.tabIndex = 0;
  box.dataset.key = key;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Table");
  return box;
}

// ---- requests

async function loadHistory(row) {
  if (row.loading) return;
  row.loading = true;
  try {
    const answer = await fetch(`history.json?limit=20&sync=${encodeURIComponent(row.name)}`);
    if (answer.ok) row.history = await answer.json();
    else row.history ??= { error: (await answer.text()).trim() };
  } catch {
    row.history ??= { error: "cannot be loaded: the server does not answer" };
  }
  row.loading = false;
  render();
}

async function loadLag() {
  try {
    const answer = await fetch("lag.json");
    if (!answer.ok) return;
    const { seconds_per_point, syncs } = await answer.json();
    lag = { seconds_per_point, syncs: new Map(syncs.map(({ sync, points }) => [sync, points])) };
    render();
  } catch {
    // The notice says that the server does not answer.
  }
}

async function order(row, command) {
  setText(row.message, "…");
  let text;
  try {
    const answer = await fetch(`control/${command}`, { method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({ sync: row.name }) });
    if (answer.status === 401) { token = null; setText($("unlocked"), "The token is wrong."); }
    text = answer.ok ? resultOf(command, await answer.json()) : (await answer.text()).trim();
  } catch {
    text = "The server does not answer.";
  }
  setText(row.message, text);
  render();
}

function resultOf(command, result) {
  if (command !== "flush" || result.is_complete) return `${command}: done`;
  return result.obstacles.map(({ message }) => message).join("; ") || "not complete";
}

function confirmRelease(row, sync) {
  const dialog = $("confirm");
  const count = sync.held.reduce((sum, it) => sum + it.count, 0);
  setText($("confirm-title"), `Release ${sync.name}?`);
  setText($("confirm-text"), count
    ? `${many(count, "entry is", "entries are")} then deleted from ${sync.target}.`
    : sync.message || "The sync continues.");
  $("confirm-names").replaceChildren(...names(sync.held.flatMap((it) => it.names), count).children);
  setText($("confirm-yes"), count ? `Delete ${many(count, "entry", "entries")}` : "Release");
  dialog.returnValue = "no";
  dialog.onclose = () => { if (dialog.returnValue === "yes") order(row, "release"); };
  dialog.showModal();
}

// ---- live updates

function listen() {
  const events = new EventSource("events");
  events.addEventListener("open", () => { known.connected = true; });
  events.addEventListener("status", (event) => {
    const state = JSON.parse(event.data);
    known.connected = true;
    known.error = state.error;
    known.answers = state.answers;
    if (state.status) {
      known.status = state.status;
      known.statusAt = Date.now();
      known.ageAtStatus = state.age || 0;
      known.seenAt = Date.now() - (state.age || 0) * 1000;
      known.everAnswered = true;
    }
    $("unlock").hidden = !state.control;
    renderDaemon();
    refreshOpenHistories();
    render();
  });
  events.addEventListener("tick", (event) => {
    const { answers, age } = JSON.parse(event.data);
    known.connected = true;
    known.answers = answers;
    if (answers) known.seenAt = Date.now() - (age || 0) * 1000;
    render();
  });
  events.addEventListener("error", () => {
    known.connected = false;
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
    render();
  });
}

// A changed number of transfers is a new line of the history.
function refreshOpenHistories() {
  for (const sync of known.status ? known.status.syncs : []) {
    const row = rows.get(sync.name);
    const key = JSON.stringify(sync.totals.batch_duration.counts);
    if (!row || row.panel.hidden || row.historyKey === key) continue;
    row.historyKey = key;
    loadHistory(row);
  }
}

function render() {
  renderHead();
  renderFilters();
  renderList();
}

function start() {
  setText($("host"), `at ${location.host}`);
  $("tools").addEventListener("submit", (event) => event.preventDefault());
  $("search").addEventListener("input", (event) => { view.search = event.target.value; render(); });
  $("sort").addEventListener("change", (event) => { view.sort = event.target.value; render(); });
  $("unlock").addEventListener("submit", (event) => {
    event.preventDefault();
    token = $("token").value.trim();
    $("token").value = "";
    setText($("unlocked"), "Open a sync to control it.");
    render();
  });
  render();
  listen();
  loadLag();
  setInterval(render, 1000);
  setInterval(loadLag, 60000);
}

start();
