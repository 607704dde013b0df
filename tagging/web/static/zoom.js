// A photo at full size: drag to move, or arrows, or a click on what is to be in the middle; wheel, pinch,
// buttons or keys to come nearer.

const NEAREST = 8;
const STEP = 1.5;
const MOVE = 0.2; // of the window, by an arrow
const DRAGGED = 4; // pixels, from which on it was no click
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

export class Zoom {
  // `dialog` has #stage, #nearer and #farther in it.
  constructor(dialog, photos) {
    this.dialog = dialog;
    this.photos = photos;
    this.stage = dialog.querySelector("#stage");
    this.pointers = new Map();
    this.dragged = 0; // since the pointer went down
    dialog.querySelector("#nearer").addEventListener("click", () => this.#scale(STEP));
    dialog.querySelector("#farther").addEventListener("click", () => this.#scale(1 / STEP));
    this.stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.stage.addEventListener("pointerdown", (event) => this.#down(event));
    this.stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    this.stage.addEventListener("click", (event) => {
      if (this.size > 1 && this.dragged < DRAGGED) this.#centre(...this.#from(event));
    });
    this.stage.addEventListener("dblclick", () => (this.size > 1 ? this.#reset() : this.#scale(2.5)));
    dialog.addEventListener("close", () => {
      if (!dialog.open) this.stage.replaceChildren(); // it may be open again by now
    });
  }

  get open() {
    return this.dialog.open;
  }

  // Shows what is here already, and the full size as soon as it has come.
  show(sha256, alt) {
    const first = this.photos.get(sha256, "large").cloneNode();
    first.removeAttribute("id");
    first.alt = alt;
    this.stage.replaceChildren(first);
    this.#reset();
    if (!this.dialog.open) this.dialog.showModal();
    const full = this.photos.get(sha256, "full");
    full.alt = alt;
    full.decode().then(
      () => {
        if (first.isConnected) this.stage.replaceChildren(full);
        this.#draw();
      },
      () => undefined, // what is shown stays
    );
  }

  // True if the key was for it.
  key(event) {
    if (event.key === "+" || event.key === "=") this.#scale(STEP);
    else if (event.key === "-") this.#scale(1 / STEP);
    else if (event.key === "0") this.#reset();
    else if (this.size > 1 && ARROWS[event.key]) {
      const [right, down] = ARROWS[event.key];
      this.x += right * MOVE * this.stage.clientWidth;
      this.y += down * MOVE * this.stage.clientHeight;
      this.#draw();
    }
    else if (event.key === " " && !event.target.matches("button")) this.dialog.close();
    else return false;
    event.preventDefault();
    return true;
  }

  #reset() {
    this.size = 1;
    this.x = 0;
    this.y = 0;
    this.pointers.clear();
    this.#draw();
  }

  // What lies under (x, y), from the middle of the stage, stays there.
  #scale(factor, x = 0, y = 0) {
    const size = Math.min(NEAREST, Math.max(1, this.size * factor));
    const real = size / this.size;
    this.x = x - (x - this.x) * real;
    this.y = y - (y - this.y) * real;
    this.size = size;
    this.#draw();
  }

  #centre(x, y) {
    this.x -= x;
    this.y -= y;
    this.#draw();
  }

  #draw() {
    const { clientWidth, clientHeight } = this.stage;
    const [far, high] = [clientWidth, clientHeight].map((edge) => (edge * (this.size - 1)) / 2);
    this.x = Math.min(far, Math.max(-far, this.x));
    this.y = Math.min(high, Math.max(-high, this.y));
    for (const image of this.stage.children) {
      image.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.size})`;
    }
  }

  #from(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
  }

  #wheel(event) {
    event.preventDefault();
    this.#scale(Math.exp(-event.deltaY / 400), ...this.#from(event));
  }

  #down(event) {
    this.stage.setPointerCapture(event.pointerId);
    this.dragged = 0;
    this.pointers.set(event.pointerId, this.#from(event));
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#from(event);
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    this.dragged += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (other) {
      const apart = ([x, y]) => Math.max(1, Math.hypot(x - other[0], y - other[1]));
      this.#scale(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    } else {
      this.x += now[0] - before[0];
      this.y += now[1] - before[1];
      this.#draw();
    }
  }
}
