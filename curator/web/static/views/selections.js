// Selections: a list, a builder that shows what a recipe would choose, one by itself, and two compared.

import { get, post } from "../api.js";
import { fill, h, number, plural, say } from "../dom.js";
import { dialog, layer } from "../keys.js";
import * as place from "../place.js";

const TAB = Math.random().toString(36).slice(2, 12); // so that two pages do not stop each other's attempts
const REST = 350; // milliseconds after the last keystroke
const DEDUPE = ["known", "none", "exact", "verified", "semantic"];
const ORIGIN = ["real", "generated", "any"];
const SHOWN = 12; // labels

const thumb = (id, side = 72) => h("a", { href: `/image/${id}`, class: "small" }, h("img", { src: `/thumb/${id}`, alt: `image ${id}`, width: side, height: side, loading: "lazy" }));
const strip = (ids, side) => h("div", { class: "strip" }, ids.map((id) => thumb(id, side)));

function stepsTable(steps) {
  const facts = (s) => Object.entries(s.facts ?? {}).filter(([, v]) => v !== null && v !== "" && typeof v !== "object").map(([k, v]) => `${k} ${v}`).join(", ");
  return h("table", { class: "steps" }, h("thead", {}, h("tr", {}, ["step", "from", "to", ""].map((t) => h("th", { scope: "col" }, t)))),
    h("tbody", {}, steps.map((s) => h("tr", {}, h("td", {}, s.step), h("td", { class: "number" }, number(s.before)), h("td", { class: "number" }, number(s.after)), h("td", { class: "note" }, facts(s))))));
}

function balance({ values, distinct, without }) {
  const most = Math.max(...values.map(([, n]) => n), 1);
  return h("div", { class: "balance" }, values.slice(0, SHOWN).map(([label, n]) => h("div", { class: "value" }, h("span", {}, label), h("i", { class: "amount", style: { width: `${(90 * n) / most}px` } }), h("span", { class: "count" }, number(n)))),
    distinct > SHOWN && h("p", { class: "note" }, `${plural(distinct, "label")} in all`), without > 0 && h("p", { class: "note" }, `${number(without)} without a label`));
}

export class SelectionsView {
  constructor(app) {
    this.app = app;
    this.element = h("div", { class: "selections" });
  }

  get name() { return decodeURIComponent(place.path().split("/")[2] ?? ""); }

  start() {
    this.release = layer({
      n: ["new selection", () => place.go("/selections/new")],
      "/": ["first field", () => this.element.querySelector("input")?.focus()],
      Escape: ["all selections", () => place.go("/selections")],
    });
    this.load();
  }

  follows() { this.load(); return true; }

  refreshed() { return this.name === "new" ? this.attempt() : this.load(); }

  changed() { if (this.name !== "new") this.load(); }

  close() { this.isClosed = true; clearTimeout(this.timer); this.asking?.abort(); this.release?.(); }

  async load() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const isOver = () => this.isClosed || turn !== this.turn;
    const { first, second } = place.parameters();
    try {
      if (this.name === "new") {
        this.known ??= await get("/api/selections");
        if (!isOver()) this.build();
      } else if (this.name) {
        const facts = await get(`/api/selections/${encodeURIComponent(this.name)}`);
        if (!isOver()) this.one(facts);
      } else if (first && second) {
        const facts = await get("/api/difference", { first, second });
        if (!isOver()) this.two(facts, first, second);
      } else {
        this.known = await get("/api/selections");
        if (!isOver()) this.all();
      }
    } catch (error) {
      if (!isOver()) fill(this.element, h("p", { class: "empty error" }, error.message));
    }
  }

  all() {
    const { selections } = this.known;
    this.app.foot("/api/selections", "curator selections");
    const picked = new Set();
    const compare = h("button", { disabled: true, onclick: () => { const [first, second] = picked; place.go("/selections", { first, second }); } }, "Compare two");
    const pick = (name) => (e) => {
      if (e.target.checked) picked.add(name); else picked.delete(name);
      compare.disabled = picked.size !== 2;
    };
    fill(this.element, h("header", { class: "line" }, h("h1", {}, "Selections"), h("a", { class: "button", href: "/selections/new" }, "New"), selections.length > 1 && compare),
      selections.length ? h("table", { class: "members" }, h("thead", {}, h("tr", {}, ["", "name", "images", "made", "when (UTC)", "first"].map((t) => h("th", { scope: "col" }, t)))),
        h("tbody", {}, selections.map((s) => h("tr", {}, h("td", {}, h("input", { type: "checkbox", "aria-label": `compare ${s.name}`, onchange: pick(s.name) })),
          h("td", {}, h("a", { href: `/selections/${encodeURIComponent(s.name)}` }, s.name)), h("td", { class: "number" }, number(s.images)), h("td", {}, s.made_by), h("td", {}, s.created_at), h("td", {}, strip(s.first, 40))))))
        : h("div", { class: "empty" }, h("p", {}, "Nothing is selected yet."), h("p", {}, h("a", { href: "/selections/new" }, "Choose images"), ", or run ", h("code", {}, "curator select NAME -n 1000 --by k-center"), " in a terminal.")));
  }

  one(s) {
    document.title = `${s.name} · curator`;
    const exported = h("code", {}, "");
    const say_ = () => fill(exported, this.app.command(`curator export ${s.name} -o FOLDER --as ${form.value}`));
    const form = h("select", { "aria-label": "Form of export", onchange: () => say_() }, s.forms.map((f) => h("option", { value: f }, f)));
    form.value = "imagefolder";
    say_();
    const where = `instr(' ' || "selections" || ' ', ' ${s.name} ') > 0`;
    this.app.foot(`/api/selections/${encodeURIComponent(s.name)}`, s.command);
    fill(this.element, h("header", { class: "line" }, h("h1", {}, s.name), h("span", { class: "note" }, `${plural(s.images, "image")} ${s.made_by} · ${s.created_at} UTC · ${s.digest.slice(0, 12)}`)),
      h("div", { class: "line" }, h("a", { class: "button", href: place.addressOf("/", { where }) }, "In the grid"), h("a", { class: "button", href: place.addressOf("/map", { where }) }, "On the map"),
        s.recipe.by && h("a", { class: "button", href: place.addressOf("/selections/new", this.asParameters(s.recipe)) }, "Change the recipe"),
        !this.app.status.read_only && [h("button", { onclick: () => this.split(s) }, "Split"), h("button", { class: "quiet", onclick: () => this.drop(s) }, "drop")]),
      h("div", { class: "line" }, "Export: ", form, exported, h("button", { class: "quiet", onclick: () => navigator.clipboard?.writeText(exported.textContent).then(() => say("copied")) }, "copy")),
      h("div", { class: "columns" }, s.steps.length > 0 && h("section", {}, h("h2", {}, "Steps"), stepsTable(s.steps)), h("section", {}, h("h2", {}, "Labels"), balance(s.labels))),
      h("h2", {}, "First images, in order"), strip(s.first));
  }

  asParameters(recipe) {
    const { defaults } = this.known ?? { defaults: {} };
    return Object.fromEntries(Object.entries(recipe).map(([k, v]) => [k, k === "reference" && typeof v === "string" ? v.replace(/^\((.*)\)$/s, "$1") : v]).filter(([k, v]) => v !== null && JSON.stringify(v) !== JSON.stringify(defaults[k])).map(([k, v]) => [k, Array.isArray(v) ? v.join("; ") : v]));
  }

  two({ parts, command }, first, second) {
    this.app.foot(place.addressOf("/api/difference", { first, second }), command);
    const words = { first: `only in ${first}`, second: `only in ${second}`, both: "in both" };
    fill(this.element, h("header", { class: "line" }, h("h1", {}, `${first} and ${second}`)),
      Object.entries(parts).map(([part, { images, first: ids }]) => h("section", { class: "kind" }, h("h2", {}, `${plural(images, "image")} ${words[part]}`), strip(ids))));
  }

  async drop(s) {
    if (await this.app.does(`dropped ${s.name}; z takes it back`, () => post("/api/drop", { names: [s.name] }))) { await this.app.refresh(); place.go("/selections"); }
  }

  split(s) {
    const input = h("input", { type: "text", value: "train=0.8 test=0.2", "aria-label": "Shares" });
    const box = dialog(`Split ${s.name}`, input, h("p", { class: "note" }, "By content: duplicates go to one part, and adding pictures never moves one."),
      h("button", { onclick: async () => {
        box.close();
        const done = await this.app.does(`split ${s.name}`, () => post("/api/split", { name: s.name, shares: input.value.split(/\s+/).filter(Boolean) }));
        if (done) { await this.app.refresh(); place.go("/selections"); }
      } }, "Split"));
  }

  // The builder: a form that is the address; what it would choose follows.
  build() {
    document.title = "New selection · curator";
    if (this.form?.isConnected) {
      const shown = place.parameters(); // back and forward
      if (JSON.stringify(Object.entries(this.said()).sort()) !== JSON.stringify(Object.entries(shown).sort())) {
        for (const e of this.form.elements) if (e.name) e.value = shown[e.name] ?? (e.name === "dedupe" ? DEDUPE[0] : e.name === "origin" ? ORIGIN[0] : "");
      }
      this.attempt();
      return;
    }
    const asked = place.parameters();
    const field = (name, label, { type = "text", placeholder = "", list = null, wide = false } = {}) => {
      const input = h("input", { type, name, value: asked[name] ?? "", placeholder, list, min: type === "number" ? 1 : null, oninput: () => this.typed() });
      return h("label", { class: wide ? "wide-field" : "" }, h("span", {}, label), input);
    };
    const choice = (name, label, values) => h("label", {}, h("span", {}, label), h("select", { name, onchange: () => this.typed() }, values.map((v) => h("option", { value: v, selected: v === (asked[name] ?? values[0]) }, v))));
    const { selectors, scorers } = this.known;
    const list = (id, values) => h("datalist", { id }, values.map((v) => h("option", { value: v })));
    this.result = h("div", { "aria-live": "polite" });
    this.form = h("form", { class: "recipe", onsubmit: (e) => e.preventDefault() },
      list("parts", [...selectors, ...scorers, ...scorers.map((s) => `${s} * k-center`)]), list("columns", this.app.status.columns), list("names", this.app.status.selections),
      field("where", "where", { placeholder: "width >= 128 AND label != 'other'", wide: true }), field("n", "how many", { type: "number", placeholder: "all" }),
      field("by", "by", { placeholder: "random", list: "parts" }), field("also", "beside it, by", { placeholder: "k-center; typicality" }),
      field("per", "as many of each", { placeholder: "label", list: "columns" }),
      field("match", "match", { placeholder: "red shoes; concept:nice" }), field("avoid", "avoid", { placeholder: "drawing" }), choice("dedupe", "duplicates", DEDUPE),
      choice("origin", "origin", ORIGIN), field("extend", "extend", { list: "names" }), field("reference", "reference", { list: "names" }), field("seed", "seed", { type: "number", placeholder: "0" }),
      field("against", "judge against (held out)", { placeholder: "selection or condition", list: "names" }));
    const name = h("input", { type: "text", name: "name", placeholder: "name", "aria-label": "Name of the selection", onkeydown: (e) => { if (e.key === "Enter") save.click(); } });
    const save = h("button", { onclick: () => this.save(name.value) }, "Save");
    fill(this.element, h("header", { class: "line" }, h("h1", {}, "New selection"), !this.app.status.read_only && [name, save]), this.form, this.result);
    this.attempt();
  }

  said() {
    return Object.fromEntries([...new FormData(this.form)].map(([k, v]) => [k, v.trim()]).filter(([k, v]) => v && v !== DEDUPE[0] && v !== ORIGIN[0] && k !== "name"));
  }

  typed() {
    clearTimeout(this.timer);
    this.result.classList.add("stale");
    this.timer = setTimeout(() => {
      const said = this.said();
      const address = place.addressOf("/selections/new", said);
      if (address === location.pathname + location.search) this.attempt(); else place.go("/selections/new", said, { replace: true });
    }, REST);
  }

  async attempt() {
    this.asking?.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    const asked = place.parameters();
    this.result.classList.add("stale");
    const slow = setTimeout(() => say(`choosing among ${plural(this.app.status.counts.images, "image")}`), 1000);
    try {
      const answer = await get("/api/attempt", { ...asked, tab: TAB }, { signal });
      if (signal.aborted || this.isClosed) return;
      this.app.foot(place.addressOf("/api/attempt", asked), answer.command);
      this.draw(answer);
    } catch (error) {
      if (error.name !== "AbortError" && !signal.aborted) fill(this.result, h("p", { class: "error" }, error.message));
    } finally {
      clearTimeout(slow);
      if (!signal.aborted) this.result.classList.remove("stale");
    }
  }

  draw({ strategies, overlap, preview }) {
    const isOne = strategies.length === 1;
    const column = (s, i) => h("section", {}, !isOne && h("h2", {}, `${i + 1}. ${s.by}`), h("p", {}, plural(s.images, "image")), strip(s.first, isOne ? 72 : 60), h("h2", {}, "Labels"), balance(s.labels),
      !isOne && [h("button", { class: "quiet", onclick: () => navigator.clipboard?.writeText(s.command).then(() => say("copied")) }, "copy the command")]);
    const cells = (rows, head) => h("table", { class: "steps" }, head, h("tbody", {}, rows));
    fill(this.result, h("div", { class: "columns" }, h("section", {}, h("h2", {}, "Steps"), stepsTable(strategies[0].steps),
      !isOne && [h("h2", {}, "Images that two share"), cells(overlap.map((row, i) => h("tr", {}, h("th", { scope: "row" }, `${i + 1}.`), row.map((n) => h("td", { class: "number" }, number(n))))), h("thead", {}, h("tr", {}, h("td", {}), strategies.map((_, i) => h("th", { scope: "col" }, `${i + 1}.`)))))],
      preview && this.preview(preview)), strategies.map(column)));
  }

  preview(rows) {
    const names = ["rank", "images", "frechet", "precision", "recall", "coverage", "apart", "balance"];
    const value = (row, name) => (name === "rank" ? (row.rank_low === row.rank_high ? row.rank : `${row.rank_low}–${row.rank_high}`) : name === "images" ? number(row.images)
      : name === "frechet" ? `${row.frechet.toPrecision(3)} (${row.low.toPrecision(3)}–${row.high.toPrecision(3)})` : row[name]?.toFixed(2) ?? "");
    return [h("h2", {}, "Against what is held out"), h("table", { class: "steps" }, h("thead", {}, h("tr", {}, ["", ...names].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", {}, rows.map((r) => h("tr", {}, h("th", { scope: "row" }, r.name), names.map((n) => h("td", { class: "number" }, value(r, n)))))))];
  }

  async save(name) {
    const { also, against, ...recipe } = this.said(); // the address follows what is typed a moment later
    const done = await this.app.does(`selected as ${name}; z takes it back`, () => post("/api/selections", { name, recipe }));
    if (done) { await this.app.refresh(); place.go(`/selections/${encodeURIComponent(name)}`); }
  }
}
