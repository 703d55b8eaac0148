// Columns with counts; what is chosen becomes part of the condition, which stays visible and can be edited.

import { get } from "./api.js";
import { fill, h, number } from "./dom.js";

const FIRST = ["label", "origin", "tags", "duplicate_kind", "selections", "format", "width", "height", "size", "sharpness", "brightness"];
const name = (column) => (/^[a-z_][a-z0-9_]*$/i.test(column) ? column : `"${column.replaceAll('"', '""')}"`);
const text = (value) => `'${String(value).replaceAll("'", "''")}'`;

// Parts of a condition that AND joins, outside quotes and parentheses.
export function partsOf(where) {
  const parts = [];
  let depth = 0;
  let quote = "";
  let start = 0;
  for (let i = 0; i < where.length; i += 1) {
    const c = where[i];
    if (quote) { if (c === quote) quote = ""; }
    else if (c === "'" || c === '"') quote = c;
    else if (c === "(") depth += 1;
    else if (c === ")") depth -= 1;
    else if (!depth && /^\sAND\s/i.test(where.slice(i, i + 5))) { parts.push(where.slice(start, i).trim()); start = i + 5; i += 4; }
  }
  parts.push(where.slice(start).trim());
  return parts.filter(Boolean);
}

function valuesIn(part, column) {
  const match = part.match(new RegExp(`^${name(column).replace(/[.*+?^${}()|[\]\\]/g, "\\$&")} (?:IN \\((.*)\\)|= (.*))$`));
  if (!match) return null;
  return [...(match[1] ?? match[2]).matchAll(/'((?:[^']|'')*)'|(-?[\d.e+]+)/g)].map((m) => (m[1] ?? m[2]).replaceAll("''", "'"));
}

const tagged = (column, value) => `instr(' ' || ${name(column)} || ' ', ${text(` ${value} `)}) > 0`;

export class Facets {
  // `asked()` are the parameters of the list; `where()` its condition; `changed(where)` is told a new one.
  constructor({ asked, where, changed }) {
    Object.assign(this, { asked, where, changed });
    this.open = new Set(["label"]);
    this.body = h("div", {});
    this.element = h("section", { class: "facets", "aria-label": "Filters" }, h("h2", {}, "Filter"), this.body);
  }

  show(columns) {
    const order = [...FIRST.filter((c) => columns.includes(c)), ...columns.filter((c) => !FIRST.includes(c) && c !== "id" && c !== "path")];
    fill(this.body, order.map((column) => {
      const inside = h("div", { class: "values" });
      const box = h("details", { open: this.open.has(column), ontoggle: () => {
        if (!box.open) { this.open.delete(column); return; }
        this.open.add(column);
        this.load(column, inside);
      } }, h("summary", {}, column), inside);
      return box;
    }));
  }

  async load(column, inside) {
    const others = partsOf(this.where()).filter((p) => !this.isOf(p, column));
    try {
      const facet = await get("/api/facet", { ...this.asked(), where: others.join(" AND "), column });
      fill(inside, facet.edges.length ? this.numbers(facet) : this.values(facet), facet.sampled ? "≈, of a sample" : "");
    } catch (error) {
      fill(inside, error.message);
    }
  }

  isOf(part, column) {
    return valuesIn(part, column) !== null || part.startsWith(`${name(column)} BETWEEN `) || part.startsWith(`instr(' ' || ${name(column)} ||`);
  }

  values(facet) {
    const severalWords = ["tags", "selections"].includes(facet.column);
    const mine = partsOf(this.where()).filter((p) => this.isOf(p, facet.column));
    const chosen = new Set(severalWords ? facet.values.map(([v]) => v).filter((v) => mine.includes(tagged(facet.column, v)))
      : mine.flatMap((p) => valuesIn(p, facet.column) ?? []));
    const line = ([value, count]) => h("label", { class: "value" },
      h("input", { type: "checkbox", checked: chosen.has(value), onchange: (e) => {
        if (e.target.checked) chosen.add(value); else chosen.delete(value);
        const some = [...chosen];
        if (severalWords) this.put(facet.column, some.map((v) => tagged(facet.column, v)));
        else this.put(facet.column, some.length ? [`${name(facet.column)} ${some.length > 1 ? `IN (${some.map(text).join(", ")})` : `= ${text(some[0])}`}`] : []);
      } }), h("span", {}, value), h("span", { class: "count" }, number(count)));
    const rows = facet.values.map(line);
    const filter = facet.values.length > 12 && h("input", { type: "search", placeholder: "find a value", "aria-label": `Find a value of ${facet.column}`, oninput: (e) => {
      facet.values.forEach(([v], i) => { rows[i].hidden = !v.toLowerCase().includes(e.target.value.toLowerCase()); });
    } });
    return h("div", {}, filter, rows, facet.distinct > facet.values.length ? h("p", { class: "note" }, `${number(facet.distinct)} values in all`) : "",
      !facet.values.length && h("p", { class: "note" }, "no image has one"));
  }

  numbers(facet) {
    const most = Math.max(...facet.counts, 1);
    const bars = facet.counts.map((n) => h("span", { class: "bar", style: { height: `${Math.max(n ? 4 : 0, (100 * n) / most)}%` } }));
    const within = partsOf(this.where()).find((p) => p.startsWith(`${name(facet.column)} BETWEEN `));
    const [low, high] = within ? within.match(/BETWEEN (\S+) AND (\S+)/).slice(1).map(Number) : [facet.edges[0], facet.edges.at(-1)];
    const field = (value, words) => h("input", { type: "number", step: "any", value: +value.toPrecision(6), "aria-label": `${words} ${facet.column}`, onchange: () => set() });
    const from = field(low, "Least");
    const to = field(high, "Greatest");
    const set = () => this.put(facet.column, [`${name(facet.column)} BETWEEN ${from.value} AND ${to.value}`]);
    return h("div", {}, h("div", { class: "bars", "aria-hidden": "true" }, bars), h("div", { class: "line" }, from, "to", to,
      h("button", { class: "quiet", onclick: () => this.put(facet.column, []) }, "all")));
  }

  put(column, parts) {
    const others = partsOf(this.where()).filter((p) => !this.isOf(p, column));
    this.changed([...others, ...parts].join(" AND "));
  }
}
