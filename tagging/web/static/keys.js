// What a key means, on every keyboard.

export const LETTERS = "atelier-letters"; // in localStorage: "off" where single letters are no keys

export const letters = () => localStorage.getItem(LETTERS) !== "off";

// 1 to 9, or null: by what is written on it; where digits need Shift, as on French keyboards, by its
// place.
export function digit(event) {
  if (/^[1-9]$/.test(event.key)) return Number(event.key);
  const place = event.shiftKey ? null : /^Digit([1-9])$/.exec(event.code);
  return place ? Number(place[1]) : null;
}
