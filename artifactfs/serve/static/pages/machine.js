// What this machine does with the repository: mounts while they work, the cache, and staging directories.

import { encode, encodePath, get, getServer, versionAddress } from "../api.js";
import { commitStaging, discardStaging } from "../actions.js";
import { h, put, renew, showError } from "../dom.js";
import { count, countCell, plural, size, sizeCell, time, visible } from "../format.js";
import { chip, facts, table } from "../table.js";

const EVERY = 2000, STAGING_LOOKS = 5;

export async function machine(page) {
  document.title = "This machine · artifactfs";
  const mounts = h("section"), cache = h("section"), staging = h("section"), controller = new AbortController();
  const [found, cached, areas, server] = await Promise.all([get("mounts"), get("cache"), get("staging"), getServer()]);
  put(page, h("h1", {}, "This machine"), h("h2", {}, "Mounts"), mounts, h("h2", {}, "Staging directories"), staging, h("h2", {}, "Cache"), cache);
  put(mounts, drawMounts(found, null));
  put(cache, drawCache(cached));
  const boxes = new Boxes(staging, server, controller.signal);
  boxes.show(areas.staging);
  let before = found, timer = 0, looks = 0;
  const refresh = async (place, path, draw) => {
    const drawn = await get(path, {}, controller.signal).then(draw).catch(showError);
    if (!controller.signal.aborted) renew(place, drawn);
  };
  const look = async () => {
    looks += 1;
    await Promise.all([
      refresh(mounts, "mounts", (now) => { const drawn = drawMounts(now, before); before = now; return drawn; }),
      refresh(cache, "cache", drawCache), looks % STAGING_LOOKS ? null : boxes.look()]);
    if (!controller.signal.aborted) timer = setTimeout(look, EVERY);
  };
  timer = setTimeout(look, EVERY);
  return () => { controller.abort(); clearTimeout(timer); };
}

function drawMounts(found, before) {
  if (!found.mounts.length) return h("p", { class: "quiet" }, "Nothing is mounted. `artifactfs mount DIRECTORY` shows the repository as files.");
  return found.mounts.map((mount) => {
    const earlier = before?.mounts.find((each) => each.mountpoint === mount.mountpoint && each.started === mount.started);
    return h("div", { class: "box", data: { key: mount.mountpoint } }, h("h3", {}, mount.mountpoint, " ", chip(mount.shows), " ", chip(mount.transport)), facts([["started", time(mount.started)], ["process", mount.pid], ["log", mount.log]]),
      mount.figures ? [figures(mount.figures, earlier?.figures, before ? found.at - before.at : 0), fetches(mount)] : h("p", { class: "quiet" }, "This transport counts nothing."));
  });
}

function figures(now, before, seconds) {
  const rate = (member) => (before && seconds ? (now[member] - before[member]) / seconds : null);
  const reads = now.requests.read || 0, bytes = rate("bytes");
  const busy = before && seconds ? Object.entries(now.requests).map(([kind, number]) => [kind, (number - (before.requests[kind] || 0)) / seconds]) : [];
  const perSecond = Object.fromEntries(busy);
  return [h("div", { class: "tiles" }, tile("requests", busy.length ? `${count(Math.round(busy.reduce((sum, [, each]) => sum + each, 0)))}/s` : "…"), tile("read", bytes === null ? "…" : `${size(Math.round(bytes))}/s`),
    tile("answered here", reads ? `${(100 * (1 - now.fetched_reads / reads)).toFixed(1)} %` : "–", "reads that needed nothing from elsewhere"), tile("being fetched", count(now.fetching), "requests that wait for content from elsewhere"),
    tile("latency p50 / p99", `${now.latency_us.p50} / ${now.latency_us.p99} µs`), tile("workers", `${now.workers.length}`, `${plural(now.restarts, "restart")}, ${plural(now.upgrades, "upgrade")}`)),
    h("details", {}, h("summary", {}, `${size(now.bytes)} read in all, ${plural(now.errors, "error")}, ${size(now.fetched_bytes)} fetched`), table([{ name: "request" }, { name: "count", right: true }, { name: "a second", right: true }],
      Object.entries(now.requests).sort(([, one], [, two]) => two - one).map(([kind, number]) => ({ cells: [kind, countCell(number), kind in perSecond ? countCell(Math.round(perSecond[kind])) : ""] }))))];
}

/** Return what is fetched now, by name, and for whom. */
function fetches({ figures: now, fetches: found }) {
  if (!found?.length) return null;
  const name = (each) => (each.path === null ? h("span", { class: "quiet" }, "what no program has open that you may look at") : visible(each.path));
  return [table([{ name: "file" }, { name: "at", right: true }, { name: "for" }], found.map((each) => ({ cells: [name(each), each.request === "READ" ? sizeCell(each.offset) : each.request.toLowerCase(), each.program ? `${each.program} (${each.pid})` : ""] })), { caption: "Being fetched" }),
    now.fetching > found.length ? h("p", { class: "quiet" }, `and ${count(now.fetching - found.length)} more`) : null];
}

const tile = (name, value, title) => h("div", { class: "tile", title }, h("span", { class: "value" }, value), h("span", { class: "quiet" }, name));

function drawCache(found) {
  if (!found.directory) return h("p", { class: "quiet" }, "Nothing was fetched: the repository is here.");
  const share = found.size ? Math.min(1, found.used / found.size) : 0;
  return [h("meter", { min: 0, max: 1, value: share, high: 0.95, "aria-label": "Used" }), facts([["used", `${size(found.used)} of ${size(found.size)}`], ["holds", `${plural(found.chunks, "chunk")} of ${plural(found.objects, "object")}`], ["leaves free", size(found.free)], ["directory", found.directory], ["never thrown out", found.kept.join(", ")]]),
    found.recent.length ? h("details", {}, h("summary", {}, "Used last"), table([{ name: "object" }, { name: "chunk", right: true }, { name: "size", right: true }, { name: "used" }], found.recent.map((each) => ({ cells: [each.object, each.chunk, sizeCell(each.size), time(each.used)] })))) : null];
}

/** A box for each staging directory, drawn anew only when something of it is another. */
class Boxes {
  constructor(place, server, signal) {
    Object.assign(this, { place, server, signal });
    this.known = new Map(); // the box of a staging directory, and what it shows
  }

  /** Show boxes for these, and ask for what was changed in each. */
  show(areas) {
    const names = areas.map((each) => each.staging), before = [...this.known.keys()];
    for (const name of before) if (!names.includes(name)) this.known.delete(name);
    for (const each of areas) if (!this.known.has(each.staging)) this.known.set(each.staging, { shown: "", box: h("div", { class: "box", data: { key: each.staging } }, h("h3", {}, each.staging)) });
    if (!names.length) put(this.place, h("p", { class: "quiet" }, "There are none. `artifactfs stage NAME` makes one."));
    else if (names.join("\n") !== before.join("\n")) renew(this.place, names.map((name) => this.known.get(name).box));
    return Promise.all(names.map((name) => this.ask(name)));
  }

  async look() {
    try {
      await this.show((await get("staging", {}, this.signal)).staging);
    } catch (error) {
      this.known.clear();
      if (!this.signal.aborted) put(this.place, showError(error));
    }
  }

  async ask(name) {
    const about = this.known.get(name), found = await get(`staging/${encode(name)}`, {}, this.signal).catch((error) => error);
    const text = found instanceof Error ? found.message : JSON.stringify(found);
    if (this.signal.aborted || text === about.shown) return;
    about.shown = text;
    renew(about.box, found instanceof Error ? [h("h3", {}, name), showError(found)] : drawStaging(found, this.server));
  }
}

function drawStaging(found, server) {
  const { staging, total, changes } = found, name = staging.staging, differences = `/diff/${encode(name)}`;
  return [h("h3", {}, name), facts([["made from", staging.base && h("a", { href: versionAddress(staging.base) }, staging.base)], ["committed", staging.committed], ["made", time(staging.created)], ["seen at", staging.path || "not mounted"], ["quota", staging.quota && `${size(staging.quota_used || 0)} of ${size(staging.quota)}`]]),
    h("span", { class: "links" }, h("a", { href: versionAddress(name) }, "look at it"), total ? h("a", { href: differences }, "differences") : null,
      server.may_write ? [h("button", { class: "small primary", type: "button", onclick: () => commitStaging(staging) }, "commit"), h("button", { class: "small danger", type: "button", onclick: () => discardStaging(staging, total) }, "discard")] : null),
    total ? table([{ name: "change" }, { name: "path" }, { name: "size", right: true }], changes.map((each) => ({ cells: [each.change, pathOf(each, found), each.new?.size === undefined ? "" : sizeCell(each.new.size)] })), { caption: plural(total, "change") }) : h("p", { class: "quiet" }, "Nothing was changed."),
    total > changes.length ? h("p", {}, `The first ${count(changes.length)} of ${count(total)}; `, h("a", { href: differences }, "all of them")) : null];
}

/** Return a link to what was changed: where it still is when it was deleted. */
function pathOf(change, { staging, compared }) {
  const ref = change.change === "deleted" ? compared : staging.staging;
  const before = change.old_path === undefined || change.old_path === null ? "" : `${visible(change.old_path)} → `;
  if (before) return [before, h("a", { href: versionAddress(ref, encodePath(change)) }, visible(change.path))];
  return ref ? h("a", { href: versionAddress(ref, encodePath(change)) }, visible(change.path)) : visible(change.path);
}
