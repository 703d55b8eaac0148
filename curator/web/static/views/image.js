// One image: large, with its facts, its neighbours, the evidence on its duplicates; or two beside each other.

import { get, post } from "../api.js";
import * as bulk from "../bulk.js";
import { Compare } from "../compare.js";
import { bytes, fill, h, number, say } from "../dom.js";
import { layer } from "../keys.js";
import * as place from "../place.js";

export class ImageView {
  constructor(app) {
    this.app = app;
    this.stage = h("div", { class: "stage" });
    this.panel = h("aside", { class: "panel" });
    this.element = h("div", { class: "image" }, this.stage, this.panel);
  }

  get id() { return +place.path().split("/").pop(); }

  start() {
    this.release = layer({
      ArrowLeft: ["before", () => this.beside(-1)], ArrowRight: ["next", () => this.beside(1)],
      1: ["1:1", () => this.compare?.zoom(1)], f: ["fit", () => this.compare?.fit()], i: ["facts", () => { this.panel.hidden = !this.panel.hidden; }],
      v: ["side by side, flicker, slider, difference", () => this.compare?.turn()],
      s: ["more like this", () => place.go("/", { q: `id:${this.id}` })],
      e: ["label", () => this.panel.querySelector("[aria-label='Edit the label']")?.click()],
      t: ["tag", () => this.panel.querySelector("input")?.focus()],
      Escape: ["back to the list", () => this.back()],
    });
    this.load();
  }

  close() {
    this.isClosed = true;
    this.release?.();
    this.compare?.close();
  }

  follows() { this.load(); return true; }

  refreshed() { return this.load(); }

  changed() { this.load(); }

  back() {
    const [path, query] = (this.app.address ?? "/").split("?");
    place.go(path, Object.fromEntries(new URLSearchParams(query ?? "")));
  }

  beside(by) {
    const ids = this.app.list;
    const at = ids ? ids.indexOf(this.id) : -1;
    if (at >= 0 && ids[at + by] !== undefined) place.go(`/image/${ids[at + by]}`, {}, { replace: true });
  }

  async load() {
    const address = location.href;
    try {
      const facts = await get(`/api/image/${this.id}`);
      const other = place.parameters().with ? await get(`/api/image/${+place.parameters().with}`) : null;
      if (location.href === address && !this.isClosed) this.show(facts, other);
    } catch (error) {
      if (location.href !== address || this.isClosed) return;
      fill(this.stage, h("p", { class: "empty error" }, error.message));
      fill(this.panel);
    }
  }

  show(facts, other) {
    document.title = `${facts.path} · curator`;
    const pictures = other ? [facts, other] : [facts];
    const shown = pictures.map((p) => p.id).join(" ");
    if (shown !== this.shown) { // what is looked at stays as it is when only its facts change
      this.shown = shown;
      this.compare?.close();
      this.compare = new Compare(pictures);
      fill(this.stage, this.compare.element);
    }
    const typed = this.panel.querySelector("input")?.value ?? "";
    const ids = this.app.list;
    const at = ids ? ids.indexOf(facts.id) : -1;
    const row = (name, value) => (value === null || value === undefined || value === "" ? null : h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, String(value))));
    const columns = { ...facts.extra, ...facts.computed };
    fill(this.panel,
      h("h1", {}, facts.path.split("/").pop()),
      h("p", { class: "note" }, [at >= 0 && `${number(at + 1)} of ${number(ids.length)}`, facts.state !== "present" && facts.state].filter(Boolean).join(" · ")),
      this.tags(facts),
      h("table", { class: "facts" }, row("id", facts.id), this.written("label", facts), this.written("caption", facts), row("size", `${facts.width} × ${facts.height}, ${bytes(facts.size)}`),
        row("format", `${facts.format}, ${facts.mode}`), row("origin", facts.origin), row("taken", facts.taken_at), row("camera", facts.camera),
        row("folder", facts.root ? `${facts.root.path}${facts.root.reachable ? "" : " (not there now)"}` : ""), row("path", facts.path), row("SHA-256", facts.sha256.slice(0, 16)),
        row("selections", facts.selections.join(", ")), Object.entries(columns).map(([name, value]) => row(name, typeof value === "number" ? +value.toPrecision(6) : value))),
      h("button", { class: "quiet", onclick: () => navigator.clipboard?.writeText(facts.full_path).then(() => say("copied")) }, "copy the path"),
      this.provenance(facts.provenance),
      facts.group && h("section", {}, h("h2", {}, "Duplicates"), h("p", {}, facts.group.keeper === facts.id ? "This is the one to keep" : `The one to keep is ${facts.group.keeper}`, facts.group.reason ? `: ${facts.group.reason}` : ""),
        facts.edges.map((e) => h("p", {}, this.small(e.id), ` ${e.kind}`, e.evidence ? `: ${e.evidence}` : "", " ", h("a", { href: place.addressOf(`/image/${facts.id}`, { with: e.id }) }, "compare")))),
      facts.verdicts.map((v) => h("p", { class: "note" }, `${v.verdict}, said ${v.at}`)),
      h("section", {}, h("h2", {}, "Nearest"), h("div", { class: "strip" }, facts.neighbours.map((n) => this.small(n.id, n.score.toFixed(3))))));
    const input = this.panel.querySelector("input");
    if (input) input.value = typed;
    this.app.foot(`/api/image/${facts.id}`, this.app.status.is_served ? `curator search id:${facts.id}` : `curator show ${facts.id}`);
  }

  // A label or caption, which may be written by hand.
  written(what, facts) {
    if (this.app.status.read_only && !facts[what]) return null;
    return h("tr", {}, h("th", { scope: "row" }, what), h("td", {}, facts[what] ?? "", !this.app.status.read_only && h("button", { class: "quiet", "aria-label": `Edit the ${what}`, onclick: () => bulk.edit(this.app, what, [facts.id], { value: facts[what] ?? "", saving: () => () => this.load() }) }, "edit")));
  }

  provenance(made) {
    if (!made) return null;
    const facts = [made.checkpoint !== undefined && `checkpoint ${made.checkpoint}`, made.seed !== undefined && `seed ${made.seed}`, made.condition && `made for ${made.condition}`, made.audit].filter(Boolean).join(", ");
    return h("section", {}, h("h2", {}, "Made by"), h("p", {}, made.known ? h("a", { href: `/runs/${encodeURIComponent(made.run)}` }, made.run) : made.run, `, ${facts}`),
      made.nearest && h("p", {}, this.small(made.nearest), " nearest training image ", h("a", { href: place.addressOf(`/image/${this.id}`, { with: made.nearest }) }, "compare")));
  }

  small(id, words = "") {
    return h("a", { href: `/image/${id}`, class: "small" }, h("img", { src: `/thumb/${id}`, alt: `image ${id}`, loading: "lazy", width: 72, height: 72 }), words);
  }

  tags(facts) {
    const send = async (tags, off) => {
      if (await this.app.does(`${off ? "took off" : "tagged"} ${tags.join(", ")}`, () => post("/api/tag", { ids: [facts.id], tags, off }))) this.load();
    };
    const input = h("input", { type: "text", placeholder: "add a tag", "aria-label": "Add a tag", onkeydown: (e) => {
      const tags = e.target.value.split(/[\s,]+/).filter(Boolean);
      if (e.key === "Enter" && tags.length) { e.target.value = ""; send(tags, false); }
      if (e.key === "Escape") e.target.blur();
    } });
    return h("div", { class: "chips" }, facts.tags.map((t) => h("span", { class: "chip" }, t, !this.app.status.read_only && h("button", { class: "away", "aria-label": `take off ${t}`, onclick: () => send([t], true) }, "×"))), !this.app.status.read_only && input);
  }
}
