// The shell: bar, rail, the view that the address names, undo, and whether something has changed meanwhile.

import { get, post } from "./api.js";
import { fill, h, number, say } from "./dom.js";
import { everywhereKeys, help } from "./keys.js";
import * as place from "./place.js";
import * as thumbs from "./thumbs.js";
import { SearchView } from "./views/search.js";

// The first view is there at once, each other one when somebody goes to it.
const VIEWS = [
  [/^\/$/, async () => SearchView], [/^\/image\/\d+$/, async () => (await import("./views/image.js")).ImageView],
  [/^\/duplicates$/, async () => (await import("./views/duplicates.js")).DuplicatesView],
  [/^\/issues$/, async () => (await import("./views/issues.js")).IssuesView], [/^\/map$/, async () => (await import("./views/map.js")).MapView],
  [/^\/selections(\/[^/]+)?$/, async () => (await import("./views/selections.js")).SelectionsView],
  [/^\/runs(\/[^/]+(\/lens)?)?$/, async () => (await import("./views/runs.js")).RunsView],
  [/^\/activity$/, async () => (await import("./views/activity.js")).ActivityView],
];
const RAIL = [["/", "Search", "s"], ["/duplicates", "Duplicates", "d"], ["/issues", "Issues", "i"], ["/map", "Map", "m"], ["/selections", "Selections", "l"], ["/runs", "Runs", "r"], ["/activity", "Activity", "a"]];
const EVERY = 2000; // milliseconds between two looks for changes

// Where grids were, over a reload of the page in the same tab.
function placesBefore() {
  try { return JSON.parse(sessionStorage.getItem("places") ?? "[]"); } catch { return []; }
}

addEventListener("pagehide", () => {
  app.view?.leave?.();
  const places = [...app.places].slice(-20).map(([address, { cursor, offset }]) => [address, { cursor, offset }]);
  sessionStorage.setItem("places", JSON.stringify(places));
});

const app = {
  status: null, view: null, list: null, // `list`: the ids that an image was opened from
  places: new Map(placesBefore()), // address → where its grid was when it was left
  main: h("main", { id: "main" }),
  rail: h("nav", { class: "rail", "aria-label": "Views" }),
  facts: h("span", { class: "facts" }),
  banner: h("div", { class: "banner", role: "status", hidden: true }),
  footer: h("footer", {}),
  refresh,
  does,
  foot,
  command: (words) => `${words}${app.status?.option ? ` ${app.status.option}` : ""}`, // for this index
};

// Do what changes the index, and say it.
async function does(words, what) {
  if (app.status.read_only) { say(app.status.is_served ? "what a service has is not changed here" : "this page was opened with --read-only", true); return null; }
  try {
    const answer = await what();
    say(words);
    return answer;
  } catch (error) {
    say(error.message, true);
    return null;
  }
}

// Take the page's latest action back. A view may have something of its own to take back first.
const undo = () => (app.view?.undo?.() ? null : turn("/api/undo", "Undone"));

async function turn(path, words) {
  const done = await does("", async () => {
    const action = await post(path, {});
    setTimeout(() => say(`${words}: ${action.text}`));
    return action;
  });
  if (done) await refresh();
}

async function refresh() {
  app.status = await get("/api/status");
  fill(app.facts, `${app.status.name} · ${number(app.status.counts.images)} images`,
    app.status.read_only ? " · read only" : "");
  for (const link of app.rail.children) link.hidden = (app.status.is_served ?? false) && link.getAttribute("href") !== "/";
  await app.view?.refreshed?.();
}

// What stands below each view: the same as JSON, and the command that does it.
function foot(json, plain) {
  const command = app.command(plain);
  fill(app.footer, h("a", { href: json, "data-plain": true, target: "_blank" }, "JSON"), h("code", {}, command),
    h("button", { class: "quiet", onclick: () => navigator.clipboard?.writeText(command).then(() => say("copied")) }, "copy"));
}

async function show() {
  const path = place.path();
  const known = VIEWS.find(([pattern]) => pattern.test(path));
  for (const link of app.rail.children) {
    const to = link.getAttribute("href");
    if (to === path || (to !== "/" && path.startsWith(`${to}/`))) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  let View = null;
  try {
    View = known && await known[1]();
  } catch {
    say("the server does not answer; is `curator web` still running?", true);
    return;
  }
  if (place.path() !== path) return; // somebody has gone on meanwhile
  if (app.view && View && app.view instanceof View && app.view.follows?.()) return;
  app.view?.close?.();
  document.title = "curator";
  app.view = View ? new View(app) : null;
  fill(app.main, app.view ? app.view.element : h("p", { class: "empty" }, "There is no such view."));
  app.view?.start?.();
}

async function watch() {
  if (document.visibilityState !== "visible") return;
  try {
    const { changes } = await get("/api/changes");
    if (app.banner.dataset.gone) { app.banner.hidden = true; delete app.banner.dataset.gone; }
    if (app.status && changes !== app.status.changes) {
      const before = app.status.counts.images;
      app.status.changes = changes;
      const now = await get("/api/status");
      const more = now.counts.images - before;
      const words = more > 0 ? `${number(more)} new images` : "the index has changed";
      if (now.counts.images === before && app.view?.changed) { app.status = now; app.view.changed(); return; }
      app.status = { ...now, counts: { ...now.counts } };
      fill(app.banner, `${words} · `, h("button", { onclick: () => { app.banner.hidden = true; thumbs.forgetAll(); refresh(); } }, "refresh"));
      app.banner.hidden = false;
    }
  } catch (error) {
    app.banner.dataset.gone = "1";
    fill(app.banner, error.message);
    app.banner.hidden = false;
  }
}

async function start() {
  fill(app.rail, RAIL.map(([to, words, key]) => h("a", { href: to, title: `g ${key}` }, words)));
  fill(document.body,
    h("a", { class: "skip", href: "#main", "data-plain": true }, "to the content"),
    h("header", {}, h("span", { class: "brand" }, "curator"), app.rail, app.facts,
      h("button", { class: "quiet", onclick: help, title: "Keys (?)", "aria-label": "Keys" }, "?")),
    app.banner, app.main, app.footer);
  everywhereKeys({
    "?": ["keys", help],
    "z": ["undo", undo],
    "Z": ["redo", () => turn("/api/redo", "Done again")],
    ...Object.fromEntries(RAIL.map(([to, words, key]) => [`g ${key}`, [words, () => place.go(to)]])),
  });
  try {
    await refresh();
  } catch (error) {
    fill(app.main, h("p", { class: "empty" }, error.message));
    return;
  }
  place.follow(show);
  show();
  setInterval(watch, EVERY);
}

start();
