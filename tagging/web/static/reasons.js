// Why the server did not take an answer, in the language of the page.

import { t, when } from "./text.js";

// { text, foreign }: `foreign` where only the server's own words, in English, say it.
export function reason({ error, why, about = {} }) {
  const { who, at, verdict, category } = about;
  const text = {
    decided: () =>
      t("%(who)s decided on it already (%(what)s, %(at)s). That stands until it is undone.", {
        who,
        what: category ?? { unsure: t("unsure"), not_a_product: t("not a product") }[verdict] ?? verdict,
        at: when(at),
      }),
    answered: () => t("You answered already (%(at)s). Take that back first.", { at: when(at) }),
    photos_changed: () => t("Its photos changed since you looked at them. Look again and answer for the new ones."),
    classified_again: () => t("It was classified again since you looked at it. Look again and answer for the new suggestion."),
    being_replaced: () => t("Its photos changed since you looked at them. The new ones are being classified."),
    being_classified: () => t("It is being classified. Look again in a moment."),
    taken_back: () => t("It was taken back already."),
    changed_since: () => t("It cannot be undone any more: something newer happened to it."),
  }[why]?.();
  return text ? { text, foreign: false } : { text: error, foreign: true };
}
