// Elements without markup: text is always text.

// h("button", {class: "small", onclick: f, style: {left: "3px"}}, "Save") → an element. null and false are left out.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "style") for (const [k, v] of Object.entries(value)) element.style.setProperty(k, v);
  else if (name === "value" || name === "checked" || name === "indeterminate") element[name] = value;
  else element.setAttribute(name, value === true ? "" : value);
}

export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

export const number = (n) => n.toLocaleString("en-US");

export function bytes(n) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (n >= 1000 && at < units.length - 1) { n /= 1000; at += 1; }
  return `${at ? n.toPrecision(3) : n} ${units[at]}`;
}

export const plural = (n, thing) => `${number(n)} ${thing}${n === 1 ? "" : "s"}`;

// A line of words that goes by itself, and is read aloud.
let region = null;
let timer = 0;
export function say(text, isError = false) {
  if (!region) {
    region = h("div", { class: "toast", role: "status", "aria-live": "polite" });
    document.body.append(region);
  }
  fill(region, text);
  region.classList.toggle("error", isError);
  region.classList.add("shown");
  clearTimeout(timer);
  timer = setTimeout(() => region.classList.remove("shown"), isError ? 8000 : 3500);
}
