// What this person said last: the newest acts, each to be taken back, also after a reload and on the
// other page. The server knows them; what it has not heard of yet is known here.

import { ask, photo } from "./server.js";
import { t, tn, when } from "./text.js";

const UNDOABLE = 50;

export class SaidLast {
  // `dialog` has a list in it. `undo(act)`: one was chosen to be taken back. `changed()`: there are more
  // or fewer.
  constructor({ retailer, outbox, dialog, undo, changed }) {
    this.outbox = outbox;
    this.path = `/api/${retailer}/acts`;
    this.dialog = dialog;
    this.undo = undo;
    this.changed = changed;
    this.acts = []; // { action, products, ... }, the newest last
  }

  get empty() {
    return this.acts.length === 0;
  }

  // `act`: { action, products } and whatever the page needs to show it again.
  add(act) {
    this.acts.push(act);
    if (this.acts.length > UNDOABLE) this.acts.shift();
    this.changed();
  }

  // Takes the newest out, or the named one; undefined if there is none.
  take(action = this.acts.at(-1)?.action) {
    const index = this.acts.findIndex((one) => one.action === action);
    if (index < 0) return undefined;
    const [act] = this.acts.splice(index, 1);
    this.changed();
    return act;
  }

  // Asks the server what was said before this page was opened.
  async recall() {
    const acts = await this.#standing();
    const here = new Set(this.acts.map(({ action }) => action));
    const before = [
      ...acts.reverse().map(({ action, products }) => ({ action, products })),
      ...this.outbox.unsaid,
    ].filter(({ action }) => !here.has(action));
    const once = new Map(before.map((act) => [act.action, act]));
    this.acts.unshift(...once.values());
    this.acts.splice(0, Math.max(0, this.acts.length - UNDOABLE));
    this.changed();
  }

  async open() {
    const acts = await this.#standing();
    const list = this.dialog.querySelector("ul");
    list.replaceChildren(...acts.map((act) => this.#line(act)));
    this.dialog.querySelector(".none").hidden = list.children.length > 0;
    if (!this.dialog.open) this.dialog.showModal();
  }

  // As the server has them, but for those that are on their way to be taken back.
  async #standing() {
    const { acts } = await ask(this.path);
    return acts.filter(({ action }) => !this.outbox.undone.has(action));
  }

  #line(act) {
    const line = document.createElement("li");
    const photos = document.createElement("span");
    photos.className = "photos";
    for (const { image } of act.said) {
      const small = document.createElement("img");
      small.src = photo(image, "thumb");
      small.alt = "";
      small.loading = "lazy";
      photos.append(small);
    }
    const words = document.createElement("span");
    const what = document.createElement("strong");
    const answers = [...new Set(act.said.map(answer))];
    what.textContent = answers.length > 2 ? `${answers.slice(0, 2).join(", ")}, …` : answers.join(", ");
    const about = document.createElement("small");
    const [first] = act.said;
    const products =
      act.products.length > 1
        ? tn("%(count)s product", "%(count)s products", act.products.length)
        : (first.title ?? first.sku);
    about.textContent = `${products} · ${when(act.at)}`;
    words.append(what, about);
    const button = document.createElement("button");
    button.className = "quiet";
    button.textContent = t("Undo");
    button.setAttribute("aria-label", t("Undo: %(what)s", { what: `${what.textContent}, ${products}` }));
    button.addEventListener("click", () => {
      this.dialog.close();
      this.undo(this.take(act.action) ?? { action: act.action, products: act.products });
    });
    line.append(photos, words, button);
    return line;
  }
}

function answer({ verdict, category }) {
  return category ?? { unsure: t("unsure"), not_a_product: t("not a product") }[verdict] ?? verdict;
}
