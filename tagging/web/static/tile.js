// One product of a grid: its photo, its mark, its name.

import { photo } from "./server.js";
import { sure, t } from "./text.js";

const AGAIN_MS = [2000, 5000, 15000]; // until a photo that did not come is asked for again

export const name = (card) => card.title ?? card.sku;

// What is asked about: the tag in force, or what the model suggests.
export const tag = (card) => (card.status === "tagged" ? card.category : card.suggestion) ?? "";

// It came with the card, unless it is looked at for the first time.
export const thumb = (card) => card.thumb ?? photo(card.images[0], "thumb");

// `mixed`: whether its neighbours have other tags. `came()`: its photo is here, or will not be.
export function tileItem(card, { index, mixed, came }) {
  const item = document.createElement("li");
  item.role = "option";
  item.dataset.index = index;
  item.tabIndex = index === 0 ? 0 : -1;
  const mark = document.createElement("span");
  mark.className = "mark";
  const line = document.createElement("span");
  line.className = "name";
  const words = document.createElement("span");
  words.textContent = mixed ? `${tag(card)} · ${name(card)}` : name(card);
  const share = document.createElement("span");
  share.className = "sure";
  share.textContent = card.confidence === null ? "" : sure(card.confidence);
  line.append(words, share);
  line.title = name(card);
  item.append(image(card, came), mark, line);
  return item;
}

function image(card, came) {
  const found = document.createElement("img");
  const waits = [...AGAIN_MS];
  found.alt = "";
  found.decoding = "async";
  found.addEventListener("load", came);
  found.addEventListener("error", () => {
    came();
    const retry = () => {
      if (found.isConnected) found.src = thumb(card);
    };
    if (waits.length) setTimeout(retry, waits.shift());
  });
  found.src = thumb(card);
  return found;
}

// `said`: undefined where it is taken for right, null where it is wrong and nobody named it yet, or
// { verdict, category }.
export function dress(item, said) {
  const missing = isMissing(item);
  item.setAttribute("aria-selected", String(said === undefined && !missing));
  item.classList.toggle("missing", missing);
  const names = { unsure: t("unsure"), not_a_product: t("not a product") };
  let mark = missing ? t("no photo") : "";
  if (said === null) mark = "✗";
  else if (said) mark = said.category ?? names[said.verdict];
  item.querySelector(".mark").textContent = mark;
}

// Its photo is still on its way.
export const isComing = (item) => !item.querySelector("img").complete;

// Its photo could not be had.
export function isMissing(item) {
  const image = item.querySelector("img");
  return image.complete && image.naturalWidth === 0;
}
