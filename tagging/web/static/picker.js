// Another category: search as you type over names and parents, by keys; what is likely first, then what
// was chosen last.

import { t } from "./text.js";

const SHOWN = 50;
const RECENT = 8;

// Without accents and case: "Écharpes" is found by "echarpes".
const bare = (text) =>
  text
    .normalize("NFD")
    .replace(/\p{M}/gu, "")
    .toLowerCase();

export class Picker {
  // `memory`: where in localStorage the last choices are kept. `categories()`: a promise of all.
  // `chosen(name)`: one was picked.
  constructor({ dialog, memory, categories, chosen }) {
    this.dialog = dialog;
    this.memory = memory;
    this.categories = categories;
    this.chosen = chosen;
    this.query = dialog.querySelector("#query");
    this.list = dialog.querySelector("#found");
    this.all = [];
    this.likely = [];
    this.at = 0;
    this.query.addEventListener("input", () => this.#offer());
    this.query.addEventListener("keydown", (event) => this.#key(event));
    this.list.addEventListener("click", (event) => {
      const item = event.target.closest("[data-name]");
      if (item) this.#choose(item.dataset.name);
    });
  }

  // `likely`: names that stand first.
  async open(likely = []) {
    if (this.dialog.open) return;
    this.likely = likely;
    this.query.value = "";
    this.#offer();
    this.dialog.showModal();
    this.query.focus();
    await this.prepare();
    this.#offer();
  }

  // Fetches the categories, if they are not here yet.
  async prepare() {
    if (this.all.length) return;
    const found = await this.categories();
    const parents = new Set(found.map(({ parent }) => parent));
    this.all = found.map(({ name, parent }) => ({
      name,
      about: parents.has(name) ? t("the whole group") : parent ? t("in %(parent)s", { parent }) : "",
      plain: bare(name),
      whole: bare(`${name} ${parent ?? ""}`),
    }));
  }

  get recent() {
    return JSON.parse(localStorage.getItem(this.memory) ?? "[]");
  }

  #offer() {
    const words = bare(this.query.value).split(/\s+/).filter(Boolean);
    const first = [...new Set([...this.likely, ...this.recent])];
    const recent = new Map(first.map((name, index) => [name, index]));
    // Begins with it, has it in its name, has it in its parent's name; of these the likely and the last
    // used first.
    const rank = ({ name, plain }) => {
      const place = words.length === 0 ? 0 : plain.startsWith(words[0]) ? 0 : words.every((word) => plain.includes(word)) ? 1 : 2;
      return place * (first.length + 1) + (recent.get(name) ?? first.length);
    };
    const found = this.all
      .filter(({ whole }) => words.every((word) => whole.includes(word)))
      .sort((one, other) => rank(one) - rank(other))
      .slice(0, SHOWN);
    this.list.replaceChildren(...found.map((one, index) => option(one, index)));
    document.getElementById("none-found").hidden = found.length > 0 || this.all.length === 0;
    this.#move(0);
  }

  #move(to) {
    const items = this.list.querySelectorAll("button");
    items[this.at]?.setAttribute("aria-selected", "false");
    this.at = items.length ? (to + items.length) % items.length : 0;
    items[this.at]?.setAttribute("aria-selected", "true");
    items[this.at]?.scrollIntoView({ block: "nearest" });
    if (items.length) this.query.setAttribute("aria-activedescendant", items[this.at].id);
    else this.query.removeAttribute("aria-activedescendant");
  }

  #key(event) {
    if (event.isComposing) return;
    if (event.key === "ArrowDown") this.#move(this.at + 1);
    else if (event.key === "ArrowUp") this.#move(this.at - 1);
    else if (event.key === "Enter") {
      const item = this.list.querySelectorAll("button")[this.at];
      if (item && !event.repeat) this.#choose(item.dataset.name);
    } else return;
    event.preventDefault();
  }

  #choose(name) {
    const last = [name, ...this.recent.filter((one) => one !== name)].slice(0, RECENT);
    localStorage.setItem(this.memory, JSON.stringify(last));
    this.dialog.close();
    this.query.blur(); // else it would swallow the next key, until the next frame
    this.chosen(name);
  }
}

function option({ name, about }, index) {
  const item = document.createElement("li");
  item.setAttribute("role", "presentation");
  const button = document.createElement("button");
  button.id = `found-${index}`;
  button.dataset.name = name;
  button.tabIndex = -1; // the arrow keys of the field lead here
  button.setAttribute("role", "option");
  button.setAttribute("aria-selected", "false");
  button.append(name);
  if (about) {
    const small = document.createElement("small");
    small.textContent = about;
    button.append(" ", small);
  }
  item.append(button);
  return item;
}
