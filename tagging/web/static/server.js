// Requests to the server, as the logged-in person.

const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";

// Rejects with an Error; `refused` says that asking again would bring the same.
export async function ask(path, options = {}) {
  const answer = await fetch(path, {
    ...options,
    headers: { "content-type": "application/json", "x-csrf-token": csrf },
  });
  if (answer.status === 401) location.assign("/login");
  const body = await answer.json();
  if (!answer.ok) {
    const error = new Error(typeof body.detail === "string" ? body.detail : "this was not understood");
    error.refused = answer.status < 500 && answer.status !== 401 && answer.status !== 429;
    throw error;
  }
  return body;
}

export function post(path, body) {
  return ask(path, { method: "POST", body: JSON.stringify(body) });
}

export const photo = (sha256, size) => `/photos/${size}/${sha256}.webp`;
