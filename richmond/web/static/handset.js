// One handset: what its keys do, and what its screen shows. The network behind it is a PhoneLine.

import { Lost, Refused } from "./api.js";

const KEYS = ["1", "2 abc", "3 def", "4 ghi", "5 jkl", "6 mno", "7 pqrs", "8 tuv", "9 wxyz", "*", "0 +", "#"];
const NAMES = { "*": "Star", "#": "Hash" };
const CODE = /^[*#].*#$/;
const IN_USE_MS = 2000;
const SMS_CHARACTERS = 160;
const LOST = "Connection lost: the session is over.";
const ENDED = {
  application: "",
  subscriber: LOST, // by a simulator that stops
  timeout: "The session has timed out.",
  redirect: "",
  "no-client": "Connection problem or invalid MMI code.\n\nThe gateway has no client logged in.",
};

export class Handset {
  #line;
  #part;
  #state = "off"; // off, idle, running (waits for the application), menu, notice
  #menu = "";
  #codes = [];
  #timeout_s = 0;
  #deadline = 0;
  #received = 0;
  #broken = false; // its line went in the middle of a session
  #hangingUp = false;
  #again;

  constructor(line, msisdn) {
    this.#line = line;
    this.msisdn = msisdn;
    this.root = document.getElementById("handset").content.cloneNode(true).firstElementChild;
    this.#part = (selector) => this.root.querySelector(selector);
    this.input = this.#part(".entry input");
    this.root.setAttribute("aria-label", `Telephone ${msisdn}`);
    this.#part("h2").textContent = msisdn;
    this.#part(".text").setAttribute("aria-label", `Screen of ${msisdn}`);
    this.#part(".inbox").setAttribute("aria-label", `Messages to ${msisdn}`);
    this.#part(".remove").setAttribute("aria-label", `Remove telephone ${msisdn}`);
    this.#build();
    this.show("off", "");
    this.tick();
  }

  // ---- what the page says ----

  // facts: of the hello; a session that was open is over, because the line that held it is.
  async connect(facts) {
    clearTimeout(this.#again);
    this.#broken ||= this.#inSession();
    this.#codes = facts.codes;
    this.#timeout_s = facts.session_timeout_s;
    this.#fillAccounts(facts.accounts);
    try {
      await this.#line.ask({ op: "register", msisdn: this.msisdn });
      const inbox = await this.#line.ask({ op: "inbox", msisdn: this.msisdn });
      this.#part(".inbox ol").replaceChildren();
      this.#received = 0;
      inbox.messages.forEach((message) => this.#keep(message, ""));
    } catch (error) {
      this.show("off", sentence(error));
      // Another telephone has the number: `richmond dial` perhaps, or this page as it was before it was loaded anew.
      if (error instanceof Refused) this.#again = setTimeout(() => this.connect(facts), IN_USE_MS);
      return;
    }
    this.root.classList.remove("offline");
    if (this.#broken) this.show("notice", LOST);
    else if (this.#state !== "notice") this.show("idle");
    this.#broken = false;
  }

  disconnect() {
    clearTimeout(this.#again);
    if (this.#state === "idle") this.show("off", "");
    this.root.classList.add("offline");
  }

  async leave() {
    clearTimeout(this.#again);
    if (this.#inSession()) await this.#line.ask({ op: "hangup", msisdn: this.msisdn }).catch(() => {});
    this.root.remove();
  }

  happened(event) {
    switch (event.event) {
      case "begin":
        this.#menu = "";
        this.#hangingUp = false;
        this.show("running", event.code && `${event.code}\n\nUSSD code running…`);
        break;
      case "menu":
        this.#menu = event.text;
        this.#measure(event);
        this.show(event.open ? "menu" : "notice", event.text);
        break;
      case "end":
        this.#ended(event.reason);
        break;
      case "sms":
        this.#keep(event, now());
        break;
    }
  }

  tick() {
    const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
    const clock = this.#part("time");
    if (clock.textContent !== time) clock.textContent = time;
    const left = this.#inSession() && this.#deadline ? Math.max(0, Math.ceil((this.#deadline - Date.now()) / 1000)) : null;
    const text = left === null ? "" : `times out in ${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    if (this.#part(".left").textContent !== text) this.#part(".left").textContent = text;
  }

  focus() {
    this.input.focus({ preventScroll: true });
  }

  // ---- the screen ----

  show(state, text = "") {
    this.#state = state;
    this.root.dataset.state = state;
    this.root.classList.toggle("offline", state === "off");
    const focused = this.root.contains(document.activeElement) ? document.activeElement : null;
    const screen = this.#part(".text");
    if (state === "off") text = `No service.\n\n${text}`.trim();
    if (screen.textContent !== text) screen.textContent = text;
    screen.scrollTop = 0;
    this.#showCodes(state === "idle");
    const entering = state === "idle" || state === "menu";
    this.input.value = "";
    this.input.readOnly = !entering;
    this.input.setAttribute("aria-label", { idle: "Code to dial", menu: "Answer" }[state] ?? "Nothing to enter");
    this.input.placeholder = { idle: "Dial a code", menu: "Answer" }[state] ?? "";
    this.#part(".send").textContent = { idle: "Dial", menu: "Send", notice: "OK" }[state] ?? "Send";
    this.#part(".send").disabled = state === "off" || state === "running";
    this.#part(".cancel").textContent = state === "idle" ? "Clear" : state === "notice" ? "Close" : "Cancel";
    this.#part(".cancel").disabled = state === "off";
    this.#part(".expire").hidden = !this.#inSession();
    if (state === "running" || state === "menu") this.#deadline = Date.now() + this.#timeout_s * 1000;
    if (state === "idle" || state === "off" || state === "running") this.#part(".length").textContent = "";
    if (focused?.disabled || focused?.closest("[hidden]") || focused?.isConnected === false) this.focus();
    this.tick();
  }

  #ended(reason) {
    if (reason === "redirect") return; // the next session begins at once
    if (reason === "subscriber" && this.#hangingUp) return this.show("idle");
    const text = ENDED[reason] || this.#menu;
    const length = this.#part(".length").textContent;
    this.show("notice", text);
    if (reason === "application") this.#part(".length").textContent = length;
  }

  #measure(event) {
    const count = [...event.text].length;
    this.#part(".length").textContent = event.fits ? `${count} characters` : `${count} characters: more than a USSD screen takes`;
    this.#part(".length").classList.toggle("too-long", !event.fits);
  }

  #showCodes(shown) {
    const list = this.#part(".codes");
    list.hidden = !shown;
    this.#part(".text").hidden = shown;
    if (!shown) return;
    list.replaceChildren(
      ...this.#codes.map(({ code, worker }) => {
        const button = element("button", "", "");
        button.type = "button";
        button.append(element("b", "", code), element("span", "", worker));
        button.setAttribute("aria-label", `Dial ${code}, ${worker}`);
        button.addEventListener("click", () => this.#dial(code));
        return button;
      }),
    );
  }

  #inSession() {
    return this.#state === "running" || this.#state === "menu";
  }

  // ---- the keys ----

  #build() {
    const keypad = this.#part(".keypad");
    for (const key of KEYS) {
      const [sign, letters = ""] = key.split(" ");
      const button = element("button", "key");
      button.type = "button";
      button.append(element("b", "", sign), element("small", "", letters));
      button.lastChild.setAttribute("aria-hidden", "true");
      button.setAttribute("aria-label", NAMES[sign] ?? sign);
      button.addEventListener("click", () => this.#type(sign));
      keypad.append(button);
    }
    // The field keeps the focus while somebody clicks keys, and a touch screen's own keyboard stays away.
    this.#part(".phone").addEventListener("mousedown", (event) => event.target.closest("button") && event.preventDefault());
    this.#part(".entry").addEventListener("submit", (event) => (event.preventDefault(), this.#send()));
    this.#part(".send").addEventListener("click", () => this.#send());
    this.#part(".cancel").addEventListener("click", () => this.#cancel());
    this.#part(".erase").addEventListener("click", () => (this.input.value = [...this.input.value].slice(0, -1).join("")));
    this.#part(".up").addEventListener("click", () => this.#scroll(-1));
    this.#part(".down").addEventListener("click", () => this.#scroll(1));
    this.#part(".expire").addEventListener("click", () => this.#request({ op: "timeout" }));
    this.#part(".phone").addEventListener("keydown", (event) => this.#pressed(event));
    const sms = this.#part(".sms form");
    sms.addEventListener("submit", (event) => (event.preventDefault(), this.#sms(sms)));
    sms.querySelector("textarea").addEventListener("input", ({ target }) => this.#size(target));
  }

  #pressed(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") this.#cancel();
    else if (event.key === "ArrowUp") this.#scroll(-1);
    else if (event.key === "ArrowDown") this.#scroll(1);
    else if (event.target !== this.input && /^[0-9*#+]$/.test(event.key)) this.#type(event.key);
    else if (event.target !== this.input && event.key === "Backspace") this.#part(".erase").click();
    else return;
    event.preventDefault();
  }

  #type(sign) {
    if (this.#state === "notice") this.show("idle"); // as on any phone: dialling on
    if (this.input.readOnly || this.input.value.length >= this.input.maxLength) return;
    this.input.value += sign;
    this.input.scrollLeft = this.input.scrollWidth;
  }

  #scroll(direction) {
    const screen = this.#part(this.#state === "idle" ? ".codes" : ".text");
    screen.scrollBy({ top: (direction * screen.clientHeight) / 2 });
  }

  #send() {
    const text = this.input.value;
    if (this.#state === "notice") this.show("idle");
    else if (this.#state === "menu") {
      this.show("running", "USSD code running…");
      this.#request({ op: "answer", text });
    } else if (this.#state === "idle" && text.trim()) this.#dial(text.trim());
  }

  #dial(code) {
    if (!CODE.test(code)) {
      this.show("notice", `“${code}” is not a USSD code: it begins with * or # and ends with #, as in *120*663#.`);
      return;
    }
    this.show("running", `${code}\n\nUSSD code running…`);
    const account = this.#part(".account select").value;
    this.#request({ op: "dial", code, account });
  }

  #cancel() {
    if (this.#inSession()) {
      this.#hangingUp = true;
      this.#request({ op: "hangup" });
    } else if (this.#state !== "off") this.show("idle");
  }

  async #request(request) {
    try {
      await this.#line.ask({ msisdn: this.msisdn, ...request });
    } catch (error) {
      this.show(error instanceof Lost ? "off" : "notice", `Connection problem or invalid MMI code.\n\n${sentence(error)}`);
    }
  }

  // ---- SMS ----

  #keep(message, at) {
    const binary = message.pid && `pid ${message.pid} coding ${message.coding}`;
    const text = [message.text, message.name, message.url, binary, message.hex].filter(Boolean).join(" ");
    const item = this.#put("", text, at);
    if (message.kind !== "text") item.prepend(element("b", "", message.kind));
    this.#received += 1;
    this.#part(".count").textContent = this.#received;
    this.#part(".envelope").hidden = false;
  }

  async #sms(form) {
    const text = form.querySelector("textarea");
    const refusal = form.querySelector(".refusal");
    refusal.textContent = "";
    if (!text.value) return;
    const account = this.#part(".account select").value;
    const to = form.querySelector(".to").value.trim();
    const item = this.#put("sent", text.value, to ? `to ${to}, ${now()}` : now()); // the answer may be the quicker one
    try {
      await this.#line.ask({ op: "sms", msisdn: this.msisdn, text: text.value, to, account });
    } catch (error) {
      item.remove();
      refusal.textContent = `Not sent: ${sentence(error)}`;
      return;
    }
    text.value = "";
    this.#size(text);
  }

  #put(className, text, about) {
    const item = element("li", className);
    item.append(element("p", "", text));
    if (about) item.append(element("time", "", about));
    const inbox = this.#part(".inbox");
    inbox.firstElementChild.append(item);
    inbox.scrollTop = inbox.scrollHeight;
    return item;
  }

  #size(field) {
    this.#part(".size").textContent = `${[...field.value].length}/${SMS_CHARACTERS}`;
  }

  #fillAccounts(accounts) {
    const select = this.#part(".account select");
    const before = select.value;
    select.replaceChildren(...accounts.map((name) => new Option(name, name)));
    if (accounts.includes(before)) select.value = before;
    this.#part(".account").hidden = accounts.length < 2;
  }
}

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function now() {
  return new Date().toLocaleTimeString([], { hour12: false });
}

function sentence(error) {
  const text = error.message;
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
