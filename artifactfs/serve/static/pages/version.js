// A version: its files, a preview of one, and what is known of both.

import { canonicalPath, encode, encodePath, get, getServer, versionAddress } from "../api.js";
import { editVersion, setAlias } from "../actions.js";
import { copyButton, h, put, showError } from "../dom.js";
import { count, duration, plural, size, time, value, visible } from "../format.js";
import { compareButton } from "../compare.js";
import { Grid } from "../grid.js";
import { PRESENCE, presenceOf } from "../presence.js";
import { saveLinks, showPreview } from "../preview.js";
import { chips, facts } from "../table.js";
import { Tree, crumbs } from "../tree.js";

const parentOf = (path) => path.split("/").slice(0, -1).join("/");
const lastOf = (path) => path.split("/").pop();

export async function version(page, [rawRef, rawPath = ""], parameters) {
  const ref = decodeURIComponent(rawRef), isStaging = ref.includes(":@"), path = canonicalPath(rawPath.replace(/\/$/, ""));
  const [detail, entry, server] = await Promise.all([isStaging ? null : get(`versions/${encode(ref)}`), get("entry", { ref, path_raw: path }), getServer()]);
  const isDirectory = entry.entry.kind === "directory", directory = isDirectory ? path : parentOf(path);
  document.title = `${entry.ref}${path ? `/${visible(entry.entry.path)}` : ""} · artifactfs`;
  const side = h("section", { class: "side", "aria-label": "What is chosen" }), where = h("div"), isGrid = parameters.get("view") === "grid";
  let turn = 0;
  const up = h("span");
  const place = (at) => {
    put(where, crumbs(versionAddress, ref, at));
    const above = at ? versionAddress(ref, parentOf(at)) + (isGrid ? "?view=grid" : "") : `/c/${encode(ref.split(":")[0])}`;
    put(up, h("a", { href: above, rel: "up" }, "up"));
  };
  const select = (chosen, at) => {
    const address = versionAddress(ref, at) + (isGrid ? "?view=grid" : "");
    if (isGrid && chosen.kind === "directory") { dispatchEvent(new CustomEvent("go", { detail: { address } })); return; }
    window.history.replaceState(null, "", address);
    // What was asked for earlier may come later: it is not shown any more.
    const mine = ++turn;
    about(ref, at, detail).catch(showError).then((found) => { if (mine === turn) put(side, found); });
    place(at);
  };
  const list = isGrid ? new Grid(ref, { onselect: select }) : new Tree(ref, { onselect: select });
  const toggle = versionAddress(ref, path) + (isGrid ? "" : "?view=grid");
  place(path);
  put(page, head(detail, entry, server), h("div", { class: "toolbar" }, where, h("span", { class: "links" },
    up, h("a", { href: toggle }, isGrid ? "as a tree" : "as a grid"))),
    h("div", { class: "split" }, h("section", { class: "files", "aria-label": "Files" }, list.element), side));
  const [window_, found] = await Promise.all([list.load(directory, isDirectory ? "" : lastOf(path)), about(ref, path, detail, entry)]);
  put(side, found);
  if (isDirectory && window_.readme && !isGrid) showReadme(side, ref, directory, window_.readme);
  page.addEventListener("shown", () => { list.measure?.(); list.list.draw(); list.element.focus({ preventScroll: true }); }, { once: true });
}

function head(detail, entry, server) {
  if (!detail) return h("h1", {}, entry.ref, " ", h("span", { class: "chip warn" }, "staging directory"));
  const found = detail.version, name = found.collection;
  const neighbour = (ref, text) => (ref ? h("a", { href: versionAddress(ref), title: ref }, text) : h("span", { class: "quiet" }, text));
  return h("div", {}, h("h1", {}, h("a", { href: `/c/${encode(name)}` }, name), `:${found.version} `, chips(found.aliases, "alias"), chips(found.tags, "tag")),
    h("p", { class: "links" }, neighbour(detail.previous, "← older"), neighbour(detail.next, "newer →"),
      detail.before ? h("a", { href: `/diff/${encode(detail.before)}/${encode(found.ref)}` }, `differences from ${detail.before.split(":")[1]}`) : null,
      compareButton(found), h("a", { href: `/lineage/${encode(found.ref)}` }, "lineage"), h("a", { href: `/history/${encode(name)}` }, "history"), saveLinks(found.ref, "", true),
      server.may_write ? [h("button", { class: "small", type: "button", onclick: () => editVersion(found) }, "edit"), h("button", { class: "small", type: "button", onclick: () => setAlias(found) }, "move an alias here")] : null),
    found.description ? h("p", { class: "description" }, found.description) : null);
}

/** Return what is known of a path of a version. */
async function about(ref, path, detail, known = null) {
  const entry = known || (await get("entry", { ref, path_raw: path }));
  const found = entry.entry, isDirectory = found.kind === "directory";
  const preview = path && !isDirectory ? await get("preview", { ref, path_raw: path }).catch((error) => error) : null;
  const shown = preview instanceof Error ? showError(preview) : preview ? showPreview(preview, entry.ref, path) : null;
  return [path ? h("h2", {}, visible(found.name)) : null, shown ? h("div", { class: "preview" }, shown) : null, h("div", { class: "readme" }),
    path ? aboutEntry(entry, path) : aboutVersion(detail, entry)];
}

/** Return a button that asks whether what a reference names is still the same. */
function driftButton(ref, path) {
  const answer = h("span", { role: "status" });
  const look = async () => {
    put(answer, " looking…");
    try {
      const { drift, entry } = await get("entry", { ref, path_raw: path, check: true });
      put(answer, drift ? h("span", { class: "error" }, ` ${drift}`) : entry.unverified ? " nothing else, as far as its validator tells" : " the same as recorded");
    } catch (error) { put(answer, h("span", { class: "error" }, ` ${error.message}`)); }
  };
  return h("span", {}, h("button", { class: "small", type: "button", onclick: look }, "has it changed?"), answer);
}

function aboutEntry(entry, path) {
  const found = entry.entry, isDirectory = found.kind === "directory";
  return [h("p", { class: "links" }, found.kind === "symlink" ? null : saveLinks(entry.ref, path, isDirectory), isDirectory ? h("a", { href: versionAddress(entry.ref, path) }, "only this directory") : null),
    facts([["size", found.size === undefined ? null : `${size(found.size)} (${count(found.size)} bytes)`], ["files", found.files === undefined ? null : count(found.files)], ["bytes are", isDirectory ? presenceOf(entry.ref, path, found.files) : PRESENCE[found.presence]],
      ["modified", time(found.modified, { isExact: true })], ["mode", found.mode], ["digest", digest(found.digest)], ["content", digest(found.content_digest)], ["target", found.target],
      ["reference to", found.uri], ["what is there", found.uri && driftButton(entry.ref, path)], ["validator", found.validator && `${found.validator.kind} ${found.validator.value}${found.unverified ? " (unverified)" : ""}`],
      ["last changed in", entry.changed_in && h("a", { href: versionAddress(entry.changed_in, path) }, entry.changed_in)]]), use(entry)];
}

function aboutVersion(detail, entry) {
  if (!detail) return use(entry);
  const found = detail.version, run = detail.run;
  return [facts([["size", `${size(found.size)} in ${plural(found.files, "file")}`], ["bytes are", presenceOf(found.ref, "", found.files)], ["made", time(found.created, { isExact: true })], ["by", found.author], ["message", found.message], ["type", found.type],
    ["digest", digest(found.digest)], ["content", digest(found.content_digest)], ["made from", found.inputs.map((ref) => [h("a", { href: versionAddress(ref) }, ref), " "])], ["base", found.base && h("a", { href: versionAddress(found.base) }, found.base)],
    ["expires", found.expires && time(found.expires)], ["copied from", found.origin && `${found.origin.ref} of ${found.origin.repository}`]]),
    Object.keys(found.metadata).length ? [h("h2", { class: "minor" }, "Metadata"), facts(Object.entries(found.metadata).map(([key, each]) => [key, value(each)]))] : null,
    run ? [h("h2", { class: "minor" }, "Made by the run"), facts([["run", h("a", { href: `/runs/${encode(run.id)}` }, run.name || run.id)], ["state", run.state], ["took", run.finished && duration(run.started, run.finished)], ["command", run.command.length ? h("code", {}, run.command.join(" ")) : null], ["commit", run.git?.commit]])] : found.run ? h("p", { class: "quiet" }, `Made by the run ${found.run}, which is not recorded here.`) : null,
    use(entry)];
}

function use(entry) {
  const found = [entry.command, entry.code].filter(Boolean);
  return found.length ? [h("h2", { class: "minor" }, "Use it"), found.map((text) => h("div", { class: "snippet" }, h("pre", {}, text), copyButton(text)))] : null;
}

const digest = (text) => text && h("span", { class: "digest", title: text }, text.slice(0, 23), "… ", copyButton(text));

async function showReadme(side, ref, directory, name) {
  const path = encodePath({ path: name }), place = side.querySelector(".readme");
  const preview = await get("preview", { ref, path_raw: path }).catch(() => null);
  if (preview && ["markdown", "text"].includes(preview.kind)) put(place, h("h2", { class: "minor" }, name), showPreview(preview, ref, path));
}
