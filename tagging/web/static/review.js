// One product at a time, by keys. The next photos are loaded already.

import { Outbox } from "./outbox.js";
import { ask, photo, post } from "./server.js";

const root = document.querySelector("#review");
const retailer = encodeURIComponent(root.dataset.retailer);
const AHEAD = 6;
const AGAIN_MS = 2000;
const UNDOABLE = 50;
const MOST_KNOWN = 90;

const $ = (id) => document.getElementById(id);
const deck = []; // cards to come, the first is shown
const done = []; // { card, action }, the newest last
let categories = [];
let fetching = null;
let unreachable = false;

const outbox = new Outbox({
  reviewer: root.dataset.reviewer,
  retailer: root.dataset.retailer,
  heard(act, outcomes) {
    const wrong = outcomes.find(({ error }) => error);
    if (wrong) refuse(act, wrong.error);
    // The server is there: what could not be asked for, or comes again, can be now.
    refill();
    count();
  },
  refused: refuse,
  changed(unsent, failing) {
    $("unsent").textContent = unsent && failing ? `${unsent} not saved yet; trying again` : "";
  },
});

// --- what is to come -----------------------------------------------------------------------------

function refill() {
  if (fetching || deck.length >= AHEAD) return fetching;
  const chosen = $("order").value;
  const wish = new URLSearchParams({ count: AHEAD });
  if (chosen === "audit") wish.set("audit", "true");
  else wish.set("order", chosen);
  // What was just said may not have reached the server, and what this person was unsure of waits on.
  const seen = [...deck, ...done.map(({ card }) => card)].map((card) => card.product);
  const known = new Set([...seen, ...outbox.products]);
  for (const product of [...known].slice(-MOST_KNOWN)) wish.append("have", product);
  fetching = ask(`/api/${retailer}/cards?${wish}`)
    .then(({ cards }) => {
      for (const card of cards) {
        // Something may have been said or undone while this answer was on its way.
        const here = [...deck, ...done.map((one) => one.card)];
        if (here.some((one) => one.product === card.product)) continue;
        deck.push(card);
        for (const sha256 of card.images.slice(0, 1)) new Image().src = photo(sha256, "large");
      }
      if (unreachable) say("");
      unreachable = false;
    })
    .catch((error) => {
      unreachable = true;
      say(error.message);
      if (!error.refused) setTimeout(refill, AGAIN_MS);
    })
    .finally(() => {
      fetching = null;
      show();
    });
  return fetching;
}

function show() {
  const card = deck[0];
  $("product").hidden = !card;
  $("empty").hidden = Boolean(card) || Boolean(fetching) || unreachable;
  $("undo").disabled = done.length === 0;
  if (!card) return;
  $("photo").src = photo(card.images[0], "large");
  $("photo").alt = card.title ?? card.sku;
  $("title").textContent = card.title ?? card.sku;
  $("sku").textContent = card.sku;
  $("reason").textContent = reason(card);
  $("thumbs").replaceChildren(
    ...(card.images.length > 1 ? card.images : []).map((sha256, index) => {
      const button = document.createElement("button");
      const image = document.createElement("img");
      image.src = photo(sha256, "thumb");
      image.alt = `Photo ${index + 1}`;
      button.append(image);
      button.addEventListener("click", () => {
        $("photo").src = photo(sha256, "large");
      });
      return button;
    }),
  );
  $("choices").replaceChildren(
    ...choices(card).map(({ category, confidence }, index) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      const key = document.createElement("kbd");
      key.textContent = index + 1;
      const name = document.createElement("span");
      name.textContent = category;
      const bar = document.createElement("meter");
      bar.value = confidence ?? 0;
      bar.setAttribute("aria-hidden", "true");
      const sure = document.createElement("span");
      sure.className = "sure";
      sure.textContent = confidence === null ? "" : `${(100 * confidence).toFixed(1)} %`;
      button.append(key, name, bar, sure);
      button.classList.toggle("suggested", category === card.suggestion);
      button.addEventListener("click", () => choose(category));
      item.append(button);
      return item;
    }),
  );
  $("attributes").replaceChildren(
    ...Object.entries(card.attributes).flatMap(([name, value]) => {
      const term = document.createElement("dt");
      const text = document.createElement("dd");
      term.textContent = name;
      text.textContent = typeof value === "string" ? value : JSON.stringify(value);
      return [term, text];
    }),
  );
}

function choices(card) {
  const found = card.top_k.map((one) => ({ ...one }));
  // Where only the parent is sure enough, it is what is suggested, and stands first.
  if (card.suggestion && !found.some((one) => one.category === card.suggestion)) {
    found.unshift({ category: card.suggestion, confidence: card.confidence });
  }
  return found.slice(0, 9);
}

function reason(card) {
  if (card.audit && card.status === "tagged") return "Audit: is this tag right?";
  return {
    low_confidence: "The model is not sure enough.",
    out_of_distribution: "The photo looks like nothing the model knows.",
    images_disagree: `The photos point to different categories: ${card.disagreeing.join(", ")}.`,
    photo_changed: `The photo changed since it was decided to be ${card.category ?? "no product"}.`,
    autopilot_off: "The autopilot is off.",
    rule: "A rule asks for a person.",
    requested: "Somebody asked for a review.",
  }[card.reason] ?? "";
}

// --- what is said --------------------------------------------------------------------------------

function decide(verdict, category = null) {
  const card = deck.shift();
  if (!card) return;
  say("");
  const { product, sku, image_set, prediction } = card;
  const action = outbox.say([product], [{ sku, image_set, prediction, verdict, category }]);
  done.push({ card, action });
  if (done.length > UNDOABLE) done.shift();
  show();
  refill();
}

function choose(category) {
  if (category === deck[0]?.suggestion) decide("confirmed");
  else decide("corrected", category);
}

function undo() {
  const last = done.pop();
  if (!last) return;
  deck.unshift(last.card);
  outbox.undo([last.card.product], last.action);
  show();
}

// What was said does not stand: it is told why, and the product comes again as it is now.
function refuse(act, why) {
  const at = done.findIndex(({ action }) => action === act.body.action);
  if (at >= 0) done.splice(at, 1);
  say(why);
  // What is being fetched was asked for when this product was taken for decided.
  Promise.resolve(fetching).then(refill);
}

async function count() {
  try {
    const found = await ask(`/api/${retailer}/counts`);
    $("waiting").textContent = `${found.waiting.toLocaleString()} wait, ${found.audit.toLocaleString()} to audit`;
  } catch {
    $("waiting").textContent = "";
  }
}

function say(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

// --- another category ----------------------------------------------------------------------------

async function search() {
  if (!categories.length) categories = (await ask(`/api/${retailer}/categories`)).categories;
  $("query").value = "";
  offer();
  $("picker").showModal();
}

function offer() {
  const wanted = $("query").value.trim().toLowerCase();
  const found = categories.filter(({ name, parent }) =>
    `${name} ${parent ?? ""}`.toLowerCase().includes(wanted),
  );
  $("found").replaceChildren(
    ...found.slice(0, 12).map(({ name, parent }) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.textContent = parent ? `${name} (${parent})` : name;
      button.addEventListener("click", () => {
        $("picker").close();
        choose(name);
      });
      item.append(button);
      return item;
    }),
  );
}

$("query").addEventListener("input", offer);
$("query").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    $("found").querySelector("button")?.click();
  }
});

// --- keys ----------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if ($("picker").open || event.altKey || event.target.matches("select, input")) return;
  if (event.key === "z" || ((event.ctrlKey || event.metaKey) && event.key === "z")) {
    event.preventDefault();
    undo();
    return;
  }
  if (event.ctrlKey || event.metaKey || !deck.length) return;
  const card = deck[0];
  if (/^[1-9]$/.test(event.key)) {
    const chosen = choices(card)[Number(event.key) - 1];
    if (chosen) choose(chosen.category);
  } else if (event.key === "Enter" && !event.target.matches("button, a")) {
    event.preventDefault();
    if (card.suggestion) decide("confirmed");
  } else if (event.key === "/") {
    event.preventDefault();
    search();
  } else if (event.key === "u") decide("unsure");
  else if (event.key === "x") decide("not_a_product");
});

$("confirm").addEventListener("click", () => decide("confirmed"));
$("search").addEventListener("click", search);
$("unsure").addEventListener("click", () => decide("unsure"));
$("none").addEventListener("click", () => decide("not_a_product"));
$("undo").addEventListener("click", undo);
$("order").addEventListener("change", () => {
  const left = deck.splice(0).map((card) => card.product);
  post("/api/leave", { products: left }).catch(() => undefined);
  refill();
});
setInterval(() => {
  if (deck.length) post("/api/keep", { products: deck.map((card) => card.product) }).catch(() => undefined);
}, 60000);

outbox.send();
refill();
count();
