// Requests to the server, as the logged-in person.

const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";

// Whether this page is being left for the log-in, as it must, and not because somebody closes it.
export const leaving = { now: false };

// Once: of several requests each is refused.
function leave(go) {
  if (leaving.now) return;
  leaving.now = true;
  go();
}

// Rejects with an Error; `refused` says that asking again would bring the same.
export async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  if (answer.status === 401) {
    const back = new URLSearchParams({ back: location.pathname + location.search });
    leave(() => location.assign(`/login?${back}`));
  }
  // Somebody logged in anew in another tab, so this page's token is an old one; what was said is kept.
  if (answer.status === 403 && options.method === "POST") leave(() => location.reload());
  const body = await answer.json();
  if (!answer.ok) {
    const error = new Error(typeof body.detail === "string" ? body.detail : "this was not understood");
    error.refused = answer.status < 500 && ![401, 403, 429].includes(answer.status);
    throw error;
  }
  return body;
}

export function post(path, body) {
  const headers = { "content-type": "application/json", "x-csrf-token": csrf };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export const photo = (sha256, size) => `/photos/${size}/${sha256}.webp`;
