// The files of a version as a tree in one list: directories open in place, and each is read in parts where it is in view.

import { decodePath, encode, encodePath, get } from "./api.js";
import { h } from "./dom.js";
import { size, visible } from "./format.js";
import { Pages, VirtualList } from "./virtual.js";

const SIGNS = { image: "▣", table: "▦", audio: "♪", video: "▶", arrays: "▤", markdown: "¶", link: "↪", file: "·" };

class Directory {
  constructor(tree, path, depth, window, { parent = null, number = 0 } = {}) {
    Object.assign(this, { path, depth, parent, number, total: window.total, readme: window.readme });
    this.open = new Map(); // Directories inside that are open, by their number here.
    this.pages = new Pages(async (offset, limit) => (await get("entries", { ref: tree.ref, path_raw: path, offset, limit })).entries, { onload: () => tree.list.draw() });
    if (!window.offset) this.pages.seed(window.entries);
  }

  get length() {
    let length = this.total;
    for (const inner of this.open.values()) length += inner.length;
    return length;
  }

  /** Return the line that shows this directory, or an entry of it: -1 for the first directory of all. */
  line() { return this.parent ? this.parent.lineOf(this.number) : -1; }

  lineOf(number) {
    let line = this.line() + 1 + number;
    for (const [at, inner] of this.open) if (at < number) line += inner.length;
    return line;
  }

  /** Return directory and number of what the line shows, counted from this directory's first. */
  locate(line) {
    let before = 0;
    for (const [number, inner] of [...this.open].sort(([one], [two]) => one - two)) {
      if (line <= number + before) break;
      if (line <= number + before + inner.length) return inner.locate(line - number - before - 1);
      before += inner.length;
    }
    return [this, line - before];
  }
}

export class Tree {
  /** onselect(entry, path) is called when a line is chosen. */
  constructor(ref, { onselect }) {
    Object.assign(this, { ref, onselect });
    this.list = new VirtualList({ rowHeight: 28, label: "Files", role: "tree", render: (line) => this.draw(line), onactivate: (line) => this.activate(line), onkey: (key, line) => this.key(key, line) });
    this.element = this.list.element;
    this.selected = null;
  }

  /** Show a directory; with `find`, the entry of that name (percent-encoded) is brought into view. */
  async load(path, find = "") {
    const window = await get("entries", { ref: this.ref, path_raw: path, limit: 200, find_raw: find });
    this.root = new Directory(this, path, 0, window);
    this.list.setTotal(this.root.length);
    this.selected = find ? (path ? `${path}/${find}` : find) : null;
    if (window.number !== null) {
      this.list.current = window.number;
      requestAnimationFrame(() => { this.list.scrollTo(Math.max(0, window.number - 5)); this.list.draw(); });
    }
    return window;
  }

  at(line) {
    const [directory, number] = this.root.locate(line);
    return { directory, number, entry: directory.pages.get(number) };
  }

  draw(line) {
    const { directory, number, entry } = this.at(line);
    if (!entry) return null;
    const isDirectory = entry.kind === "directory", isOpen = directory.open.has(number), path = encodePath(entry);
    const row = h("div", { class: `row ${path === this.selected ? "selected" : ""}`, role: "treeitem", "aria-level": directory.depth + 1, "aria-posinset": number + 1, "aria-setsize": directory.total, "aria-expanded": isDirectory ? String(isOpen) : null, "aria-selected": String(path === this.selected), title: visible(entry.name),
      onclick: () => this.activate(line) },
      h("span", { class: `sign ${entry.shown_as}` }, isDirectory ? (isOpen ? "▾" : "▸") : SIGNS[entry.shown_as] || "·"),
      h("span", { class: "name" }, visible(entry.name)), entry.presence && !["local", "cached"].includes(entry.presence) ? h("span", { class: "chip" }, entry.presence === "partial" ? "partly here" : "remote") : null,
      entry.unverified ? h("span", { class: "chip warn", title: "Its validator cannot tell one content from another" }, "unverified") : null,
      h("span", { class: "size" }, entry.size === undefined ? "" : size(entry.size)));
    row.style.paddingInlineStart = `${8 + directory.depth * 16}px`;
    return row;
  }

  async activate(line) {
    const { directory, number, entry } = this.at(line);
    if (!entry) return;
    this.selected = encodePath(entry);
    if (entry.kind === "directory") await this.turn(directory, number, entry);
    this.list.draw();
    this.onselect(entry, this.selected);
  }

  async turn(directory, number, entry) {
    if (directory.open.delete(number)) {
      this.list.setTotal(this.root.length);
      return;
    }
    const path = encodePath(entry), window = await get("entries", { ref: this.ref, path_raw: path, limit: 200 });
    directory.open.set(number, new Directory(this, path, directory.depth + 1, window, { parent: directory, number }));
    this.list.setTotal(this.root.length);
  }

  key(key, line) {
    const { directory, number, entry } = this.at(line);
    if (!entry) return false;
    const isOpen = directory.open.has(number);
    if (["ArrowRight", "l"].includes(key) && entry.kind === "directory" && !isOpen) this.turn(directory, number, entry);
    else if (key === "ArrowLeft" && isOpen) this.turn(directory, number, entry);
    else if (key === "ArrowLeft" && directory.parent) this.list.moveTo(directory.line());
    else if (key === " ") this.activate(line);
    else return false;
    return true;
  }
}

/** Return links to the directories that lead to a path. */
export function crumbs(address, ref, path) {
  const names = path ? path.split("/") : [];
  return h("nav", { class: "crumbs", "aria-label": "Where" }, h("a", { href: address(ref) }, decodePath(encode(ref))), names.map((name, at) => [" / ", at === names.length - 1 ? h("span", {}, visible(decodePath(name))) : h("a", { href: address(ref, names.slice(0, at + 1).join("/")) }, visible(decodePath(name)))]));
}
