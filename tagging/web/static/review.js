// One product at a time, by keys. The next photos are loaded and decoded already.

import { attributeItems, choiceItems, choices, neighbourItems, reason, thumbItems } from "./card.js";
import { Messages } from "./messages.js";
import { Outbox } from "./outbox.js";
import { Photos } from "./photos.js";
import { Picker } from "./picker.js";
import { ask, leaving, post } from "./server.js";
import { number, percent, t, tn } from "./text.js";
import { Zoom } from "./zoom.js";

const root = document.querySelector("#review");
const retailer = encodeURIComponent(root.dataset.retailer);
const AHEAD = 6;
const AGAIN_MS = 2000;
const UNDOABLE = 50;
const MOST_KNOWN = 90;
const KEEP_MS = 60000;
const COUNT_MS = 10000;
const PATIENCE_MS = 700; // what is unsent for less is no news
const LETTERS = "atelier-letters";

const $ = (id) => document.getElementById(id);
const deck = []; // cards to come, the first is shown
const done = []; // { card, action }, the newest last
const neighbours = new Map(); // product -> a promise of accepted products like it
const photos = new Photos();
const messages = new Messages($("error"));
const zoom = new Zoom($("zoom"), photos);
let shown = null; // the card that is on the screen
let at = 0; // which of its photos
let fetching = null;
let away = false; // the server could not be asked what waits
let asleep = false; // what is in the deck may be another's by now
let reservedMs = 120000;
let counted = 0;
let slow = null;

const outbox = new Outbox({
  reviewer: root.dataset.reviewer,
  retailer: root.dataset.retailer,
  heard(act, outcomes) {
    const wrong = outcomes.find(({ error }) => error);
    if (wrong) refuse(act, wrong.error);
    // The server is there: what could not be asked for, or comes again, can be now.
    refill();
    // What comes back by an undo is before this person again.
    if (act.kind === "undo") hold();
    count();
  },
  refused: refuse,
  changed: tellUnsent,
});

const picker = new Picker({
  dialog: $("picker"),
  memory: `atelier-recent/${root.dataset.reviewer}/${root.dataset.retailer}`,
  categories: () => ask(`/api/${retailer}/categories`).then((found) => found.categories),
  chosen: choose,
});

// --- what is to come -----------------------------------------------------------------------------

function wish() {
  const asked = new URLSearchParams({ count: AHEAD });
  if ($("order").value === "audit") asked.set("audit", "true");
  else asked.set("order", $("order").value);
  if ($("suggestion").value) asked.set("suggestion", $("suggestion").value);
  // What was just said may not have reached the server, and what this person was unsure of waits on.
  const seen = [...done.map(({ card }) => card), ...deck].map(({ product }) => product);
  const known = new Set([...seen, ...outbox.products]);
  for (const product of [...known].slice(-MOST_KNOWN)) asked.append("have", product);
  return asked;
}

async function refill() {
  if (fetching || deck.length >= AHEAD) return;
  const asked = wish();
  fetching = asked;
  try {
    const { cards, reserved_s } = await ask(`/api/${retailer}/cards?${asked}`);
    reservedMs = reserved_s * 1000;
    if (fetching !== asked) return; // another order was chosen meanwhile
    for (const card of cards) {
      // Something may have been said or undone while this answer was on its way.
      const here = [...deck, ...done.map((one) => one.card)];
      if (!here.some(({ product }) => product === card.product)) deck.push(held(card));
    }
    away = false;
    messages.settle("away");
  } catch (error) {
    away = true;
    if (fetching === asked) complain(error);
    if (!error.refused) setTimeout(refill, AGAIN_MS);
  } finally {
    if (fetching === asked) fetching = null;
    show();
  }
}

function held(card) {
  photos.prepare(card.images[0]);
  card.heldAt = Date.now();
  return card;
}

async function restart() {
  const left = deck.splice(0).map(({ product }) => product);
  const asked = wish();
  fetching = asked;
  remember();
  show();
  // First, for what comes next may be among it.
  if (left.length) await post("/api/leave", { products: left }).catch(() => undefined);
  if (fetching !== asked) return; // yet another was chosen meanwhile
  fetching = null;
  refill();
}

// What is before this person stays theirs; what ran out while nobody looked, and is another's now,
// is not shown.
async function hold() {
  const mine = deck.map(({ product }) => product);
  if (!mine.length) return;
  asleep = deck.some(({ heldAt }) => Date.now() - heldAt > reservedMs);
  if (asleep) show();
  try {
    const kept = new Set((await post("/api/keep", { products: mine })).products);
    for (const product of mine) {
      const index = deck.findIndex((card) => card.product === product);
      if (index < 0) continue;
      if (kept.has(product)) deck[index].heldAt = Date.now();
      else lose(index);
    }
  } catch (error) {
    // A verdict counts without a reservation, unless somebody else gave one.
    complain(error);
  }
  asleep = false;
  show();
  refill();
}

function lose(index) {
  const [card] = deck.splice(index, 1);
  if (card === shown) messages.say(t("Somebody else has it before them now."), { title: name(card) });
}

// --- what is shown -------------------------------------------------------------------------------

const name = (card) => card.title ?? card.sku;

function show() {
  const card = asleep ? null : (deck[0] ?? null);
  $("product").hidden = !card;
  $("empty").hidden = Boolean(card) || Boolean(fetching) || asleep || away;
  $("undo").disabled = done.length === 0;
  $("undo-last").disabled = done.length === 0;
  if (card === shown) return;
  shown = card;
  if (card) draw(card);
  if (deck[1]) for (const sha256 of deck[1].images.slice(0, 4)) photos.prepare(sha256);
}

function draw(card) {
  const within = $("product").contains(document.activeElement);
  look(0);
  $("title").textContent = name(card);
  $("sku").textContent = card.title ? card.sku : "";
  $("reason").textContent = reason(card);
  $("reason").classList.toggle("fresh", Boolean(card.fresh));
  $("thumbs").replaceChildren(...thumbItems(card, look));
  $("thumbs").hidden = card.images.length < 2;
  $("choices").replaceChildren(...choiceItems(card, choose));
  $("confirm").disabled = !card.suggestion;
  $("attributes").replaceChildren(...attributeItems(card));
  $("neighbours").hidden = true;
  mark();
  window.scrollTo(0, 0);
  // The button that was pressed may be gone; the keyboard goes on from here.
  if (within && document.activeElement === document.body) $("title").focus({ preventScroll: true });
  const best = card.suggestion ? `${card.suggestion} ${card.confidence === null ? "" : percent(card.confidence)}` : "";
  $("spoken").textContent = [name(card), reason(card), best].filter(Boolean).join(" ");
  compare(card);
}

function look(index) {
  const card = shown;
  at = (index + card.images.length) % card.images.length;
  const image = photos.get(card.images[at]);
  $("photo")?.removeAttribute("id");
  image.id = "photo";
  image.alt = name(card);
  $("frame").replaceChildren(image);
  mark();
  if (zoom.open) zoom.show(card.images[at], name(card));
}

function mark() {
  [...$("thumbs").children].forEach(({ firstChild }, index) => {
    firstChild.setAttribute("aria-pressed", String(index === at));
  });
}

function closer() {
  if (shown) zoom.show(shown.images[at], name(shown));
}

// Accepted products of the suggested category: after the photo, never in its way.
async function compare(card) {
  if (!card.suggestion) return;
  await $("photo").decode().catch(() => undefined);
  if (shown !== card) return;
  for (const sha256 of card.images.slice(1)) photos.prepare(sha256);
  picker.prepare().catch(() => undefined); // it is asked for again when it is opened
  const found = await like(card);
  if (shown !== card) return;
  $("neighbours").hidden = found.length === 0;
  $("neighbours-title").textContent = t("Accepted as “%(category)s”", { category: card.suggestion });
  $("neighbours").querySelector("ul").replaceChildren(
    ...neighbourItems(found, (one) => zoom.show(one.image, one.title ?? one.sku)),
  );
  if (deck[1]?.suggestion) like(deck[1]);
}

function like(card) {
  if (!neighbours.has(card.product)) {
    const asked = ask(`/api/${retailer}/neighbours?product=${card.product}`)
      .then((found) => found.neighbours)
      .catch(() => {
        neighbours.delete(card.product);
        return [];
      });
    neighbours.set(card.product, asked);
  }
  return neighbours.get(card.product);
}

// --- what is said --------------------------------------------------------------------------------

function decide(verdict, category = null) {
  if (!shown || (verdict === "confirmed" && !shown.suggestion)) return;
  const card = deck.shift();
  const { product, sku, image_set, prediction, purpose } = card;
  const answer = { sku, image_set, prediction, verdict, category, ...(purpose ? { purpose } : {}) };
  const action = outbox.say([product], [answer]);
  done.push({ card, action });
  if (done.length > UNDOABLE) done.shift();
  neighbours.delete(product);
  show();
  refill();
}

function choose(category) {
  if (category === shown?.suggestion) decide("confirmed");
  else decide("corrected", category);
}

function undo() {
  const last = done.pop();
  if (!last) return;
  const there = deck.findIndex(({ product }) => product === last.card.product);
  if (there >= 0) deck.splice(there, 1);
  deck.unshift(held(last.card));
  outbox.undo([last.card.product], last.action);
  show();
}

// What was said does not stand. It is told why, and the product is asked again as it is now.
function refuse(act, why) {
  const [product] = act.products;
  const index = done.findIndex(({ action }) => action === act.body.action);
  const [said] = index >= 0 ? done.splice(index, 1) : [];
  const card = said?.card ?? deck.find((one) => one.product === product);
  messages.say(why, { title: card ? name(card) : (act.body.answers?.[0]?.sku ?? ""), foreign: true });
  show();
  if (product !== undefined) again(product, card);
}

async function again(product, before) {
  try {
    const { card } = await ask(`/api/${retailer}/cards/${product}`);
    const index = deck.findIndex((one) => one.product === product);
    if (index >= 0) deck.splice(index, 1);
    if (card) {
      card.fresh = Boolean(before) && card.image_set !== before.image_set;
      // Next, not now: a key that is already on its way is about what is on the screen.
      const place = index >= 0 ? index : Math.min(1, deck.length);
      deck.splice(place, 0, held(card));
    }
  } catch (error) {
    complain(error);
  }
  show();
  refill();
}

// --- what is told --------------------------------------------------------------------------------

function complain(error) {
  // What the server refused is in its own words; all else is that it was not reached.
  if (error.refused) messages.say(error.message, { named: "away", foreign: true });
  else messages.say(t("The server cannot be reached. It is tried again."), { named: "away" });
}

function tellUnsent(unsent, failing) {
  clearTimeout(slow);
  const line = failing
    ? t("%(count)s not saved yet; trying again", { count: unsent })
    : t("%(count)s not saved yet", { count: unsent });
  const tell = () => {
    $("unsent").textContent = unsent ? line : "";
  };
  if (unsent && !failing && !$("unsent").textContent) slow = setTimeout(tell, PATIENCE_MS);
  else tell();
}

async function count() {
  if (Date.now() - counted < COUNT_MS) return;
  counted = Date.now();
  try {
    const found = await ask(`/api/${retailer}/counts`);
    $("waiting").textContent = [
      tn("%(count)s waits", "%(count)s wait", found.waiting),
      tn("%(count)s to audit", "%(count)s to audit", found.audit),
    ].join(" · ");
    const ranked = $("order").querySelector('[value="priority"]');
    ranked.hidden = ranked.disabled = found.priority !== true;
    fill(found.by_suggestion);
  } catch {
    $("waiting").textContent = ""; // Old figures would be wrong ones.
  }
}

function fill(bySuggestion) {
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

// Order and category stand in the address, so that they survive a reload and go along to the grid.
function remember() {
  const chosen = new URLSearchParams();
  if ($("suggestion").value) chosen.set("suggestion", $("suggestion").value);
  if ($("order").value !== "cheapest") chosen.set("order", $("order").value);
  const query = chosen.size ? `?${chosen}` : "";
  history.replaceState(null, "", `${location.pathname}${query}`);
  $("to-grid").search = query;
  const back = document.querySelector('form[action="/language"] [name="back"]');
  if (back) back.value = `${location.pathname}${query}`;
}

async function recall() {
  const chosen = new URLSearchParams(location.search);
  const suggestion = chosen.get("suggestion");
  if (suggestion) {
    $("suggestion").add(new Option(suggestion, suggestion));
    $("suggestion").value = suggestion;
  }
  const wanted = chosen.get("order");
  if (wanted === "priority") await count(); // only where the retailer has priorities
  if ([...$("order").options].some(({ value, disabled }) => value === wanted && !disabled)) $("order").value = wanted;
  remember();
}

// --- keys ----------------------------------------------------------------------------------------

// By what is written on it; where digits need Shift, as on French keyboards, by its place.
function digit(event) {
  if (/^[1-9]$/.test(event.key)) return Number(event.key);
  const place = event.shiftKey ? null : /^Digit([1-9])$/.exec(event.code);
  return place ? Number(place[1]) : null;
}

function letter(event) {
  const key = event.key.toLowerCase();
  const chosen = digit(event);
  if (chosen && key !== "/") {
    const one = choices(shown)[chosen - 1];
    if (one) choose(one.category);
  } else if (key === "/") picker.open().catch(complain);
  else if (key === "u") decide("unsure");
  else if (key === "x") decide("not_a_product");
  else if (key === "+" || key === " ") closer();
  else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.isComposing || event.target.matches("select, input")) return;
  const ctrl = event.ctrlKey || event.metaKey;
  const letters = $("letters").checked;
  const on = event.target.matches("button, a");
  if ($("picker").open || $("help").open) return;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    if (ctrl || !shown || shown.images.length < 2) return;
    event.preventDefault();
    look(at + (event.key === "ArrowLeft" ? -1 : 1));
    return;
  }
  if (zoom.open) {
    if (!ctrl) zoom.key(event);
    return;
  }
  if (event.key.toLowerCase() === "z" && !event.shiftKey && (ctrl || letters)) {
    event.preventDefault();
    if (!event.repeat) undo();
    return;
  }
  if (ctrl) return;
  if (event.key === "?" && letters) $("help").showModal();
  else if (!shown || event.repeat) {
    // A key that is held down would answer what nobody has seen.
    if (event.key === "Enter" && !on) event.preventDefault();
  } else if (event.key === "Enter" && !on) {
    event.preventDefault();
    decide("confirmed");
  } else if (letters && !(on && event.key === " ") && letter(event)) event.preventDefault();
});

// A button that a pointer pressed must not take the next Enter; nor may a dialog that it opened give
// the focus back to it, hence before anybody else hears of the click.
document.addEventListener(
  "click",
  (event) => {
    if (event.detail > 0) event.target.closest?.("#product button")?.blur();
  },
  { capture: true },
);

$("confirm").addEventListener("click", () => decide("confirmed"));
$("search").addEventListener("click", () => picker.open().catch(complain));
$("unsure").addEventListener("click", () => decide("unsure"));
$("none").addEventListener("click", () => decide("not_a_product"));
$("undo").addEventListener("click", undo);
$("undo-last").addEventListener("click", undo);
$("show-help").addEventListener("click", () => $("help").showModal());
$("frame").addEventListener("click", closer);
$("title").tabIndex = -1;
for (const id of ["order", "suggestion"]) $(id).addEventListener("change", restart);

$("letters").checked = localStorage.getItem(LETTERS) !== "off";
$("letters").addEventListener("change", () => {
  localStorage.setItem(LETTERS, $("letters").checked ? "on" : "off");
});

setInterval(hold, KEEP_MS);
setInterval(() => {
  // Others' uploads bring new work, and a server that was away is back.
  if (!document.hidden && deck.length < AHEAD) refill();
  count();
}, COUNT_MS);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) hold();
});
window.addEventListener("beforeunload", (event) => {
  if (outbox.products.length && !leaving.now) event.preventDefault();
});

await recall();
outbox.send();
refill();
count();
