// The catalogue: collections by type, or what a query finds; and one collection with its versions.

import { get, getServer, versionAddress, encode } from "../api.js";
import { removeAlias } from "../actions.js";
import { h, put, showError } from "../dom.js";
import { count, plural, size, time } from "../format.js";
import { chip, chips, table } from "../table.js";

const PAGE = 200;

export async function catalogue(page, _raw, parameters) {
  const query = parameters.get("q");
  if (query) return find(page, query);
  document.title = "Catalogue · artifactfs";
  const found = await get("collections", { limit: 1000 });
  const types = Map.groupBy(found.collections, (each) => each.type || "damaged");
  put(page, h("h1", {}, "Catalogue"), h("p", { class: "quiet" }, `${plural(found.total, "collection")}, ${plural(found.versions, "version")}`),
    found.total ? null : h("div", { class: "box" }, h("p", {}, "There is nothing here yet. "), h("code", {}, "artifactfs put NAME FOLDER"), " makes the first version."),
    [...types].sort().map(([type, collections]) => table(
      [{ name: "name" }, { name: "versions", right: true }, { name: "latest" }, { name: "aliases" }, { name: "tags" }, { name: "files", right: true }, { name: "size", right: true }, { name: "changed" }],
      collections.map(row), { caption: type })),
    found.total > found.collections.length ? h("p", { class: "quiet" }, `Only the first ${count(found.collections.length)} are shown; search for others.`) : null);
}

function row(each) {
  const aliases = Object.entries(each.aliases).filter(([alias]) => alias !== "latest");
  return { href: `/c/${encode(each.collection)}`, cells: [
    [h("a", { href: `/c/${encode(each.collection)}` }, each.collection), each.problem ? h("span", { class: "error" }, ` ${each.problem}`) : null],
    count(each.versions), each.latest ? h("a", { href: versionAddress(each.latest) }, each.latest.split(":")[1]) : "",
    aliases.map(([alias, number]) => h("a", { class: "chip alias", href: versionAddress(`${each.collection}:${alias}`), title: number }, alias)),
    chips(each.tags, "tag"), count(each.files), size(each.size), time(each.modified)] };
}

async function find(page, query) {
  document.title = `${query} · artifactfs`;
  put(page, h("h1", {}, "Found"));
  try {
    const found = await get("find", { query, limit: 1000 });
    page.append(h("p", { class: "quiet" }, `${plural(found.versions.length, "version")}${found.is_cut ? ", and more" : ""} for `, h("code", {}, query)),
      versionTable(found.versions, { hasName: true }));
  } catch (error) {
    page.append(showError(error), h("p", { class: "quiet" }, "Such as: type=dataset and tag=reviewed · metadata.accuracy > 0.9 · name ~ 'anim*' · created > 2026-01-01 · size > 1G"));
  }
}

function versionTable(versions, { hasName = false, mayWrite = false } = {}) {
  return table([{ name: hasName ? "version" : "" }, { name: "aliases" }, { name: "message" }, { name: "tags" }, { name: "files", right: true }, { name: "size", right: true }, { name: "made" }, { name: "author" }],
    versions.map((each) => ({ href: versionAddress(each.ref), cells: [
      h("a", { href: versionAddress(each.ref) }, hasName ? each.ref : each.version),
      each.aliases.map((alias) => h("span", { class: "chip alias" }, alias, mayWrite && alias !== "latest" ? h("button", { class: "x", type: "button", "aria-label": `Remove the alias ${alias}`, onclick: () => removeAlias(each.collection, alias) }, "×") : null)),
      h("span", { class: "clip" }, each.message || each.description), chips(each.tags, "tag"), count(each.files), size(each.size), time(each.created), each.author] })));
}

export async function collection(page, [raw], parameters) {
  const name = decodeURIComponent(raw), offset = Number(parameters.get("offset")) || 0;
  document.title = `${name} · artifactfs`;
  const [about, found, server] = await Promise.all([get(`collections/${encode(name)}`), get(`collections/${encode(name)}/versions`, { offset, limit: PAGE }), getServer()]);
  const at = (start) => `/c/${encode(name)}${start ? `?offset=${start}` : ""}`;
  put(page, h("h1", {}, name, " ", chip(about.type)),
    h("p", { class: "links" }, h("a", { href: `/history/${encode(name)}` }, "history"), about.latest ? h("a", { href: `/lineage/${encode(about.latest)}` }, "lineage") : null, about.latest ? h("a", { href: versionAddress(`${name}:latest`) }, "latest files") : null),
    versionTable(found.versions, { mayWrite: server.may_write }),
    found.total > PAGE ? h("p", { class: "links" }, `${count(offset + 1)} to ${count(offset + found.versions.length)} of ${count(found.total)} `,
      offset ? h("a", { href: at(Math.max(0, offset - PAGE)) }, "newer") : null, offset + PAGE < found.total ? h("a", { href: at(offset + PAGE) }, "older") : null) : null);
}
