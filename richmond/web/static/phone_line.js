// The page's connection to the simulator: events come in one stream, requests go out one by one and are answered.

import { Lost, post } from "./api.js";

const RETRY_MS = 1500;

export class PhoneLine {
  #id = null;
  #free = false;
  #source = null;
  #listener;

  // listener: {hello(facts), event(event), lost(sentence)}
  constructor(listener) {
    this.#listener = listener;
    this.#open();
  }

  async ask(request) {
    if (!this.#id) throw new Lost("There is no connection to Richmond.");
    return post(`/phone/line/${this.#id}`, request, this.#free);
  }

  #open() {
    const source = (this.#source = new EventSource("/phone/line"));
    source.addEventListener("hello", (message) => {
      const facts = JSON.parse(message.data);
      this.#id = facts.line;
      this.#free = facts.free;
      this.#listener.hello(facts);
    });
    source.addEventListener("message", (message) => this.#listener.event(JSON.parse(message.data)));
    source.addEventListener("error", () => {
      this.#id = null;
      this.#listener.lost("The connection to Richmond is lost; trying again.");
      source.close(); // its own retries end for good at the first answer that is no stream
      setTimeout(() => this.#source === source && this.#open(), RETRY_MS);
    });
  }
}
