// Photos that are loaded and decoded before they are needed, so that a key shows the next at once.

import { photo } from "./server.js";

const KEPT = 40;

export class Photos {
  constructor() {
    this.ready = new Map(); // sha256/size -> <img>, the one asked for last at the end
  }

  // Loads and decodes it, if it is not here yet. A photo that cannot be had is told by its <img>.
  prepare(sha256, size = "large") {
    const image = this.get(sha256, size);
    image.decode().catch(() => undefined);
    return image;
  }

  // The <img> itself, to be put into the page as it is.
  get(sha256, size = "large") {
    const name = `${sha256}/${size}`;
    const image = this.ready.get(name) ?? this.#load(sha256, size);
    this.ready.delete(name);
    this.ready.set(name, image);
    for (const [oldest, old] of this.ready) {
      if (this.ready.size <= KEPT) break;
      if (!old.isConnected) this.ready.delete(oldest);
    }
    return image;
  }

  #load(sha256, size) {
    const image = new Image();
    image.draggable = false;
    // Painted in the frame in which it is put there; it was decoded before.
    image.decoding = "sync";
    image.src = photo(sha256, size);
    // A photo that did not come is asked for again when it is next needed.
    image.addEventListener("error", () => this.ready.delete(`${sha256}/${size}`));
    return image;
  }
}
