// Any number of pictures in square cells: rows are recycled, and a place is arithmetic.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import * as thumbs from "./thumbs.js";

const TALLEST = 8_000_000; // pixels, beyond which browsers lose count and the bar is proportional
const SIZES = [72, 96, 128, 168, 224, 320];
const TEXT = 20;
const GAP = 6;

// Why a picture cannot be shown, in the server's own words; asked once.
const reasons = new Map();
function reasonOf(id) {
  if (!reasons.has(id)) reasons.set(id, get(`/thumb/${id}`).then(() => "cannot be read", (error) => error.message));
  return reasons.get(id);
}

export class Grid {
  // `describe(id, position)` → {title, mark, tone}; `opened(position)`, `changed()` when the cursor or the choice moves.
  constructor({ describe, opened, changed, rest }) {
    Object.assign(this, { describe, opened, changed, rest });
    this.ids = new Int32Array();
    this.scores = new Float32Array();
    this.chosen = new Set();
    this.cursor = 0;
    this.anchor = 0;
    this.size = SIZES.includes(+localStorage.getItem("cell")) ? +localStorage.getItem("cell") : 168;
    this.rows = [];
    this.offset = 0;
    this.pending = 0;
    this.layer = h("div", { class: "rows", role: "presentation" });
    this.element = h("div", {
      class: "grid", role: "grid", tabindex: "0", "aria-label": "Images", "aria-multiselectable": "true",
      onscroll: () => this.scrolled(), onwheel: (e) => this.wheeled(e),
      onclick: (e) => this.clicked(e), ondblclick: (e) => this.clicked(e, true),
    }, this.layer);
    this.watcher = new ResizeObserver(() => this.measure());
    this.watcher.observe(this.element);
    thumbs.onThumbnail((id, address) => this.paint(id, address));
  }

  // `from`: where the grid was when it was left, of the same list; `follow`: the cursor stays on its image.
  show(ids, scores, { keepPlace = false, from = null, follow = false } = {}) {
    const at = follow ? ids.indexOf(this.ids[this.cursor]) : -1;
    if (at >= 0) this.cursor = at;
    this.ids = ids;
    this.scores = scores;
    if (!keepPlace) {
      this.cursor = from?.cursor ?? 0;
      this.anchor = this.cursor;
      this.chosen = from?.chosen ?? new Set();
    }
    this.cursor = Math.min(this.cursor, Math.max(0, ids.length - 1));
    this.measure();
    if (!keepPlace) this.to(from?.offset ?? 0);
    if (at >= 0) this.move(at);
    this.changed();
  }

  get place() {
    return { cursor: this.cursor, offset: this.offset, chosen: this.chosen };
  }

  measure() {
    const width = this.element.clientWidth - GAP;
    if (width <= 0) return;
    this.columns = Math.max(1, Math.floor(width / (this.size + GAP)));
    this.side = Math.floor(width / this.columns) - GAP; // cells fill the line
    this.step = this.side + TEXT + GAP;
    this.count = Math.ceil(this.ids.length / this.columns);
    this.total = this.count * this.step + GAP;
    this.height = this.element.clientHeight;
    const tall = Math.min(this.total, TALLEST);
    this.ratio = this.total > TALLEST ? (this.total - this.height) / (tall - this.height) : 1;
    this.layer.style.height = `${tall}px`;
    this.element.setAttribute("aria-rowcount", this.count);
    this.element.setAttribute("aria-colcount", this.columns);
    fill(this.layer);
    this.rows = [];
    this.draw();
  }

  scrolled() {
    if (this.ratio === 1 || Math.abs(this.element.scrollTop * this.ratio - this.offset) > this.ratio) {
      this.offset = this.element.scrollTop * this.ratio;
    }
    this.soon();
  }

  wheeled(event) { // where the bar is proportional, a step is a step all the same
    if (this.ratio === 1 || event.ctrlKey) return;
    event.preventDefault();
    this.to(this.offset + event.deltaY * (event.deltaMode === 1 ? 40 : 1));
  }

  to(offset) {
    this.offset = Math.max(0, Math.min(offset, this.total - this.height));
    this.element.scrollTop = this.offset / this.ratio;
    this.soon();
  }

  soon() {
    if (!this.pending) this.pending = requestAnimationFrame(() => { this.pending = 0; this.draw(); });
  }

  draw() {
    if (!this.columns) return;
    if (this.ratio === 1) this.offset = this.element.scrollTop;
    const first = Math.max(0, Math.floor((this.offset - GAP) / this.step) - 1);
    const seen = Math.ceil(this.height / this.step) + 3;
    const shift = this.element.scrollTop - this.offset + GAP;
    while (this.rows.length < Math.min(seen, this.count)) this.addRow();
    const ids = [];
    for (let r = first; r < Math.min(first + this.rows.length, this.count); r += 1) {
      const row = this.rows[r % this.rows.length];
      row.element.style.transform = `translateY(${r * this.step + shift}px)`;
      if (row.number !== r) this.putRow(row, r);
      for (const cell of row.cells) if (cell.id >= 0) ids.push(cell.id);
    }
    for (const row of this.rows) row.element.hidden = row.number < first || row.number >= first + this.rows.length || row.number >= this.count;
    const middle = (first + 1) * this.columns;
    const near = (id, i) => [Math.abs(i - middle), id];
    thumbs.want(ids.map(near).sort((a, b) => a[0] - b[0]).map(([, id]) => id));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.rest(ids), 60);
    this.element.setAttribute("aria-activedescendant", `cell-${this.cursor}`);
  }

  addRow() {
    const cells = [];
    const element = h("div", { class: "row", role: "row", style: { height: `${this.step}px` } });
    for (let c = 0; c < this.columns; c += 1) {
      const image = h("img", { alt: "", draggable: "false", width: this.side, height: this.side });
      const badge = h("span", { class: "badge" });
      const mark = h("span", { class: "mark" });
      const text = h("span", { class: "title" });
      const box = h("div", {
        class: "cell", role: "gridcell", style: { left: `${GAP + c * (this.side + GAP)}px`, width: `${this.side}px` },
      }, h("div", { class: "frame", style: { height: `${this.side}px` } }, image, badge, mark), text);
      cells.push({ element: box, image, badge, mark, text, id: -1 });
      element.append(box);
    }
    this.layer.append(element);
    this.rows.push({ element, cells, number: -1 });
    for (const row of this.rows) row.number = -1; // a row's place in the pool has changed
  }

  putRow(row, number) {
    row.number = number;
    row.element.setAttribute("aria-rowindex", number + 1);
    row.cells.forEach((cell, c) => this.putCell(cell, number * this.columns + c));
  }

  putCell(cell, position) {
    const id = this.ids[position] ?? -1;
    cell.element.hidden = id < 0;
    if (id < 0) { cell.id = -1; return; }
    this.setPicture(cell, thumbs.cached(id));
    cell.id = id;
    cell.position = position;
    cell.element.id = `cell-${position}`;
    const { title, mark, tone } = this.describe(id, position);
    const score = this.scores[position];
    cell.badge.textContent = score === undefined || Number.isNaN(score) ? "" : score.toFixed(3);
    cell.badge.className = `badge ${tone ?? ""}`;
    cell.mark.textContent = mark ?? "";
    cell.text.textContent = title;
    cell.element.classList.toggle("cursor", position === this.cursor);
    cell.element.classList.toggle("chosen", this.chosen.has(id));
    cell.element.setAttribute("aria-selected", this.chosen.has(id));
    const said = cell.badge.textContent ? `, score ${cell.badge.textContent}` : "";
    cell.element.setAttribute("aria-label", `Image ${id}, ${title}${said}, ${position + 1} of ${this.ids.length}`);
    cell.element.setAttribute("aria-colindex", (position % this.columns) + 1);
  }

  setPicture(cell, address) {
    cell.element.classList.toggle("broken", address === null);
    if (address === null) reasonOf(cell.id).then((words) => cell.element.querySelector(".frame").setAttribute("data-why", words));
    if (cell.address !== address) {
      if (address) cell.image.src = address;
      else cell.image.removeAttribute("src");
    }
    cell.address = address;
    cell.image.classList.toggle("empty", !address);
  }

  paint(id, address) {
    for (const row of this.rows) for (const cell of row.cells) if (cell.id === id) this.setPicture(cell, address);
  }

  refresh() {
    for (const row of this.rows) if (row.number >= 0) this.putRow(row, row.number);
  }

  clicked(event, open = false) {
    const box = event.target.closest(".cell");
    if (!box) return;
    const position = +box.id.slice(5);
    if (open) { this.opened(position); return; }
    if (event.shiftKey) this.range(this.anchor, position);
    else if (event.ctrlKey || event.metaKey) this.toggle(position);
    this.move(position, event.shiftKey);
  }

  toggle(position = this.cursor) {
    const id = this.ids[position];
    if (!this.chosen.delete(id)) this.chosen.add(id);
    this.anchor = position;
    this.refresh();
    this.changed();
  }

  range(from, to) {
    for (let i = Math.min(from, to); i <= Math.max(from, to); i += 1) this.chosen.add(this.ids[i]);
  }

  chooseAll() {
    this.chosen = new Set(this.ids);
    this.refresh();
    this.changed();
  }

  clear() {
    this.chosen.clear();
    this.refresh();
    this.changed();
  }

  move(position, extend = false) {
    const last = this.ids.length - 1;
    if (last < 0) return;
    const before = this.cursor;
    this.cursor = Math.max(0, Math.min(position, last));
    if (extend) this.range(before, this.cursor);
    else this.anchor = this.cursor;
    const top = Math.floor(this.cursor / this.columns) * this.step;
    if (top < this.offset) this.to(top);
    else if (top + this.step > this.offset + this.height) this.to(top + this.step + GAP - this.height);
    this.refresh();
    this.draw();
    this.changed();
  }

  resize(by) {
    const at = SIZES.indexOf(this.size);
    this.size = SIZES[Math.max(0, Math.min(at + by, SIZES.length - 1))];
    localStorage.setItem("cell", this.size);
    this.measure();
    this.move(this.cursor);
  }

  keys() {
    const page = () => Math.max(1, Math.floor(this.height / this.step)) * this.columns;
    const at = (words, where) => [words, (e) => this.move(where(), e.shiftKey)];
    const both = (key, entry) => ({ [key]: entry, [`Shift+${key}`]: [`${entry[0]}, choosing`, entry[1]] });
    return {
      ...both("ArrowLeft", at("before", () => this.cursor - 1)), ...both("ArrowRight", at("next", () => this.cursor + 1)),
      ...both("ArrowUp", at("up", () => this.cursor - this.columns)),
      ...both("ArrowDown", at("down", () => this.cursor + this.columns)),
      PageUp: at("page up", () => this.cursor - page()), PageDown: at("page down", () => this.cursor + page()),
      Home: at("first", () => 0), End: at("last", () => this.ids.length - 1),
      Enter: ["open", () => this.opened(this.cursor)],
      Space: ["choose", () => this.toggle()],
      "Ctrl+a": ["choose all", () => this.chooseAll()],
      "[": ["smaller", () => this.resize(-1)], "]": ["larger", () => this.resize(1)],
    };
  }

  close() {
    this.watcher.disconnect();
    clearTimeout(this.timer);
  }
}
