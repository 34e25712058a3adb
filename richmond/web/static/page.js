// Small things that every part of the dashboard needs. Nothing here knows what Richmond is.

export const at = (id) => document.getElementById(id);

// h("p", {class: "why", onclick: f}, "text", child)
export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

// Only what has changed is touched, so that a selection stays and nothing is read out twice.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function mark(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

// Children of `parent` by key: made where new, updated, put in order, removed where gone.
export function keyed(parent, items, key, make, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = old.get(name);
    if (child) old.delete(name);
    else {
      child = make(item);
      child.dataset.key = name;
    }
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const child of old.values()) child.remove();
}

const whole = new Intl.NumberFormat("en");
export const number = (value) => (value == null ? "–" : whole.format(value));
export const rate = (value) => (value == null ? "–" : value < 10 ? value.toFixed(1) : whole.format(Math.round(value)));

export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function wait(seconds) {
  if (seconds == null) return "–";
  if (seconds < 0.01) return `${Number((seconds * 1000).toFixed(1))} ms`;
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
}

export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString("en-GB");
export const moment = (unix) =>
  Date.now() / 1000 - unix < 86400 ? clock(unix) : new Date(unix * 1000).toLocaleString("en-GB", { dateStyle: "short", timeStyle: "short" });
export const plural = (count, what, many = `${what}s`) => `${number(count)} ${count === 1 ? what : many}`;

// A dialog that goes when it is closed. `buttons`: [value, text], the last one is the one that acts; resolves to its value.
export function ask(title, content, buttons, wide = false) {
  const acts = buttons.at(-1)[0];
  const row = buttons.map(([value, text]) => h("button", { value, class: value && value === acts ? "primary" : null }, text));
  const dialog = h("dialog", { "aria-label": title, class: wide ? "wide" : null },
    h("form", { method: "dialog" }, h("h2", {}, title), ...content, h("div", { class: "buttons" }, ...row)));
  document.body.append(dialog);
  dialog.showModal();
  row.at(-1).focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => (dialog.remove(), resolve(dialog.returnValue))));
}
