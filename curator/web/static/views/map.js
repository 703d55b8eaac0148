// The map: what lies near what, coloured by anything; a lasso chooses, clusters are judged whole.

import { get, packed, post, withQuery } from "../api.js";
import * as bulk from "../bulk.js";
import { fill, h, number, plural, say } from "../dom.js";
import { layer } from "../keys.js";
import * as place from "../place.js";
import { COLOURS, Plot, RAMP } from "../plot.js";

const NEAR = 20; // images in the list beside the map
const POINTS = 400; // of a lasso that stand in the address

const round = (v) => +v.toPrecision(7);

export class MapView {
  constructor(app) {
    this.app = app;
    this.chosen = new Uint8Array();
    this.picked = new Set(); // ids chosen by a key, which no polygon says
    this.hidden = new Set();
    this.plot = new Plot({ hovered: (i, x, y) => this.hover(i, x, y), opened: (i) => this.open(i), lassoed: (line, mode) => this.lasso(line, mode), moved: () => this.moved() });
    this.query = this.field("words to light up", "Query", "q");
    this.where = this.field("condition", "Condition", "where");
    this.xAxis = this.field("x: words", "Horizontal axis", "x");
    this.yAxis = this.field("y: words", "Vertical axis", "y");
    this.colour = h("select", { "aria-label": "Colour by", onchange: () => place.change({ colour: this.colour.value }, { replace: true }) });
    this.count = h("span", { class: "count", "aria-live": "polite" });
    this.tools = h("span", { class: "line" });
    this.note = h("div", { class: "note", role: "status" });
    this.legend = h("section", { "aria-label": "Legend" });
    this.near = h("section", { "aria-label": "Nearest to the middle" });
    this.clusters = h("section", { "aria-label": "Clusters" });
    this.tip = h("div", { class: "tip", hidden: true });
    this.bar = h("div", { class: "chosen", hidden: true });
    this.element = h("div", { class: "map" },
      h("div", { class: "query" }, h("div", { class: "line" }, this.query, this.where), h("div", { class: "line" }, this.xAxis, this.yAxis),
        h("div", { class: "tools" }, this.count, this.colour, this.tools)),
      h("div", { class: "body" }, h("div", { class: "left" }, this.note, h("div", { class: "canvas" }, this.plot.element, this.tip), this.bar),
        h("aside", { class: "panel" }, this.legend, this.clusters, this.near)));
  }

  field(placeholder, label, name) {
    const input = h("input", { type: "text", placeholder, "aria-label": label, "data-name": name, spellcheck: "false", onchange: () => this.ask() });
    return input;
  }

  ask() {
    const said = Object.fromEntries([this.query, this.where, this.xAxis, this.yAxis].map((f) => [f.dataset.name, f.value.trim()]));
    const { x, y } = place.parameters();
    if (!!said.x !== !!said.y) { say("say words for both axes"); return; }
    const isOther = (said.x ?? "") !== (x ?? "") || (said.y ?? "") !== (y ?? "");
    place.change({ ...said, ...(isOther ? { lasso: "", layout: "" } : {}) });
  }

  start() {
    const pan = (x, y) => () => this.plot.pan(x, y);
    this.release = layer({
      ArrowLeft: ["left", pan(-0.15, 0)], ArrowRight: ["right", pan(0.15, 0)], ArrowUp: ["up", pan(0, 0.15)], ArrowDown: ["down", pan(0, -0.15)],
      "+": ["nearer", () => this.plot.zoom(1.5)], "-": ["farther", () => this.plot.zoom(1 / 1.5)], 0: ["all of it", () => this.plot.fit()],
      l: ["lasso (Shift adds, Alt takes away)", () => this.tool("lasso")], p: ["pan", () => this.tool("pan")],
      "/": ["query", () => { this.query.focus(); this.query.select(); }],
      a: ["choose the nearest of the list", () => this.chooseNear()],
      t: ["tag", () => this.tag()], Enter: ["show the chosen in the grid", () => this.inGrid()],
      Escape: ["clear the choice", () => this.clear()],
    });
    const button = (words, name) => h("button", { class: "quiet", "aria-pressed": "false", "data-tool": name, onclick: () => this.tool(name) }, words);
    fill(this.tools, button("pan", "pan"), button("lasso", "lasso"), h("button", { class: "quiet", title: "0", onclick: () => this.plot.fit() }, "all"),
      !this.app.status.read_only && h("button", { class: "quiet", onclick: () => this.anew() }, "lay out again"));
    this.tool("pan");
    this.load();
    this.loadClusters();
  }

  tool(name) {
    this.plot.tool = name;
    this.plot.element.classList.toggle("drawing", name === "lasso");
    for (const b of this.tools.querySelectorAll("[data-tool]")) b.setAttribute("aria-pressed", b.dataset.tool === name);
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.release?.();
    this.plot.close();
  }

  follows() { this.load(); return true; }

  refreshed() { this.loadClusters(); this.isStale = true; return this.load(); }

  changed() { this.isStale = true; this.load(); }

  async anew() {
    if (await this.app.does("laying out again", () => post("/api/map", { anew: true }))) { this.isStale = true; this.load(); }
  }

  async load() {
    const asked = place.parameters();
    const { lasso, layout, ...rest } = asked;
    const key = JSON.stringify(rest);
    if (key === this.loaded && !this.isStale) { this.restore(asked); return; } // only the choice is another
    this.isStale = false;
    this.loaded = null;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    for (const f of [this.query, this.where, this.xAxis, this.yAxis]) if (f !== document.activeElement) f.value = asked[f.dataset.name] ?? "";
    const { columns } = this.app.status;
    fill(this.colour, [["", "no colour"], ...(asked.q ? [["score", "score"]] : []), ...columns.filter((c) => !["id", "path", "sha256"].includes(c)).map((c) => [c, c])]
      .map(([value, words]) => h("option", { value, selected: value === this.column(asked) }, words)));
    const axes = { x: asked.x ?? "", y: asked.y ?? "" };
    try {
      const map = await packed("/api/map", axes);
      if (this.isOver(turn)) return;
      this.app.foot(place.addressOf("/api/map", axes), asked.colour ? `curator map map.png --colour ${asked.colour}` : map.command ?? "curator map map.png");
      if (map.state !== "done") { this.wait(map); return; }
      this.digest = map.digest;
      if (this.shown !== `${map.digest} ${map.ids.length} ${axes.x} ${axes.y}`) {
        this.shown = `${map.digest} ${map.ids.length} ${axes.x} ${axes.y}`;
        this.plot.show(map.ids, map.x, map.y);
      }
      fill(this.note, map.laid < map.pictures ? `${number(map.pictures - map.laid)} pictures that came since are placed beside their nearest` : "");
      await this.light(asked, turn);
      await this.paint(asked, turn);
      if (this.isOver(turn)) return;
      this.loaded = key;
      this.restore(asked);
    } catch (error) {
      if (!this.isOver(turn)) fill(this.note, h("p", { class: "error" }, error.message));
    }
  }

  isOver(turn) { return this.isClosed || turn !== this.turn; }

  column(asked) { return asked.colour ?? (asked.q ? "score" : this.app.status.columns.includes("label") ? "label" : ""); }

  wait(task) {
    const words = task.state === "failed" ? task.error : task.state === "stopped" ? "laying out was stopped" : `laying out ${plural(this.app.status.counts.images, "image")}: ${task.doing}`;
    const isOver = ["failed", "stopped"].includes(task.state);
    fill(this.note, h("p", { class: "line" }, words, !isOver && h("progress", { value: task.done, max: task.total || 1 }),
      h("button", { onclick: async () => { await this.app.does("", () => post(isOver ? "/api/map" : "/api/stop", { task: task.number })); this.load(); } }, isOver ? "again" : "stop")));
    if (!isOver) this.timer = setTimeout(() => this.load(), 400);
  }

  // What the query and the condition find is lit, the rest is grey.
  async light(asked, turn) {
    this.lit = null;
    this.scores = null;
    if (!asked.q && !asked.where) { fill(this.count, plural(this.plot.ids.length, "image")); return; }
    const answer = await packed("/api/list", { q: asked.q ?? "", where: asked.where ?? "" });
    if (this.isOver(turn)) return;
    [this.most, this.least] = [answer.scores[0], answer.scores.at(-1)]; // best first
    this.lit = new Uint8Array(this.plot.ids.length);
    this.scores = new Float32Array(this.plot.ids.length).fill(NaN);
    answer.ids.forEach((id, i) => {
      const at = this.plot.position.get(id);
      if (at === undefined) return;
      this.lit[at] = 1;
      if (answer.scores.length) this.scores[at] = answer.scores[i];
    });
    fill(this.count, `${number(answer.ids.length)} of ${plural(this.plot.ids.length, "image")}`);
  }

  async paint(asked, turn) {
    const column = this.column(asked);
    let codes = null;
    let numbers = null;
    let facts = { values: [] };
    if (column === "score" && this.scores) {
      numbers = this.scores;
      facts = { low: this.least ?? 0, high: this.most ?? 0 };
    } else if (column && column !== "score") {
      facts = await packed("/api/colours", { column });
      if (this.isOver(turn)) return;
      ({ codes = null, numbers = null } = facts);
    }
    if (numbers) codes = Int32Array.from(numbers, (v) => (Number.isNaN(v) ? -1 : Math.max(0, Math.min(RAMP, Math.round((RAMP * (v - facts.low)) / (facts.high - facts.low || 1))))));
    this.values = facts.values ?? [];
    if (column !== this.painted) this.hidden.clear();
    Object.assign(this, { painted: column, codes, isNumbers: !!numbers });
    this.plot.paint({ codes, numbers: !!numbers, hidden: this.hidden, lit: this.lit, chosen: this.anyChosen() });
    this.drawLegend(column, facts, !!numbers);
    this.drawNear();
  }

  repaint() {
    this.plot.paint({ codes: this.codes, numbers: this.isNumbers, hidden: this.hidden, lit: this.lit, chosen: this.anyChosen() });
  }

  drawLegend(column, facts, isNumbers) {
    if (!column) { fill(this.legend); return; }
    const toggle = (code, words, count) => h("label", { class: "value" },
      h("input", { type: "checkbox", checked: !this.hidden.has(code), onchange: (e) => { if (e.target.checked) this.hidden.delete(code); else this.hidden.add(code); this.repaint(); } }),
      h("i", { class: "dot", style: { background: COLOURS[code] ?? "#8c8c86" } }), h("span", {}, words), h("span", { class: "count" }, number(count)));
    fill(this.legend, h("h2", {}, column), isNumbers
      ? h("div", { class: "line" }, +facts.low.toPrecision(3), h("i", { class: "ramp" }), +facts.high.toPrecision(3))
      : [...this.values.map(([value, count], code) => toggle(code, value, count)), facts.others ? toggle(this.values.length, "any other", facts.others) : null,
        !this.values.length && h("p", { class: "note" }, "no image has one")]);
  }

  drawNear() {
    if (!this.plot.ids.length) { fill(this.near, h("p", { class: "empty" }, "The index is empty: run `curator index FOLDER` in a terminal.")); return; }
    const ids = this.plot.around(NEAR).map((i) => this.plot.ids[i]);
    fill(this.near, h("h2", {}, "Nearest to the middle"), h("div", { class: "strip" }, ids.map((id) => h("a", { href: `/image/${id}`, class: "small" },
      h("img", { src: `/thumb/${id}`, alt: `image ${id}`, loading: "lazy", width: 72, height: 72 })))));
  }

  moved() {
    clearTimeout(this.rest);
    this.rest = setTimeout(() => { if (!this.isClosed) this.drawNear(); }, 250);
  }

  hover(i, x, y) {
    this.tip.hidden = i < 0;
    if (i < 0) return;
    const id = this.plot.ids[i];
    if (this.tip.dataset.id !== String(id)) {
      this.tip.dataset.id = id;
      const code = this.codes?.[i] ?? -1;
      fill(this.tip, h("img", { src: `/thumb/${id}`, alt: "", width: 128, height: 128 }), h("span", {}, this.isNumbers ? "" : this.values[code]?.[0] ?? `image ${id}`));
    }
    const box = this.plot.element.getBoundingClientRect();
    this.tip.style.setProperty("left", `${Math.min(x - box.left + 12, box.width - 140)}px`);
    this.tip.style.setProperty("top", `${Math.min(y - box.top + 12, box.height - 160)}px`);
  }

  open(i) {
    this.app.list = Int32Array.from(this.plot.around(200), (k) => this.plot.ids[k]);
    this.app.address = location.pathname + location.search;
    place.go(`/image/${this.plot.ids[i]}`);
  }

  // Polygons stand in the address, each with how it joins the ones before: "new:x,y,x,y;add:…".
  lasso(line, mode) {
    if (line.length < 3) return;
    const every = Math.ceil(line.length / POINTS);
    const points = line.filter((_, i) => i % every === 0).flat().map(round).join(",");
    const before = mode === "new" ? "" : place.parameters().lasso ?? "";
    place.change({ lasso: [before, `${mode}:${points}`].filter(Boolean).join(";"), layout: this.digest });
  }

  restore(asked) {
    this.chosen = new Uint8Array(this.plot.ids.length);
    if (asked.lasso && asked.layout !== this.digest) say("this choice was drawn on another layout, and means nothing on this one", true);
    else for (const part of (asked.lasso ?? "").split(";").filter(Boolean)) this.join(part);
    for (const id of this.picked) this.chosen[this.plot.position.get(id)] = 1;
    this.chosenChanged();
  }

  join(part) {
    const [mode, points] = part.split(":");
    const flat = points.split(",").map(Number);
    const line = flat.flatMap((v, i) => (i % 2 ? [] : [[v, flat[i + 1]]]));
    this.plot.within(line).forEach((isIn, i) => {
      if (isIn && (!this.lit || this.lit[i]) && !(this.codes && this.hidden.has(this.codes[i]))) this.chosen[i] = mode === "take" ? 0 : 1;
    });
  }

  anyChosen() { return this.chosen.some((v) => v) ? this.chosen : null; }

  chooseNear() {
    for (const i of this.plot.around(NEAR)) { this.chosen[i] = 1; this.picked.add(this.plot.ids[i]); }
    this.chosenChanged();
  }

  ids() { return [...this.plot.ids].filter((_, i) => this.chosen[i]); }

  chosenChanged() {
    this.repaint();
    const n = this.chosen.reduce((a, b) => a + b, 0);
    bulk.bar(this.bar, n, [["Show in grid", "Enter", () => this.inGrid()], ["Tag", "t", () => this.tag()], ["Label", "", () => bulk.edit(this.app, "label", this.ids())],
      ["Mark like", "", () => place.go("/", { like: this.ids().slice(0, 200).join(",") })], ["Into selection", "", () => bulk.select(this.app, this.ids())],
      ["Clear", "Esc", () => this.clear()]]);
  }

  clear() {
    this.picked.clear();
    this.chosen.fill(0);
    place.change({ lasso: "", layout: "" });
    this.chosenChanged();
  }

  tag() { bulk.tag(this.app, this.ids()); }

  async inGrid() {
    const ids = this.ids();
    if (!ids.length) return;
    if (ids.length <= 200) { place.go("/", { chosen: ids.join(",") }); return; }
    const answer = await this.app.does("", () => post("/api/choice", { ids }));
    if (answer) place.go("/", { chosen: answer.choice });
  }

  async loadClusters() {
    try {
      const { clusters } = await get("/api/clusters");
      if (this.isClosed) return;
      const find = !this.app.status.read_only && h("button", { class: "quiet", onclick: () => this.find() }, clusters.length ? "find again" : "find them");
      fill(this.clusters, h("div", { class: "line" }, h("h2", {}, "Clusters"), find), clusters.map((c) => this.cluster(c)));
    } catch (error) {
      fill(this.clusters, h("p", { class: "error" }, error.message));
    }
  }

  cluster(c) {
    const isRejected = c.rejected === c.images;
    const judge = (keep) => async () => {
      if (await this.app.does(keep ? `cluster ${c.number} kept` : `${plural(c.images, "image")} rejected; z takes it back`, () => post("/api/clusters/verdict", { numbers: [c.number], keep }))) this.loadClusters();
    };
    return h("div", { class: `cluster ${isRejected ? "rejected" : ""}` },
      h("div", { class: "strip" }, c.shown.map((id) => h("a", { href: `/image/${id}`, class: "small" }, h("img", { src: `/thumb/${id}`, alt: `image ${id}`, width: 34, height: 34, loading: "lazy" })))),
      h("div", { class: "note" }, c.labels.map(([l, n]) => `${l} ${n}`).join(", ")),
      h("div", { class: "line" }, h("strong", {}, c.number), h("span", { class: "note", title: plural(c.images, "image") }, `${number(c.images)}${c.rejected ? `, ${number(c.rejected)} rejected` : ""}`),
        h("a", { href: withQuery("/", { where: `cluster = ${c.number}` }) }, "show"),
        !this.app.status.read_only && h("button", { class: "quiet", onclick: judge(isRejected) }, isRejected ? "accept" : "reject all")));
  }

  async find() {
    if (!(await this.app.does("finding clusters", () => post("/api/clusters", {})))) return;
    const look = async () => {
      const task = (await get("/api/tasks")).find((t) => t.name === "clusters");
      if (this.isClosed) return;
      if (task && ["waiting", "running"].includes(task.state)) { setTimeout(look, 400); return; }
      if (task?.error) say(task.error, true);
      this.app.refresh();
    };
    look();
  }
}
