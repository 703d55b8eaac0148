// Blurred, dark and odd pictures: each issue with its rule, the worst first.

import { get } from "../api.js";
import { fill, h, plural } from "../dom.js";

const SHOWN = 60;

export class IssuesView {
  constructor(app) {
    this.app = app;
    this.element = h("div", { class: "issues" });
  }

  async start() {
    fill(this.element, h("p", { class: "note" }, "looking"));
    try {
      const issues = await get("/api/issues");
      if (!this.element.isConnected) return;
      this.app.foot("/api/issues", "curator issues");
      fill(this.element, issues.length ? issues.map((i) => this.issue(i)) : h("p", { class: "empty" }, "No picture is blurred, dark, flat or odd by these rules."));
    } catch (error) {
      fill(this.element, h("p", { class: "empty error" }, error.message));
    }
  }

  refreshed() { return this.start(); }

  issue({ name, rule, ids, values }) {
    return h("section", { class: "kind" }, h("div", { class: "line" }, h("h2", {}, name), h("span", { class: "note" }, `${plural(ids.length, "image")}: ${rule}`)),
      h("div", { class: "strip" }, ids.slice(0, SHOWN).map((id, i) => h("a", { href: `/image/${id}`, class: "small" },
        h("img", { src: `/thumb/${id}`, alt: `image ${id}`, width: 96, height: 96, loading: "lazy" }), values[i]))));
  }
}
