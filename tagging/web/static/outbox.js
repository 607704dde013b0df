// What was said is kept in this browser until the server has it: a post that fails is sent again,
// under the same name, until the server answers. Each act has a key of its own in localStorage, so
// that pages of several tabs take nothing from each other; one that two tabs send counts once.

import { post } from "./server.js";

const RETRY_MS = [500, 1000, 2000, 5000, 10000];

export class Outbox {
  // `heard(act, outcomes)`: the server has it, or took it back. `refused(act, why)`: it never will.
  // `changed(unsent, failing)`: how many are not safe yet, and whether the last try failed.
  constructor({ reviewer, retailer, heard, refused, changed }) {
    this.prefix = `atelier-unsent/${reviewer}/${retailer}/`;
    this.path = `/api/${encodeURIComponent(retailer)}`;
    this.heard = heard;
    this.refused = refused;
    this.changed = changed;
    this.failures = 0;
    this.sending = false;
    this.last = 0;
    this.acts = Object.keys(localStorage)
      .filter((key) => key.startsWith(this.prefix))
      .map((key) => JSON.parse(localStorage.getItem(key)))
      .sort((one, other) => one.at - other.at);
  }

  // Products that were decided on and about which the server may not know yet.
  get products() {
    return this.acts.flatMap(({ products }) => products);
  }

  // Returns the act's name, by which it can be undone.
  say(products, answers) {
    const action = crypto.randomUUID();
    this.#add({ kind: "reviews", products, body: { action, answers } });
    return action;
  }

  undo(products, action) {
    const index = this.acts.findIndex((act) => act.body.action === action);
    // As it is kept: another tab may have sent it, and be the only one to know.
    const kept = JSON.parse(localStorage.getItem(this.prefix + action) ?? '{"sent": true}');
    if (index >= 0 && !kept.sent) {
      // The server has never heard of it.
      localStorage.removeItem(this.prefix + action);
      this.acts.splice(index, 1);
      this.#tell();
    } else {
      this.#add({ kind: "undo", products, body: { action: crypto.randomUUID(), of: action } });
    }
  }

  // Acts that were said and of which the server may not know: [{ action, products }].
  get unsaid() {
    return this.acts
      .filter(({ kind }) => kind === "reviews")
      .map(({ body, products }) => ({ action: body.action, products }));
  }

  // Names of acts that are on their way to be taken back.
  get undone() {
    return new Set(this.acts.filter(({ kind }) => kind === "undo").map(({ body }) => body.of));
  }

  async send() {
    if (this.sending) return;
    this.sending = true;
    while (this.acts.length) await this.#try(this.acts[0]);
    this.sending = false;
  }

  #add(act) {
    this.last = Math.max(Date.now(), this.last + 1);
    act.at = this.last;
    this.acts.push(act);
    this.#keep(act);
    this.#tell();
    this.send();
  }

  async #try(act) {
    if (localStorage.getItem(this.prefix + act.body.action) === null) {
      // Another tab sent it, or took it back before anybody sent it.
      this.#remove(act);
      return;
    }
    act.sent = true; // From now on the server may have it, whatever we hear.
    this.#keep(act);
    try {
      const { outcomes } = await post(`${this.path}/${act.kind}`, act.body);
      this.#remove(act);
      this.heard(act, outcomes);
    } catch (error) {
      if (error.refused) {
        this.#remove(act);
        this.refused(act, error.message);
        return;
      }
      this.failures += 1;
      this.#tell();
      const wait = RETRY_MS[Math.min(this.failures, RETRY_MS.length) - 1];
      await new Promise((wake) => {
        setTimeout(wake, wait);
      });
    }
  }

  #keep(act) {
    localStorage.setItem(this.prefix + act.body.action, JSON.stringify(act));
  }

  #remove(act) {
    localStorage.removeItem(this.prefix + act.body.action);
    this.acts.splice(this.acts.indexOf(act), 1);
    this.failures = 0;
    this.#tell();
  }

  #tell() {
    this.changed(this.acts.length, this.failures > 0);
  }
}
