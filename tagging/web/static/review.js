// One product at a time, by keys. The next photos are loaded and decoded already.

import {
  attributeItems,
  choiceItems,
  choices,
  lately,
  latelyItems,
  neighbourItems,
  thumbItems,
  whyItWaits,
  whyNoSuggestion,
} from "./card.js";
import { LETTERS, digit, letters } from "./keys.js";
import { Messages } from "./messages.js";
import { Outbox } from "./outbox.js";
import { Photos } from "./photos.js";
import { Picker } from "./picker.js";
import { here, onReturn } from "./presence.js";
import { reason } from "./reasons.js";
import { SaidLast } from "./said.js";
import { ask, leaving, post } from "./server.js";
import { sure, t, tn } from "./text.js";
import { Wanted } from "./wanted.js";
import { Zoom } from "./zoom.js";

const root = document.querySelector("#review");
const retailer = encodeURIComponent(root.dataset.retailer);
const AHEAD = 6;
const AGAIN_MS = 2000;
const MOST_KNOWN = 290;
const KEEP_MS = 60000;
const POLL_MS = 10000;
const PATIENCE_MS = 700; // what is unsent for less is no news
const BLINK_MS = 250; // a key that comes sooner after another product came meant the one before

const $ = (id) => document.getElementById(id);
const deck = []; // cards to come, the first is shown
const neighbours = new Map(); // product -> a promise of accepted products like it
const returning = new Set(); // acts from before this page that are being taken back
const photos = new Photos();
const messages = new Messages($("error"));
const complain = (error) => messages.complain(error);
const zoom = new Zoom($("zoom"), photos);
let shown = null; // the card that is on the screen
let at = 0; // which of its photos
let fetching = null;
let away = false; // the server could not be asked what waits
let asleep = false; // what is in the deck may be another's by now
let reservedMs = 120000;
let slow = null;
let cameAt = -BLINK_MS; // when the server's answer last put another product on the screen

const outbox = new Outbox({
  reviewer: root.dataset.reviewer,
  retailer: root.dataset.retailer,
  heard(act, outcomes) {
    const wrong = outcomes.find(({ error }) => error);
    // The server is there: what could not be asked for, or comes again, can be now.
    refill();
    if (wrong) refuse(act, reason(wrong));
    // What comes back by an undo is before this person again.
    else if (act.kind === "undo") {
      if (returning.delete(act.body.of)) back(act.products);
      else hold();
    }
    wanted.count();
  },
  refused: (act, why) => refuse(act, { text: why, foreign: true }),
  changed: tellUnsent,
});

// Acts of this page have their card in them.
const last = new SaidLast({
  retailer,
  outbox,
  dialog: $("said"),
  undo: takeBack,
  changed() {
    $("undo").disabled = $("undo-last").disabled = last.empty;
  },
});

const wanted = new Wanted({ retailer, other: $("to-grid"), changed: restart });

const picker = new Picker({
  dialog: $("picker"),
  memory: `atelier-recent/${root.dataset.reviewer}/${root.dataset.retailer}`,
  categories: () => ask(`/api/${retailer}/categories`).then((found) => found.categories),
  chosen: choose,
});

// --- what is to come -----------------------------------------------------------------------------

function wish() {
  const asked = wanted.asked;
  asked.set("count", AHEAD);
  // What was just said may not have reached the server.
  const known = new Set([...outbox.products, ...deck.map(({ product }) => product)]);
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
      const known = [...outbox.products, ...deck.map(({ product }) => product)];
      if (!known.includes(card.product)) deck.push(held(card));
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
  // Of what is being taken back the server may not know yet.
  const mine = deck.map(({ product }) => product).filter((product) => !outbox.products.includes(product));
  if (!mine.length) return;
  asleep = deck.some(({ heldAt }) => Date.now() - heldAt > reservedMs);
  if (asleep) show();
  try {
    const kept = new Set((await post("/api/keep", { products: mine })).products);
    for (const product of mine) {
      const index = deck.findIndex((card) => card.product === product);
      // Of what was said or undone meanwhile this answer knows nothing.
      if (index < 0 || outbox.products.includes(product)) continue;
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
  if (card === shown) messages.say(t("Somebody else has it before them now, or decided on it."), { title: name(card) });
}

// --- what is shown -------------------------------------------------------------------------------

const name = (card) => card.title ?? card.sku;

function show() {
  const card = asleep ? null : (deck[0] ?? null);
  $("product").hidden = !card;
  $("empty").hidden = Boolean(card) || Boolean(fetching) || asleep || away;
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
  const why = [whyItWaits(card), whyNoSuggestion(card)].filter(Boolean).join(" ");
  $("reason").textContent = why;
  $("reason").classList.toggle("fresh", Boolean(card.fresh));
  $("thumbs").replaceChildren(...thumbItems(card, look));
  $("thumbs").hidden = card.images.length < 2;
  $("choices").replaceChildren(...choiceItems(card, choose));
  $("lately").replaceChildren(...latelyItems(card, picker.recent, choose));
  $("confirm").disabled = !card.suggestion;
  $("attributes").replaceChildren(...attributeItems(card));
  $("neighbours").hidden = true;
  mark();
  window.scrollTo(0, 0);
  // The button that was pressed may be gone; the keyboard goes on from here.
  if (within && document.activeElement === document.body) $("title").focus({ preventScroll: true });
  const best = card.suggestion ? `${card.suggestion} ${card.confidence === null ? "" : sure(card.confidence)}` : "";
  $("spoken").textContent = [name(card), why, best].filter(Boolean).join(" ");
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
  const shownAt = at;
  const retry = () => {
    if (shown === card && at === shownAt) look(at);
  };
  // Another <img> is made then; the server may be there again.
  image.addEventListener("error", () => setTimeout(retry, AGAIN_MS), { once: true });
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
  if (performance.now() - cameAt < BLINK_MS) return;
  if (!shown || (verdict === "confirmed" && !shown.suggestion)) return;
  if (verdict !== "unsure" && !visible()) return;
  const card = deck.shift();
  const { product, sku, image_set, prediction, purpose } = card;
  const answer = { sku, image_set, prediction, verdict, category, ...(purpose ? { purpose } : {}) };
  const action = outbox.say([product], [answer]);
  last.add({ card, action, products: [product] });
  neighbours.delete(product);
  show();
  refill();
}

function choose(category) {
  if (category === shown?.suggestion) decide("confirmed");
  else decide("corrected", category);
}

// Nobody decides what they could not see. What is still on its way comes in a moment.
function visible() {
  const photo = $("photo");
  if (photo.complete && !photo.naturalWidth) {
    messages.say(t("Its photo cannot be shown. Say that you are unsure, or look again later."), { title: name(shown), named: "photo" });
  }
  return photo.complete && photo.naturalWidth > 0;
}

function undo() {
  const act = last.take();
  if (act) takeBack(act);
}

function takeBack({ card, action, products }) {
  if (card) {
    const there = deck.findIndex(({ product }) => product === card.product);
    if (there >= 0) deck.splice(there, 1);
    deck.unshift(held(card));
  } else returning.add(action);
  outbox.undo(products, action);
  show();
}

// They are this person's again. One is asked for; of a grid, they are among what comes.
function back(products) {
  if (products.length === 1) again(products[0], null, 0);
  else messages.say(tn("%(count)s product waits again", "%(count)s products wait again", products.length), { named: "back" });
}

// What was said does not stand. It is told why, and the product is asked again as it is now.
function refuse(act, { text, foreign }) {
  const [product] = act.products;
  const said = last.take(act.body.action ?? "");
  const card = said?.card ?? deck.find((one) => one.product === product);
  messages.say(text, { title: card ? name(card) : (act.body.answers?.[0]?.sku ?? ""), foreign });
  show();
  if (product !== undefined) again(product, card);
  if (act.kind === "undo") last.recall().catch(complain); // what was not undone stands
}

// As it is now. `at`: where it comes; without, it stays where it is or comes next.
async function again(product, before, at) {
  try {
    const { card } = await ask(`/api/${retailer}/cards/${product}`);
    const index = deck.findIndex((one) => one.product === product);
    if (index >= 0) deck.splice(index, 1);
    // What was decided meanwhile, this answer knows nothing of.
    if (card && !outbox.products.includes(product)) {
      card.fresh = Boolean(before) && card.image_set !== before.image_set;
      // Next, not now: a key that is already on its way is about what is on the screen.
      const place = at ?? (index >= 0 ? index : 1);
      deck.splice(Math.min(place, deck.length), 0, held(card));
      if (shown && shown.product !== deck[0].product) cameAt = performance.now();
    }
  } catch (error) {
    complain(error);
  }
  show();
  refill();
}

// --- what is told --------------------------------------------------------------------------------

function lookBack() {
  last.open().catch(complain);
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

// --- keys ----------------------------------------------------------------------------------------

function letter(event) {
  const key = event.key.toLowerCase();
  const chosen = digit(event);
  if (chosen && key !== "/") {
    const offered = choices(shown).map(({ category }) => category);
    const category = [...offered, ...lately(shown, picker.recent)][chosen - 1];
    if (category) choose(category);
  } else if (key === "/") picker.open().catch(complain);
  else if (key === "h") lookBack();
  else if (key === "u") decide("unsure");
  else if (key === "x") decide("not_a_product");
  else if (key === "+" || key === " ") closer();
  else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.isComposing || event.target.matches("select, input")) return;
  const ctrl = event.ctrlKey || event.metaKey;
  const on = event.target.matches("button, a");
  if ($("picker").open || $("help").open || $("said").open) return;
  if (zoom.open && !ctrl && zoom.key(event)) return;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    if (ctrl || !shown || shown.images.length < 2) return;
    event.preventDefault();
    look(at + (event.key === "ArrowLeft" ? -1 : 1));
    return;
  }
  if (zoom.open) return;
  if (event.key.toLowerCase() === "z" && !event.shiftKey && (ctrl || letters())) {
    event.preventDefault();
    if (!event.repeat) undo();
    return;
  }
  if (ctrl) return;
  if (event.key === "?" && letters()) $("help").showModal();
  else if (!shown || event.repeat) {
    // A key that is held down would answer what nobody has seen.
    if (event.key === "Enter" && !on) event.preventDefault();
  } else if (event.key === "Enter" && !on) {
    event.preventDefault();
    decide("confirmed");
  } else if (letters() && !(on && event.key === " ") && letter(event)) event.preventDefault();
});

// A button that a pointer pressed must not take the next Enter; nor may a dialog that it opened give
// the focus back to it, hence before anybody else hears of the click.
document.addEventListener(
  "click",
  (event) => {
    if (event.detail > 0) event.target.closest?.("#product button, .bar button")?.blur();
  },
  { capture: true },
);

$("confirm").addEventListener("click", () => decide("confirmed"));
$("search").addEventListener("click", () => picker.open().catch(complain));
$("unsure").addEventListener("click", () => decide("unsure"));
$("none").addEventListener("click", () => decide("not_a_product"));
$("undo").addEventListener("click", undo);
$("undo-last").addEventListener("click", undo);
$("look-back").addEventListener("click", lookBack);
$("show-help").addEventListener("click", () => $("help").showModal());
$("frame").addEventListener("click", closer);
$("title").tabIndex = -1;

$("letters").checked = letters();
$("letters").addEventListener("change", () => {
  localStorage.setItem(LETTERS, $("letters").checked ? "on" : "off");
});

setInterval(() => here() && hold(), KEEP_MS);
setInterval(() => {
  if (!here()) return;
  // Others' uploads bring new work, and a server that was away is back.
  if (deck.length < AHEAD) refill();
  wanted.count();
}, POLL_MS);
onReturn(() => {
  hold();
  refill();
});
window.addEventListener("beforeunload", (event) => {
  if (outbox.products.length && !leaving.now) event.preventDefault();
});

await wanted.recall();
outbox.send();
refill();
wanted.count();
last.recall().catch(() => undefined); // what is said from now on is known anyway
