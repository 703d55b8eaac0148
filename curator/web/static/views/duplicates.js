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
    this.settled = new Set();
    this.progress = h("span", { class: "note", "aria-live": "polite" });
  }

  // One layer of keys for as long as the view is there; what they do depends on what is shown.
  start() {
    const review = (f) => (event) => (this.group ? f(event) : false);
    const all = () => this.group.members.map((m) => m.id);
    this.release = layer({
      Enter: ["review", () => (this.group ? false : place.change({ review: 1 }))],
      ArrowLeft: ["group before", review(() => this.step(-1))], ArrowRight: ["next group", review(() => this.step(1))],
      ArrowUp: ["image before", review(() => this.pick(this.picked - 1))],
      ArrowDown: ["next image", review(() => this.pick(this.picked + 1))],
      a: ["accept the proposal", review(() => this.decide("reject", this.proposed()))],
      n: ["not duplicates", review(() => this.decide("not-duplicate", all()))],
      b: ["keep both, or all", review(() => this.decide("keep", all()))],
      u: ["forget the verdicts of this group", review(() => this.decide("undo", all(), false))],
      v: ["side by side, flicker, slider, difference", review(() => this.compare?.turn())],
      ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].flatMap((n) => [
        [String(n), [`keep only image ${n}`, review(() => this.keepOnly(n - 1))]],
        [`Shift+${n}`, [`reject image ${n} or not`, review(() => this.toggle(n - 1))]],
      ])),
      Escape: ["overview", review(() => place.go("/duplicates"))],
    });
    this.load();
  }

  follows() { this.load(); return true; }

  refreshed() { this.groups.clear(); this.keepers = null; return this.load(); }

  changed() { // by this page or another; what is on screen stays, the rest is asked for anew
    if (this.unsaved) return;
    this.groups.clear();
    if (this.group) this.groups.set(this.group.keeper, this.group);
    else this.refreshed();
  }

  close() {
    this.isClosed = true;
    this.release?.();
    this.compare?.close();
  }

  async load() {
    const { review, kind } = place.parameters();
    this.turn = (this.turn ?? 0) + 1;
    const { turn } = this;
    try {
      if (review) await this.review(kind ?? "", turn);
      else await this.overview(turn);
    } catch (error) {
      if (turn !== this.turn || this.isClosed) return;
      fill(this.element, h("p", { class: "empty error" }, error.message), h("button", { onclick: () => this.load() }, "again"));
    }
  }

  isOver(turn) { return this.isClosed || turn !== this.turn; }

  async overview(turn) {
    this.group = null;
    this.compare?.close();
    const facts = await get("/api/duplicates");
    if (this.isOver(turn)) return;
    this.app.foot("/api/duplicates", "curator dedupe");
    if (!facts.duplicates) {
      fill(this.element, h("div", { class: "empty" }, h("p", {}, "No duplicates are known."), h("p", {}, this.app.status.read_only ? "Run " : [h("button", { onclick: () => this.look() }, "Look for them"), " or run "], h("code", {}, "curator dedupe"), " in a terminal.")));
      return;
    }
    const keepers = facts.kinds.flatMap((k) => k.examples);
    const { groups } = await get("/api/groups", { keepers: [...new Set(keepers)].slice(0, 30).join(",") });
    if (this.isOver(turn)) return;
    const byKeeper = new Map(groups.map((g) => [g.keeper, g]));
    fill(this.element,
      h("header", { class: "line" }, h("h1", {}, plural(facts.duplicates, "duplicate")), h("span", { class: "note" }, `${number(facts.decided)} decided`),
        h("a", { class: "button", href: place.addressOf("/duplicates", { review: 1 }) }, "Review all"),
        !this.app.status.read_only && h("button", { onclick: () => this.look() }, "Look again"), !this.app.status.read_only && h("button", { onclick: () => this.rules() }, "Rules"),
        h("button", { class: "quiet", onclick: () => this.quarantine() }, "what quarantine would move"), h("a", { href: "/issues" }, "pairs that are nearly the same")),
      facts.kinds.map((k) => this.kind(k, byKeeper)));
  }

  kind(facts, byKeeper) {
    const words = WORDS[facts.kind] ?? facts.kind;
    return h("section", { class: "kind" },
      h("div", { class: "line" }, h("h2", {}, words), h("span", { class: "note" },
        `${plural(facts.groups, "group")}, ${plural(facts.images, "duplicate")}, ${facts.undecided ? `${number(facts.undecided)} open, ${bytes(facts.bytes)}` : "all decided"}`),
        h("a", { class: "button", href: place.addressOf("/duplicates", { review: 1, kind: facts.kind }) }, "Review"),
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

  // Work in the background, followed until it has ended; then what came of it.
  async work(body, note) {
    if (!(await this.app.does("looking", () => post("/api/dedupe", body)))) return null;
    const name = body.dry_run ? "rules" : "dedupe";
    for (;;) {
      const task = (await get("/api/tasks").catch(() => [])).find((t) => t.name === name);
      if (this.isClosed || !task) return null;
      if (task.error) { say(task.error, true); return null; }
      if (!["waiting", "running"].includes(task.state)) return task;
      note(`${task.doing || "looking"} ${task.total ? `${number(task.done)} of ${number(task.total)}` : ""}`);
      await new Promise((resume) => { setTimeout(resume, 500); });
    }
  }

  async look() {
    if (await this.work({}, say)) await this.app.refresh();
  }

  // The keeper is chosen by rules in an order: try others, see what would change, and then apply them.
  async rules() {
    const { rules, default: usual } = await get("/api/rules");
    const input = h("input", { type: "text", class: "rules", value: usual.join(", "), "aria-label": "Rules, the first counts most" });
    const out = h("div", { "aria-live": "polite" });
    const keep = () => input.value.split(/[\s,]+/).filter(Boolean);
    const apply = h("button", { hidden: true, onclick: async () => { box.close(); if (await this.work({ keep: keep() }, say)) await this.app.refresh(); } }, "Apply");
    const small = (id, words) => h("span", { class: "small" }, h("img", { src: `/thumb/${id}`, alt: `image ${id}`, width: 72, height: 72 }), words);
    const preview = async () => {
      if (!(await this.work({ keep: keep(), dry_run: true }, (words) => fill(out, words)))) return;
      const { groups, changed, examples } = await get("/api/rules");
      apply.hidden = false;
      fill(out, h("p", {}, `${number(changed)} of ${plural(groups, "group")} would keep another image`), h("div", { class: "examples" }, examples.slice(0, 6).map((e) => h("div", { class: "strip" }, small(e.before, "before"), small(e.after, "then")))));
    };
    const box = dialog("Which image is kept", h("p", {}, `The first rule that tells two apart decides. There are: ${rules.join(", ")}.`), input, h("div", { class: "line" }, h("button", { onclick: preview }, "Preview"), apply), out);
  }

  async review(kind, turn) {
    if (!this.keepers || kind !== this.kindShown) {
      const { keepers, settled } = await get("/api/groups", { kind });
      if (this.isOver(turn)) return;
      this.keepers = keepers;
      this.settled = new Set(keepers.filter((_, i) => settled[i]));
      this.kindShown = kind;
    }
    this.app.foot(place.addressOf("/api/groups", { kind }), "curator dedupe --sheet groups.png");
    this.group = null;
    if (!this.keepers.length) {
      fill(this.element, h("p", { class: "empty" }, "No group is of this kind."));
      return;
    }
    if (place.parameters().at === undefined) { place.change({ at: this.at }, { replace: true }); return; } // which follows
    const keeper = this.keepers[this.at];
    if (!this.groups.has(keeper)) {
      const wanted = this.keepers.slice(this.at, this.at + AHEAD).join(",");
      const { groups } = await get("/api/groups", { keepers: wanted });
      for (const g of groups) this.groups.set(g.keeper, g);
      if (this.isOver(turn)) return;
    }
    const group = this.groups.get(keeper);
    if (!group) { fill(this.element, h("p", { class: "empty" }, "This group is no group any more.")); return; }
    this.group = group;
    this.picked = Math.max(0, group.members.findIndex((m) => m.id !== keeper));
    this.draw();
  }

  // Without a place in the address: the first group that is open.
  get at() {
    const { at } = place.parameters();
    if (at !== undefined) return Math.max(0, Math.min(+at || 0, this.keepers.length - 1));
    return Math.max(0, this.keepers.findIndex((k) => !this.settled.has(k)));
  }

  proposed() { return this.group.members.filter((m) => m.id !== this.group.keeper && !m.kept && !m.apart).map((m) => m.id); }

  draw() {
    const { group } = this;
    const keeper = group.members.find((m) => m.id === group.keeper);
    const others = group.members.filter((m) => m !== keeper);
    const second = group.members[this.picked] ?? others[0];
    const shown = `${keeper.id} ${second.id}`;
    if (shown !== this.shown) {
      this.shown = shown;
      this.compare?.close();
      this.compare = new Compare([keeper, second], this.compare?.mode);
    }
    const differs = (name) => new Set(group.members.map((m) => m[name])).size > 1;
    const cell = (m, name, value) => h("td", { class: differs(name) ? "differs" : "" }, value);
    const state = (m) => (m.rejected ? "rejected" : m.kept ? "kept" : m.id === group.keeper ? "keep" : m.apart ? "no duplicate" : "to reject");
    const mark = (m) => (state(m) === "to reject" ? "proposed" : state(m) === "no duplicate" ? "kept" : state(m));
    this.count();
    fill(this.element,
      h("div", { class: "line" }, h("strong", {}, `Group ${number(this.at + 1)} of ${number(this.keepers.length)}`),
        h("progress", { value: this.at + 1, max: this.keepers.length, "aria-label": "Progress" }),
        this.progress,
        h("button", { onclick: () => this.decide("reject", this.proposed()), title: "a" }, "Accept"),
        h("button", { onclick: () => this.decide("not-duplicate", group.members.map((m) => m.id)), title: "n" }, "Not duplicates"),
        h("button", { onclick: () => this.decide("keep", group.members.map((m) => m.id)), title: "b" }, "Keep all"),
        h("a", { class: "button", href: "/duplicates" }, "Overview")),
      this.compare.element,
      h("p", { class: "reason" }, `Keep ${keeper.path.split("/").pop()}`, group.reason ? `: ${group.reason}` : ""),
      h("div", { class: "wide" }, h("table", { class: "members" },
        h("thead", {}, h("tr", {}, ["", "", "verdict", "what it is", "path", "size", "bytes", "format", "label", "taken"].map((t) => h("th", { scope: "col" }, t)))),
        h("tbody", {}, group.members.map((m, i) => h("tr", { class: `${mark(m)} ${i === this.picked ? "picked" : ""}`, onclick: () => this.pick(i) },
          h("td", {}, h("kbd", {}, i + 1)), h("td", {}, h("img", { src: `/thumb/${m.id}`, alt: "", width: 48, height: 48 })),
          h("td", {}, state(m)), h("td", {}, m.kind === "keeper" ? "" : `${WORDS[m.kind] ?? m.kind}${m.evidence ? `: ${m.evidence}` : ""}`),
          cell(m, "path", m.path), cell(m, "width", `${m.width} × ${m.height}`), cell(m, "size", bytes(m.size)), cell(m, "format", m.format), cell(m, "label", m.label ?? ""), cell(m, "taken_at", m.taken_at ?? "")))))));
  }

  count() {
    const all = this.keepers.length;
    const words = this.settled.size === all ? `all ${number(all)} decided` : `${number(this.settled.size)} of ${number(all)} decided`;
    fill(this.progress, `${words}${this.unsaved ? `, ${this.unsaved} not saved yet` : ""}`);
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
    if (chosen) this.decide("keep-only", [chosen.id]);
  }

  toggle(position) {
    const m = this.group.members[position];
    if (m) this.decide(m.rejected ? "undo" : "reject", [m.id], false);
  }

  // While the server does not answer, a verdict waits in the page, and is sent again.
  async send(verdict, ids) {
    for (let wait = 500; ; wait = Math.min(2 * wait, 8000)) {
      try {
        await post("/api/verdict", { verdict, ids });
        return;
      } catch (error) {
        if (!error.isGone) throw error;
        say(`${plural(this.unsaved, "verdict")} not saved yet: ${error.message}`, true);
        await new Promise((resume) => { setTimeout(resume, wait); });
      }
    }
  }

  // Shown at once and saved behind; a failure brings the group back as it was, and what could not be sent is kept.
  async decide(verdict, ids, goesOn = true) {
    if (!ids.length) return;
    if (this.app.status.read_only) { say("this page was opened with --read-only", true); return; }
    const { group } = this;
    const before = JSON.stringify(group);
    const wasSettled = this.settled.has(group.keeper);
    const only = verdict === "keep-only";
    for (const m of group.members) {
      if ((!only && !ids.includes(m.id)) || (only && m.apart)) continue;
      m.rejected = only ? !ids.includes(m.id) : verdict === "reject";
      m.kept = verdict === "keep";
      m.apart = verdict === "not-duplicate" && m.id !== group.keeper;
    }
    const isDone = group.members.every((m) => m.id === group.keeper || m.rejected || m.kept || m.apart);
    this.settled[isDone ? "add" : "delete"](group.keeper);
    this.unsaved += 1;
    if (goesOn && this.at + 1 < this.keepers.length) this.step(1);
    else this.draw();
    if (this.settled.size === this.keepers.length) say("every group is decided");
    try {
      await this.send(verdict, ids);
    } catch (error) {
      this.groups.set(group.keeper, JSON.parse(before));
      this.settled[wasSettled ? "add" : "delete"](group.keeper);
      say(`group ${this.keepers.indexOf(group.keeper) + 1} is not saved: ${error.message}`, true);
      if (!this.isClosed && place.parameters().review) {
        const at = this.keepers.indexOf(group.keeper);
        if (at === this.at) { this.group = this.groups.get(group.keeper); this.draw(); } else place.change({ at }, { replace: true });
      }
    } finally {
      this.unsaved -= 1;
      if (this.group) this.count();
    }
  }
}
