// A product as a person decides on it: what is offered, and why it waits.

import { photo } from "./server.js";
import { sure, t } from "./text.js";

const MOST_CHOICES = 9; // keys 1 to 9

// What can be chosen by one key, best first.
export function choices(card) {
  const found = card.top_k.map((one) => ({ ...one }));
  // Where only the parent is sure enough, it is what is suggested, and stands first.
  if (card.suggestion && !found.some((one) => one.category === card.suggestion)) {
    found.unshift({ category: card.suggestion, confidence: card.confidence });
  }
  return found.slice(0, MOST_CHOICES);
}

// What else has a key: the categories that were chosen last, of those that the model does not offer.
export function lately(card, recent) {
  const offered = choices(card);
  const names = new Set(offered.map(({ category }) => category));
  return recent.filter((category) => !names.has(category)).slice(0, MOST_CHOICES - offered.length);
}

export function whyItWaits(card) {
  if (card.fresh) return t("This photo is new: it replaced the one you decided on.");
  if (card.audit && card.status === "tagged") return t("Audit: is this tag right?");
  const changed = card.category
    ? t("The photo changed since it was decided to be “%(category)s”.", { category: card.category })
    : t("The photo changed since it was decided to be no product.");
  return (
    {
      low_confidence: t("The model is not sure enough."),
      out_of_distribution: t("The photo looks like nothing the model knows."),
      images_disagree: t("The photos point to different categories: %(categories)s.", {
        categories: card.disagreeing.join(", "),
      }),
      photo_changed: changed,
      autopilot_off: t("The autopilot is off."),
      rule: t("A rule asks for a person."),
      requested: t("Somebody asked for a review."),
    }[card.reason] ?? ""
  );
}

// Why there is no suggestion, where there will be none; `code`: one of docs/design.md.
export function whyNoSuggestion(card) {
  if (!card.failure) return "";
  return t("There is no suggestion, for none of its photos can be used (%(code)s). Another one must be delivered.", {
    code: card.failure,
  });
}

// Buttons with the confidences as bars. `chosen(category)`: one was pressed.
export function choiceItems(card, chosen) {
  return choices(card).map(({ category, confidence }, index) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const key = document.createElement("kbd");
    key.textContent = index + 1;
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = category;
    const likely = document.createElement("span");
    likely.className = "sure";
    likely.textContent = confidence === null ? "" : sure(confidence);
    const bar = document.createElement("span");
    bar.className = "share";
    bar.style.setProperty("--share", confidence ?? 0);
    button.append(key, name, likely, bar);
    button.setAttribute("aria-keyshortcuts", String(index + 1));
    button.classList.toggle("suggested", category === card.suggestion);
    button.addEventListener("click", () => chosen(category));
    item.append(button);
    return item;
  });
}

// Small buttons, whose keys go on where those of the choices end.
export function latelyItems(card, recent, chosen) {
  const before = choices(card).length;
  return lately(card, recent).map((category, index) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.className = "quiet";
    const key = document.createElement("kbd");
    key.textContent = before + index + 1;
    button.append(key, category);
    button.setAttribute("aria-keyshortcuts", String(before + index + 1));
    button.addEventListener("click", () => chosen(category));
    item.append(button);
    return item;
  });
}

// The product's photos; nothing where it has one. `look(index)`: one was pressed.
export function thumbItems(card, look) {
  if (card.images.length < 2) return [];
  return card.images.map((sha256, index) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.className = "plain";
    button.setAttribute("aria-label", t("Photo %(number)s of %(count)s", { number: index + 1, count: card.images.length }));
    button.append(small(sha256, ""));
    button.addEventListener("click", () => look(index));
    item.append(button);
    return item;
  });
}

// Accepted products to compare with. `closer(neighbour)`: one was pressed.
export function neighbourItems(found, closer) {
  return found.map((one) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.className = "plain";
    button.title = one.title ?? one.sku;
    button.append(small(one.image, one.title ?? one.sku));
    button.addEventListener("click", () => closer(one));
    item.append(button);
    return item;
  });
}

export function attributeItems(card) {
  return Object.entries(card.attributes).flatMap(([name, value]) => {
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = typeof value === "string" ? value : JSON.stringify(value);
    return [term, text];
  });
}

function small(sha256, alt) {
  const image = document.createElement("img");
  image.src = photo(sha256, "thumb");
  image.alt = alt;
  image.decoding = "async";
  return image;
}
