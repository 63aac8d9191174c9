// What a file looks like, made of the data that the API gives. Nothing here is parsed as HTML.

import { contentAddress, encode, query, versionAddress } from "./api.js";
import { h } from "./dom.js";
import { countCell, plural, size } from "./format.js";
import { facts, table } from "./table.js";

const LARGE_IMAGE = 32 << 20;
// Below the headings of the page.
const HEADINGS = { h1: "h3", h2: "h4", h3: "h5", h4: "h6", h5: "h6" };
const TAGS = new Set("blockquote br code em h1 h2 h3 h4 h5 h6 hr li ol p pre s strong table tbody td th thead tr ul".split(" "));

/** Return the elements that show a preview of a file of a version; `path` is percent-encoded. */
export function showPreview(preview, ref, path) {
  const address = contentAddress(ref, path);
  const show = { image: () => image(preview, address), audio: () => h("audio", { src: address, controls: true, preload: "metadata" }), video: () => h("video", { src: address, controls: true, preload: "metadata" }),
    text: () => text(preview), markdown: () => h("article", { class: "markdown" }, elements(preview.document, ref)), table: () => tableOf(preview.table),
    arrays: () => arrays(preview.arrays), binary: () => hex(preview), link: () => h("p", {}, "A symbolic link to ", h("code", {}, preview.target)), directory: () => null }[preview.kind];
  return [preview.problem ? h("p", { class: "error" }, `Not shown as what its name says: ${preview.problem}`) : null, show ? show() : null,
    preview.is_cut ? h("p", { class: "quiet" }, `Only the beginning is shown; the file has ${size(preview.size)}.`) : null];
}

function image(preview, address) {
  if (preview.size > LARGE_IMAGE) {
    const button = h("button", { type: "button", onclick: () => button.replaceWith(h("img", { src: address, alt: "" })) }, `show the image (${size(preview.size)})`);
    return button;
  }
  return h("img", { class: "shown", src: address, alt: "", onerror: (event) => event.target.replaceWith(h("p", { class: "error" }, "The browser cannot show this image.")) });
}

function text(preview) {
  const lines = preview.lines.map((words, at) => h("div", { class: "line" }, h("span", { class: "number", "data-line": at + 1 }), h("span", { class: "code" }, words.map(([kind, word]) => (kind ? h("span", { class: `t-${kind}` }, word) : word)), "\n")));
  return h("div", { class: "text", tabindex: "0", role: "region", "aria-label": "Text" }, lines);
}

function elements(nodes, ref) {
  return nodes.map((node) => {
    if (node.tag === "text") return node.text;
    if (node.tag === "img") return node.file === undefined ? h("em", {}, `[image: ${node.text}]`) : h("img", { src: contentAddress(ref, node.file.split("/").map(encode).join("/")), alt: node.text, loading: "lazy" });
    if (node.tag === "a") {
      if (node.link) return h("a", { href: node.link, rel: "noopener noreferrer nofollow", target: "_blank" }, elements(node.children, ref));
      return node.file === undefined ? h("span", {}, elements(node.children, ref)) : h("a", { href: versionAddress(ref, node.file.split("/").map(encode).join("/")) }, elements(node.children, ref));
    }
    return TAGS.has(node.tag) ? h(HEADINGS[node.tag] || node.tag, node.tag === "pre" ? { tabindex: "0" } : {}, elements(node.children || [], ref)) : null;
  });
}

export function tableOf(found) {
  const rows = found.rows.map((cells) => ({ cells: cells.map((cell) => (cell === null ? h("span", { class: "quiet" }, "null") : cell)), text: cells.map((cell) => cell ?? "") }));
  const named = found.columns.map(({ name, type }) => ({ name: h("span", {}, name, h("span", { class: "type" }, type)), text: name, right: /^(u?int|integer|number|float|double)/.test(type) }));
  return [h("p", { class: "quiet" }, `${found.is_exact ? "" : "about "}${plural(found.row_count, "row")}, ${plural(found.columns.length + found.more_columns, "column")}${found.row_count > rows.length ? `; the first ${rows.length} rows are shown` : ""}`), table(named, rows)];
}

function arrays(found) {
  return [h("p", { class: "quiet" }, `${plural(found.array_count, "array")}, ${plural(found.value_count, "value")}`), facts(Object.entries(found.metadata)),
    table([{ name: "name" }, { name: "type" }, { name: "shape" }, { name: "values", right: true }], found.arrays.map((each) => ({ cells: [each.name || "(only one)", each.type, each.shape.join(" × ") || "scalar", countCell(each.shape.reduce((product, length) => product * length, 1))] })))];
}

function hex(preview) {
  const lines = [];
  for (let at = 0; at < preview.bytes.length; at += 32) {
    const pairs = preview.bytes.slice(at, at + 32).match(/../g);
    const letters = pairs.map((pair) => { const code = parseInt(pair, 16); return code > 31 && code < 127 ? String.fromCharCode(code) : "·"; }).join("");
    lines.push(`${(at / 2).toString(16).padStart(6, "0")}  ${pairs.join(" ").padEnd(48)}  ${letters}\n`);
  }
  return h("pre", { class: "hex", tabindex: "0", role: "region", "aria-label": "Bytes" }, lines);
}

/** Return links that save a file or a directory. */
export function saveLinks(ref, path, isDirectory) {
  return isDirectory ? h("a", { href: `/api/tar${query({ ref, path_raw: path })}`, download: true }, "download as tar") : h("a", { href: contentAddress(ref, path, { download: true }), download: true }, "download");
}
