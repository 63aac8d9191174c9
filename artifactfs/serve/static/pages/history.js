// What happened to a collection, as a time line, and how what is stored grew.

import { encode, get, versionAddress } from "../api.js";
import { growthChart } from "../chart.js";
import { h, put, showError } from "../dom.js";
import { count, plural, size, time } from "../format.js";
import { table } from "../table.js";

const PAGE = 100;
const SIGNS = { commit: "●", "set-aliases": "⚑", "remove-aliases": "⚐", "delete-version": "✕", "delete-collection": "✕", edit: "✎", pin: "⚲", unpin: "○", relocate: "⇄" };

export async function history(page, [raw], parameters) {
  const name = raw ? decodeURIComponent(raw) : "";
  document.title = `History${name ? ` of ${name}` : ""} · artifactfs`;
  const chart = h("section", { "aria-label": "Growth", class: "box" }, h("p", { class: "quiet" }, "measuring…"));
  put(page, h("h1", {}, name ? ["History of ", h("a", { href: `/c/${encode(name)}` }, name)] : "History"), h("h2", {}, "Growth of the store"), chart);
  if (name) page.append(h("h2", {}, "What happened"), await timeLine(name, Number(parameters.get("offset")) || 0));
  else page.append(h("h2", {}, "Collections"), await collections(Number(parameters.get("offset")) || 0));
  const controller = new AbortController();
  drawGrowth(chart, name, controller.signal).catch((error) => error.name !== "AbortError" && put(chart, showError(error)));
  return () => controller.abort();
}

async function drawGrowth(chart, collection, signal) {
  for (;;) {
    const found = await get("growth", { collection }, signal);
    const shown = found.points.slice(-30).reverse();
    put(chart, found.points.length ? growthChart(found.points) : h("p", { class: "quiet" }, found.left ? "measuring…" : "There are no versions."),
      found.left ? h("p", { class: "quiet" }, `measuring: ${plural(found.left, "version")} left`) : null,
      found.points.length ? h("details", {}, h("summary", {}, "What the last versions added"), table([{ name: "version" }, { name: "made" }, { name: "size", right: true }, { name: "new content", right: true }],
        shown.map((point) => ({ cells: [h("a", { href: versionAddress(point.ref) }, point.ref), time(point.time), size(point.size), size(point.added)] })))) : null);
    if (!found.left) return;
    await new Promise((resolve) => setTimeout(resolve, 300));
    signal.throwIfAborted();
  }
}

async function timeLine(name, offset) {
  const found = await get(`collections/${encode(name)}/log`, { offset, limit: PAGE });
  const at = (start) => `/history/${encode(name)}${start ? `?offset=${start}` : ""}`;
  const link = (record) => { const version = record.change.version; return version ? h("a", { href: versionAddress(`${name}:${version}`) }, record.text) : record.text; };
  return h("div", {}, h("ol", { class: "timeline" }, found.records.map((record) => h("li", {}, h("span", { class: "sign" }, SIGNS[record.change.kind] || "●"), h("div", {}, h("div", {}, link(record)), record.message ? h("div", { class: "message" }, record.message) : null,
    h("div", { class: "quiet" }, time(record.time), ` by ${record.author}`, record.run ? [" in the run ", h("a", { href: `/runs/${encode(record.run)}` }, record.run.slice(0, 13))] : null))))),
    parts(found, at, "records"));
}

async function collections(offset) {
  const found = await get("collections", { order: "changed", offset, limit: PAGE });
  return h("div", {}, table([{ name: "collection" }, { name: "versions", right: true }, { name: "changed" }], found.collections.map((each) => ({ href: `/history/${encode(each.collection)}`, cells: [h("a", { href: `/history/${encode(each.collection)}` }, each.collection), count(each.versions), time(each.modified)] }))),
    parts(found, (start) => `/history${start ? `?offset=${start}` : ""}`, "collections"));
}

/** Return links to the newer and the older part of a list that has more than one. */
function parts({ total, offset }, at, what) {
  if (total <= PAGE) return null;
  const last = Math.floor((total - 1) / PAGE) * PAGE;
  return h("nav", { class: "links", "aria-label": "Parts" }, `${count(offset + 1)} to ${count(Math.min(offset + PAGE, total))} of ${count(total)} ${what} `,
    offset ? [h("a", { href: at(0) }, "newest"), h("a", { href: at(Math.max(0, offset - PAGE)) }, "newer")] : null,
    offset + PAGE < total ? [h("a", { href: at(offset + PAGE) }, "older"), h("a", { href: at(last) }, "oldest")] : null);
}
