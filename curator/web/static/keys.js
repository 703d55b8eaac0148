// Keys belong to the topmost layer: a dialog, else the view, and then what holds everywhere.

import { h } from "./dom.js";

const everywhere = new Map();
let layers = [];
let pending = "";
let areOff = localStorage.getItem("keys") === "off";

// {key: [words, function]}; a function that returns false lets the browser go on.
export function everywhereKeys(keys) {
  for (const [key, entry] of Object.entries(keys)) everywhere.set(key, entry);
}

// `isThere`: whether the layer still takes keys, though it has not been released yet.
export function layer(keys, isThere = () => true) {
  const added = { keys: new Map(Object.entries(keys)), isThere };
  layers.push(added);
  return () => { layers = layers.filter((l) => l !== added); };
}

const topmost = () => layers.findLast((l) => l.isThere())?.keys;

const isTyping = (target) => target.closest?.("input:not([type=range]):not([type=checkbox]), textarea, select");

// A digit key is its digit, with or without Shift, unless it makes a sign that has a meaning here, as "/" on some keyboards.
function nameOf(event) {
  const key = event.key === " " ? "Space" : event.key;
  const digit = /^Digit[1-9]$/.test(event.code) && !/[/?+-]/.test(key) ? event.code.slice(5) : null;
  const shifted = event.shiftKey && (key.length > 1 || digit);
  const isDigit = /^[0-9]$/.test(key);
  const plain = digit && (event.shiftKey || isDigit) ? (isDigit ? key : digit) : key;
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${shifted && !(isDigit && event.shiftKey) ? "Shift+" : ""}${plain}`;
}

// What a control under the focus needs for itself.
function isOwn(target, key) {
  if (target.matches?.("input[type=range], summary, select")) return /^(Shift\+)?(Arrow|Home|End|Page|Space|Enter)/.test(key);
  return target.matches?.("input[type=checkbox], button, a[href]") && /^(Space|Enter)$/.test(key);
}

const MOVES = /^(Shift\+)?(Arrow|Page|Home|End)|^[[\]]$/;

addEventListener("keydown", (event) => {
  const key = nameOf(event);
  if (event.altKey || (isTyping(event.target) && key !== "Escape")) return;
  if (isOwn(event.target, key) || (event.repeat && !MOVES.test(key))) return;
  if (areOff && /^(Shift\+)?.$|^Space$/.test(key)) return;
  const name = pending ? `${pending} ${key}` : key;
  pending = "";
  const top = topmost();
  const entry = top?.get(name) ?? (top?.get("only") ? null : everywhere.get(name));
  if (entry) {
    if (entry[1](event) !== false) event.preventDefault();
  } else if (key === "g" && !top?.get("only")) {
    pending = "g";
  }
});

export function help() {
  const top = topmost() ?? new Map();
  const rows = [...top, ...everywhere].filter(([key]) => key !== "only" && !/^(Shift\+)?[2-9]$/.test(key));
  const line = ([key, [words]]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, words));
  const toggle = h("input", { type: "checkbox", checked: areOff, onchange: (e) => {
    areOff = e.target.checked;
    localStorage.setItem("keys", areOff ? "off" : "on");
  } });
  dialog("Keys", h("table", { class: "keys" }, rows.map(line)), h("label", {}, toggle, " single keys off"));
}

// A dialog traps the focus, and gives it back as it closes. That it has closed is said later: keys do not wait for that.
export function dialog(title, ...children) {
  const box = h("dialog", { "aria-label": title }, h("h2", {}, title), ...children,
    h("form", { method: "dialog" }, h("button", {}, "Close")));
  const release = layer({ only: ["", () => {}], Escape: ["close", () => box.close()] }, () => box.open);
  box.addEventListener("close", () => { release(); box.remove(); });
  document.body.append(box);
  box.showModal();
  box.scrollTop = 0;
  return box;
}
