// Runs: all of them, one with its curves and samples as they come, and what one makes beside real images.

import { get, post } from "../api.js";
import { chart, spark } from "../chart.js";
import { fill, h, number, plural, say } from "../dom.js";
import { dialog, layer } from "../keys.js";
import * as place from "../place.js";

const EVERY = 2000;
const PAGE = 60; // generated images shown at a time
const RATES = ["frechet_distance", "precision", "recall", "density", "coverage", "accuracy", "loss"];

export class RunsView {
  constructor(app) {
    this.app = app;
    this.element = h("div", { class: "runs" });
    this.picked = 0;
    this.shown = PAGE;
  }

  get parts() { return place.path().split("/").slice(2).map(decodeURIComponent); }

  start() {
    const lens = (f) => () => (this.rows ? f() : false);
    this.release = layer({
      ArrowLeft: ["before", lens(() => this.pick(this.picked - 1))], ArrowRight: ["next", lens(() => this.pick(this.picked + 1))],
      k: ["keep", lens(() => this.judge("keep"))], r: ["reject", lens(() => this.judge("reject"))], u: ["forget the verdict", lens(() => this.judge("undo"))],
      s: ["similar", lens(() => place.go("/", { q: `id:${this.rows[this.picked].id}` }))],
      Enter: ["open", lens(() => place.go(`/image/${this.rows[this.picked].id}`))],
      n: ["new training", () => this.form()],
      Escape: ["back", () => place.go(this.parts[1] ? `/runs/${this.parts[0]}` : "/runs")],
    });
    this.load();
    this.watch = setInterval(() => { if (document.visibilityState === "visible" && this.isGoing) this.load(); }, EVERY);
  }

  follows() { this.rows = null; this.drawn = null; this.picked = 0; this.shown = PAGE; this.load(); return true; }

  refreshed() { return this.load(); }

  changed() { if (!this.rows) this.load(); }

  close() { this.isClosed = true; clearInterval(this.watch); this.release?.(); }

  async load() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const isOver = () => this.isClosed || turn !== this.turn;
    const [name, part] = this.parts;
    try {
      if (!name) {
        const [facts, trainings] = await Promise.all([get("/api/runs"), get("/api/trainings")]);
        if (!isOver()) this.all(facts, trainings);
      } else if (part === "lens") {
        const facts = await get(`/api/runs/${encodeURIComponent(name)}/lens`, { sort: place.parameters().sort ?? "" });
        if (!isOver()) this.lens(facts);
      } else {
        const beside = place.parameters().beside;
        const asked = [name, ...(beside ? [beside] : [])].map((n) => get(`/api/runs/${encodeURIComponent(n)}`));
        const [facts, other] = await Promise.all(asked);
        const trainings = await get("/api/trainings");
        if (!isOver()) this.one(facts, other, trainings);
      }
    } catch (error) {
      if (!isOver()) { this.isGoing = false; this.drawn = null; fill(this.element, h("p", { class: "empty error" }, error.message), h("p", { class: "empty" }, h("a", { href: "/runs" }, "all runs"))); }
    }
  }

  begun(trainings) {
    const live = trainings.filter((t) => t.ended === null);
    const failed = trainings.filter((t) => t.ended !== null && !t.run);
    return [...live.map((t) => h("p", { class: "line" }, h("code", {}, t.command), h("span", { class: "note" }, t.words.trim().split(/[\r\n]+/).at(-1)?.slice(0, 120) ?? "beginning"),
      t.run && h("a", { href: `/runs/${t.run}` }, t.run), h("button", { onclick: () => this.stop(t) }, "Stop (it saves)"))),
    ...failed.slice(0, 1).map((t) => h("p", { class: "error" }, h("code", {}, t.command), ` ended: ${t.words.trim().split("\n").slice(-2).join(" ").slice(-300)}`))];
  }

  all({ runs, trainers }, trainings) {
    this.trainers = trainers;
    this.isGoing = trainings.some((t) => t.ended === null) || runs.some((r) => r.status === "running");
    this.app.foot("/api/runs", "curator runs");
    fill(this.element, h("header", { class: "line" }, h("h1", {}, "Runs"), !this.app.status.read_only && h("button", { onclick: () => this.form() }, "Train")), this.begun(trainings),
      runs.length ? h("table", { class: "members" }, h("thead", {}, h("tr", {}, ["run", "status", "trained on", "images seen", "minutes", "images/s", ""].map((t) => h("th", { scope: "col", class: ["images seen", "minutes", "images/s"].includes(t) ? "number" : "" }, t)))),
        h("tbody", {}, runs.map((r) => h("tr", {}, h("td", {}, h("a", { href: `/runs/${encodeURIComponent(r.run)}` }, r.run)), h("td", {}, r.status), h("td", {}, r.trained_on), h("td", { class: "number" }, number(r.images_seen)),
          h("td", { class: "number" }, (r.seconds / 60).toFixed(1)), h("td", { class: "number" }, number(Math.round(r.pace))), h("td", {}, spark(r.spark), h("span", { class: "note" }, ` ${r.curve}`))))))
        : h("div", { class: "empty" }, h("p", {}, "Nothing was trained yet."), h("p", {}, this.app.status.read_only ? "Run " : "Press Train, or run ", h("code", {}, "curator train gan"), " in a terminal.")));
  }

  one(run, other, trainings) {
    document.title = `${run.run} · curator`;
    const child = trainings.find((t) => t.run === run.run && t.ended === null);
    this.isGoing = !!child || run.status === "running" || run.status === "started";
    this.app.foot(`/api/runs/${encodeURIComponent(run.run)}`, run.command);
    const { log, at } = place.parameters();
    const both = [run, ...(other ? [other] : [])];
    const curves = (part, names) => both.flatMap((r, i) => names.filter((n) => r[part][n]).map((n) => ({ name: both.length > 1 ? `${n}, ${r.run}` : n, x: r[part].images_seen, y: r[part][n], dashed: i > 0 })));
    const names = [...new Set(both.flatMap((r) => Object.keys(r.stats)))].filter((n) => !["images_seen", "seconds"].includes(n));
    const measured = RATES.filter((n) => both.some((r) => r.metrics[n]));
    const shares = measured.filter((n) => !["frechet_distance", "loss"].includes(n));
    const key = `${run.run} ${run.images_seen} ${run.status} ${other?.run} ${log} ${at} ${run.generated}`;
    if (key === this.drawn && this.element.isConnected) return; // nothing new: what is looked at stays
    this.drawn = key;
    const n = run.samples.length;
    const which = Math.max(0, Math.min(at === undefined || at === "" ? n - 1 : +at, n - 1));
    const sheet = h("img", { class: "sheet", src: n ? `/samples/${encodeURIComponent(run.run)}/${which}` : "", alt: `samples after ${run.samples[which] ?? ""} images` });
    const words = h("span", { class: "note" });
    const say_ = (i) => fill(words, n ? `${number(parseInt(run.samples[i], 10) || 0)} images seen` : "no samples yet");
    say_(which);
    const scrub = h("input", { type: "range", min: 0, max: Math.max(0, n - 1), value: which, "aria-label": "Checkpoint of the samples",
      oninput: (e) => { sheet.src = `/samples/${encodeURIComponent(run.run)}/${e.target.value}`; say_(+e.target.value); }, onchange: (e) => place.change({ at: +e.target.value === n - 1 ? "" : e.target.value }, { replace: true }) });
    const choice = h("select", { "aria-label": "Beside", onchange: (e) => place.change({ beside: e.target.value }) }, h("option", { value: "" }, "alone"), this.app.status.runs.filter((r) => r !== run.run).map((r) => h("option", { value: r, selected: r === other?.run }, r)));
    fill(this.element, h("header", { class: "line" }, h("h1", {}, run.run), h("span", { class: "note" }, `${run.status} · ${plural(run.images_seen, "image")} in ${(run.seconds / 60).toFixed(1)} minutes${run.trained_on ? ` · on ${run.trained_on}` : ""}`),
      child && h("button", { onclick: () => this.stop(child) }, "Stop (it saves)"), run.generated > 0 && h("a", { class: "button", href: `/runs/${encodeURIComponent(run.run)}/lens` }, `Real beside generated (${number(run.generated)})`)),
    h("div", { class: "line" }, "beside ", choice, h("label", { class: "check" }, h("input", { type: "checkbox", checked: log === "1", onchange: (e) => place.change({ log: e.target.checked ? "1" : "" }) }), " logarithmic")),
    h("div", { class: "columns" }, h("section", {}, names.length > 0 && chart("Losses by images seen", curves("stats", names), { log: log === "1" }),
      measured.includes("frechet_distance") && chart("Fréchet distance", curves("metrics", ["frechet_distance"]), { log: log === "1" }), measured.includes("loss") && chart("Held-out loss", curves("metrics", ["loss"])),
      shares.length > 0 && chart("Measured on held-out images", curves("metrics", shares))),
    h("section", {}, run.makes_pictures && [h("h2", {}, "Samples of the same latents"), h("div", { class: "line" }, scrub, words), n ? sheet : null],
      run.makes_pictures && !run.generated && h("p", { class: "note" }, "To see them beside real images: ", h("code", {}, `curator generate ${run.run} -n 500`)),
      h("h2", {}, "Options"), h("table", { class: "facts" }, Object.entries(run.options).filter(([, v]) => v !== null && typeof v !== "object" && v !== "").map(([name, v]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, String(v))))),
      h("p", { class: "note" }, "Go on with it: ", h("code", {}, run.resume)))));
  }

  lens(facts) {
    document.title = `${facts.run}, real beside generated · curator`;
    this.isGoing = false;
    this.facts = facts;
    this.rows = facts.images;
    this.app.foot(`/api/runs/${encodeURIComponent(facts.run)}/lens`, facts.command);
    const { audit, columns } = facts;
    const percent = (v) => `${(100 * v).toFixed(1)} %`;
    const sorts = [["audit_ratio", "nearest first"], ["realism", "most realistic first"], ["id", "in order"]].filter(([v]) => v === "id" || columns.includes(v));
    const sort = h("select", { "aria-label": "Order", onchange: () => place.change({ sort: sort.value }) }, sorts.map(([v, words]) => h("option", { value: v, selected: v === (place.parameters().sort ?? "audit_ratio") }, words)));
    const where = `run = '${facts.run}'`;
    this.grid = h("div", { class: "pairs" });
    this.note = h("p", { class: "error", role: "status" });
    this.reference = h("input", { type: "text", placeholder: "held out by the run, or a selection or condition", "aria-label": "Real images that the run never saw", class: "wide-input" });
    fill(this.element, h("header", { class: "line" }, h("h1", {}, "Real beside generated"), h("a", { href: `/runs/${encodeURIComponent(facts.run)}` }, facts.run), h("span", { class: "note" }, plural(this.rows.length, "image")), sort,
      h("a", { class: "button", href: place.addressOf("/map", { where: `origin = 'real' OR ${where}`, colour: "origin" }) }, "both on the map"),
      !this.app.status.read_only && [this.reference, h("button", { onclick: () => this.audit() }, audit ? "Audit again" : "Audit")],
      this.rows.some((r) => !r.rejected) && !this.app.status.read_only && columns.includes("audit") && h("button", { onclick: () => this.rejectCopies() }, "Reject copies")),
    audit ? h("p", {}, Object.entries(audit.counts).map(([label, n]) => `${label} ${number(n)}`).join(" · "), h("span", { class: "note" }, ` · a ratio up to ${audit.threshold.toFixed(3)} is a near-copy; of ${number(audit.judged)} real images that the run never saw ${percent(audit.false_alarms)} would be called one, with 95 % confidence at most ${percent(audit.alarms_high)}`))
      : h("p", { class: "note" }, "Each is beside the training image nearest to it by vector. An audit says which are copies, and how often it is wrong."), this.note, this.grid);
    this.drawPairs();
  }

  drawPairs() {
    const pair = (r, i) => h("div", { class: `pair ${i === this.picked ? "picked" : ""} ${r.rejected ? "rejected" : ""}`, onclick: () => this.pick(i) },
      h("div", { class: "two" }, [r.id, r.audit_nearest].filter(Boolean).map((id, k) => h("a", { href: `/image/${id}` }, h("img", { src: `/thumb/${id}`, alt: k ? `nearest training image ${id}` : `generated image ${id}`, width: 96, height: 96, loading: "lazy" })))),
      h("span", { class: `audit ${r.audit ?? ""}` }, r.audit ?? "not audited"), h("span", { class: "note" }, [r.audit_ratio?.toFixed(2), r.realism !== undefined && r.realism !== null ? `realism ${r.realism.toFixed(2)}` : "", r.rejected ? "rejected" : r.kept ? "kept" : ""].filter(Boolean).join(" · ")));
    fill(this.grid, this.rows.slice(0, this.shown).map(pair), this.rows.length > this.shown && h("button", { onclick: () => { this.shown += PAGE; this.drawPairs(); } }, `${number(this.rows.length - this.shown)} more`));
  }

  pick(i) {
    this.picked = Math.max(0, Math.min(i, this.rows.length - 1));
    if (this.picked >= this.shown) this.shown += PAGE;
    this.drawPairs();
    this.grid.children[this.picked]?.scrollIntoView({ block: "nearest" });
  }

  async send(verdict, rows) {
    if (!rows.length) { say("nothing to do"); return; }
    const done = await this.app.does(`${verdict}: ${plural(rows.length, "image")}; z takes it back`, () => post("/api/lens", { verdict, ids: rows.map((r) => r.id) }));
    if (!done) return;
    for (const r of rows) Object.assign(r, { rejected: verdict === "reject", kept: verdict === "keep" });
    this.drawPairs();
  }

  judge(verdict) {
    const row = this.rows[this.picked];
    this.send(verdict, [row]);
    this.pick(this.picked + 1);
  }

  rejectCopies() { this.send("reject", this.rows.filter((r) => ["copy", "near-copy"].includes(r.audit) && !r.rejected && !r.kept)); }

  async audit() {
    if (!(await this.app.does("auditing", () => post("/api/audit", { run: this.facts.run, reference: this.reference.value.trim() })))) return;
    const look = async () => {
      const task = (await get("/api/tasks")).find((t) => t.name === `audit ${this.facts.run}`);
      if (this.isClosed) return;
      if (task && ["waiting", "running"].includes(task.state)) { say(`${task.words}: ${task.doing}`); setTimeout(look, 1000); return; }
      if (task?.error) fill(this.note, task.error.replaceAll("--reference", "the field above")); else this.load();
    };
    look();
  }

  async stop(training) {
    await this.app.does("asked to save and stop", () => post("/api/train/stop", { pid: training.pid }));
    this.load();
  }

  form() {
    if (this.app.status.read_only || !this.trainers) return;
    const choice = (name, values, none = "default") => h("label", {}, h("span", {}, name), h("select", { name, onchange: () => write() }, values.map((v) => h("option", { value: v }, v || none))));
    const field = (name, words, placeholder) => h("label", {}, h("span", {}, words), h("input", { name, placeholder, oninput: () => write() }));
    const form = h("form", { class: "recipe", onsubmit: (e) => e.preventDefault() }, choice("trainer", Object.keys(this.trainers)), choice("selection", ["", ...this.app.status.selections], "all real images"),
      choice("preset", [""]), field("side", "side, pixels", "of the preset"), field("max_minutes", "minutes", "of the preset"), field("name", "name", ""));
    const presets = () => fill(form.elements.preset, ["", ...this.trainers[form.elements.trainer.value].presets].map((v) => h("option", { value: v }, v || "the usual")));
    form.elements.trainer.addEventListener("change", () => { presets(); write(); });
    const command = h("code", {});
    const said = () => Object.fromEntries([...new FormData(form)].filter(([, v]) => v));
    const write = () => { const { trainer, ...rest } = said(); fill(command, this.app.command(["curator train", trainer, ...Object.entries(rest).map(([k, v]) => `--${k.replace("_", "-")} ${v}`)].join(" "))); };
    presets();
    write();
    const box = dialog("Train", form, h("p", {}, command), h("p", { class: "note" }, "It goes on when the page is closed. Stop saves, and it can go on later."), h("button", { onclick: async () => {
      if (await this.app.does("training begins", () => post("/api/train", said()))) { box.close(); if (this.parts[0]) place.go("/runs"); else this.load(); }
    } }, "Start"));
  }
}
