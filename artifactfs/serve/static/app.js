// The frame of all pages: which address shows which page, keys, and light and dark.

import { errorPage, h, put, say } from "./dom.js";

const KEYS = [["/", "search"], ["g c", "catalogue"], ["g r", "runs"], ["g h", "history"], ["g m", "this machine"], ["j k", "next and previous line; arrows, Home, End, Page up and down in lists, trees and grids"],
  ["Enter", "open"], ["h Backspace", "to the directory that it is in; on other pages back"], ["t", "light, dark, as the system"], ["+ - 0", "lineage: nearer, farther, all"], ["u d", "lineage, at a node: more of what it was made from, of what was made from it"], ["?", "this list"]];
// Addresses, the module of their page, and its function there. Modules are loaded when they are first shown.
const ROUTES = [
  [/^\/$/, "catalogue", "catalogue"], [/^\/c\/([^/]+)$/, "catalogue", "collection"], [/^\/v\/([^/]+)(?:\/(.*))?$/, "version", "version"],
  [/^\/diff\/(?:([^/]+)\/)?([^/]+)$/, "diff", "diff"], [/^\/lineage\/(.+)$/, "lineage", "lineage"], [/^\/history(?:\/([^/]+))?$/, "history", "history"],
  [/^\/runs$/, "runs", "runs"], [/^\/runs\/([^/]+)$/, "runs", "run"], [/^\/machine$/, "machine", "machine"],
];
const main = document.getElementById("main");
let leave = null, shown = "", turn = 0;

/** Go to an address of this page. */
export function go(address, { isReplaced = false, isSamePlace = false } = {}) {
  if (!isReplaced) window.history.replaceState({ top: scrollY }, "");
  window.history[isReplaced ? "replaceState" : "pushState"](null, "", address);
  return show(isSamePlace ? scrollY : 0);
}

async function load(module) {
  try {
    return await import(`./pages/${module}.js`);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // a module that came, but is wrong
    throw Object.assign(new Error("The server does not answer."), { hint: "Is `artifactfs ui` still running?" });
  }
}

/** Show the page of the address, scrolled to where it is wanted, if that is given. */
async function show(top = null) {
  const mine = ++turn, { pathname, search } = location;
  markPage();
  const [match, module, name] = ROUTES.map(([pattern, ...rest]) => [pattern.exec(pathname), ...rest]).find(([each]) => each) || [];
  const raw = match?.slice(1) || [];
  const made = leave === null && !shown && main.querySelector(":scope > [data-made]"); // it came with the first answer
  if (made) {
    shown = name;
    document.body.dataset.page = name;
    (await import("./adopt.js")).adopt(made);
    if (top) scrollTo(0, top);
    return;
  }
  // A page may follow a change of the address by itself.
  if (match && leave?.follow && shown === name && leave.follow(raw, new URLSearchParams(search))) return;
  leave?.();
  leave = null;
  putQuery();
  main.setAttribute("aria-busy", "true");
  document.body.dataset.page = name || "";
  try {
    if (!match) throw Object.assign(new Error(`There is no page ${pathname}`), { hint: "The catalogue has links to all there is." });
    const page = h("div", { class: "page" });
    const { [name]: draw } = await load(module);
    const left = await draw(page, raw, new URLSearchParams(search));
    if (mine !== turn) { left?.(); return; }
    put(main, page);
    leave = left || null;
    shown = name;
    page.dispatchEvent(new Event("shown"));
    begin(mine, top);
  } catch (error) {
    if (mine !== turn) return;
    put(main, errorPage(error));
    document.title = "not shown · artifactfs";
    begin(mine, top);
  } finally {
    if (mine === turn) main.removeAttribute("aria-busy");
  }
}

/** Begin at the heading, also for who reads by ear, unless the page has put the focus somewhere in it. */
function begin(number, top) {
  if (top !== null) scrollTo(0, top);
  const { activeElement } = document;
  if (number === 1 || (activeElement !== main && main.contains(activeElement))) return; // at first comes what is at the top
  const heading = main.querySelector("h1");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus({ preventScroll: true });
}

/** Mark the page that is shown among those at the top. */
function markPage() {
  for (const link of document.querySelectorAll("#top nav a")) {
    if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Show the query of the address in the search box. */
function putQuery() {
  document.getElementById("search").value = new URLSearchParams(location.search).get("q") || "";
}

function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

function turnTheme() {
  const next = { "": "light", light: "dark", dark: "" }[localStorage.getItem("theme") || ""];
  localStorage.setItem("theme", next);
  applyTheme(next);
  dispatchEvent(new Event("theme"));
  say(next ? `${next} mode` : "as the system has it");
}

function showKeys() {
  const dialog = h("dialog", { "aria-label": "Keys", onclose: () => dialog.remove() }, h("h2", {}, "Keys"),
    h("dl", { class: "facts" }, KEYS.map(([key, what]) => [h("dt", {}, key.split(" ").map((each) => h("kbd", {}, each))), h("dd", {}, what)])),
    h("button", { onclick: () => dialog.close(), autofocus: true }, "close"));
  document.body.append(dialog);
  dialog.showModal();
}

/** Go to what holds what is shown, as the page says; without that, back. */
function goUp() {
  const up = main.querySelector("a[rel=up]");
  if (up) go(up.pathname + up.search);
  else window.history.back();
}

function moveRow(step) {
  const rows = [...main.querySelectorAll("tr.link")];
  if (!rows.length) return false;
  const at = rows.indexOf(document.activeElement);
  rows[Math.max(0, Math.min(rows.length - 1, at + step))].focus();
  return true;
}

let isAfterG = false;
function onKey(event) {
  const inField = event.target.matches?.("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]");
  if (inField || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const places = { c: "/", r: "/runs", h: "/history", m: "/machine" };
  if (isAfterG && places[event.key]) go(places[event.key]);
  else if (event.key === "/") document.getElementById("search").focus();
  else if (event.key === "t") turnTheme();
  else if (event.key === "?") showKeys();
  else if (["j", "ArrowDown"].includes(event.key) && moveRow(1)) { /* moved */ }
  else if (["k", "ArrowUp"].includes(event.key) && moveRow(-1)) { /* moved */ }
  else if (event.key === "Enter" && document.activeElement.dataset?.href) go(document.activeElement.dataset.href);
  else if (["h", "Backspace"].includes(event.key)) goUp();
  else { isAfterG = event.key === "g"; return; }
  isAfterG = false;
  event.preventDefault();
}

function onClick(event) {
  if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const link = event.target.closest("a[href]");
  if (link && link.origin === location.origin && !link.hasAttribute("download") && !/^\/(api|static)\//.test(link.pathname) && !link.getAttribute("href").startsWith("#")) {
    event.preventDefault();
    go(link.pathname + link.search);
  } else if (!link && !event.target.closest("button, input, select") && !String(getSelection())) {
    const row = event.target.closest("tr[data-href]");
    if (row) go(row.dataset.href);
  }
}

function submit(event) {
  if (event.target.id !== "searching") return;
  event.preventDefault();
  const query = document.getElementById("search").value.trim();
  go(query ? `/?q=${encodeURIComponent(query)}` : "/");
}

applyTheme(localStorage.getItem("theme") || "");
window.history.scrollRestoration = "manual"; // a page is there later than the browser thinks
addEventListener("pagehide", () => window.history.replaceState({ top: scrollY }, ""));
addEventListener("popstate", (event) => location.hash || show(event.state?.top ?? 0)); // with a hash it is a place in this page
addEventListener("keydown", onKey);
addEventListener("click", onClick);
addEventListener("go", (event) => go(event.detail.address, event.detail));
addEventListener("reload", () => show());
addEventListener("submit", submit);
document.getElementById("theme").addEventListener("click", turnTheme);
document.getElementById("keys").addEventListener("click", showKeys);
show(window.history.state?.top);
