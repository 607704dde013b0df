// What a person must know stays until they dismiss it; a later key wipes nothing away.

import { t } from "./text.js";

export class Messages {
  // `place`: an element that is announced when something is added to it.
  constructor(place) {
    this.place = place;
  }

  // `named`: of messages of one name only the newest stays. `foreign`: the server's words, in English.
  say(text, { title = "", named = null, foreign = false } = {}) {
    this.settle(named);
    const line = document.createElement("div");
    line.className = "message";
    if (named) line.dataset.named = named;
    const words = document.createElement("p");
    if (title) {
      const about = document.createElement("strong");
      about.textContent = title;
      words.append(about, " ");
    }
    const said = document.createElement("span");
    if (foreign) said.lang = "en";
    said.textContent = text;
    words.append(said);
    const close = document.createElement("button");
    close.className = "plain";
    close.textContent = "×";
    close.setAttribute("aria-label", t("Dismiss"));
    close.addEventListener("click", () => this.#remove(line));
    line.append(words, close);
    this.place.prepend(line);
    this.place.hidden = false;
  }

  // A request failed. What the server refused is in its own words; all else is that it was not reached.
  complain(error) {
    if (error.refused) this.say(error.message, { named: "away", foreign: true });
    else this.say(t("The server cannot be reached. It is tried again."), { named: "away" });
  }

  // What was said under this name does not hold any more.
  settle(named) {
    for (const line of [...this.place.children]) {
      if (named && line.dataset.named === named) this.#remove(line);
    }
  }

  #remove(line) {
    line.remove();
    this.place.hidden = this.place.children.length === 0;
  }
}
