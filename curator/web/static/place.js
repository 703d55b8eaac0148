// What is shown is what the address says: path and parameters, in one order.

import { withQuery } from "./api.js";

const listeners = [];

export const path = () => location.pathname;
export const parameters = () => Object.fromEntries(new URLSearchParams(location.search));

export function addressOf(to, query = {}) {
  const sorted = Object.entries(query).sort(([a], [b]) => (a < b ? -1 : 1));
  return withQuery(to, Object.fromEntries(sorted));
}

export function go(to, query = {}, { replace = false } = {}) {
  const address = addressOf(to, query);
  if (address === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  for (const f of listeners) f();
}

export const change = (some, options) => go(path(), { ...parameters(), ...some }, options);

export function follow(listener) {
  listeners.push(listener);
}

addEventListener("popstate", () => { for (const f of listeners) f(); });

// A link that changes the view without loading the page again.
addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0;
  if (!link || !plain || link.origin !== location.origin || link.target || link.hasAttribute("data-plain")) return;
  event.preventDefault();
  go(link.pathname, Object.fromEntries(new URLSearchParams(link.search)));
});
