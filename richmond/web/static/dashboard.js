// The dashboard: what the server sends goes to the parts of the page, what is pressed goes to the server.

import { askForToken, hasToken, Lost, post, Refused } from "./api.js";
import { Charts } from "./charts.js";
import { Classes } from "./classes.js";
import { follow } from "./live.js";
import { ask, at, clock, duration, h, keyed, mark, moment, number, plural, rate, say } from "./page.js";

const MOST_EVENTS = 100;
const ANSWER_MS = 6000;
const GOOD = ["up", "off"];
const COMING = ["connecting", "logging-in", "starting"];
const PLAIN = {
  up: "up", off: "off", connecting: "connecting", "logging-in": "logging in", starting: "starting", down: "down",
  blocked: "blocked by RabbitMQ", backoff: "down, tries again", refused: "refused", "auth-failed": "login refused",
  "remote-logout": "pushed out by another login", stopped: "stopped", closed: "closed",
};
const FIGURES = ["Ready", "Unacked", "In/s", "Out/s", "Consumers"]; // of a queue
const STREAMS = { ussd: "USSD replies", sms: "SMS" };

const parts = {};
let events = [];
let lostAt = null;

const charts = new Charts(at("charts"));
const classes = new Classes(at("classes"), {
  scale: (name, count) => act(() => post(`/classes/${encodeURIComponent(name)}/scale`, { count })),
  restart: (name) => act(() => post(`/classes/${encodeURIComponent(name)}/restart`)),
});

follow(
  {
    state(changed) {
      for (const [name, value] of Object.entries(changed)) {
        if (value === null) delete parts[name];
        else parts[name] = value;
      }
      if (changed.overview && parts.version !== undefined && parts.version !== changed.overview.version) location.reload();
      parts.version = parts.overview?.version;
      show();
    },
    happened(found) {
      const last = events[0]?.number ?? 0;
      const fresh = found.filter((event) => event.number > last);
      events = [...fresh.reverse(), ...events].slice(0, MOST_EVENTS);
      if (last) charts.happened(fresh);
      showEvents();
    },
    row: (row) => charts.row(row),
  },
  () => {
    lostAt = null;
    events = []; // they may be those of another master, which counts anew
    at("lost").hidden = true;
    document.body.classList.remove("stale");
    charts.load();
  },
  () => {
    lostAt = Date.now() / 1000;
    document.body.classList.add("stale");
    mark(at("verdict"), "data-level", "idle");
    say(at("verdict"), "not connected");
    at("lost").hidden = false;
    say(at("lost"), `The connection to Richmond is lost since ${clock(lostAt)}; what you see is from then. Trying again …`);
    document.title = "✕ Richmond";
  },
);

function show() {
  const { overview, queues, dead } = parts;
  if (!overview || !queues || !dead) return;
  const depths = new Map(queues.map((queue) => [queue.name, queue.ready]));
  const shown = overview.classes.map((name) => parts[`class ${name}`]).filter(Boolean);
  for (const cls of shown) cls.depth = depths.get(cls.queue);
  showVerdict(overview);
  showLinks(overview);
  showSums(overview);
  classes.show(shown);
  charts.setClasses(overview.classes);
  showQueues(queues);
  showDead(dead);
  at("to-phone").hidden = !overview.simulator;
  say(at("about"), `Richmond ${overview.version} · ${overview.ini} · pid ${overview.pid} · up since ${moment(overview.started)}`);
}

function showVerdict({ problems, warnings, phase }) {
  const level = phase.startsWith("starting") ? "warn" : problems.length ? "bad" : warnings.length ? "warn" : "good";
  const text = phase.startsWith("starting") ? phase
    : problems.length ? plural(problems.length, "problem")
    : warnings.length ? plural(warnings.length, "warning")
    : "all is well";
  mark(at("verdict"), "data-level", level);
  say(at("verdict"), text);
  say(at("said"), [text, ...problems].join(". "));
  document.title = problems.length ? `■ ${text} · Richmond` : "Richmond";
  const items = [...problems.map((text) => ["problem", text]), ...warnings.map((text) => ["warning", text])];
  at("troubles").hidden = !items.length;
  keyed(at("troubles"), items, ([kind, text]) => kind + text, ([kind]) => h("p", { class: kind }), (p, [, text]) => say(p, text));
}

function showLinks({ links }) {
  keyed(at("links"), links, (link) => link.name, () => h("article", { class: "link" },
    h("h2"), h("span", { class: "state" }), h("span", { class: "where" }), h("p", { class: "why" })), (card, link) => {
    const [title, state, where, why] = card.children;
    say(title, link.name === "rabbitmq" ? "RabbitMQ" : link.name[0].toUpperCase() + link.name.slice(1));
    say(where, [link.address, link.own].filter(Boolean).join(", "));
    say(state, `${PLAIN[link.state] ?? link.state}`);
    mark(state, "title", `since ${moment(link.since)}`);
    const slow = link.throttled.map((t) => `${number(t.waiting)} ${STREAMS[t.kind]} wait: no more than ${t.rate} a second may go`);
    const bad = !GOOD.includes(link.state);
    const reasons = [link.unread && `not read: ${link.unread}`, ...slow, bad && link.error].filter(Boolean);
    say(why, reasons.join("; ") || `since ${moment(link.since)}`);
    why.classList.toggle("quiet", !reasons.length);
    mark(card, "data-level", link.unread ? "bad" : bad ? (COMING.includes(link.state) ? "warn" : "bad") : slow.length ? "warn" : "good");
  });
}

function showSums({ messages, sms, journal, opt_outs }) {
  const items = [
    ["received", messages.received], ["answered", messages.answered, "="], ["unanswered", messages.unanswered, "+"],
    ["dead-lettered", messages.dead_lettered, "+", true], ["refused", messages.refused, "+", true], ["waiting", messages.waiting, "+"],
  ];
  if (sms.received || sms.taken) items.push(["SMS in", sms.received, " "], ["SMS sent", sms.sent], ["SMS to send", sms.to_send]);
  if (journal.entries || journal.kept) items.push(["in the journal", journal.entries + journal.kept, "", true]);
  if (opt_outs) items.push(["opt-outs", opt_outs]);
  keyed(at("sums"), items, ([name]) => name, ([name, , sign]) => h("div", sign ? { "data-sign": sign } : {}, h("dt", {}, name), h("dd")),
    (div, [, value, , bad]) => {
      say(div.lastChild, number(value));
      div.classList.toggle("some", Boolean(bad && value));
    });
}

function showQueues(queues) {
  keyed(at("queues"), queues, (queue) => queue.name, () => h("tr", { role: "row" },
    h("th", { scope: "row", role: "rowheader", class: "queue" }, h("span"), h("small")),
    ...FIGURES.map((name) => h("td", { role: "cell", class: "number", "data-label": name }))), (row, queue) => {
    const [name, ...cells] = row.children;
    say(name.firstChild, queue.name);
    say(name.lastChild, queue.purpose);
    const values = [number(queue.ready), number(queue.unacked), rate(queue.into), rate(queue.out), number(queue.consumers)];
    values.forEach((value, index) => say(cells[index], value));
    cells[0].classList.toggle("some", queue.ready > 0);
  });
}

function showDead({ waiting, rows }) {
  say(at("dead-waiting"), waiting == null ? "RabbitMQ does not say how many" : waiting ? `${number(waiting)} in the queue` : "none in the queue");
  at("dead-look").disabled = at("dead-retry").disabled = !waiting;
  at("dead-table").hidden = !rows.length;
  keyed(at("dead"), rows, (row) => `${row.from} ${row.reason}`, () => h("tr", {}, h("th", { scope: "row" }), h("td"), h("td", { class: "number" })), (tr, row) => {
    [row.reason, row.from, number(row.count)].forEach((value, index) => say(tr.children[index], value));
  });
}

function showEvents() {
  keyed(at("events"), events, (event) => `${event.number} ${event.time}`, (event) => h("tr", { "data-level": event.level },
    h("td", {}, moment(event.time)), h("td", {}, event.kind), h("td", {}, event.text.replaceAll(" -> ", " → "))), () => {});
}

// What can be done.

async function act(request) {
  try {
    const answer = await request();
    tell(answer.text, false);
    return true;
  } catch (error) {
    if (!(error instanceof Refused || error instanceof Lost)) throw error;
    tell(error.message, true);
    return false;
  }
}

let answerTimer;
function tell(text, isNo) {
  at("answer").classList.toggle("no", isNo);
  say(at("answer"), text);
  clearTimeout(answerTimer);
  answerTimer = setTimeout(() => say(at("answer"), ""), ANSWER_MS);
}

at("reload").addEventListener("click", () => act(async () => {
  let plan;
  try {
    tell("Trying it out: each worker class is imported …", false);
    plan = (await post("/reload", { dry_run: true })).text;
    tell("", false);
  } catch (error) {
    tell("", false);
    if (!(error instanceof Refused)) throw error;
    await ask("A reload would fail", [h("p", {}, "Of the ini and the workers' code as they are on disk:"), h("pre", {}, error.message)], [["", "Close"]]);
    throw new Refused("Nothing was changed.");
  }
  const content = [h("p", {}, "Taking over the ini and the workers' code as they are on disk would do this:"), h("pre", {}, plan)];
  if ((await ask("Reload?", content, [["", "Cancel"], ["go", "Reload"]])) !== "go") return { text: "Nothing was changed." };
  return post("/reload");
}));

at("dead-look").addEventListener("click", async () => {
  try {
    const answer = await fetch("/dead", { cache: "no-store" });
    const { ok, error, letters, total } = await answer.json();
    if (!ok) throw new Refused(error);
    const names = ["Age", "Reason", "Worker", "Kind", "Number", "Exception"];
    const facts = (letter) => [letter.age_s == null ? "" : duration(letter.age_s), letter.reason, letter.worker, letter.kind, letter.msisdn, letter.exception];
    const row = (letter) => h("tr", { role: "row" }, h("th", { scope: "row", role: "rowheader" }, letter.id),
      ...facts(letter).map((text, index) => h("td", { role: "cell", "data-label": names[index] }, text || "–")));
    const head = ["ID", ...names].map((text) => h("th", { scope: "col" }, text));
    const note = `${plural(total, "dead letter")}; ${letters.length < total ? `the oldest ${letters.length}. ` : ""}richmond dead list, show, retry and drop do more.`;
    const table = h("table", { class: "stacks", role: "table", "aria-label": "Dead letters" }, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...letters.map(row)));
    ask("Dead letters", [h("p", {}, note), h("div", { class: "scroll fits", tabindex: "0", role: "group", "aria-label": "Dead letters" }, table)], [["", "Close"]], true);
  } catch (error) {
    tell(error instanceof Refused ? error.message : "Richmond does not answer.", true);
  }
});

at("dead-retry").addEventListener("click", () => act(async () => {
  const text = `${plural(parts.dead.waiting, "message")} would go back to the queues that they came from, to be handled once more. A reply can only be sent while its session is open.`;
  if ((await ask("Retry the dead letters?", [h("p", {}, text)], [["", "Cancel"], ["go", "Retry"]])) !== "go") return { text: "Nothing was changed." };
  return post("/dead/retry");
}));

at("unlock").addEventListener("click", () => askForToken(""));
const showToken = () => (at("unlock").hidden = hasToken());
addEventListener("richmond-token", showToken);
showToken();

const KEYS = [
  [["Tab"], "from one class, button or table to the next"],
  [["←", "→"], "from one slot of a class to the next, with its facts below"],
  [["j", "k"], "to the next class, to the one before"],
  [["+", "-"], "one worker more, one less, of the class in which you are"],
  [["a"], "hand its count back to the queue"],
  [["r"], "restart its workers one by one"],
  [["Esc"], "close a dialog; nothing is changed"],
];
at("keys").addEventListener("click", () => {
  const rows = KEYS.flatMap(([keys, text]) => [h("dt", {}, ...keys.flatMap((key) => [h("kbd", {}, key), " "])), h("dd", {}, text)]);
  const letters = h("p", { class: "quiet" }, "Slots: R running, S starting, E ending, B backing off after a crash, F fatal. A blue edge: to be replaced.");
  ask("Keys", [h("dl", { class: "keys" }, ...rows), letters], [["", "Close"]]);
});
