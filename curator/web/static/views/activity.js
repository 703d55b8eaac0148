// What was done, from the page and the command line, and undoing it.

import { get, post } from "../api.js";
import { fill, h } from "../dom.js";

export class ActivityView {
  constructor(app) {
    this.app = app;
    this.body = h("tbody", {});
    this.element = h("div", { class: "activity" }, h("h1", {}, "Activity"),
      h("table", {}, h("thead", {}, h("tr", {}, ["", "when (UTC)", "from", "what", ""].map((t) => h("th", { scope: "col" }, t)))), this.body));
  }

  start() { return this.load(); }

  refreshed() { return this.load(); }

  changed() { this.load(); }

  async load() {
    let actions;
    try {
      actions = await get("/api/activity");
    } catch (error) {
      fill(this.body, h("tr", {}, h("td", { colspan: 5, class: "empty error" }, error.message)));
      return;
    }
    if (!this.element.isConnected) return;
    this.app.foot("/api/activity", "curator history");
    const row = (a) => h("tr", { class: a.is_undone ? "undone" : "" }, h("td", {}, a.id), h("td", {}, a.at), h("td", {}, a.who), h("td", {}, a.text, a.is_undone && " (undone)"),
      h("td", {}, !a.is_undone && !this.app.status.read_only && h("button", { class: "quiet", onclick: () => this.undo(a) }, "undo")));
    fill(this.body, actions.length ? actions.map(row) : h("tr", {}, h("td", { colspan: 5, class: "empty" }, "Nothing was done yet: tags, verdicts, concepts and selections are listed here.")));
  }

  async undo(action) {
    if (await this.app.does(`Undone: ${action.text}`, () => post("/api/undo", { action: action.id }))) await this.app.refresh();
  }
}
