// Pictures on one stage: one with zoom, or two side by side, in turn, under a slider, or their difference.

import { get } from "./api.js";
import { fill, h } from "./dom.js";

const MODES = ["side by side", "flicker", "slider", "difference"];
const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// `images` have id and path; `mode` is that of another that this one takes the place of.
export class Compare {
  constructor(images, mode = 0) {
    this.images = images;
    this.aligned = null; // the similarity from the second to the first, in shares of their long sides: [a, b, x, c, d, y]
    this.mode = mode;
    this.stop = new AbortController();
    this.scale = 0; // 0: fit
    this.at = [0.5, 0.5];
    this.canvas = h("canvas", { class: "pictures", role: "img", "aria-label": images.map((i) => i.path ?? `image ${i.id}`).join(" and ") });
    this.slider = h("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0.5, "aria-label": "Slider", oninput: () => this.draw() });
    this.words = h("span", { class: "note" });
    this.element = h("div", { class: "compare" }, this.canvas, h("div", { class: "line" }, this.words, this.slider,
      images.length > 1 && h("button", { onclick: () => this.turn(), title: "v" }, "view")));
    this.pictures = images.map(() => null);
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.canvas);
    this.canvas.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    this.canvas.addEventListener("pointerdown", (e) => this.drag(e));
    this.canvas.addEventListener("dblclick", () => (this.scale ? this.fit() : this.zoom(1)));
    images.forEach((image, i) => this.load(image, i));
    if (images.length > 1) this.align();
    this.flickers();
  }

  async align() {
    try {
      const [first, second] = this.images;
      ({ aligned: this.aligned } = await get("/api/aligned", { first: first.id, second: second.id }, { signal: this.stop.signal }));
      this.draw();
    } catch { /* then they lie as they are */ }
  }

  async load(image, i) {
    try {
      const response = await fetch(`/picture/${image.id}`, { signal: this.stop.signal });
      if (!response.ok) throw new Error((await response.json()).error);
      this.pictures[i] = await createImageBitmap(await response.blob());
    } catch (error) {
      if (error.name !== "AbortError") fill(this.words, error.message);
      return;
    }
    this.draw();
  }

  turn() {
    if (this.images.length < 2) return;
    this.mode = (this.mode + 1) % MODES.length;
    if (MODES[this.mode] === "flicker" && calm()) this.mode += 1;
    this.flickers();
    this.draw();
  }

  flickers() {
    clearInterval(this.flicker);
    const isOn = this.images.length > 1 && MODES[this.mode] === "flicker";
    if (isOn) this.flicker = setInterval(() => { this.second = !this.second; this.draw(); }, 600);
  }

  fit() { this.scale = 0; this.at = [0.5, 0.5]; this.draw(); }

  zoom(scale) { this.scale = scale; this.draw(); }

  wheel(event) {
    event.preventDefault();
    if (!this.pictures[0]) return;
    const now = this.scale || this.fitted();
    this.scale = Math.max(0.02, Math.min(32, now * (event.deltaY < 0 ? 1.2 : 1 / 1.2)));
    this.draw();
  }

  drag(event) {
    const from = [event.clientX, event.clientY];
    const at = [...this.at];
    const [first] = this.pictures;
    if (!first) return;
    const move = (e) => {
      const scale = this.scale || this.fitted();
      this.at = [at[0] - (e.clientX - from[0]) / (first.width * scale), at[1] - (e.clientY - from[1]) / (first.height * scale)];
      this.draw();
    };
    const end = () => { removeEventListener("pointermove", move); removeEventListener("pointerup", end); };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
  }

  // Points of the screen for a point of the first picture, where it fits into its part of the canvas.
  fitted() {
    const [first] = this.pictures;
    const parts = this.images.length > 1 && this.mode === 0 ? 2 : 1;
    return Math.min(this.canvas.clientWidth / parts / first.width, this.canvas.clientHeight / first.height, 4);
  }

  draw() {
    const { canvas } = this;
    const [first, second] = this.pictures;
    if (!first || !canvas.clientWidth) return;
    const dots = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * dots;
    canvas.height = canvas.clientHeight * dots;
    const pen = canvas.getContext("2d");
    const mode = this.images.length > 1 ? MODES[this.mode] : "";
    const half = canvas.width / 2;
    this.slider.hidden = mode !== "slider";
    const scale = (this.scale || this.fitted()) * dots;
    const [a, b, , c, d] = this.aligned ?? [1, 0, 0, 0, 1];
    const isTurned = a * d - b * c < 0 ? "laid on the first mirrored · " : Math.abs(b) > 0.02 ? "laid on the first turned · " : "";
    fill(this.words, mode, mode && " · ", mode && isTurned, `${Math.round((100 * scale) / dots)} %`);
    // A picture within a part of the canvas, around a point of it.
    const put = (which, left, width, middle = left + width / 2) => {
      const picture = this.pictures[which];
      if (!picture) return;
      pen.save();
      pen.beginPath();
      pen.rect(left, 0, width, canvas.height);
      pen.clip();
      pen.translate(middle, canvas.height / 2);
      pen.scale(scale, scale);
      pen.translate(-this.at[0] * first.width, -this.at[1] * first.height);
      if (which) this.lay(pen, picture);
      pen.imageSmoothingEnabled = scale < 3;
      pen.drawImage(picture, 0, 0);
      pen.restore();
    };
    if (mode === "side by side") {
      put(0, 0, half - dots);
      put(1, half + dots, half - dots);
    } else if (mode === "flicker") put(this.second ? 1 : 0, 0, canvas.width);
    else if (mode === "slider") {
      const cut = canvas.width * +this.slider.value;
      put(0, 0, cut, half);
      put(1, cut, canvas.width - cut, half);
      pen.fillStyle = "#1a5fb4";
      pen.fillRect(cut - dots, 0, 2 * dots, canvas.height);
    } else {
      put(0, 0, canvas.width);
      pen.globalCompositeOperation = "difference";
      if (mode === "difference" && second) put(1, 0, canvas.width);
      pen.globalCompositeOperation = "source-over";
    }
  }

  // The second picture as the evidence lays it on the first: by its similarity, else at the first one's size.
  lay(pen, picture) {
    const [first] = this.pictures;
    if (this.aligned) {
      const [a, b, x, c, d, y] = this.aligned;
      const [u, v] = [Math.max(first.width, first.height), Math.max(picture.width, picture.height)];
      pen.transform((a * u) / v, (c * u) / v, (b * u) / v, (d * u) / v, x * u, y * u);
    } else pen.scale(first.width / picture.width, first.height / picture.height);
  }

  close() {
    this.stop.abort();
    clearInterval(this.flicker);
    this.watcher.disconnect();
    for (const picture of this.pictures) picture?.close?.();
  }
}
