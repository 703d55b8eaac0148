// Points on a canvas: colours, pan and zoom, a lasso, and pictures where they are far enough apart.

import { h } from "./dom.js";
import * as thumbs from "./thumbs.js";

export const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a6d00", "#7a5fc4", "#a3262a", "#2c8f8f", "#b58ab9", "#6b8e23"];
const OTHER = "#8c8c86";
export const RAMP = 24; // steps of a colour for numbers
const CLOSE = 12; // times the whole, from which pictures lie on their points
const SIDE = 56;

export class Plot {
  // `hovered(position, x, y)`, `opened(position)`, `lassoed(polygon, mode)` in places of the map, `moved(view)`.
  constructor(tell) {
    this.tell = tell;
    this.ids = new Int32Array();
    this.view = [0, 0, 1]; // the middle, and how many times larger than the whole
    this.tool = "pan";
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.element = h("canvas", { class: "plot", tabindex: "0", role: "img", "aria-label": "Map" });
    this.watcher = new ResizeObserver(() => this.soon());
    this.watcher.observe(this.element);
    const on = (name, f, options) => this.element.addEventListener(name, f, options);
    on("wheel", (e) => this.wheel(e), { passive: false });
    on("pointerdown", (e) => this.down(e));
    on("pointermove", (e) => this.hover(e));
    on("pointerleave", () => tell.hovered(-1));
    on("dblclick", () => this.fit());
  }

  show(ids, x, y) {
    Object.assign(this, { ids, x, y, shaded: null, chosen: null });
    this.position = new Map();
    ids.forEach((id, i) => this.position.set(id, i));
    const most = (v) => v.reduce((a, b) => Math.max(a, b), -Infinity);
    const least = (v) => v.reduce((a, b) => Math.min(a, b), Infinity);
    const [left, right, low, high] = ids.length ? [least(x), most(x), least(y), most(y)] : [-1, 1, -1, 1];
    this.whole = { x: (left + right) / 2, y: (low + high) / 2, w: right - left || 1, h: high - low || 1 };
    this.soon();
  }

  // `codes` (one for each point; null: all alike), `hidden` codes, `lit` and `chosen`: Uint8Array of flags, or null.
  paint({ codes = null, numbers = false, hidden = new Set(), lit = null, chosen = null }) {
    Object.assign(this, { codes, numbers, hidden, lit, chosen, shaded: null });
    this.soon();
  }

  soon() {
    this.pending ||= requestAnimationFrame(() => { this.pending = 0; this.draw(); });
  }

  // Place of the map → pixels of the screen: x · k + dx, y · −k + dy.
  frame() {
    const [w, t] = [this.element.clientWidth, this.element.clientHeight];
    const k = 0.94 * Math.min(w / this.whole.w, t / this.whole.h) * this.view[2];
    const [x, y] = [this.whole.x + this.view[0], this.whole.y + this.view[1]];
    return { w, t, k, dx: w / 2 - x * k, dy: t / 2 + y * k };
  }

  // Into an image of its own, pixel by pixel: a hundred thousand points take a few milliseconds so, and ten times that
  // as rectangles of the canvas.
  draw() {
    const { element, ids } = this;
    if (!element.clientWidth || !this.whole) return;
    const dots = devicePixelRatio || 1;
    const { w, t, k, dx, dy } = this.frame();
    const [width, height] = [Math.round(w * dots), Math.round(t * dots)];
    if (element.width !== width || element.height !== height || !this.image) {
      [element.width, element.height] = [width, height];
      this.image = new ImageData(width, height);
    }
    const pen = element.getContext("2d");
    const pixels = new Uint32Array(this.image.data.buffer);
    pixels.fill(0);
    const size = Math.max(1.5, Math.min(9, (ids.length > 20000 ? 2 : 3.5) * Math.sqrt(this.view[2])));
    const side = Math.max(1, Math.round(size * dots));
    const visible = [];
    const put = (i, colour, larger) => {
      const left = Math.round((this.x[i] * k + dx) * dots - (side + larger) / 2);
      const top = Math.round((dy - this.y[i] * k) * dots - (side + larger) / 2);
      const [right, bottom] = [Math.min(width, left + side + larger), Math.min(height, top + side + larger)];
      for (let row = Math.max(0, top); row < bottom; row += 1) pixels.fill(colour, row * width + Math.max(0, left), Math.max(0, row * width + right));
      return right > 0 && bottom > 0 && left < width && top < height;
    };
    const [grey, ink] = this.dark.matches ? [0xff3a3f3f, 0xffffffff] : [0xffcfd4d4, 0xff000000];
    const shades = this.shades();
    for (let i = 0; i < ids.length; i += 1) if (!shades[i]) put(i, grey, 0); // beneath all others
    for (let i = 0; i < ids.length; i += 1) {
      if (this.chosen?.[i]) put(i, ink, Math.round(2 * dots));
      if (shades[i] && put(i, shades[i], 0) && this.view[2] >= CLOSE && visible.length < 4000) visible.push(i);
    }
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.putImageData(this.image, 0, 0);
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    this.pictures(pen, visible, { k, dx, dy });
    if (this.line?.length) {
      pen.strokeStyle = "#1a5fb4";
      pen.lineWidth = 2;
      pen.stroke(this.path(this.line));
    }
  }

  // The colour of each point as its four bytes; 0 for grey. Worked out once for each way of painting.
  shades() {
    if (this.shaded) return this.shaded;
    const bytes = (colour) => {
      const pen = (this.scratch ??= new OffscreenCanvas(1, 1).getContext("2d"));
      pen.fillStyle = colour;
      const [r, g, b] = pen.fillStyle.match(/[0-9a-f]{2}/g).map((two) => parseInt(two, 16));
      return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
    };
    const known = [...(this.numbers ? Array.from({ length: RAMP + 1 }, (_, code) => `hsl(${Math.round(250 - (230 * code) / RAMP)} 70% 45%)`) : COLOURS), OTHER].map(bytes);
    const of = (code) => (code < 0 || this.hidden.has(code) ? 0 : known[Math.min(code, known.length - 1)]);
    this.shaded = Uint32Array.from(this.ids, (_, i) => (this.lit && !this.lit[i] ? 0 : this.codes ? of(this.codes[i]) : known[0]));
    return this.shaded;
  }

  // Thinned, so that none covers another.
  pictures(pen, visible, { k, dx, dy }) {
    const taken = new Set();
    const wanted = [];
    for (const i of visible) {
      const [px, py] = [this.x[i] * k + dx, dy - this.y[i] * k];
      const cell = `${Math.floor(px / SIDE)} ${Math.floor(py / SIDE)}`;
      if (taken.has(cell) || (this.lit && !this.lit[i])) continue;
      taken.add(cell);
      const id = this.ids[i];
      const address = thumbs.cached(id);
      if (address === undefined) wanted.push(id);
      else if (address) this.put(pen, address, px, py);
    }
    thumbs.onThumbnail(() => this.soon());
    if (visible.length) thumbs.want(wanted);
  }

  put(pen, address, px, py) {
    this.drawn ??= new Map();
    let image = this.drawn.get(address);
    if (!image) {
      image = new Image();
      image.onload = () => this.soon();
      image.src = address;
      if (this.drawn.size > 1500) this.drawn.delete(this.drawn.keys().next().value); // more than fit on any screen
      this.drawn.set(address, image);
    }
    if (!image.complete || !image.naturalWidth) return;
    const scale = (SIDE - 6) / Math.max(image.naturalWidth, image.naturalHeight);
    const [w, t] = [image.naturalWidth * scale, image.naturalHeight * scale];
    pen.drawImage(image, px - w / 2, py - t / 2, w, t);
  }

  placeAt(event) {
    const box = this.element.getBoundingClientRect();
    const { k, dx, dy } = this.frame();
    return [(event.clientX - box.left - dx) / k, (dy - event.clientY + box.top) / k];
  }

  nearest(x, y, most = Infinity) {
    let [best, at] = [most * most, -1];
    for (let i = 0; i < this.ids.length; i += 1) {
      const d = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
      if (d < best && (!this.lit || this.lit[i])) { best = d; at = i; }
    }
    return at;
  }

  // The n points nearest to the middle of what is shown.
  around(n) {
    if (!this.whole) return [];
    const [x, y] = [this.whole.x + this.view[0], this.whole.y + this.view[1]];
    const apart = Float64Array.from(this.ids, (_, i) => (this.lit && !this.lit[i] ? Infinity : (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2));
    return [...apart.keys()].filter((i) => apart[i] < Infinity).sort((a, b) => apart[a] - apart[b]).slice(0, n);
  }

  hover(event) {
    if (event.buttons || !this.whole) return;
    const [x, y] = this.placeAt(event);
    const i = this.nearest(x, y, 10 / this.frame().k);
    this.tell.hovered(i, event.clientX, event.clientY);
  }

  wheel(event) {
    event.preventDefault();
    if (!this.whole) return;
    const [x, y] = this.placeAt(event);
    this.zoom(event.deltaY < 0 ? 1.25 : 0.8, x, y);
  }

  zoom(factor, ...middle) {
    if (this.whole) this.zoomTo(factor, ...middle);
  }

  zoomTo(factor, x = this.whole.x + this.view[0], y = this.whole.y + this.view[1]) {
    const size = Math.max(0.5, Math.min(2000, this.view[2] * factor));
    const share = this.view[2] / size;
    const [mx, my] = [x - this.whole.x, y - this.whole.y];
    this.look([mx + (this.view[0] - mx) * share, my + (this.view[1] - my) * share, size]);
  }

  pan(byX, byY) { // in shares of the screen
    if (!this.whole) return;
    const { w, t, k } = this.frame();
    this.look([this.view[0] + (byX * w) / k, this.view[1] + (byY * t) / k, this.view[2]]);
  }

  fit() { this.look([0, 0, 1]); }

  look(view) {
    this.view = view;
    this.soon();
    this.tell.moved(view);
  }

  down(event) {
    if (event.button || !this.whole) return;
    this.element.setPointerCapture(event.pointerId);
    const start = this.placeAt(event);
    const from = [...this.view];
    const [sx, sy] = [event.clientX, event.clientY];
    let isClick = true;
    const isLasso = this.tool === "lasso" || event.shiftKey || event.altKey;
    const mode = event.shiftKey ? "add" : event.altKey ? "take" : "new";
    if (isLasso) this.line = [start];
    const move = (e) => {
      isClick &&= Math.hypot(e.clientX - sx, e.clientY - sy) < 4;
      if (isLasso) { this.line.push(this.placeAt(e)); this.soon(); return; }
      const { k } = this.frame();
      this.look([from[0] - (e.clientX - sx) / k, from[1] + (e.clientY - sy) / k, from[2]]);
    };
    const end = () => {
      this.element.removeEventListener("pointermove", move);
      this.element.removeEventListener("pointerup", end);
      this.element.removeEventListener("pointercancel", end);
      const line = this.line;
      this.line = null;
      if (isClick) {
        const i = this.nearest(...start, 12 / this.frame().k);
        if (i >= 0) this.tell.opened(i);
      } else if (isLasso) this.tell.lassoed(line, mode);
      this.soon();
    };
    this.element.addEventListener("pointermove", move);
    this.element.addEventListener("pointerup", end);
    this.element.addEventListener("pointercancel", end);
  }

  path(line, { k, dx, dy } = this.frame()) {
    const path = new Path2D();
    line.forEach(([x, y], i) => path[i ? "lineTo" : "moveTo"](x * k + dx, dy - y * k));
    path.closePath();
    return path;
  }

  // Flags of the points inside a polygon: it is filled once, and each point in its box looks whether its pixel is.
  within(line) {
    const side = 1024;
    const [xs, ys] = [line.map(([x]) => x), line.map(([, y]) => y)];
    const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const k = (side - 2) / (Math.max(right - left, high - low) || 1);
    const frame = { k, dx: 1 - left * k, dy: 1 + high * k };
    const pen = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
    pen.fill(this.path(line, frame));
    const { data } = pen.getImageData(0, 0, side, side);
    return Uint8Array.from(this.ids, (_, i) => {
      const [x, y] = [this.x[i], this.y[i]];
      if (x < left || x > right || y < low || y > high) return 0;
      return data[4 * (Math.round(frame.dy - y * k) * side + Math.round(x * k + frame.dx)) + 3] > 127 ? 1 : 0;
    });
  }

  close() { this.watcher.disconnect(); }
}
