// What may be wrong: leaks between two sides, pairs that are nearly one picture, blurred, dark and odd pictures.

import { get, post } from "../api.js";
import { fill, h, number, plural } from "../dom.js";
import { layer } from "../keys.js";
import * as place from "../place.js";

const SHOWN = 60;
const WORDS = { altered: "Changed in one place", overlapping: "Parts of one picture", mirrored: "Mirrored, with another label", rotated: "Rotated, with another label" };

export class IssuesView {
  constructor(app) {
    this.app = app;
    this.leaks = h("section", { class: "kind", "aria-label": "Leaks" });
    this.pairs = h("section", { "aria-label": "Listed pairs" });
    this.issues = h("div", {});
    this.element = h("div", { class: "issues" }, this.leaks, this.pairs, this.issues);
  }

  start() {
    const move = (by) => () => { // through all pictures of the view, as in a list
      const links = [...this.element.querySelectorAll("a.small")];
      links[Math.max(0, Math.min(links.length - 1, links.indexOf(document.activeElement) + by))]?.focus();
    };
    this.release = layer({
      ArrowLeft: ["image before", move(-1)], ArrowRight: ["next image", move(1)],
      a: ["the pair is no duplicate", () => this.verdict("not-duplicate")], c: ["compare", () => this.element.querySelector(".pair:focus-within a.compare-link")?.click() ?? false],
    });
    return this.load();
  }

  follows() { return true; } // the address only remembers the two sides

  close() { this.isClosed = true; this.release?.(); }

  refreshed() { return this.load(); }

  changed() {} // its own looks change the index: what they find is followed

  async load() {
    this.app.foot("/api/issues", "curator issues");
    this.loadLeaks();
    this.loadPairs();
    try {
      const issues = await get("/api/issues");
      if (this.isClosed) return;
      fill(this.issues, issues.length ? issues.map((i) => this.issue(i)) : h("p", { class: "empty" }, "No picture is blurred, dark, flat or odd by these rules."));
    } catch (error) {
      fill(this.issues, h("p", { class: "error" }, error.message));
    }
  }

  // While work goes on, ask again; `done` is called with what came of it.
  async follow(path, element, title, done) {
    let facts;
    try {
      facts = await get(path);
    } catch (error) { fill(element, title, h("p", { class: "error" }, error.message)); return; }
    if (this.isClosed) return;
    const { task } = facts;
    if (task && ["waiting", "running"].includes(task.state)) {
      fill(element, title, h("p", { class: "line" }, `${task.words}: ${task.doing}`, h("progress", { value: task.done, max: task.total || 1 })));
      setTimeout(() => { if (!this.isClosed) this.follow(path, element, title, done); }, 700);
    } else if (task?.error) fill(element, title, h("p", { class: "error" }, task.error));
    else done(facts);
  }

  loadLeaks() {
    const sides = place.parameters();
    const field = (name) => h("input", { type: "text", value: sides[name] ?? (name === "first" ? "train" : "test"), "aria-label": `${name} side`, onkeydown: (e) => { if (e.key === "Enter") look(); } });
    const [first, second] = [field("first"), field("second")];
    const look = async () => {
      place.change({ first: first.value, second: second.value }, { replace: true });
      if (await this.app.does("looking for leaks", () => post("/api/leaks", { between: [first.value.trim(), second.value.trim()] }))) this.loadLeaks();
    };
    const title = h("div", { class: "line" }, h("h2", {}, "Leaks between"), first, "and", second, !this.app.status.read_only && h("button", { onclick: look }, "Look"), h("span", { class: "note" }, "folders, selections, or values of a column"));
    this.follow("/api/leaks", this.leaks, title, (facts) => {
      if (facts.between) [first.value, second.value] = facts.between; // what is listed below is of these
      const pair = (group) => h("div", { class: "pair", tabindex: "-1" }, h("div", { class: "two" }, group.slice(0, 4).map(({ id, side }) => h("a", { href: `/image/${id}`, class: "small" }, h("img", { src: `/thumb/${id}`, alt: `image ${id}`, width: 96, height: 96, loading: "lazy" }), side))),
        group.length > 1 && h("a", { class: "compare-link", href: place.addressOf(`/image/${group[0].id}`, { with: group[1].id }) }, "compare"));
      fill(this.leaks, title, facts.by && h("p", { class: "note" }, `${plural(facts.groups, "group")} on both sides, told apart by ${facts.by}: ${Object.entries(facts.sizes).map(([s, n]) => `${s} ${number(n)}, ${number(facts.leaked[s])} leaked`).join("; ")}. `, "To mend the split: ", h("code", {}, this.app.command(`${facts.command} --fix mended.csv --drop-from ${facts.between[0]}`))), h("div", { class: "pairs" }, facts.leaks.map(pair)));
    });
  }

  loadPairs() {
    const title = h("div", { class: "line" }, h("h2", {}, "Nearly the same"), !this.app.status.read_only && h("button", { onclick: async () => { if (await this.app.does("looking", () => post("/api/dedupe", { dry_run: true }))) this.loadPairs(); } }, "Look"),
      h("span", { class: "note" }, "pairs that are listed and not proposed for removal"));
    this.follow("/api/listed", this.pairs, title, ({ kinds, task }) => {
      const pair = ({ first, second, labels_differ: differ }) => h("div", { class: "pair", "data-ids": `${first},${second}` }, h("div", { class: "two" }, [first, second].map((id) => h("a", { href: `/image/${id}`, class: "small" }, h("img", { src: `/thumb/${id}`, alt: `image ${id}`, width: 96, height: 96, loading: "lazy" })))),
        h("span", { class: "line" }, h("a", { class: "compare-link", href: place.addressOf(`/image/${first}`, { with: second }) }, "compare"), differ && h("span", { class: "note" }, "other labels")));
      fill(this.pairs, title, kinds.map((k) => h("details", { class: "kind", open: kinds.length === 1 }, h("summary", {}, `${WORDS[k.kind] ?? k.kind}: ${plural(k.pairs, "pair")}`), h("div", { class: "pairs" }, k.first.map(pair)))),
        task && !kinds.length && h("p", { class: "note" }, "none"));
    });
  }

  async verdict(verdict) {
    const ids = document.activeElement?.closest?.("[data-ids]")?.dataset.ids?.split(",").map(Number);
    if (ids && await this.app.does("told apart; z takes it back", () => post("/api/verdict", { verdict, ids }))) document.activeElement.closest("[data-ids]")?.classList.add("rejected");
  }

  issue({ name, rule, ids, values }) {
    return h("section", { class: "kind" }, h("div", { class: "line" }, h("h2", {}, name), h("span", { class: "note" }, `${plural(ids.length, "image")}: ${rule}`)),
      h("div", { class: "strip" }, ids.slice(0, SHOWN).map((id, i) => h("a", { href: `/image/${id}`, class: "small" },
        h("img", { src: `/thumb/${id}`, alt: `image ${id}`, width: 96, height: 96, loading: "lazy" }), values[i]))));
  }
}
