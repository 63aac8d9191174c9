// The catalogue as the server draws it, or what a query finds; and one collection with its versions.

import { removeAlias } from "../actions.js";
import { adopt } from "../adopt.js";
import { encode, get, getServer, load, versionAddress } from "../api.js";
import { h, put, showError } from "../dom.js";
import { count, countCell, plural, sizeCell, time } from "../format.js";
import { chip, chips, table } from "../table.js";

const PAGE = 200;

export async function catalogue(page, _raw, parameters) {
  const query = parameters.get("q");
  if (query) return find(page, query, Number(parameters.get("offset")) || 0);
  // The server draws it, as it does for who comes from elsewhere.
  const made = document.importNode((await load(`/${location.search}`)).querySelector("[data-made]"), true);
  adopt(made);
  put(page, ...made.childNodes);
}

async function find(page, query, offset) {
  document.title = `${query} · artifactfs`;
  put(page, h("h1", {}, "Found"));
  try {
    const found = await get("find", { query, offset, limit: PAGE }), end = offset + found.versions.length;
    const at = (start) => `/?q=${encode(query)}${start ? `&offset=${start}` : ""}`;
    page.append(h("p", { class: "quiet" }, offset || found.is_cut ? `${count(offset + 1)} to ${count(end)} of the versions${found.is_cut ? "" : ", the last," } for ` : `${plural(end, "version")} for `, h("code", {}, query)),
      versionTable(found.versions, { hasName: true }),
      h("p", { class: "links" }, offset ? h("a", { href: at(Math.max(0, offset - PAGE)), rel: "previous" }, "previous") : null, found.is_cut ? h("a", { href: at(offset + PAGE), rel: "next" }, "next") : null));
  } catch (error) {
    page.append(showError(error), h("p", { class: "quiet" }, "Such as: type=dataset and tag=reviewed · metadata.accuracy > 0.9 · name ~ 'anim*' · created > 2026-01-01 · size > 1G"));
  }
}

function versionTable(versions, { hasName = false, mayWrite = false } = {}) {
  return table([{ name: "version" }, { name: "aliases" }, { name: "message" }, { name: "tags" }, { name: "files", right: true }, { name: "size", right: true }, { name: "made" }, { name: "author" }],
    versions.map((each) => ({ href: versionAddress(each.ref), cells: [
      h("a", { href: versionAddress(each.ref) }, hasName ? each.ref : each.version),
      each.aliases.map((alias) => h("span", { class: "chip alias" }, alias, mayWrite && alias !== "latest" ? h("button", { class: "x", type: "button", "aria-label": `Remove the alias ${alias}`, onclick: () => removeAlias(each.collection, alias) }, "×") : null)),
      h("span", { class: "clip" }, each.message || each.description), chips(each.tags, "tag"), countCell(each.files), sizeCell(each.size), time(each.created), each.author] })));
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
