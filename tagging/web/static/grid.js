// Many products at once, of one suggestion and looking alike: all are taken for right, the wrong ones
// are marked, one key saves them all in one act, which is undone as one. Nobody confirms what they did
// not see: a photo that did not come is left out, and what is below the window is scrolled to first.

import { digit, letters } from "./keys.js";
import { Messages } from "./messages.js";
import { Outbox } from "./outbox.js";
import { Picker } from "./picker.js";
import { here, onReturn } from "./presence.js";
import { reason } from "./reasons.js";
import { SaidLast } from "./said.js";
import { ask, leaving, post } from "./server.js";
import { t, tn } from "./text.js";
import { dress, isComing, isMissing, tag, thumb, tileItem } from "./tile.js";
import { Wanted } from "./wanted.js";

const root = document.querySelector("#grid");
const retailer = encodeURIComponent(root.dataset.retailer);
const MOST = 96; // products that one request may hold or leave
const MOST_KNOWN = 290;
const KEEP_MS = 60000;
const POLL_MS = 10000;
const AGAIN_MS = 2000;

const $ = (id) => document.getElementById(id);
const messages = new Messages($("messages"));
const complain = (error) => messages.complain(error);
const aside = []; // products that this person left for one at a time
let cards = [];
let marks = new Map(); // product -> { verdict, category } or null where no category is known yet
const returning = new Set(); // acts from before this page that are being taken back
const later = []; // { cards, marks, seen } that an undo put aside, the last to come first
let next = null; // a promise of the cards to come
let reservedMs = 120000;
let at = 0; // the tile that the keys are at
let seen = 0; // how many tiles were in sight, from the first on
let sweep = null; // what a held pointer does: mark (true) or take the mark away (false)
let offered = []; // categories under the keys 1 to 9
let loading = null; // the promise of what is to be shown
let loads = 0;
let away = false; // the server could not be asked
let asleep = false; // what is on the screen may be another's by now

const outbox = new Outbox({
  reviewer: root.dataset.reviewer,
  retailer: root.dataset.retailer,
  heard(act, outcomes) {
    refused(act, outcomes);
    if (act.kind === "undo") {
      if (returning.delete(act.body.of)) back(act);
      else hold();
      if (outcomes.some(({ error }) => error)) last.recall().catch(complain); // it stands
    }
    wanted.count();
  },
  refused(act, why) {
    last.take(act.body.action);
    messages.say(why, { foreign: true });
    if (act.kind === "undo") last.recall().catch(complain); // what was not undone stands
  },
  changed(unsent, failing) {
    $("unsent").textContent = unsent && failing ? t("%(count)s not saved yet; trying again", { count: unsent }) : "";
  },
});

// Acts of this page have their cards and marks in them.
const last = new SaidLast({
  retailer,
  outbox,
  dialog: $("said"),
  undo: takeBack,
  changed() {
    $("undo").disabled = last.empty;
    showActions();
  },
});

const wanted = new Wanted({ retailer, other: $("to-review"), changed: restart });

const picker = new Picker({
  dialog: $("picker"),
  memory: `atelier-recent/${root.dataset.reviewer}/${root.dataset.retailer}`,
  categories: () => ask(`/api/${retailer}/categories`).then((found) => found.categories),
  chosen: (category) => assign({ verdict: "corrected", category }),
});

// --- what is to come -----------------------------------------------------------------------------

function wish(before) {
  const asked = wanted.asked;
  asked.set("count", $("size").value);
  const known = [...new Set([...aside, ...outbox.products, ...before])];
  for (const product of known.slice(-MOST_KNOWN)) asked.append("have", product);
  return asked;
}

async function fetchGrid(before) {
  const found = await ask(`/api/${retailer}/grid?${address(wish(before))}`);
  reservedMs = found.reserved_s * 1000;
  for (const card of found.cards) {
    card.heldAt = Date.now();
    new Image().src = thumb(card);
  }
  return found.cards;
}

// The count first, as the page's head asks before this script runs.
function address(asked) {
  const count = asked.get("count");
  asked.delete("count");
  return `count=${count}&${asked}`;
}

function fetchNext() {
  next = fetchGrid(keys(held())).catch(() => []); // it is asked for again when it is needed
}

async function load() {
  const mine = ++loads;
  const before = later.pop();
  if (before) {
    loading = null;
    put(before.cards, before);
    return;
  }
  const prepared = next;
  next = null;
  const asked = prepared ?? fetchGrid([]);
  loading = asked;
  put([]);
  try {
    let found = await asked;
    // There was nothing else to prepare, or the server was away: there may be by now.
    if (!found.length && prepared && loading === asked) found = await fetchGrid([]);
    if (loading !== asked) {
      leave(found); // something else was chosen meanwhile
      return;
    }
    away = false;
    messages.settle("away");
    loading = null;
    put(found);
  } catch (error) {
    if (loading !== asked) return;
    loading = null;
    away = true;
    show();
    complain(error);
    if (!error.refused) setTimeout(lookAgain, AGAIN_MS);
    return;
  }
  // These photos first: what comes next would take half of the line from them.
  await Promise.allSettled(images().map((one) => one.decode()));
  if (mine === loads && cards.length && !next) fetchNext();
}

// Others' uploads bring new work, and a server that was away is back.
function lookAgain() {
  if (!cards.length && !loading && !asleep) load();
}

async function restart() {
  loads += 1; // a grid that still waits for its photos fetches none after it
  const after = (await next) ?? []; // what is on its way may come to the screen meanwhile
  const left = [...new Set([...held(), ...after])];
  later.splice(0);
  next = null;
  // First, for what comes next may be among it.
  await leave(left);
  load();
}

async function leave(left) {
  const products = keys(left);
  for (let start = 0; start < products.length; start += MOST) {
    await post("/api/leave", { products: products.slice(start, start + MOST) }).catch(() => undefined);
  }
}

// What is before this person stays theirs; what ran out while nobody looked, and is another's now or
// decided, goes.
async function hold() {
  const mine = held();
  if (!mine.length) return;
  asleep = mine.some((card) => Date.now() - card.heldAt > reservedMs);
  if (asleep) show();
  const turn = loads;
  try {
    // What was said or undone meanwhile, this answer knows nothing of.
    const gone = new Set(await lost(mine).then((some) => (turn === loads ? some : [])));
    const left = (some) => some.filter((card) => !gone.has(card));
    for (const one of later) one.cards = left(one.cards);
    if (left(cards).length < cards.length) {
      messages.say(
        tn(
          "%(count)s product went to somebody else meanwhile",
          "%(count)s products went to somebody else meanwhile",
          cards.length - left(cards).length,
        ),
        { named: "gone" },
      );
      put(left(cards), { marks, seen: 0 });
    }
    const waiting = next;
    if (waiting) {
      const after = await waiting;
      const lapsed = new Set(await lost(after));
      if (next === waiting && lapsed.size) next = Promise.resolve(after.filter((card) => !lapsed.has(card)));
    }
  } catch (error) {
    // A verdict counts without a reservation, unless somebody else gave one.
    complain(error);
  }
  asleep = false;
  show();
  lookAgain();
}

// Those that are not this person's any more; the others are reserved anew.
async function lost(mine) {
  // Of what is being taken back the server may not know yet.
  const some = mine.filter(({ product }) => !outbox.products.includes(product));
  const kept = new Set();
  for (let start = 0; start < some.length; start += MOST) {
    const answer = await post("/api/keep", { products: keys(some.slice(start, start + MOST)) });
    for (const product of answer.products) kept.add(product);
  }
  for (const card of some) if (kept.has(card.product)) card.heldAt = Date.now();
  return some.filter(({ product }) => !kept.has(product));
}

// --- what is shown -------------------------------------------------------------------------------

// What is on the screen, and what an undo put aside.
const held = () => [...cards, ...later.flatMap((one) => one.cards)];
const keys = (some) => some.map(({ product }) => product);
const images = () => [...$("tiles").querySelectorAll("img")];

// Other products on the screen; `before`: as they were marked and how many were seen.
function put(some, before = { marks: new Map(), seen: 0 }) {
  cards = some;
  marks = before.marks;
  seen = before.seen;
  at = 0;
  const mixed = new Set(cards.map(tag)).size > 1;
  $("tiles").replaceChildren(
    ...cards.map((card, index) => {
      const item = tileItem(card, {
        index,
        mixed,
        came() {
          dress(item, marks.get(card.product));
          tell();
        },
      });
      dress(item, marks.get(card.product));
      return item;
    }),
  );
  window.scrollTo(0, 0);
  show();
}

function show() {
  const nothing = cards.length === 0;
  $("empty").hidden = !nothing || Boolean(loading) || away || asleep;
  $("tiles").hidden = nothing || asleep;
  $("how").hidden = nothing || asleep;
  const names = [...new Set(cards.map(tag))];
  if (nothing || asleep) $("question").textContent = loading || asleep ? t("Loading …") : t("Grid");
  else if (names.length === 1) $("question").textContent = t("Are these all “%(category)s”?", { category: names[0] });
  else $("question").textContent = t("Are these tags all right?");
  offer(names);
  showActions(); // before it is measured what it covers
  look();
}

// What of the grid was in sight by now, from the first tile on.
function look() {
  const tiles = $("tiles").children;
  const end = window.innerHeight - $("actions").offsetHeight;
  while (seen < cards.length && !asleep) {
    const { top, height } = tiles[seen].getBoundingClientRect();
    if (top + height / 2 > end) break;
    seen += 1;
  }
  tell();
}

// Scrolls on to what was not in sight yet; false if all was.
function more() {
  if (seen >= cards.length) return false;
  const before = seen;
  $("tiles").children[before].scrollIntoView({ block: "start" });
  look();
  if (seen === before) seen += 1; // however small the window
  tell();
  return true;
}

function tell() {
  const items = [...$("tiles").children];
  const coming = items.some(isComing);
  const wrong = cards.filter(({ product }) => marks.has(product)).length;
  const missing = items.filter((item, index) => isMissing(item) && !marks.has(cards[index]?.product)).length;
  const right = cards.length - wrong - missing;
  $("confirm").disabled = cards.length === 0 || asleep || (coming && seen >= cards.length);
  if (seen < cards.length) {
    $("confirm-text").textContent = t("%(seen)s of %(count)s seen: go on", { seen, count: cards.length });
  } else if (coming) {
    $("confirm-text").textContent = t("Loading …");
  } else if (wrong || missing) {
    $("confirm-text").textContent = t("Save: %(right)s right, %(wrong)s wrong", { right, wrong });
  } else {
    $("confirm-text").textContent = tn("The %(count)s is right", "All %(count)s are right", cards.length);
  }
  for (const id of ["search", "unsure", "none"]) $(id).disabled = wrong === 0;
  $("choices-line").hidden = wrong === 0;
  root.classList.toggle("marking", wrong > 0);
  showActions();
}

function showActions() {
  $("actions").hidden = (cards.length === 0 && last.empty) || asleep;
}

// The categories that the model itself finds likely next, under the keys 1 to 9.
function offer(names) {
  const votes = new Map();
  for (const card of cards) {
    for (const { category, confidence } of card.top_k) {
      if (!(names.length === 1 && category === names[0])) votes.set(category, (votes.get(category) ?? 0) + confidence);
    }
  }
  offered = [...votes].sort((one, other) => other[1] - one[1]).slice(0, 9).map(([category]) => category);
  $("choices-line").replaceChildren(
    ...offered.map((category, index) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.className = "quiet";
      const key = document.createElement("kbd");
      key.textContent = index + 1;
      button.append(key, ` ${category}`);
      button.addEventListener("click", () => assign({ verdict: "corrected", category }));
      item.append(button);
      return item;
    }),
  );
}

// --- marking -------------------------------------------------------------------------------------

function mark(index, wrong) {
  const card = cards[index];
  if (!card) return;
  if (wrong && !marks.has(card.product)) marks.set(card.product, null);
  else if (!wrong) marks.delete(card.product);
  dress($("tiles").children[index], marks.get(card.product));
  tell();
}

const marked = (index) => marks.has(cards[index]?.product);
const bare = () => cards.filter(({ product }) => marks.get(product) === null);

// What was marked and not named yet gets this; if all are named already, all get it.
function assign(said) {
  const unnamed = bare();
  const chosen = unnamed.length ? unnamed : cards.filter(({ product }) => marks.has(product));
  for (const card of chosen) {
    if (said.category && said.category === card.suggestion) marks.delete(card.product);
    else marks.set(card.product, said);
    dress($("tiles").children[cards.indexOf(card)], marks.get(card.product));
  }
  tell();
}

function focus(index) {
  const tiles = $("tiles").children;
  if (!tiles.length) return;
  tiles[at]?.setAttribute("tabindex", "-1");
  at = Math.max(0, Math.min(index, tiles.length - 1));
  tiles[at].setAttribute("tabindex", "0");
  tiles[at].focus();
}

function columns() {
  return getComputedStyle($("tiles")).gridTemplateColumns.split(" ").length;
}

const under = (event) => {
  const found = document.elementFromPoint(event.clientX, event.clientY)?.closest("#tiles li");
  return found ? Number(found.dataset.index) : null;
};

$("tiles").addEventListener("pointerdown", (event) => {
  const index = under(event);
  if (index === null || event.button !== 0) return;
  sweep = !marked(index);
  if (event.pointerType === "mouse") mark(index, sweep);
  focus(index);
  event.preventDefault();
});
$("tiles").addEventListener("pointermove", (event) => {
  if (sweep === null) return;
  const index = under(event);
  if (index !== null && marked(index) !== sweep) mark(index, sweep);
});
$("tiles").addEventListener("click", (event) => {
  // A finger marks when it is lifted: until then it may be scrolling.
  const index = under(event);
  if (index !== null && event.pointerType !== "mouse" && sweep !== null && marked(index) !== sweep) mark(index, sweep);
  sweep = null;
});
for (const end of ["pointerup", "pointercancel"]) {
  document.addEventListener(end, (event) => {
    if (end === "pointercancel" || event.pointerType === "mouse") sweep = null;
  });
}

// --- what is said --------------------------------------------------------------------------------

function save(leaveBare = false) {
  if (!cards.length || asleep || more() || $("confirm").disabled) return;
  const unnamed = bare();
  if (unnamed.length && !leaveBare) {
    pick();
    return;
  }
  const missing = cards.filter((card, index) => isMissing($("tiles").children[index]) && !marks.has(card.product));
  const left = [...unnamed, ...missing];
  const said = cards.filter((card) => !left.includes(card));
  const answers = said.map(({ product, sku, image_set, prediction }) => ({
    sku,
    image_set,
    prediction,
    ...(marks.get(product) ?? { verdict: "confirmed", category: null }),
  }));
  if (left.length) {
    aside.push(...keys(left));
    aside.splice(0, Math.max(0, aside.length - MOST));
    leave(left);
  }
  if (answers.length) {
    const products = keys(said);
    const action = outbox.say(products, answers);
    last.add({ cards, marks, products, action });
  }
  load();
}

function undo() {
  const act = last.take();
  if (act) takeBack(act);
}

function takeBack(act) {
  outbox.undo(act.products, act.action);
  // What is not known here comes as the server has it, once that has heard of this.
  if (act.cards) comeBack(act.cards, act.marks);
  else returning.add(act.action);
}

// To the screen; what is on it comes after it, as it is marked.
function comeBack(some, before = new Map()) {
  if (cards.length) later.push({ cards, marks, seen });
  loading = null;
  loads += 1;
  for (const card of some) card.heldAt = Date.now();
  put(some, { marks: before, seen: some.length });
}

// What was taken back is this person's again, and comes to the screen.
async function back({ products }) {
  const asked = products.map((product) => ask(`/api/${retailer}/cards/${product}`));
  try {
    const found = (await Promise.all(asked)).map(({ card }) => card).filter(Boolean);
    if (found.length) comeBack(found);
  } catch (error) {
    complain(error);
  }
}

// What of an act does not stand, in one message: for each reason, of which products.
function refused(act, outcomes) {
  const wrong = outcomes
    .map((outcome, index) => ({ outcome, sku: act.body.answers?.[index]?.sku }))
    .filter(({ outcome }) => outcome.error);
  if (!wrong.length) return;
  const skus = new Map();
  let foreign = false;
  for (const { outcome, sku } of wrong) {
    const why = reason(outcome);
    foreign ||= why.foreign;
    skus.set(why.text, [...(skus.get(why.text) ?? []), ...(sku ? [sku] : [])]);
  }
  const lines = [...skus].map(([text, about]) => {
    const named = about.length > 3 ? `${about.slice(0, 3).join(", ")}, …` : about.join(", ");
    return named ? `${named} · ${text}` : text;
  });
  const title = tn("%(count)s answer does not stand", "%(count)s answers do not stand", wrong.length);
  messages.say(lines.slice(0, 3).join(" ") + (lines.length > 3 ? " …" : ""), { title, foreign });
}

// --- what is told --------------------------------------------------------------------------------

function lookBack() {
  last.open().catch(complain);
}

// --- a category for the marked -------------------------------------------------------------------

function pick() {
  if (!marks.size) return;
  const count = bare().length || marks.size;
  $("picker-title").textContent = tn("A category for the %(count)s marked product", "A category for the %(count)s marked products", count);
  // A wrong tag of the audit sample that got no verdict would make the error look smaller than it is.
  $("later").hidden = wanted.audit;
  picker.open(offered).catch(complain);
}

$("later").addEventListener("click", () => {
  $("picker").close();
  save(true);
});

// --- keys ----------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.altKey || event.target.matches("select, input")) return;
  const ctrl = event.ctrlKey || event.metaKey;
  if (event.key.toLowerCase() === "z" && !event.shiftKey && (ctrl || letters())) {
    event.preventDefault();
    if (!event.repeat) undo();
    return;
  }
  if (ctrl) return;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() }[event.key];
  if (event.key === "?" && letters()) $("keys").showModal();
  else if (event.key.toLowerCase() === "h" && letters()) lookBack();
  else if (!cards.length || asleep) return;
  else if (step) {
    event.preventDefault();
    if (event.shiftKey) {
      mark(at, true);
      mark(at + step, true);
    }
    focus(at + step);
  } else if (event.key === " " && !event.target.matches("button, a")) {
    event.preventDefault();
    mark(at, !marked(at));
  } else if (event.key === "Enter" && !event.target.matches("button, a")) {
    event.preventDefault();
    if (!event.repeat) save(); // a key that is held down would answer what nobody has seen
  } else if (!letters()) return;
  else if (digit(event)) {
    const category = offered[digit(event) - 1];
    if (category) assign({ verdict: "corrected", category });
  } else if (event.key.toLowerCase() === "a") {
    const wrong = marks.size === 0;
    cards.forEach((_, index) => mark(index, wrong));
  } else if (event.key === "/") {
    event.preventDefault();
    pick();
  } else if (event.key.toLowerCase() === "u") assign({ verdict: "unsure", category: null });
  else if (event.key.toLowerCase() === "x") assign({ verdict: "not_a_product", category: null });
});

// A button that a pointer pressed must not take the next Enter; nor may a dialog that it opened give the
// focus back to it, hence before anybody else hears of the click.
document.addEventListener(
  "click",
  (event) => {
    if (event.detail > 0) event.target.closest?.("#grid button, .bar button")?.blur();
  },
  { capture: true },
);

$("confirm").addEventListener("click", () => save());
$("search").addEventListener("click", pick);
$("unsure").addEventListener("click", () => assign({ verdict: "unsure", category: null }));
$("none").addEventListener("click", () => assign({ verdict: "not_a_product", category: null }));
$("undo").addEventListener("click", undo);
$("look-back").addEventListener("click", lookBack);
$("help").addEventListener("click", () => $("keys").showModal());
$("size").addEventListener("change", restart);

addEventListener("scroll", look, { passive: true });
addEventListener("resize", look);
setInterval(() => here() && hold(), KEEP_MS);
setInterval(() => {
  if (!here()) return;
  lookAgain();
  wanted.count();
}, POLL_MS);
onReturn(() => {
  hold();
  lookAgain();
});
window.addEventListener("beforeunload", (event) => {
  if (outbox.products.length && !leaving.now) event.preventDefault();
});

await wanted.recall();
outbox.send();
await load(); // the photos first
wanted.count({ now: true });
last.recall().catch(() => undefined); // what is said from now on is known anyway
