// The page: which handsets there are, and the log of their SSMI lines.

import { element, Handset } from "./handset.js";
import { PhoneLine } from "./phone_line.js";

const NUMBERS = "richmond.telephones"; // of this tab: two tabs have telephones of their own
const MOST_LINES = 500;
const DIRECTIONS = { "C>": "Richmond → gateway", "S>": "gateway → Richmond", "--": "" };

const handsets = new Map();
const lost = document.getElementById("lost");
const refusal = document.getElementById("add-error");
const log = document.getElementById("log");
const lines = document.querySelector("#lines ol");
const roll = lines.parentElement;
let facts = null;
let greeted = false; // only a page that has just been loaded takes the focus

const line = new PhoneLine({
  async hello(told) {
    facts = told;
    lost.hidden = true;
    if (!handsets.size) saved().forEach(place);
    if (!handsets.size) await add("");
    else for (const handset of handsets.values()) await handset.connect(told);
    if (!greeted && document.activeElement === document.body) handsets.values().next().value?.focus();
    greeted = true;
    if (log.open) await follow();
  },
  event(event) {
    if (event.event === "line") addLine(event);
    else handsets.get(event.msisdn)?.happened(event);
  },
  lost(sentence) {
    facts = null;
    lost.textContent = sentence;
    lost.hidden = false;
    for (const handset of handsets.values()) handset.disconnect();
  },
});

async function add(number) {
  refusal.textContent = "";
  if (handsets.has(number)) {
    refusal.textContent = `${number} is here already.`;
    return false;
  }
  try {
    const told = facts;
    const { msisdn } = await line.ask({ op: "register", msisdn: number });
    await place(msisdn).connect(told);
  } catch (error) {
    refusal.textContent = error.message;
    return false;
  }
  save();
  return true;
}

function place(msisdn) {
  const handset = new Handset(line, msisdn);
  handsets.set(msisdn, handset);
  handset.root.querySelector(".remove").addEventListener("click", () => remove(handset));
  document.getElementById("handsets").append(handset.root);
  return handset;
}

async function remove(handset) {
  handsets.delete(handset.msisdn);
  save();
  await handset.leave();
  document.getElementById("number").focus();
}

function saved() {
  try {
    return JSON.parse(sessionStorage.getItem(NUMBERS)) ?? [];
  } catch {
    return [];
  }
}

function save() {
  sessionStorage.setItem(NUMBERS, JSON.stringify([...handsets.keys()]));
}

async function follow() {
  const { lines: before } = await line.ask({ op: "log", follow: true });
  lines.replaceChildren();
  before.forEach(addLine);
}

function addLine({ at, account, connection, direction, text }) {
  const atEnd = roll.scrollHeight - roll.scrollTop - roll.clientHeight < 8;
  const item = element("li", { "C>": "out", "S>": "in" }[direction] ?? "note");
  const time = new Date(at * 1000);
  item.append(
    element("time", "", `${time.toLocaleTimeString([], { hour12: false })}.${String(time.getMilliseconds()).padStart(3, "0")}`),
    element("span", "who", `#${connection} ${account || "-"}`),
    element("span", "way", DIRECTIONS[direction]),
    element("code", "", visible(text)),
  );
  lines.append(item);
  while (lines.childElementCount > MOST_LINES) lines.firstElementChild.remove();
  if (atEnd) roll.scrollTop = roll.scrollHeight;
}

function visible(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\\]/g, (c) => ({ "\n": "\\n", "\t": "\\t", "\\": "\\\\" })[c] ?? `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

document.getElementById("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = document.getElementById("number");
  const added = await add(field.value.trim());
  field.setAttribute("aria-invalid", String(!added));
  if (added) field.value = "";
});
document.getElementById("clear").addEventListener("click", () => lines.replaceChildren());
log.addEventListener("toggle", () => log.open && facts && follow().catch(() => {}));
setInterval(() => handsets.forEach((handset) => handset.tick()), 1000);
