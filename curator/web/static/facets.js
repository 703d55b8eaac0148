// Columns with counts; what is chosen becomes part of the condition, which stays visible and can be edited.

import { get } from "./api.js";
import { fill, h, number } from "./dom.js";

const FIRST = ["label", "origin", "tags", "duplicate_kind", "selections", "format", "width", "height", "size", "sharpness", "brightness"];
const name = (column) => (/^[a-z_][a-z0-9_]*$/i.test(column) ? column : `"${column.replaceAll('"', '""')}"`);
const text = (value) => `'${String(value).replaceAll("'", "''")}'`;
const literal = (value) => (typeof value === "number" ? String(value) : text(value));
const VALUE = "(?:'(?:[^']|'')*'|-?[\\d.]+(?:e[+-]?\\d+)?)";

// Parts of a condition that AND joins, outside quotes and parentheses; one with another OR or BETWEEN is a whole.
export function partsOf(where) {
  const parts = [];
  let depth = 0;
  let quote = "";
  let start = 0;
  let isPlain = true;
  for (let i = 0; i < where.length; i += 1) {
    const c = where[i];
    if (quote) { if (c === quote) quote = ""; }
    else if (c === "'" || c === '"') quote = c;
    else if (c === "(") depth += 1;
    else if (c === ")") depth -= 1;
    else if (!depth && /^\s(OR|BETWEEN|CASE|--)\s/i.test(`${where.slice(i)} `)) isPlain = false;
    else if (!depth && /^\sAND\s/i.test(where.slice(i, i + 5))) { parts.push(where.slice(start, i).trim()); start = i + 5; i += 3; }
  }
  parts.push(where.slice(start).trim());
  const whole = where.trim();
  if (isPlain) return parts.filter(Boolean);
  return whole ? [`(${whole})`] : [];
}

const escaped = (column) => name(column).replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

// The values that a part of our own making says, as they stand there; null for any other part.
function valuesIn(part, column) {
  const match = part.match(new RegExp(`^${escaped(column)} (?:IN \\((${VALUE}(?:, ${VALUE})*)\\)|= (${VALUE}))$`));
  return match ? (match[1] ?? match[2]).match(new RegExp(VALUE, "g")) : null;
}

// The limits that our own parts say: {">=": 3, "<=": 5}.
function limitIn(part, column) {
  const match = part.match(new RegExp(`^${escaped(column)} (>=|<=) (-?[\\d.]+(?:e[+-]?\\d+)?)$`));
  return match ? { [match[1]]: +match[2] } : null;
}

const dayAfter = (day, by) => new Date(Date.parse(day) + by * 864e5).toISOString().slice(0, 10);

// The first or the last day: {">=": "2024-05-01"}; the last stands in the condition as the day after it.
function dayIn(part, column) {
  const match = part.match(new RegExp(`^${escaped(column)} (>=|<) '(\\d{4}-\\d\\d-\\d\\d)'$`));
  return match ? { [match[1]]: match[1] === "<" ? dayAfter(match[2], -1) : match[2] } : null;
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
    const now = columns.join(" ");
    if (now === this.shown) {
      for (const [column, inside] of this.insides) if (this.open.has(column)) this.load(column, inside);
      return;
    }
    this.shown = now;
    this.insides = new Map();
    const order = [...FIRST.filter((c) => columns.includes(c)), ...columns.filter((c) => !FIRST.includes(c) && !["id", "path", "sha256", "pixel_hash", "mtime_ns"].includes(c))];
    fill(this.body, order.map((column) => {
      const inside = h("div", { class: "values" });
      this.insides.set(column, inside);
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
      if (inside.contains(document.activeElement) && document.activeElement.type === "checkbox") {
        this.recount(facet, inside);
        return;
      }
      fill(inside, facet.days.length ? this.days(facet) : facet.edges.length ? this.numbers(facet) : this.values(facet), facet.sampled ? "≈, of a sample" : "");
    } catch (error) {
      fill(inside, error.message);
    }
  }

  // Only the counts, where somebody is ticking boxes.
  recount(facet, inside) {
    const counts = new Map(facet.values.map(([value, count]) => [String(value), count]));
    for (const line of inside.querySelectorAll(".value")) {
      line.querySelector(".count").textContent = number(counts.get(line.children[1].textContent) ?? 0);
    }
  }

  isOf(part, column) {
    const isTagged = part.startsWith(`instr(' ' || ${name(column)} || ' ', '`) && part.endsWith(") > 0");
    return isTagged || valuesIn(part, column) !== null || limitIn(part, column) !== null || dayIn(part, column) !== null;
  }

  values(facet) {
    const severalWords = ["tags", "selections"].includes(facet.column);
    const mine = partsOf(this.where()).filter((p) => this.isOf(p, facet.column));
    const said = (value) => (severalWords ? tagged(facet.column, value) : literal(value));
    const chosen = new Set(severalWords ? mine : mine.flatMap((p) => valuesIn(p, facet.column) ?? []));
    const put = () => {
      const all = [...chosen];
      if (severalWords || !all.length) this.put(facet.column, all);
      else this.put(facet.column, [`${name(facet.column)} ${all.length > 1 ? `IN (${all.join(", ")})` : `= ${all[0]}`}`]);
    };
    const line = ([value, count]) => h("label", { class: "value" },
      h("input", { type: "checkbox", checked: chosen.has(said(value)), onchange: (e) => {
        if (e.target.checked) chosen.add(said(value)); else chosen.delete(said(value));
        put();
      } }), h("span", {}, String(value)), h("span", { class: "count" }, number(count)));
    const rows = facet.values.map(line);
    const filter = facet.values.length > 12 && h("input", { type: "search", placeholder: "find a value", "aria-label": `Find a value of ${facet.column}`, oninput: (e) => {
      facet.values.forEach(([v], i) => { rows[i].hidden = !String(v).toLowerCase().includes(e.target.value.toLowerCase()); });
    } });
    return h("div", {}, filter, rows, facet.distinct > facet.values.length ? h("p", { class: "note" }, `${number(facet.distinct)} values in all`) : "",
      !facet.values.length && h("p", { class: "note" }, "no image has one"));
  }

  numbers(facet) {
    const most = Math.max(...facet.counts, 1);
    const bars = facet.counts.map((n) => h("span", { class: "bar", style: { height: `${Math.max(n ? 4 : 0, (100 * n) / most)}%` } }));
    const limits = Object.assign({}, ...partsOf(this.where()).map((p) => limitIn(p, facet.column)));
    const [low, high] = [limits[">="] ?? facet.edges[0], limits["<="] ?? facet.edges.at(-1)];
    const field = (value, words) => h("input", { type: "number", step: "any", value, "aria-label": `${words} ${facet.column}`, onchange: () => set() });
    const from = field(low, "Least");
    const to = field(high, "Greatest");
    const set = () => this.put(facet.column, [
      ...(+from.value > facet.edges[0] ? [`${name(facet.column)} >= ${+from.value}`] : []),
      ...(+to.value < facet.edges.at(-1) ? [`${name(facet.column)} <= ${+to.value}`] : []),
    ]);
    return h("div", {}, h("div", { class: "bars", "aria-hidden": "true" }, bars), h("div", { class: "line" }, from, "to", to,
      h("button", { class: "quiet", onclick: () => this.put(facet.column, []) }, "all")));
  }

  days(facet) {
    const most = Math.max(...facet.counts, 1);
    const [first, last] = [facet.days[0], facet.days.at(-1)];
    const limits = Object.assign({}, ...partsOf(this.where()).map((p) => dayIn(p, facet.column)));
    const field = (value, words) => h("input", { type: "date", value, min: first, max: last, "aria-label": `${words} ${facet.column}`, onchange: () => set() });
    const [from, to] = [field(limits[">="] ?? first, "First"), field(limits["<"] ?? last, "Last")];
    const set = () => this.put(facet.column, [...(from.value > first ? [`${name(facet.column)} >= '${from.value}'`] : []), ...(to.value && to.value < last ? [`${name(facet.column)} < '${dayAfter(to.value, 1)}'`] : [])]);
    return h("div", {}, h("div", { class: "bars", "aria-hidden": "true" }, facet.counts.map((n) => h("span", { class: "bar", style: { height: `${Math.max(n ? 4 : 0, (100 * n) / most)}%` } }))),
      h("div", { class: "line" }, from, "to", to, h("button", { class: "quiet", onclick: () => this.put(facet.column, []) }, "all")));
  }

  put(column, parts) {
    const others = partsOf(this.where()).filter((p) => !this.isOf(p, column));
    this.changed([...others, ...parts].join(" AND "));
  }
}
