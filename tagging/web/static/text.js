// What scripts say, in the language of the page. The server read the texts out of the scripts and
// put their translations into a block of data, so each stands written out: t("text"), no variable.

const { language, messages } = JSON.parse(document.getElementById("texts").textContent);

const plural = new Intl.PluralRules(language);
const plain = new Intl.NumberFormat(language);
const share = new Intl.NumberFormat(language, {
  style: "percent",
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
const SUREST = 0.999;
const FAINTEST = 0.001;
const clock = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });

// t("%(name)s is here", { name }): numbers are written as people of the language write them.
export function t(text, values = {}) {
  return filled(messages[text] ?? text, values);
}

// tn("%(count)s photo", "%(count)s photos", count): by the language's own plural.
export function tn(one, many, count, values = {}) {
  const [single, several] = messages[one] ?? [one, many];
  return filled(plural.select(count) === "one" ? single : several, { count, ...values });
}

export const number = (value) => plain.format(value);
export const percent = (value) => share.format(value);
// A model's confidence: none is so sure that it is right, or wrong, without a rest.
export function sure(value) {
  if (value > (SUREST + 1) / 2) return t(">%(share)s", { share: percent(SUREST) });
  if (value < FAINTEST / 2) return t("<%(share)s", { share: percent(FAINTEST) });
  return percent(value);
}
export const when = (value) => clock.format(new Date(value));

function filled(text, values) {
  return text.replace(/%(?:%|\((\w+)\)s)/g, (found, name) => {
    if (found === "%%") return "%";
    const value = values[name];
    return typeof value === "number" ? number(value) : String(value);
  });
}
