// One product at a time. What was said is kept in this browser until the server has it: a post that
// fails is sent again, under the same name, until the server answers.

const root = document.querySelector("#review");
const retailer = encodeURIComponent(root.dataset.retailer);
const csrf = document.querySelector('meta[name="csrf"]').content;
const KEPT = `atelier-unsent-${root.dataset.reviewer}-${root.dataset.retailer}`;
const AHEAD = 6;
const UNDOABLE = 50;
const MOST_KNOWN = 90;
const RETRY_MS = [500, 1000, 2000, 5000, 10000];

const $ = (id) => document.getElementById(id);
const deck = []; // cards to come, the first is shown
const done = []; // { card, act }, the newest last
const unsent = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
const reviews = new Map(); // act -> the review's key, once the server has it
let categories = [];
let fetching = null;
let unreachable = false;
let sending = false;
let failures = 0;

async function ask(path, options = {}) {
  const answer = await fetch(path, {
    ...options,
    headers: { "content-type": "application/json", "x-csrf-token": csrf },
  });
  if (answer.status === 401) {
    location.assign("/login");
  }
  const body = await answer.json();
  if (!answer.ok) {
    const error = new Error(typeof body.detail === "string" ? body.detail : "this was not understood");
    error.refused = answer.status < 500 && answer.status !== 401 && answer.status !== 429;
    throw error;
  }
  return body;
}

function post(path, body) {
  return ask(path, { method: "POST", body: JSON.stringify(body) });
}

// --- what is to come -----------------------------------------------------------------------------

function refill() {
  if (fetching || deck.length >= AHEAD) return fetching;
  const chosen = $("order").value;
  const wish = new URLSearchParams({ count: AHEAD });
  if (chosen === "audit") wish.set("audit", "true");
  else wish.set("order", chosen);
  // What was just said may not have reached the server, and what this person was unsure of waits on.
  const known = new Set([...deck, ...done.map(({ card }) => card), ...unsent].map((one) => one.product));
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
    })
    .finally(() => {
      fetching = null;
      show();
    });
  return fetching;
}

const photo = (sha256, size) => `/photos/${size}/${sha256}.webp`;

function show() {
  const card = deck[0];
  $("product").hidden = !card;
  $("empty").hidden = Boolean(card) || Boolean(fetching);
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
  const action = crypto.randomUUID();
  done.push({ card, action });
  if (done.length > UNDOABLE) done.shift();
  queue({
    kind: "reviews",
    product: card.product,
    sku: card.sku,
    body: {
      action,
      answers: [
        {
          sku: card.sku,
          image_set: card.image_set,
          prediction: card.prediction,
          verdict,
          category,
        },
      ],
    },
  });
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
  const waiting = unsent.findIndex((one) => one.body.action === last.action && !one.sent);
  if (waiting >= 0) {
    // The server has never heard of it.
    unsent.splice(waiting, 1);
    keep();
  } else {
    queue({
      kind: "undo",
      product: last.card.product,
      sku: last.card.sku,
      of: last.action,
      body: { action: crypto.randomUUID(), reviews: [] },
    });
  }
  show();
}

function queue(one) {
  unsent.push(one);
  keep();
  send();
}

function keep() {
  localStorage.setItem(KEPT, JSON.stringify(unsent));
  $("unsent").textContent = unsent.length && failures ? `${unsent.length} not saved yet; trying again` : "";
}

async function send() {
  if (sending) return;
  sending = true;
  while (unsent.length) {
    const one = unsent[0];
    one.sent = true; // From now on the server may have it, whatever we hear.
    if (one.kind === "undo") one.body.reviews = [reviews.get(one.of)].filter(Boolean);
    try {
      if (one.kind === "reviews" || one.body.reviews.length) {
        const { outcomes } = await post(`/api/${retailer}/${one.kind}`, one.body);
        const [outcome] = outcomes;
        if (outcome.error) refuse(one, outcome.error);
        else if (one.kind === "reviews") reviews.set(one.body.action, outcome.review);
      }
      failures = 0;
      unsent.shift();
    } catch (error) {
      if (error.refused) {
        refuse(one, `${one.sku}: ${error.message}`);
        unsent.shift();
      } else {
        failures += 1;
        keep();
        await new Promise((wake) => {
          setTimeout(wake, RETRY_MS[Math.min(failures, RETRY_MS.length) - 1]);
        });
      }
    }
    keep();
  }
  sending = false;
  count();
}

// What was said does not stand: it is told why, and the product comes again as it is now.
function refuse(one, why) {
  const at = done.findIndex(({ action }) => action === one.body.action);
  if (at >= 0) done.splice(at, 1);
  say(why);
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

send();
refill();
count();
