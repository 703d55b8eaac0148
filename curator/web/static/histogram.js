// Scores of the hits over those of other images, and where the list is cut.

import { h } from "./dom.js";

const BINS = 60;

// `cut(score)` is called when somebody moves the handle; null for none.
export class Histogram {
  constructor(cut) {
    this.cut = cut;
    this.canvas = h("canvas", { class: "histogram", role: "img" });
    this.handle = h("input", {
      type: "range", step: "any", "aria-label": "Least score", onchange: () => cut(this.value()), oninput: () => this.draw(),
    });
    this.output = h("output", {});
    this.element = h("div", { class: "scores" }, h("h2", {}, "Scores"), this.canvas, this.handle,
      h("div", { class: "line" }, this.output, h("button", { class: "quiet", onclick: () => cut(null) }, "all")));
  }

  value() {
    return +(+this.handle.value).toFixed(4);
  }

  show(scores, background, least) {
    this.scores = scores;
    this.background = background;
    this.element.hidden = !background.length;
    if (!background.length) return;
    let low = Infinity;
    let high = -Infinity;
    for (const all of [scores, background]) for (const s of all) { low = Math.min(low, s); high = Math.max(high, s); }
    this.low = low;
    this.high = high + 1e-6;
    this.handle.min = this.low;
    this.handle.max = this.high;
    this.handle.value = least ?? this.low;
    this.draw();
  }

  counts(values) {
    const bins = new Float64Array(BINS);
    for (const v of values) bins[Math.min(BINS - 1, Math.floor(((v - this.low) / (this.high - this.low)) * BINS))] += 1;
    const most = Math.max(...bins, 1);
    return bins.map((n) => n / most);
  }

  draw() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const [w, hgt] = [canvas.clientWidth || 240, canvas.clientHeight || 64];
    canvas.width = w * scale;
    canvas.height = hgt * scale;
    const pen = canvas.getContext("2d");
    const colours = getComputedStyle(document.documentElement);
    const bars = (counts, colour) => {
      pen.fillStyle = colours.getPropertyValue(colour);
      counts.forEach((n, i) => pen.fillRect((i * canvas.width) / BINS, canvas.height * (1 - n), canvas.width / BINS - 1, canvas.height * n));
    };
    bars(this.counts(this.background), "--faint");
    bars(this.counts(this.scores), "--accent");
    const from = this.value();
    this.output.textContent = `score ≥ ${from.toFixed(3)}`;
    pen.fillStyle = colours.getPropertyValue("--ink");
    pen.fillRect(((from - this.low) / (this.high - this.low)) * canvas.width - 1, 0, 2, canvas.height);
    canvas.setAttribute("aria-label", `${this.scores.length} hits score ${this.low.toFixed(3)} to ${this.high.toFixed(3)}; grey: other images`);
  }
}
