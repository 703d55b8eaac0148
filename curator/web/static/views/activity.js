// What was done, from the page and the command line, and undoing it; work in the background; files that were skipped.

import { get, post } from "../api.js";
import { fill, h, number, plural } from "../dom.js";

const EVERY = 1000;

export class ActivityView {
  constructor(app) {
    this.app = app;
    this.body = h("tbody", {});
    this.tasks = h("section", { "aria-label": "Work", "aria-live": "polite" });
    this.skipped = h("section", { "aria-label": "Skipped files" });
    this.element = h("div", { class: "activity" }, h("header", { class: "line" }, h("h1", {}, "Activity"), !app.status.read_only && h("button", { onclick: () => this.verify() }, "Verify the index")), this.tasks,
      h("table", {}, h("thead", {}, h("tr", {}, ["", "when (UTC)", "from", "what", ""].map((t) => h("th", { scope: "col" }, t)))), this.body), this.skipped);
  }

  start() { return this.load(); }

  refreshed() { return this.load(); }

  changed() { this.load(); }

  close() { clearTimeout(this.timer); this.isClosed = true; }

  async load() {
    let actions;
    try {
      actions = await get("/api/activity");
    } catch (error) {
      fill(this.body, h("tr", {}, h("td", { colspan: 5, class: "empty error" }, error.message)));
      return;
    }
    if (this.isClosed) return;
    this.app.foot("/api/activity", "curator history");
    const row = (a) => h("tr", { class: a.is_undone ? "undone" : "" }, h("td", {}, a.id), h("td", {}, a.at), h("td", {}, a.who), h("td", {}, a.text, a.is_undone && " (undone)"),
      h("td", {}, !a.is_undone && !this.app.status.read_only && h("button", { class: "quiet", onclick: () => this.undo(a) }, "undo")));
    fill(this.body, actions.length ? actions.map(row) : h("tr", {}, h("td", { colspan: 5, class: "empty" }, "Nothing was done yet: tags, verdicts, concepts and selections are listed here.")));
    this.work();
    let skipped;
    try { skipped = await get("/api/skipped"); } catch { return; }
    if (this.isClosed) return;
    fill(this.skipped, h("h2", {}, skipped.length ? `${plural(skipped.length, "file")} could not be read` : "Every file that was found could be read"),
      skipped.length > 0 && h("table", {}, h("tbody", {}, skipped.map((f) => h("tr", {}, h("td", {}, f.path), h("td", { class: "note" }, f.reason))))), skipped.length > 0 && h("p", { class: "note" }, "In a terminal: ", h("code", {}, "curator index --retry"), " reads them again."));
  }

  async work() {
    clearTimeout(this.timer);
    let tasks;
    try { tasks = await get("/api/tasks"); } catch { return; } // the banner says it
    if (this.isClosed) return;
    const isOn = (t) => ["waiting", "running"].includes(t.state);
    const came = (t) => (t.name === "verify" && t.state === "done" ? (t.answer?.length ? t.answer.map((f) => h("p", { class: "error" }, `${f.place}: ${f.problem}`)) : "everything is in order") : "");
    fill(this.tasks, tasks.map((t) => h("p", { class: "line" }, h("strong", {}, t.words), t.state, isOn(t) && h("progress", { value: t.done, max: t.total || 1 }), isOn(t) && t.total > 0 && h("span", { class: "note" }, `${number(t.done)} of ${number(t.total)}`),
      t.error && h("span", { class: "error" }, t.error), came(t), isOn(t) && h("button", { onclick: async () => { await this.app.does("stopping", () => post("/api/stop", { task: t.number })); this.work(); } }, "stop"))));
    if (tasks.some(isOn)) this.timer = setTimeout(() => this.work(), EVERY);
  }

  async verify() {
    if (await this.app.does("verifying", () => post("/api/verify", {}))) this.work();
  }

  async undo(action) {
    if (await this.app.does(`Undone: ${action.text}`, () => post("/api/undo", { action: action.id }))) await this.app.refresh();
  }
}
