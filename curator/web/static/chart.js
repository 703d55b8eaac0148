// Curves on a canvas: several of them, from one run or two, on a linear or a logarithmic scale.

import { h } from "./dom.js";
import { COLOURS } from "./plot.js";

const LEFT = 52;
const BELOW = 18;

const shown = (v) => (v === 0 ? "0" : Math.abs(v) < 1e-2 ? v.toExponential(1) : Math.abs(v) >= 1e6 ? `${+(v / 1e6).toPrecision(3)}M` : Math.abs(v) >= 1e4 ? `${Math.round(v / 1e3)}k` : +v.toPrecision(3));

// `curves`: [{name, x, y, dashed}], of numbers or null; drawn now and whenever the size changes.
export function chart(title, curves, { log = false } = {}) {
  const canvas = h("canvas", { class: "chart", role: "img" });
  const known = curves.flatMap(({ x, y }) => x.map((v, i) => [v, y[i]])).filter(([, v]) => Number.isFinite(v) && (!log || v > 0));
  const scale = log ? Math.log10 : (v) => v;
  const [low, high] = known.reduce(([a, b], [, v]) => [Math.min(a, scale(v)), Math.max(b, scale(v))], [Infinity, -Infinity]);
  const most = known.reduce((a, [v]) => Math.max(a, v), 1);
  const last = curves.map(({ name, y }) => `${name} ends at ${shown(y.filter(Number.isFinite).at(-1) ?? NaN)}`).join(", ");
  canvas.setAttribute("aria-label", `${title}: ${last}`);
  const draw = () => {
    const [w, t] = [canvas.clientWidth, canvas.clientHeight];
    if (!w || !known.length) return;
    const dots = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [w * dots, t * dots];
    const pen = canvas.getContext("2d");
    pen.scale(dots, dots);
    const colours = getComputedStyle(document.documentElement);
    pen.font = "11px system-ui";
    pen.fillStyle = colours.getPropertyValue("--soft");
    pen.strokeStyle = colours.getPropertyValue("--line");
    const range = high - low || 1;
    const px = (v) => LEFT + ((w - LEFT - 8) * v) / most;
    const py = (v) => 8 + (t - BELOW - 14) * (1 - (scale(v) - low) / range);
    for (const share of [0, 0.5, 1]) {
      const value = log ? 10 ** (low + share * range) : low + share * range;
      pen.fillText(shown(value), 2, py(value) + 4);
      pen.beginPath();
      pen.moveTo(LEFT, py(value));
      pen.lineTo(w - 8, py(value));
      pen.stroke();
      pen.fillText(shown(share * most), Math.min(px(share * most), w - 44), t - 4);
    }
    pen.lineWidth = 1.5;
    curves.forEach(({ x, y, dashed }, i) => {
      pen.strokeStyle = COLOURS[i % COLOURS.length];
      pen.setLineDash(dashed ? [4, 3] : []);
      pen.beginPath();
      let isDown = false;
      x.forEach((v, k) => {
        if (!Number.isFinite(y[k]) || (log && y[k] <= 0)) { isDown = false; return; }
        pen[isDown ? "lineTo" : "moveTo"](px(v), py(y[k]));
        isDown = true;
      });
      pen.stroke();
      const only = y.findIndex(Number.isFinite); // a curve of one point is a point
      if (y.filter(Number.isFinite).length === 1 && (!log || y[only] > 0)) pen.strokeRect(px(x[only]) - 2, py(y[only]) - 2, 4, 4);
    });
  };
  new ResizeObserver(draw).observe(canvas);
  const key = h("div", { class: "line" }, curves.map(({ name, dashed }, i) => h("span", { class: "line" }, h("i", { class: `dot ${dashed ? "dashed" : ""}`, style: { background: COLOURS[i % COLOURS.length] } }), name)));
  return h("figure", {}, h("figcaption", {}, title), canvas, key);
}

export function spark(values) {
  const canvas = h("canvas", { class: "spark", "aria-hidden": "true" });
  requestAnimationFrame(() => {
    const known = values.filter(Number.isFinite);
    if (known.length < 2) return;
    const [low, high] = [Math.min(...known), Math.max(...known)];
    [canvas.width, canvas.height] = [160, 36];
    const pen = canvas.getContext("2d");
    pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
    pen.lineWidth = 2;
    known.forEach((v, i) => pen[i ? "lineTo" : "moveTo"]((160 * i) / (known.length - 1), 33 - (30 * (v - low)) / (high - low || 1)));
    pen.stroke();
  });
  return canvas;
}
