// What differs between two versions: a list, and what differs in the file that is chosen.

import { contentAddress, encode, encodePath, get, query, versionAddress } from "../api.js";
import { h, put, showError } from "../dom.js";
import { count, size, visible } from "../format.js";
import { showPreview, tableOf } from "../preview.js";
import { facts } from "../table.js";
import { Pages, VirtualList } from "../virtual.js";

const LETTERS = { added: "A", deleted: "D", modified: "M", renamed: "R", "type-changed": "T", "mode-changed": "P" };

export async function diff(page, [rawOld = "", rawNew], parameters) {
  const wanted = { old: decodeURIComponent(rawOld), new: decodeURIComponent(rawNew), kind: parameters.get("kind") || "" };
  const found = await get("diff", wanted);
  document.title = `${found.old || "nothing"} → ${found.new} · artifactfs`;
  const side = h("section", { class: "side", "aria-label": "What is chosen" });
  const pages = new Pages(async (offset, limit) => (await get("diff", { ...wanted, offset, limit })).changes, { onload: () => list.draw() });
  const choose = (index) => {
    const change = pages.get(index);
    if (!change) return;
    window.history.replaceState(null, "", location.pathname + query({ kind: wanted.kind, at: index }));
    showChange(side, found, change).catch((error) => put(side, showError(error)));
  };
  const list = new VirtualList({ rowHeight: 28, label: "Changes", render: (index) => row(pages.get(index), index === list.current), onactivate: choose, onmove: choose });
  pages.seed(found.changes);
  const base = `/diff/${rawOld ? `${rawOld}/` : ""}${rawNew}`;
  const kinds = Object.entries(found.counts).map(([kind, number]) => h("a", { class: `chip ${kind} ${kind === wanted.kind ? "on" : ""}`, href: kind === wanted.kind ? base : `${base}?kind=${kind}` }, `${count(number)} ${kind}`));
  put(page, h("h1", {}, found.old ? h("a", { href: versionAddress(found.old) }, found.old) : "nothing", " → ", h("a", { href: versionAddress(found.new) }, found.new)),
    h("p", { class: "links" }, kinds.length ? kinds : "Nothing differs.", found.old ? h("a", { href: `/diff/${encode(found.new)}/${encode(found.old)}` }, "the other way round") : null, chooser(found)),
    h("div", { class: "split" }, h("section", { class: "files", "aria-label": "Changes" }, list.element), side));
  list.setTotal(found.total);
  const at = Number(parameters.get("at")) || 0;
  page.addEventListener("shown", () => { list.draw(); if (found.total) { list.moveTo(at); list.element.focus({ preventScroll: true }); } }, { once: true });
}

function chooser(found) {
  const field = h("input", { name: "old", "aria-label": "Compare with", placeholder: "compare with NAME:vN", size: 18 });
  return h("form", { class: "inline", onsubmit: (event) => { event.preventDefault(); if (field.value.trim()) dispatchEvent(new CustomEvent("go", { detail: { address: `/diff/${encode(field.value.trim())}/${encode(found.new)}` } })); } }, field);
}

function row(change, isChosen) {
  if (!change) return null;
  return h("div", { class: "row", role: "option", "aria-selected": String(isChosen), title: visible(change.path) }, h("span", { class: `letter ${change.change}`, title: change.change }, LETTERS[change.change]),
    h("span", { class: "name" }, visible(change.old_path ? `${change.old_path} → ${change.path}` : change.path)), h("span", { class: "size" }, delta(change)));
}

function delta(change) {
  const before = change.old?.size || 0, now = change.new?.size || 0;
  return now === before ? "" : `${now > before ? "+" : "−"}${size(Math.abs(now - before))}`;
}

async function showChange(side, found, change) {
  const path = encodePath(change), oldPath = change.old_path ? encodePath(change, "old_path") : path;
  // What comes later goes into this: when another change was chosen meanwhile, it is not shown any more.
  const content = h("div");
  put(side, h("h2", {}, visible(change.path)), facts([["what", change.change], ["was", change.old_path && visible(change.old_path)], ["before", change.old && about(change.old)], ["now", change.new && about(change.new)]]), content);
  if ((change.new || change.old).kind === "directory" || !found.old) {
    if (change.new && change.new.kind !== "directory") content.append(h("div", {}, showPreview(await get("preview", { ref: found.new, path_raw: path }), found.new, path)));
    return;
  }
  const both = await get("diff/file", { old: found.old, new: found.new, path_raw: path, old_path_raw: oldPath });
  if (both.problem) content.append(h("p", { class: "quiet" }, both.problem));
  if (both.lines) content.append(lines(both));
  else if (both.old?.table || both.new?.table) content.append(tables(both.old?.table, both.new?.table));
  else content.append(h("div", { class: "pair" }, [[both.old, found.old, oldPath], [both.new, found.new, path]].map(([preview, ref, at]) => h("figure", {}, h("figcaption", {}, preview ? ref : `not in ${ref}`), preview ? showPreview(preview, ref, at) : null))));
  content.append(h("p", { class: "links" }, change.new ? h("a", { href: versionAddress(found.new, path) }, "open the new one") : null, change.old ? h("a", { href: versionAddress(found.old, oldPath) }, "open the old one") : null,
    change.new && change.new.kind === "file" ? h("a", { href: contentAddress(found.new, path, { download: true }), download: true }, "download the new one") : null));
}

const about = (entry) => `${entry.kind}, ${entry.size === undefined ? entry.target : size(entry.size)}, mode ${entry.mode}`;

function lines(both) {
  const kinds = { "+": "added", "-": "deleted", "@": "hunk" };
  const shown = both.lines.filter((line) => !/^(diff |new file|old mode|new mode|--- |\+\+\+ )/.test(line));
  return h("div", { class: "text diff", tabindex: "0" }, shown.length ? shown.map((line) => h("div", { class: `line ${kinds[line[0]] || ""}` }, h("span", { class: "code" }, line, "\n"))) : h("p", { class: "quiet" }, "The same text."), both.is_cut ? h("p", { class: "quiet" }, "There is more.") : null);
}

function tables(old, now) {
  const names = [...new Set([...(old?.columns || []), ...(now?.columns || [])].map((column) => column.name))];
  const typeOf = (found, name) => found?.columns.find((column) => column.name === name)?.type;
  const differing = names.filter((name) => typeOf(old, name) !== typeOf(now, name));
  return h("div", {}, facts([["rows before", old ? count(old.row_count) : "none"], ["rows now", now ? count(now.row_count) : "none"],
    ["columns", differing.length ? differing.map((name) => h("div", {}, `${name}: ${typeOf(old, name) || "not there"} → ${typeOf(now, name) || "not there"}`)) : "the same"]]),
    h("div", { class: "pair" }, [[old, "before"], [now, "now"]].map(([found, title]) => h("figure", {}, h("figcaption", {}, title), found ? tableOf(found) : null))));
}
