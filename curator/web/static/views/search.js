// Search: query and chips, the grid, scores, filters, marks, tags, what is chosen.

import { get, list, post, sendPicture } from "../api.js";
import * as bulk from "../bulk.js";
import { fill, h, number, plural, say } from "../dom.js";
import { Facets } from "../facets.js";
import { Grid } from "../grid.js";
import { Histogram } from "../histogram.js";
import { layer } from "../keys.js";
import * as place from "../place.js";

const MARKS = 200; // they stand in the address
const FACTS = 200; // asked for at a time
const INNER = ["id", "sha256", "pixel_hash", "mtime_ns"]; // columns nobody orders by

const idsOf = (text) => (text ?? "").split(",").filter(Boolean).map(Number);

// The terms of a query: [{sign, weight, text}].
export function termsOf(query) {
  const words = query.trim().split(/\s+([+-])\s+/);
  const terms = [];
  for (let i = 0; i < words.length; i += 2) {
    if (!words[i]) continue;
    const [, weight, text] = words[i].match(/^(?:(\d+(?:\.\d+)?|\.\d+):(?=\S))?(.*)$/s);
    terms.push({ sign: i && words[i - 1] === "-" ? "-" : "+", weight: weight ?? "", text });
  }
  return terms;
}

export const queryOf = (terms) => terms.map((t, i) => `${i ? ` ${t.sign} ` : ""}${t.weight ? `${t.weight}:` : ""}${t.text}`).join("");

export class SearchView {
  constructor(app) {
    this.app = app;
    this.known = new Map(); // id → facts
    this.marksBefore = []; // what was marked before each mark
    this.grid = new Grid({
      describe: (id, position) => this.describe(id, position), opened: (p) => this.open(p), changed: () => this.chosenChanged(), rest: (ids) => this.learn(ids),
    });
    this.input = h("input", {
      type: "search", placeholder: "words, id:12, concept:name, a + b - c; or drop a picture", "aria-label": "Query", autocomplete: "off", spellcheck: "false",
      onkeydown: (e) => { if (e.key === "Enter") this.ask(); if (e.key === "Escape") { this.input.blur(); this.grid.element.focus(); } },
    });
    this.chips = h("div", { class: "chips" });
    this.where = h("input", { type: "text", class: "where", placeholder: "condition, as label = 'shoe' AND width >= 256", "aria-label": "Condition", spellcheck: "false",
      onchange: () => place.change({ where: this.where.value.trim() }) });
    this.sort = h("select", { "aria-label": "Order", onchange: () => place.change({ sort: this.sort.value, seed: this.sort.value === "random" ? Math.floor(Math.random() * 1e6) : "" }) });
    this.fold = h("input", { type: "checkbox", onchange: () => place.change({ fold: this.fold.checked ? "1" : "" }) });
    this.count = h("span", { class: "count", "aria-live": "polite" });
    this.note = h("div", { class: "note", role: "status" });
    this.bar = h("div", { class: "chosen", hidden: true });
    this.histogram = new Histogram((score) => place.change({ min_score: score ?? "" }));
    this.facets = new Facets({ asked: () => place.parameters(), where: () => place.parameters().where ?? "", changed: (where) => place.change({ where }) });
    this.folding = h("label", { class: "check" }, this.fold, "fold duplicates");
    const tools = h("div", { class: "tools" }, this.count, this.sort, this.folding,
      h("button", { class: "quiet", title: "smaller ([)", "aria-label": "Smaller pictures", onclick: () => this.grid.resize(-1) }, "−"),
      h("button", { class: "quiet", title: "larger (])", "aria-label": "Larger pictures", onclick: () => this.grid.resize(1) }, "+"));
    this.histogram.element.hidden = true; // until there are scores
    this.marks = h("div", { class: "marks" });
    this.sure = h("select", { hidden: true, "aria-label": "How sure at least", onchange: () => place.change({ min_confidence: this.sure.value }) }, [["", "however sure"], ["0.5", "sure to 50 % at least"], ["0.9", "sure to 90 % at least"]].map(([value, words]) => h("option", { value }, words)));
    this.element = h("div", { class: "search" },
      h("div", { class: "query" }, h("div", { class: "ask" }, this.input, this.chips), this.where, tools),
      h("div", { class: "body" },
        h("div", { class: "left" }, this.note, this.grid.element, this.bar),
        h("aside", { class: "panel" }, this.marks, this.histogram.element, this.sure, this.facets.element)));
  }

  start() {
    this.release = layer({
      ...this.grid.keys(),
      "/": ["query", () => { this.input.focus(); this.input.select(); }],
      s: ["more like this", () => this.similar()],
      "+": ["like", () => this.mark("like")], "-": ["unlike", () => this.mark("unlike")], 0: ["unmark", () => this.mark(null)],
      t: ["tag", () => this.tag()], T: ["the last tag again", () => this.tag(true)], e: ["label", () => this.edit("label")],
      c: ["compare two chosen", () => this.compare()],
      Escape: ["clear the choice", () => this.grid.clear()],
    });
    this.dropped = (e) => { e.preventDefault(); this.take([...(e.dataTransfer?.files ?? [])]); };
    this.pasted = (e) => { const files = [...(e.clipboardData?.files ?? [])]; if (files.length) { e.preventDefault(); this.take(files); } };
    this.over = (e) => e.preventDefault();
    addEventListener("drop", this.dropped);
    addEventListener("dragover", this.over);
    addEventListener("paste", this.pasted);
    document.title = "curator";
    this.columns();
    this.load();
  }

  leave() { this.app.places.set(this.address, this.grid.place); }

  close() {
    this.leave();
    this.release?.();
    this.grid.close();
    this.asking?.abort();
    removeEventListener("drop", this.dropped);
    removeEventListener("dragover", this.over);
    removeEventListener("paste", this.pasted);
  }

  follows() {
    this.load();
    return true;
  }

  refreshed() {
    this.known.clear();
    this.columns();
    return this.load({ keepPlace: true });
  }

  changed() {
    this.known.clear();
    this.grid.draw();
  }

  columns() {
    const { columns, labels, tags } = this.app.status;
    const { sort } = place.parameters();
    fill(this.sort, [["", "best first"], ["-id", "newest"], ["random", "random"], ...columns.flatMap((c) => (INNER.includes(c) ? [] : [[c, c], [`-${c}`, `${c}, down`]]))]
      .map(([value, words]) => h("option", { value, selected: value === (sort ?? "") }, words)));
    this.words = [...new Set([...labels, ...tags])];
    this.folding.hidden = this.app.status.is_served ?? false; // a service knows of no duplicates
  }

  async load({ keepPlace = false } = {}) {
    const asked = place.parameters();
    this.input.value = asked.q ?? "";
    this.where.value = asked.where ?? "";
    this.sort.value = asked.sort ?? "";
    this.fold.checked = asked.fold === "1";
    this.drawChips();
    this.asking?.abort();
    this.asking = new AbortController();
    const slow = setTimeout(() => this.element.classList.add("waiting"), 150);
    const slower = setTimeout(() => fill(this.note, `searching ${number(this.app.status.counts.images)} images`), 1000);
    try {
      const answer = await list(asked, this.asking.signal);
      this.answer = answer;
      this.app.list = answer.ids;
      const address = location.pathname + location.search;
      this.app.address = address;
      const from = this.begun ? null : this.app.places.get(address);
      this.address = address;
      const { like, unlike, ...rest } = asked; // marks alone rank anew: the cursor follows its image
      const follow = this.begun && JSON.stringify(rest) === this.asked && `${like} ${unlike}` !== this.marked;
      [this.asked, this.marked] = [JSON.stringify(rest), `${like} ${unlike}`];
      this.grid.show(answer.ids, answer.scores, { keepPlace: keepPlace || follow, from, follow });
      this.histogram.show(answer.scores, answer.background, asked.min_score ? +asked.min_score : null);
      this.sure.hidden = !(this.app.status.has_sureness && answer.confidence.some((c) => c >= 0));
      this.sure.value = asked.min_confidence ?? "";
      this.say(answer, asked);
      this.app.foot(place.addressOf("/api/list", asked), answer.command);
      this.facets.show(this.app.status.columns);
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(this.note, h("p", { class: "error" }, error.message), h("button", { onclick: () => this.load() }, "again"));
    } finally {
      clearTimeout(slow);
      clearTimeout(slower);
      this.element.classList.remove("waiting");
    }
    this.drawMarks();
    if (!this.begun) { this.begun = true; this.grid.element.focus({ preventScroll: true }); }
  }

  say(answer, asked) {
    const n = answer.ids.length;
    fill(this.count, plural(n, answer.background.length ? "hit" : "image"));
    const lines = [...answer.notes];
    const isSearch = answer.background.length > 0;
    // How sure a hit is, is known only where it was learnt from labels; elsewhere it is a hint, and greys nothing.
    const isUnclear = isSearch && n > 0 && !answer.clear;
    const isLearnt = this.app.status.has_sureness;
    this.element.classList.toggle("unclear", isUnclear && isLearnt);
    if (isUnclear && isLearnt) lines.unshift("Nothing here clearly matches; the nearest are shown.");
    if (!n && isSearch) lines.push("No image reaches this. Lower the score, or take a filter away.");
    if (!n && !isSearch) lines.push(this.app.status.counts.images ? "No image fits the condition." : "The index is empty: run `curator index FOLDER` in a terminal.");
    fill(this.note, lines.map((line) => h("p", {}, line)));
  }

  describe(id, position) {
    const facts = this.known.get(id);
    const { like, unlike } = place.parameters();
    const mark = idsOf(like).includes(id) ? "+" : idsOf(unlike).includes(id) ? "−" : facts?.tags.length ? "•" : "";
    const title = facts ? facts.label ?? facts.caption ?? facts.path.split("/").pop() : "";
    const sure = this.answer?.confidence[position];
    return { title: facts && facts.origin === "generated" ? `${title} · generated` : title, mark, tone: sure >= 0.9 ? "sure" : sure >= 0.5 ? "maybe" : "" };
  }

  async learn(ids) {
    const unknown = ids.filter((id) => !this.known.has(id));
    if (!unknown.length) return;
    try {
      for (let i = 0; i < unknown.length; i += FACTS) {
        const part = unknown.slice(i, i + FACTS).join(",");
        for (const facts of await get("/api/facts", { ids: part })) this.known.set(facts.id, facts);
      }
      this.grid.refresh();
    } catch (error) {
      say(error.message, true);
    }
  }

  ask() {
    const q = this.input.value.trim();
    this.marksBefore = [];
    place.change(q === (place.parameters().q ?? "") ? {} : { q, min_score: "", min_confidence: "" });
    this.grid.element.focus();
  }

  drawChips() {
    const terms = termsOf(place.parameters().q ?? "");
    const put = (some) => place.change({ q: queryOf(some) });
    const chip = (term, i) => h("span", { class: "chip" },
      i ? h("button", { class: "sign", "aria-label": "add or take away", onclick: () => put(terms.map((t, k) => (k === i ? { ...t, sign: t.sign === "-" ? "+" : "-" } : t))) }, term.sign === "-" ? "−" : "+") : "",
      h("span", { class: "words" }, term.text.startsWith("picture:") ? "a picture" : term.text),
      h("input", { type: "number", min: "0.1", step: "0.1", value: term.weight || "1", "aria-label": `weight of ${term.text}`,
        onchange: (e) => put(terms.map((t, k) => (k === i ? { ...t, weight: +e.target.value === 1 ? "" : e.target.value } : t))) }),
      h("button", { class: "away", "aria-label": `without ${term.text}`, onclick: () => put(terms.filter((_, k) => k !== i)) }, "×"));
    fill(this.chips, terms.length > 1 || terms.some((t) => t.text.startsWith("picture:")) ? terms.map(chip) : []);
  }

  drawMarks() {
    const { like, unlike } = place.parameters();
    const [wanted, unwanted] = [idsOf(like), idsOf(unlike)];
    if (!wanted.length && !unwanted.length) { fill(this.marks, this.forgetting()); return; }
    const name = h("input", { type: "text", placeholder: "name", "aria-label": "Name of the concept", onkeydown: (e) => { if (e.key === "Enter") save(); } });
    const save = async () => {
      const done = await this.app.does(`kept as concept:${name.value}`, () => post("/api/concept", { name: name.value, like: wanted, unlike: unwanted }));
      if (done) { this.marksBefore = []; await this.app.refresh(); place.change({ like: "", unlike: "", q: `concept:${name.value}` }); }
    };
    fill(this.marks, h("h2", {}, "Marks"), h("p", {}, `${wanted.length} like, ${unwanted.length} unlike`),
      h("div", { class: "line" }, name, h("button", { onclick: save }, "Save as concept")),
      h("button", { class: "quiet", onclick: () => { this.marksBefore = []; place.change({ like: "", unlike: "" }); } }, "clear marks"));
  }

  // A mark is taken back before anything that was saved is.
  undo() {
    const before = this.marksBefore.pop();
    if (!before) return false;
    place.change(before);
    say("mark taken back");
    return true;
  }

  // Where the query is a concept, it can be forgotten.
  forgetting() {
    const [, concept] = (place.parameters().q ?? "").match(/^concept:(\S+)$/) ?? [];
    if (!concept || this.app.status.read_only || !this.app.status.concepts.includes(concept)) return null;
    return h("button", { class: "quiet", onclick: async () => {
      if (await this.app.does(`forgot concept:${concept}; z takes it back`, () => post("/api/concept/drop", { name: concept }))) { await this.app.refresh(); place.change({ q: "" }); }
    } }, `forget concept:${concept}`);
  }

  mark(side) {
    const ids = this.these();
    const asked = place.parameters();
    if (ids.length > MARKS) { say(`at most ${MARKS} images can be marked; choose fewer`, true); return; }
    const sets = { like: new Set(idsOf(asked.like)), unlike: new Set(idsOf(asked.unlike)) };
    for (const id of ids) {
      for (const one of Object.values(sets)) one.delete(id);
      if (side) sets[side].add(id);
    }
    this.marksBefore.push({ like: asked.like ?? "", unlike: asked.unlike ?? "" });
    place.change({ like: [...sets.like].join(","), unlike: [...sets.unlike].join(",") });
    this.grid.refresh();
    if (sets.like.size + sets.unlike.size === 1) say("marked; one more, and the list is ranked by marks");
  }

  these() {
    return this.grid.chosen.size ? [...this.grid.chosen] : [this.grid.ids[this.grid.cursor]].filter((id) => id !== undefined);
  }

  similar() {
    const id = this.grid.ids[this.grid.cursor];
    if (id !== undefined) place.change({ q: `id:${id}`, like: "", unlike: "", min_score: "", sort: "" });
  }

  open(position) {
    const id = this.grid.ids[position];
    if (id !== undefined) place.go(`/image/${id}`);
  }

  compare() {
    const [a, b] = [...this.grid.chosen];
    if (b !== undefined) place.go(`/image/${a}`, { with: b });
    else say("choose two images first (Space)");
  }

  async take(files) {
    const file = files.find((f) => f.type.startsWith("image/"));
    if (!file) { say("that is no picture", true); return; }
    say("encoding the picture");
    const answer = await this.app.does("the picture is the query now", () => sendPicture(file));
    if (answer) place.change({ q: answer.term, like: "", unlike: "", min_score: "", sort: "" });
  }

  chosenChanged() {
    const n = this.grid.chosen.size;
    bulk.bar(this.bar, n, [["Tag", "t", () => this.tag()], ["Label", "e", () => this.edit("label")], ["Caption", "", () => this.edit("caption")],
      ["Into selection", "", () => bulk.select(this.app, this.these())], ["Like", "+", () => this.mark("like")], ["Unlike", "−", () => this.mark("unlike")],
      ...(n === 2 ? [["Compare", "c", () => this.compare()]] : []), ["Clear", "Esc", () => this.grid.clear()]]);
  }

  // What is saved now is later than the marks of before, and z takes the latest back; marks set meanwhile stay later.
  saving(ids) {
    const before = new Set(this.marksBefore);
    return () => {
      this.marksBefore = this.marksBefore.filter((mark) => !before.has(mark));
      for (const id of ids) this.known.delete(id);
      this.learn(ids.slice(0, FACTS));
    };
  }

  tag(again = false) {
    const ids = this.these();
    return bulk.tag(this.app, ids, { again, saving: () => this.saving(ids) });
  }

  edit(what) {
    const ids = this.these();
    bulk.edit(this.app, what, ids, { value: ids.length === 1 ? this.known.get(ids[0])?.[what] ?? "" : "", saving: () => this.saving(ids) });
  }
}
