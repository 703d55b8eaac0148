// Duplicates: an overview by kind, with all of a kind accepted at once; and a review, one group at a time, by keys.

import { get, post } from "../api.js";
import { Compare } from "../compare.js";
import { bytes, fill, h, number, plural, say } from "../dom.js";
import { dialog, layer } from "../keys.js";
import * as place from "../place.js";

const WORDS = {
  "identical-file": "The same file", "identical-pixels": "The same pixels", "re-encoded": "Saved again", mirrored: "Mirrored",
  rotated: "Rotated", "cropped/edited": "Cropped or edited", semantic: "Look-alikes",
};
const SHOWN = 6; // of an example
const AHEAD = 10; // groups that are fetched at a time

export class DuplicatesView {
  constructor(app) {
    this.app = app;
    this.element = h("div", { class: "duplicates" });
    this.groups = new Map(); // keeper → group
    this.unsaved = 0;
  }

  start() { this.load(); }

  follows() { this.load(); return true; }

  refreshed() { this.groups.clear(); return this.load(); }

  close() {
    this.release?.();
    this.release = null;
    this.compare?.close();
  }

  async load() {
    const { review, kind } = place.parameters();
    this.close();
    try {
      if (review) await this.review(kind ?? "");
      else await this.overview();
    } catch (error) {
      fill(this.element, h("p", { class: "empty error" }, error.message), h("button", { onclick: () => this.load() }, "again"));
    }
  }

  async overview() {
    this.release = layer({ Enter: ["review", (e) => (e.target.closest("button, a") ? false : place.change({ review: 1, at: 0 }))] });
    const facts = await get("/api/duplicates");
    this.app.foot("/api/duplicates", "curator dedupe");
    if (!facts.duplicates) {
      fill(this.element, h("div", { class: "empty" }, h("p", {}, "No duplicates are known."), h("p", {}, "Run ", h("code", {}, "curator dedupe"), " in a terminal to look for them.")));
      return;
    }
    const keepers = facts.kinds.flatMap((k) => k.examples);
    const { groups } = await get("/api/groups", { keepers: [...new Set(keepers)].slice(0, 30).join(",") });
    const byKeeper = new Map(groups.map((g) => [g.keeper, g]));
    fill(this.element,
      h("header", { class: "line" }, h("h1", {}, plural(facts.duplicates, "duplicate")), h("span", { class: "note" }, `${number(facts.decided)} decided`),
        h("a", { class: "button", href: place.addressOf("/duplicates", { review: 1, at: 0 }) }, "Review all"),
        h("button", { class: "quiet", onclick: () => this.quarantine() }, "what quarantine would move")),
      facts.kinds.map((k) => this.kind(k, byKeeper)));
  }

  kind(facts, byKeeper) {
    const words = WORDS[facts.kind] ?? facts.kind;
    return h("section", { class: "kind" },
      h("div", { class: "line" }, h("h2", {}, words), h("span", { class: "note" },
        `${plural(facts.groups, "group")}, ${plural(facts.images, "duplicate")}, ${facts.undecided ? `${number(facts.undecided)} open, ${bytes(facts.bytes)}` : "all decided"}`),
        h("a", { class: "button", href: place.addressOf("/duplicates", { review: 1, kind: facts.kind, at: 0 }) }, "Review"),
        facts.undecided > 0 && !this.app.status.read_only && h("button", { onclick: () => this.acceptAll(facts, words) }, `Accept all ${number(facts.undecided)}`)),
      h("div", { class: "examples" }, facts.examples.map((k) => byKeeper.get(k)).filter(Boolean).map((g) => this.row(g))));
  }

  row(group) {
    const more = group.members.length - SHOWN;
    return h("div", { class: "strip" }, group.members.slice(0, SHOWN).map((m) => h("a", { href: `/image/${m.id}`, class: `small ${m.id === group.keeper ? "keeper" : "proposed"}` },
      h("img", { src: `/thumb/${m.id}`, alt: `image ${m.id}`, width: 96, height: 96, loading: "lazy" }), m.id === group.keeper ? "keep" : m.evidence || m.kind)), more > 0 && h("span", { class: "note" }, `and ${more} more`));
  }

  async acceptAll(facts, words) {
    const would = await this.app.does("", () => post("/api/accept", { kinds: [facts.kind], dry_run: true }));
    if (!would) return;
    const box = dialog(`Reject ${plural(would.images, "duplicate")}?`,
      h("p", {}, `${words}: of each group the one to keep stays, ${number(would.images)} are rejected, ${bytes(would.bytes)}. No file is touched; z takes it back.`),
      h("button", { onclick: async () => {
        box.close();
        if (await this.app.does(`${plural(would.images, "duplicate")} rejected; z takes it back`, () => post("/api/accept", { kinds: [facts.kind] }))) this.refreshed();
      } }, `Reject ${number(would.images)}`));
  }

  async quarantine() {
    const would = await get("/api/quarantine");
    dialog("What quarantine would move", h("p", {}, `${plural(would.moves, "file")} rejected here would be moved aside; `, h("code", {}, "curator restore"), " brings them back."),
      h("ul", {}, would.first.map((p) => h("li", {}, p)), would.moves > would.first.length && h("li", {}, "…")), h("p", {}, "In a terminal: ", h("code", {}, would.command)));
  }

  async review(kind) {
    this.kind_ = kind;
    this.keepers = (await get("/api/groups", { kind })).keepers;
    this.release = layer({
      ArrowLeft: ["group before", () => this.step(-1)], ArrowRight: ["next group", () => this.step(1)],
      ArrowUp: ["image before", () => this.pick(this.picked - 1)], ArrowDown: ["next image", () => this.pick(this.picked + 1)],
      a: ["accept the proposal", () => this.decide("reject", this.proposed())],
      n: ["not duplicates", () => this.decide("not-duplicate", this.group.members.map((m) => m.id))],
      b: ["keep both, or all", () => this.decide("keep", this.group.members.map((m) => m.id))],
      u: ["forget the verdicts of this group", () => this.decide("undo", this.group.members.map((m) => m.id), false)],
      v: ["side by side, flicker, slider, difference", () => this.compare?.turn()],
      ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].flatMap((n) => [
        [String(n), [n === 1 ? "keep only this" : `keep only image ${n}`, () => this.keepOnly(n - 1)]],
        [`Shift+${n}`, [n === 1 ? "reject this or not" : `reject image ${n} or not`, () => this.toggle(n - 1)]],
      ])),
      Escape: ["overview", () => place.go("/duplicates")],
    });
    await this.open();
  }

  get at() { return Math.min(+(place.parameters().at ?? 0), this.keepers.length - 1); }

  async open() {
    this.app.foot(place.addressOf("/api/groups", { kind: this.kind_ }), "curator dedupe --sheet groups.png");
    if (!this.keepers.length) { fill(this.element, h("p", { class: "empty" }, "No group is of this kind.")); return; }
    const keeper = this.keepers[this.at];
    if (!this.groups.has(keeper)) {
      const { groups } = await get("/api/groups", { keepers: this.keepers.slice(this.at, this.at + AHEAD).join(",") });
      for (const g of groups) this.groups.set(g.keeper, g);
    }
    this.group = this.groups.get(keeper);
    if (!this.group) { fill(this.element, h("p", { class: "empty" }, "This group is no group any more.")); return; }
    this.picked = this.group.members.findIndex((m) => m.id !== keeper);
    this.draw();
  }

  proposed() { return this.group.members.filter((m) => m.id !== this.group.keeper && !m.kept).map((m) => m.id); }

  draw() {
    const { group } = this;
    const keeper = group.members.find((m) => m.id === group.keeper);
    const others = group.members.filter((m) => m !== keeper);
    const second = group.members[this.picked] ?? others[0];
    this.compare?.close();
    this.compare = new Compare([keeper, second], null);
    this.align(keeper, second);
    const done = [...this.groups.values()].filter((g) => g.settled).length;
    const differs = (name) => new Set(group.members.map((m) => m[name])).size > 1;
    const cell = (m, name, value) => h("td", { class: differs(name) ? "differs" : "" }, value);
    const state = (m) => (m.rejected ? "rejected" : m.kept ? "kept" : m.id === group.keeper ? "keep" : "proposed");
    fill(this.element,
      h("div", { class: "line" }, h("strong", {}, `Group ${number(this.at + 1)} of ${number(this.keepers.length)}`),
        h("progress", { value: this.at + 1, max: this.keepers.length, "aria-label": "Progress" }),
        h("span", { class: "note" }, `${number(done)} decided here${this.unsaved ? `, ${this.unsaved} not saved yet` : ""}`),
        h("button", { onclick: () => this.decide("reject", this.proposed()), title: "a" }, "Accept"),
        h("button", { onclick: () => this.decide("not-duplicate", group.members.map((m) => m.id)), title: "n" }, "Not duplicates"),
        h("button", { onclick: () => this.decide("keep", group.members.map((m) => m.id)), title: "b" }, "Keep all"),
        h("a", { class: "button", href: "/duplicates" }, "Overview")),
      this.compare.element,
      h("p", { class: "reason" }, `Keep ${keeper.path.split("/").pop()}`, group.reason ? `: ${group.reason}` : ""),
      h("div", { class: "wide" }, h("table", { class: "members" },
        h("thead", {}, h("tr", {}, ["", "", "verdict", "what it is", "path", "size", "bytes", "format", "label", "taken"].map((t) => h("th", { scope: "col" }, t)))),
        h("tbody", {}, group.members.map((m, i) => h("tr", { class: `${state(m)} ${i === this.picked ? "picked" : ""}`, onclick: () => this.pick(i) },
          h("td", {}, h("kbd", {}, i + 1)), h("td", {}, h("img", { src: `/thumb/${m.id}`, alt: "", width: 48, height: 48 })),
          h("td", {}, state(m)), h("td", {}, m.kind === "keeper" ? "" : `${WORDS[m.kind] ?? m.kind}${m.evidence ? `: ${m.evidence}` : ""}`),
          cell(m, "path", m.path), cell(m, "width", `${m.width} × ${m.height}`), cell(m, "size", bytes(m.size)), cell(m, "format", m.format), cell(m, "label", m.label ?? ""), cell(m, "taken_at", m.taken_at ?? "")))))));
  }

  async align(first, second) {
    const compare = this.compare;
    try {
      const { aligned } = await get("/api/aligned", { first: first.id, second: second.id });
      compare.aligned = aligned;
      compare.draw();
    } catch { /* then they lie as they are */ }
  }

  pick(position) {
    const n = this.group.members.length;
    this.picked = Math.max(0, Math.min(position, n - 1));
    this.draw();
  }

  step(by) {
    const next = this.at + by;
    if (next < 0 || next >= this.keepers.length) { say(by > 0 ? "that was the last group" : "this is the first group"); return; }
    place.change({ at: next }, { replace: true });
  }

  keepOnly(position) {
    const chosen = this.group.members[position];
    if (chosen) this.decide("reject", this.group.members.filter((m) => m !== chosen).map((m) => m.id));
  }

  toggle(position) {
    const m = this.group.members[position];
    if (m) this.decide(m.rejected ? "undo" : "reject", [m.id], false);
  }

  // Shown at once and saved behind; a failure brings the group back.
  async decide(verdict, ids, goesOn = true) {
    if (!ids.length) return;
    const { group } = this;
    const before = JSON.stringify(group);
    for (const m of group.members) {
      if (!ids.includes(m.id)) { if (verdict === "reject" && goesOn) m.rejected = false; continue; }
      m.rejected = verdict === "reject";
      m.kept = verdict === "keep";
    }
    group.settled = verdict !== "undo";
    const keeper = this.keepers[this.at];
    this.unsaved += 1;
    if (goesOn && this.at + 1 < this.keepers.length) this.step(1);
    else this.draw();
    try {
      if (this.app.status.read_only) throw new Error("this page was opened with --read-only");
      await post("/api/verdict", { verdict, ids });
    } catch (error) {
      this.groups.set(keeper, JSON.parse(before));
      say(`not saved: ${error.message}`, true);
      place.change({ at: this.keepers.indexOf(keeper) }, { replace: true });
    } finally {
      this.unsaved -= 1;
    }
  }
}
