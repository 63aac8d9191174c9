// What happened, to one collection or to all, as a time line, and how what is stored grew.

import { encode, get, query, versionAddress } from "../api.js";
import { growthChart } from "../chart.js";
import { h, put, showError } from "../dom.js";
import { count, plural, sizeCell, time } from "../format.js";
import { table } from "../table.js";

const PAGE = 100;
const SIGNS = { commit: "●", "set-aliases": "⚑", "remove-aliases": "⚐", "delete-version": "✕", "delete-collection": "✕", edit: "✎", pin: "⚲", unpin: "○", relocate: "⇄" };

export async function history(page, [raw], parameters) {
  const name = raw ? decodeURIComponent(raw) : "";
  document.title = `History${name ? ` of ${name}` : ""} · artifactfs`;
  const chart = h("section", { "aria-label": "Growth", class: "box" }, h("p", { class: "quiet" }, "measuring…"));
  const line = await (name ? timeLineOf(name, Number(parameters.get("offset")) || 0) : timeLine(parameters.get("until") || "", parameters.get("past") || ""));
  put(page, h("h1", {}, name ? ["History of ", h("a", { href: `/c/${encode(name)}` }, name)] : "History"), name ? h("p", { class: "links" }, h("a", { href: "/history" }, "all collections")) : null,
    h("h2", {}, "Growth of the store"), chart, h("h2", {}, "What happened"), line);
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
        shown.map((point) => ({ cells: [h("a", { href: versionAddress(point.ref) }, point.ref), time(point.time), sizeCell(point.size), sizeCell(point.added)] })))) : null);
    if (!found.left) return;
    await new Promise((resolve) => setTimeout(resolve, 300));
    signal.throwIfAborted();
  }
}

/** Return what happened to one collection. */
async function timeLineOf(name, offset) {
  const found = await get(`collections/${encode(name)}/log`, { offset, limit: PAGE });
  const at = (start) => `/history/${encode(name)}${start ? `?offset=${start}` : ""}`;
  return h("div", {}, events(found.records.map((each) => ({ ...each, collection: name })), { isNamed: false }), parts(found, at));
}

/** Return what happened to all collections, from a moment or a record backwards. */
async function timeLine(until, past) {
  const found = await get("log", { until, past, limit: PAGE });
  const go = (event) => dispatchEvent(new CustomEvent("go", { detail: { address: `/history${query({ until: endOf(event.target.value) })}` } }));
  const links = h("nav", { class: "links", "aria-label": "Parts" }, until || past ? h("a", { href: "/history" }, "newest") : null, found.older ? h("a", { href: `/history${query({ until, past: found.older })}`, rel: "next" }, "older") : null);
  return h("div", {}, h("p", { class: "links" }, h("span", { class: "quiet" }, `${plural(found.total, "record")} in all`), h("label", {}, "up to the day", h("input", { type: "date", value: until ? dayBefore(until) : null, onchange: go })), h("a", { href: "/?order=changed" }, "collections by their last change")),
    found.damaged.length ? h("p", { class: "error" }, `Not all can be read of ${found.damaged.join(", ")}.`) : null,
    found.records.length ? events(found.records, { isNamed: true }) : h("p", { class: "quiet" }, until ? "Nothing happened until then." : "Nothing happened yet."), links);
}

function events(records, { isNamed }) {
  const version = ({ collection, change }) => (change.version ? versionAddress(`${collection}:${change.version}`) : null);
  const what = (record) => (version(record) ? h("a", { href: version(record) }, record.text) : record.text);
  return h("ol", { class: "timeline" }, records.map((record) => h("li", {}, h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[record.change.kind] || "●"),
    h("div", {}, h("div", {}, isNamed ? [h("a", { href: `/history/${encode(record.collection)}` }, h("strong", {}, record.collection)), " "] : null, what(record)), record.message ? h("div", { class: "message" }, record.message) : null,
      h("div", { class: "quiet" }, time(record.time), ` by ${record.author}`, record.run ? [" in the run ", h("a", { href: `/runs/${encode(record.run)}` }, record.run.slice(0, 13))] : null)))));
}

/** Return the moment at which a day ends here; "" for no day. */
function endOf(day) {
  const [year, month, date] = day.split("-").map(Number);
  return day ? new Date(year, month - 1, date + 1).toISOString() : "";
}

/** Return the day that ends at a moment, as a field for dates has it. */
function dayBefore(moment) {
  const last = new Date(Date.parse(moment) - 1);
  return Number.isNaN(last.getTime()) ? null : [String(last.getFullYear()).padStart(4, "0"), ...[last.getMonth() + 1, last.getDate()].map((each) => String(each).padStart(2, "0"))].join("-");
}

/** Return links to the newer and the older part of a log that has more than one. */
function parts({ total, offset }, at) {
  if (total <= PAGE) return null;
  const last = Math.floor((total - 1) / PAGE) * PAGE;
  return h("nav", { class: "links", "aria-label": "Parts" }, `${count(offset + 1)} to ${count(Math.min(offset + PAGE, total))} of ${count(total)} records `,
    offset ? [h("a", { href: at(0) }, "newest"), h("a", { href: at(Math.max(0, offset - PAGE)) }, "newer")] : null,
    offset + PAGE < total ? [h("a", { href: at(offset + PAGE) }, "older"), h("a", { href: at(last) }, "oldest")] : null);
}
