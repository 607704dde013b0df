// Many products at once, of one suggestion and looking alike: all are taken for right, the wrong ones
// are marked, one key saves them all in one act, which is undone as one.

import { Outbox } from "./outbox.js";
import { ask, leaving, photo, post } from "./server.js";
import { number, percent, t, tn } from "./text.js";

const root = document.querySelector("#grid");
const retailer = encodeURIComponent(root.dataset.retailer);
const UNDOABLE = 50;
const MOST = 96; // products that one request may name

const $ = (id) => document.getElementById(id);
const done = []; // { cards, marks, action }, the newest last
let cards = [];
let marks = new Map(); // product -> { verdict, category } or null where no category is known yet
let next = null; // a promise of the cards to come
let at = 0; // the tile that the keys are at
let sweep = null; // what a held pointer does: mark (true) or take the mark away (false)
let categories = [];
let offered = []; // categories under the keys 1 to 9
let loading = null; // the promise of what is to be shown
let loads = 0;

const outbox = new Outbox({
  reviewer: root.dataset.reviewer,
  retailer: root.dataset.retailer,
  heard(act, outcomes) {
    const wrong = outcomes.filter(({ error }) => error);
    for (const { error } of wrong) say(error);
    // What comes back by an undo is before this person again.
    if (act.kind === "undo") hold();
    count();
  },
  refused(act, why) {
    const index = done.findIndex(({ action }) => action === act.body.action);
    if (index >= 0) done.splice(index, 1);
    say(why);
    $("undo").disabled = done.length === 0;
  },
  changed(unsent, failing) {
    $("unsent").textContent = unsent && failing ? t("%(count)s not saved yet; trying again", { count: unsent }) : "";
  },
});

// --- what is to come -----------------------------------------------------------------------------

function wish(before) {
  const asked = new URLSearchParams({ count: $("size").value });
  if ($("order").value === "audit") asked.set("audit", "true");
  else asked.set("order", $("order").value);
  if ($("suggestion").value && $("order").value !== "audit") asked.set("suggestion", $("suggestion").value);
  const known = [...new Set([...outbox.products, ...before])];
  for (const product of known.slice(-MOST)) asked.append("have", product);
  return asked;
}

async function fetchGrid(before) {
  const found = (await ask(`/api/${retailer}/grid?${wish(before)}`)).cards;
  for (const card of found) new Image().src = thumb(card);
  return found;
}

function fetchNext() {
  next = fetchGrid(cards.map(({ product }) => product)).catch((error) => {
    next = null;
    say(error.message);
    return [];
  });
}

async function load() {
  const mine = ++loads;
  const asked = next ?? fetchGrid([]).catch((error) => {
    say(error.message);
    return [];
  });
  loading = asked;
  cards = [];
  show();
  const found = await asked;
  if (loading !== asked) {
    leave(found); // something else was chosen meanwhile
    return;
  }
  loading = null;
  cards = found;
  marks = new Map();
  at = 0;
  next = null;
  show();
  // These photos first: what comes next would take half of the line from them.
  await Promise.allSettled([...$("tiles").querySelectorAll("img")].map((one) => one.decode()));
  if (mine === loads && cards.length && !next) fetchNext();
}

async function restart() {
  remember();
  loads += 1; // a grid that still waits for its photos fetches none after it
  const after = (await next) ?? []; // what is on its way may come to the screen meanwhile
  const left = [...new Set([...cards, ...after])];
  next = null;
  // First, for what comes next may be among it.
  await leave(left);
  load();
}

async function leave(left) {
  const products = left.map(({ product }) => product);
  for (let start = 0; start < products.length; start += MOST) {
    await post("/api/leave", { products: products.slice(start, start + MOST) }).catch(() => undefined);
  }
}

// --- what is shown -------------------------------------------------------------------------------

const audit = () => $("order").value === "audit";
// It came with the card, unless it is looked at for the first time.
const thumb = (card) => card.thumb ?? photo(card.images[0], "thumb");
const tag = (card) => (card.status === "tagged" ? card.category : card.suggestion) ?? "";

function show() {
  $("tiles").replaceChildren(...cards.map(tile));
  $("empty").hidden = Boolean(loading) || cards.length > 0;
  $("tiles").hidden = cards.length === 0;
  $("undo").disabled = done.length === 0;
  const names = [...new Set(cards.map(tag))];
  if (names.length === 1) $("question").textContent = t("Is each of these %(category)s?", { category: names[0] });
  else if (names.length) $("question").textContent = t("Is each of these tags right?");
  else $("question").textContent = loading ? t("Loading …") : t("Grid");
  offer(names);
  tell();
}

function tile(card, index) {
  const item = document.createElement("li");
  item.role = "option";
  item.dataset.index = index;
  item.tabIndex = index === at ? 0 : -1;
  const image = document.createElement("img");
  image.src = thumb(card);
  image.alt = "";
  image.decoding = "async";
  const mark = document.createElement("span");
  mark.className = "mark";
  const name = document.createElement("span");
  name.className = "name";
  const sure = document.createElement("span");
  sure.className = "sure";
  sure.textContent = card.confidence === null ? "" : ` ${percent(card.confidence)}`;
  const mixed = new Set(cards.map(tag)).size > 1;
  name.append(mixed ? `${tag(card)} · ${card.title ?? card.sku}` : (card.title ?? card.sku), sure);
  name.title = card.title ?? card.sku;
  item.append(image, mark, name);
  dress(item, card);
  return item;
}

function dress(item, card) {
  const marked = marks.has(card.product);
  item.setAttribute("aria-selected", String(!marked));
  const said = marks.get(card.product);
  const names = { unsure: t("unsure"), not_a_product: t("not a product") };
  item.querySelector(".mark").textContent = marked ? (said ? (said.category ?? names[said.verdict]) : "✗") : "";
}

function tell() {
  const wrong = cards.filter(({ product }) => marks.has(product)).length;
  $("confirm").disabled = cards.length === 0;
  $("confirm-text").textContent = wrong
    ? t("save: %(right)s right, %(wrong)s wrong", { right: cards.length - wrong, wrong })
    : tn("the %(count)s is right", "all %(count)s are right", cards.length);
  for (const id of ["search", "unsure", "none"]) $(id).disabled = wrong === 0;
  $("choices-line").hidden = wrong === 0;
  $("actions").hidden = cards.length === 0 && done.length === 0;
  root.classList.toggle("marking", wrong > 0);
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
  dress($("tiles").children[index], card);
  tell();
}

const marked = (index) => marks.has(cards[index]?.product);

// What was marked and not named yet gets this; if all are named already, all get it.
function assign(said) {
  const bare = cards.filter(({ product }) => marks.has(product) && marks.get(product) === null);
  const chosen = bare.length ? bare : cards.filter(({ product }) => marks.has(product));
  for (const card of chosen) {
    if (said.category === card.suggestion) marks.delete(card.product);
    else marks.set(card.product, said);
    dress($("tiles").children[cards.indexOf(card)], card);
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
  if (!cards.length) return;
  const bare = cards.filter(({ product }) => marks.has(product) && marks.get(product) === null);
  if (bare.length && !leaveBare) {
    pick();
    return;
  }
  const said = cards.filter((card) => !bare.includes(card));
  const answers = said.map(({ product, sku, image_set, prediction }) => ({
    sku,
    image_set,
    prediction,
    ...(marks.get(product) ?? { verdict: "confirmed", category: null }),
  }));
  if (bare.length) leave(bare);
  if (answers.length) {
    const action = outbox.say(said.map(({ product }) => product), answers);
    done.push({ cards, marks, said, action });
    if (done.length > UNDOABLE) done.shift();
  }
  load();
}

function undo() {
  const last = done.pop();
  if (!last) return;
  outbox.undo(last.said.map(({ product }) => product), last.action);
  const [shown, waiting] = [cards, next];
  if (loading) loading.then(leave);
  loading = null;
  cards = last.cards;
  marks = last.marks;
  at = 0;
  // What was on the screen comes after it.
  next = shown.length ? Promise.resolve(shown) : null;
  if (waiting) waiting.then(leave);
  show();
}

async function count() {
  try {
    const found = await ask(`/api/${retailer}/counts`);
    $("waiting").textContent = t("%(waiting)s wait, %(audit)s to audit", {
      waiting: found.waiting,
      audit: found.audit,
    });
    const ranked = $("order").querySelector('[value="priority"]');
    ranked.hidden = ranked.disabled = found.priority !== true;
    const chosen = $("suggestion").value;
    const [any] = $("suggestion").options;
    $("suggestion").replaceChildren(
      any,
      ...Object.entries(found.by_suggestion)
        .filter(([name]) => name)
        .map(([name, waiting]) => new Option(`${name} (${number(waiting)})`, name)),
    );
    if (chosen && found.by_suggestion[chosen] === undefined) $("suggestion").add(new Option(chosen, chosen));
    $("suggestion").value = chosen;
  } catch {
    $("waiting").textContent = "";
  }
}

function say(text) {
  const line = document.createElement("p");
  line.className = "message";
  const words = document.createElement("span");
  words.textContent = text;
  const close = document.createElement("button");
  close.className = "quiet";
  close.textContent = t("dismiss");
  close.addEventListener("click", () => line.remove());
  line.append(words, close);
  $("messages").append(line);
}

// --- a category for the marked -------------------------------------------------------------------

async function pick() {
  if (!marks.size) return;
  try {
    if (!categories.length) categories = (await ask(`/api/${retailer}/categories`)).categories;
  } catch (error) {
    say(error.message); // else Enter would seem to do nothing
    return;
  }
  const bare = [...marks.values()].filter((said) => said === null).length || marks.size;
  $("picker-title").textContent = tn("A category for the %(count)s marked product", "A category for the %(count)s marked products", bare);
  // A wrong tag of the audit sample that got no verdict would make the error look smaller than it is.
  $("later").hidden = audit();
  $("query").value = "";
  list();
  $("picker").showModal();
  $("query").focus();
}

function list() {
  const wanted = $("query").value.trim().toLowerCase();
  const likely = new Map(offered.map((name, index) => [name, index]));
  const found = categories
    .filter(({ name, parent }) => `${name} ${parent ?? ""}`.toLowerCase().includes(wanted))
    .sort((one, other) => (likely.get(one.name) ?? 99) - (likely.get(other.name) ?? 99));
  const named = (name, parent, said) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.textContent = parent ? `${name} (${parent})` : name;
    button.addEventListener("click", () => {
      $("picker").close();
      $("query").blur(); // else it would swallow the next key, until the next frame
      assign(said);
    });
    item.append(button);
    return item;
  };
  $("found").replaceChildren(
    ...found.slice(0, 12).map(({ name, parent }) => named(name, parent, { verdict: "corrected", category: name })),
  );
}

$("query").addEventListener("input", list);
$("query").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    $("found").querySelector("button")?.click();
  }
});
$("later").addEventListener("click", () => {
  $("picker").close();
  save(true);
});

// --- keys ----------------------------------------------------------------------------------------

// By what is written on it; where digits need Shift, as on French keyboards, by its place.
function digit(event) {
  if (/^[1-9]$/.test(event.key)) return Number(event.key);
  const place = event.shiftKey ? null : /^Digit([1-9])$/.exec(event.code);
  return place ? Number(place[1]) : null;
}

document.addEventListener("keydown", (event) => {
  if ($("picker").open || $("keys").open || event.altKey || event.target.matches("select, input")) return;
  const letters = localStorage.getItem("atelier-letters") !== "off"; // as the other page's dialog says
  const ctrl = event.ctrlKey || event.metaKey;
  if (event.key.toLowerCase() === "z" && !event.shiftKey && (ctrl || letters)) {
    event.preventDefault();
    if (!event.repeat) undo();
    return;
  }
  if (ctrl) return;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() }[event.key];
  if (event.key === "?" && letters) $("keys").showModal();
  else if (!cards.length) return;
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
  } else if (!letters) return;
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

$("confirm").addEventListener("click", () => save());
$("search").addEventListener("click", pick);
$("unsure").addEventListener("click", () => assign({ verdict: "unsure", category: null }));
$("none").addEventListener("click", () => assign({ verdict: "not_a_product", category: null }));
$("undo").addEventListener("click", undo);
$("help").addEventListener("click", () => $("keys").showModal());
for (const id of ["suggestion", "order", "size"]) $(id).addEventListener("change", restart);

// What is before this person stays theirs; what ran out meanwhile, and is another's now, goes.
async function hold() {
  const held = cards.map(({ product }) => product);
  if (!held.length) return;
  try {
    const kept = new Set((await post("/api/keep", { products: held })).products);
    const left = cards.filter(({ product }) => kept.has(product));
    if (left.length < cards.length) {
      say(tn(
          "%(count)s product went to somebody else meanwhile",
          "%(count)s products went to somebody else meanwhile",
          cards.length - left.length,
        ));
      cards = left;
      show();
    }
    const after = await next;
    if (after?.length) await post("/api/keep", { products: after.map(({ product }) => product) });
  } catch {
    // It is tried again in a minute; a verdict counts without it.
  }
}
setInterval(hold, 60000);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) hold();
});

// Order and category stand in the address, so that they survive a reload and go to the other page.
function remember() {
  const chosen = new URLSearchParams();
  if ($("suggestion").value) chosen.set("suggestion", $("suggestion").value);
  if ($("order").value !== "cheapest") chosen.set("order", $("order").value);
  const query = chosen.size ? `?${chosen}` : "";
  history.replaceState(null, "", `${location.pathname}${query}`);
  $("to-review").search = query;
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

window.addEventListener("beforeunload", (event) => {
  if (outbox.products.length && !leaving.now) event.preventDefault();
});

await recall();
outbox.send();
load().finally(count);
