// Whether somebody sits before this page: who went away holds nothing back from others, and is logged
// out in time.

const AWAY_MS = 5 * 60 * 1000;
const SIGNS = ["keydown", "pointerdown", "pointermove", "wheel", "touchstart"];

const returned = [];
let last = Date.now();

export const here = () => !document.hidden && Date.now() - last < AWAY_MS;

// `act()` is called, before anything else hears of the key or the click, by which somebody is back.
export function onReturn(act) {
  returned.push(act);
}

function back() {
  for (const act of returned) act();
}

for (const sign of SIGNS) {
  addEventListener(
    sign,
    () => {
      const was = here();
      last = Date.now();
      if (!was) back();
    },
    { capture: true, passive: true },
  );
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  last = Date.now();
  back();
});
