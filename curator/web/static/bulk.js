// What is done with several images at once: tag them, name them, take them into a selection.

import { post } from "./api.js";
import { fill, h, number, plural } from "./dom.js";
import { dialog } from "./keys.js";

let lastTags = "";

// A dialog with one line to fill in; `send(value, second)` is called with what stands in it.
function ask(title, { label, placeholder = "", value = "", choices = [], go, other = null, note = "" }, send) {
  const input = h("input", { type: "text", list: "choices", placeholder, value, "aria-label": label });
  const done = (second) => { box.close(); send(input.value.trim(), second); };
  const box = dialog(title, input, h("datalist", { id: "choices" }, choices.map((c) => h("option", { value: c }))),
    h("div", { class: "line" }, h("button", { onclick: () => done(false) }, go), other && h("button", { class: "quiet", onclick: () => done(true) }, other)),
    note && h("p", { class: "note" }, note));
  input.addEventListener("keydown", (e) => { if (e.key === "Enter") { e.preventDefault(); done(false); } });
  input.select();
}

// `saving` is called when it is sent, and what that gives back once it is saved.
export async function tag(app, ids, { again = false, saving = () => () => {} } = {}) {
  if (!ids.length) return;
  const send = async (value, off) => {
    const tags = value.split(/[\s,]+/).filter(Boolean);
    if (!tags.length) return;
    lastTags = value;
    const saved = saving();
    if (await app.does(`${off ? "took off" : "tagged"} ${tags.join(", ")}: ${plural(ids.length, "image")}`, () => post("/api/tag", { ids, tags, off }))) saved();
  };
  if (again && lastTags) { await send(lastTags, false); return; }
  ask(`Tag ${plural(ids.length, "image")}`, { label: "Tags", placeholder: "good, keep", choices: app.status.tags, go: "Tag", other: "Take off" }, send);
}

// `what` is label or caption; an empty value gives back what the files say.
export function edit(app, what, ids, { value = "", saving = () => () => {} } = {}) {
  if (!ids.length) return;
  ask(`The ${what} of ${plural(ids.length, "image")}`, { label: what, value, choices: what === "label" ? app.status.labels : [], go: "Save", other: "As the files say",
    note: "Kept in the index, whatever the files say; no file is changed." },
  async (text, back) => {
    const saved = saving();
    if (await app.does(`${what} ${back || !text ? "as the files say" : `'${text}'`}: ${plural(ids.length, "image")}`, () => post("/api/edit", { what, ids, value: back || !text ? null : text }))) saved();
  });
}

export function select(app, ids) {
  if (!ids.length) return;
  ask(`A selection of ${plural(ids.length, "image")}`, { label: "Name of the selection", placeholder: "name", go: "Save",
    note: "It can then be exported and trained on: see Selections." }, async (name) => {
    if (await app.does(`${plural(ids.length, "image")} selected as ${name}`, () => post("/api/selection", { name, ids }))) await app.refresh();
  });
}

// The bar below a list or a map: how many are chosen, and what may be done with them.
export function bar(element, count, buttons) {
  element.hidden = !count;
  if (count) fill(element, h("strong", { "aria-live": "polite" }, `${number(count)} chosen`), buttons.map(([words, key, f]) => h("button", { title: key, onclick: f }, words)));
}
