// What somebody wants to see next: an order and a suggested category, chosen in the bar. Both stand in
// the address, so that they survive a reload and go along to the other page.

import { ask } from "./server.js";
import { number, tn } from "./text.js";

const COUNT_MS = 10000;

const $ = (id) => document.getElementById(id);

export class Wanted {
  // `other`: the link to the other page. `changed()`: somebody chose.
  constructor({ retailer, other, changed }) {
    this.path = `/api/${retailer}/counts`;
    this.other = other;
    this.counted = 0;
    for (const id of ["order", "suggestion"]) {
      $(id).addEventListener("change", () => {
        this.#remember();
        changed();
      });
    }
  }

  get audit() {
    return $("order").value === "audit";
  }

  // As the server is asked. Of the audit sample, which comes first must have nothing to do with tags.
  get asked() {
    const asked = new URLSearchParams();
    if (this.audit) asked.set("audit", "true");
    else asked.set("order", $("order").value);
    if ($("suggestion").value && !this.audit) asked.set("suggestion", $("suggestion").value);
    return asked;
  }

  // How many wait; `now` also if that was told a moment ago.
  async count({ now = false } = {}) {
    if (!now && Date.now() - this.counted < COUNT_MS) return;
    this.counted = Date.now();
    try {
      const found = await ask(this.path);
      $("waiting").textContent = [
        tn("%(count)s waits", "%(count)s wait", found.waiting),
        tn("%(count)s to audit", "%(count)s to audit", found.audit),
      ].join(" · ");
      const ranked = $("order").querySelector('[value="priority"]');
      ranked.hidden = ranked.disabled = !found.priority;
      this.#fill(found.by_suggestion);
    } catch {
      $("waiting").textContent = ""; // Old figures would be wrong ones.
    }
  }

  // What the address says.
  async recall() {
    const chosen = new URLSearchParams(location.search);
    const suggestion = chosen.get("suggestion");
    if (suggestion) {
      $("suggestion").add(new Option(suggestion, suggestion));
      $("suggestion").value = suggestion;
    }
    const wanted = chosen.get("order");
    if (wanted === "priority") await this.count(); // only where the retailer has priorities
    if ([...$("order").options].some(({ value, disabled }) => value === wanted && !disabled)) $("order").value = wanted;
    this.#remember();
  }

  #remember() {
    $("suggestion").disabled = this.audit;
    const chosen = new URLSearchParams();
    if ($("suggestion").value) chosen.set("suggestion", $("suggestion").value);
    if ($("order").value !== "cheapest") chosen.set("order", $("order").value);
    const query = chosen.size ? `?${chosen}` : "";
    history.replaceState(null, "", `${location.pathname}${query}`);
    this.other.search = query;
    const back = document.querySelector('form[action="/language"] [name="back"]');
    if (back) back.value = `${location.pathname}${query}`;
  }

  #fill(bySuggestion) {
    const select = $("suggestion");
    if (select === document.activeElement) return; // it may be open
    const chosen = select.value;
    const named = Object.entries(bySuggestion).filter(([category]) => category);
    if (chosen && bySuggestion[chosen] === undefined) named.push([chosen, 0]);
    select.replaceChildren(
      select.options[0],
      ...named.map(([category, waiting]) => new Option(`${category} (${number(waiting)})`, category)),
    );
    select.value = chosen;
  }
}
