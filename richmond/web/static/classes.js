// The worker classes: a card each, with its slots as cells, why there are so many, and what can be done.

import { duration, h, keyed, mark, number, plural, say } from "./page.js";

const LETTERS = { RUNNING: "R", STARTING: "S", STOPPING: "E", BACKOFF: "B", FATAL: "F" };
const SEND_MS = 350; // several presses of + are one request
const SETTLE_MS = 2500;

export class Classes {
  // do: {scale(name, count or null), restart(name)}, both async
  constructor(section, act) {
    this.section = section;
    this.act = act;
    this.wanted = new Map(); // by class: the count that was asked for and is not there yet
    this.timers = new Map();
    this.chosen = new Map(); // by class: the slot whose facts are shown
    section.addEventListener("keydown", (event) => this.key(event));
  }

  show(classes) {
    keyed(this.section, classes, (cls) => cls.name, (cls) => this.make(cls), (card, cls) => this.update(card, cls));
  }

  make(cls) {
    const name = cls.name;
    const card = h("article", { class: "class", "aria-label": `Worker class ${name}`, tabindex: "-1" });
    card.append(
      h("header", {}, h("h2", {}, name), h("span", { class: "takes" }), h("span", { class: "count" })),
      h("p", { class: "why" }),
      h("ol", { class: "slots", "aria-label": `Slots of ${name}` }),
      h("p", { class: "slot-facts" }),
      h("p", { class: "wrong", hidden: true }),
      h("details", { hidden: true }, h("summary", {}, "Traceback"), h("pre", { tabindex: "0", "aria-label": `Traceback of ${name}` })),
      h("dl", { class: "facts" }),
      h("div", { class: "actions", role: "group", "aria-label": `What can be done with ${name}` },
        h("button", { type: "button", class: "step less", "aria-label": `One worker less of ${name}`, onclick: () => this.step(name, -1) }, "−"),
        h("output", { "aria-label": `Workers wanted of ${name}` }),
        h("button", { type: "button", class: "step more", "aria-label": `One worker more of ${name}`, onclick: () => this.step(name, 1) }, "+"),
        h("button", { type: "button", class: "auto", onclick: () => this.auto(name) }, "auto"),
        h("button", { type: "button", class: "restart", onclick: () => this.act.restart(name) }, "Restart")),
    );
    return card;
  }

  update(card, cls) {
    card.cls = cls;
    const find = (selector) => card.querySelector(selector);
    say(find(".takes"), cls.takes);
    const count = find(".count");
    const bounds = cls.min === cls.max ? `always ${cls.min}` : `${cls.min} to ${cls.max}`;
    if (count.dataset.text !== `${cls.running} ${cls.target} ${bounds}`) {
      count.dataset.text = `${cls.running} ${cls.target} ${bounds}`;
      count.replaceChildren(`${cls.running} of ${cls.target} `, h("small", {}, bounds));
    }
    say(find(".why"), `${cls.target === 1 ? "1 worker" : `${cls.target} workers`}: ${cls.reason}`);
    const failing = cls.slots.find((slot) => ["FATAL", "BACKOFF"].includes(slot.state));
    const wrong = cls.rolled_back ? `Rolled back, the old workers serve on: ${cls.rolled_back}` : failing ? `${failing.state}: ${failing.error}` : "";
    find(".wrong").hidden = !wrong;
    say(find(".wrong"), wrong);
    find("details").hidden = !cls.traceback;
    say(find("pre"), cls.traceback);
    this.facts(find(".facts"), cls);
    keyed(find(".slots"), cls.slots, (slot) => slot.name, () => this.cell(card), (cell, slot) => this.slot(cell, slot));
    this.choose(card);
    if (this.wanted.get(cls.name) === cls.target && cls.pinned) this.wanted.delete(cls.name);
    say(find("output"), String(this.wanted.get(cls.name) ?? cls.target));
    mark(find(".auto"), "aria-pressed", String(!cls.pinned));
    mark(find(".auto"), "title", cls.pinned ? "Hand the count back to the queue" : "The queue decides");
  }

  facts(list, cls) {
    const waiting = cls.depth == null ? "–" : number(cls.depth);
    const facts = [["waiting", waiting, false], ["handled", number(cls.handled), false]];
    if (cls.failed) facts.push(["failed", number(cls.failed), true]);
    if (cls.dead) facts.push(["dead-lettered", number(cls.dead), true]);
    if (cls.recycled) facts.push(["recycled", `${number(cls.recycled)}, last ${cls.last_recycled}`, false]);
    keyed(list, facts, ([name]) => name, ([name]) => h("div", {}, h("dt", {}, name), h("dd")), (div, [, text, bad]) => {
      say(div.lastChild, text);
      div.lastChild.classList.toggle("some", bad);
    });
  }

  cell(card) {
    const button = h("button", { type: "button", class: "slot", tabindex: "-1" });
    const choose = () => {
      this.chosen.set(card.cls.name, button.slot_.name);
      this.choose(card);
    };
    for (const what of ["focus", "click", "pointerenter"]) button.addEventListener(what, choose);
    return h("li", {}, button);
  }

  slot(item, slot) {
    const button = item.firstChild;
    button.slot_ = slot;
    mark(button, "data-state", slot.state);
    button.classList.toggle("leaving", slot.leaving !== "");
    say(button, LETTERS[slot.state] ?? "?");
    mark(button, "aria-label", about(slot, false));
  }

  // One slot of a class takes part in the order of Tab; arrows go to the others.
  choose(card) {
    const buttons = [...card.querySelectorAll(".slot")];
    const name = this.chosen.get(card.cls.name);
    const chosen = buttons.find((button) => button.slot_.name === name);
    for (const button of buttons) {
      button.tabIndex = button === (chosen ?? buttons[0]) ? 0 : -1;
      if (button === chosen) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    say(card.querySelector(".slot-facts"), chosen ? about(chosen.slot_, true) : summary(card.cls.slots));
  }

  step(name, by) {
    const card = this.section.querySelector(`[data-key="${CSS.escape(name)}"]`);
    const count = Math.max(0, (this.wanted.get(name) ?? card.cls.target) + by);
    this.wanted.set(name, count);
    say(card.querySelector("output"), String(count));
    clearTimeout(this.timers.get(name));
    this.timers.set(name, setTimeout(async () => {
      const done = await this.act.scale(name, count);
      // What comes next from the server has the new target, or somebody else's.
      setTimeout(() => {
        if (this.wanted.get(name) === count) this.wanted.delete(name);
        this.update(card, card.cls);
      }, done ? SETTLE_MS : 0);
    }, SEND_MS));
  }

  auto(name) {
    clearTimeout(this.timers.get(name));
    this.wanted.delete(name);
    this.act.scale(name, null);
  }

  key(event) {
    const card = event.target.closest(".class");
    if (!card || event.ctrlKey || event.altKey || event.metaKey) return;
    const name = card.cls.name;
    const slots = [...card.querySelectorAll(".slot")];
    const here = slots.indexOf(event.target);
    const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (here >= 0 && event.key in moves) slots[(here + moves[event.key] + slots.length) % slots.length].focus();
    else if (event.key === "+") this.step(name, 1);
    else if (event.key === "-") this.step(name, -1);
    else if (event.key === "a") this.auto(name);
    else if (event.key === "r") this.act.restart(name);
    else if (event.key === "j" || event.key === "k") {
      const next = event.key === "j" ? card.nextElementSibling : card.previousElementSibling;
      (next?.querySelector(".slot[tabindex='0']") ?? next?.querySelector("button"))?.focus();
    } else return;
    event.preventDefault();
  }
}

function summary(slots) {
  const counts = {};
  for (const slot of slots) counts[slot.state] = (counts[slot.state] ?? 0) + 1;
  return Object.entries(counts).map(([state, count]) => `${count} ${state}`).join(", ") || "no slots";
}

function about(slot, withAge) {
  const facts = [`${slot.name} ${slot.state}`];
  if (withAge) facts[0] += ` for ${duration(Date.now() / 1000 - slot.since)}`;
  if (slot.pid) facts.push(`pid ${slot.pid}`);
  if (withAge && slot.cpu != null) facts.push(`${slot.cpu} % CPU`, `${slot.memory} MB`);
  if (withAge) facts.push(plural(slot.handled, "handled", "handled"));
  if (slot.failed && withAge) facts.push(`${number(slot.failed)} failed`);
  if (slot.crashes) facts.push(plural(slot.crashes, "crash in a row", "crashes in a row"));
  if (slot.leaving) facts.push(`to be replaced: ${slot.leaving}`);
  if (slot.error) facts.push(`last error: ${slot.error}`);
  return facts.join(" · ");
}
