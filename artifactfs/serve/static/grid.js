// A directory as a grid of images, of which only those in view are read; keys go from one to the other.

import { contentAddress, encodePath, get } from "./api.js";
import { h } from "./dom.js";
import { size, visible } from "./format.js";
import { Pages, VirtualList } from "./virtual.js";

const CELL = 148, KEPT = 400, LARGE = 8 << 20;

export class Grid {
  /** onselect(entry, path) is called when a cell is chosen. */
  constructor(ref, { onselect }) {
    Object.assign(this, { ref, onselect, total: 0, columns: 1, current: 0, selected: null, made: new Map() });
    this.list = new VirtualList({ rowHeight: CELL, label: "Images", render: (line) => this.draw(line) });
    this.element = this.list.element;
    this.element.classList.add("grid");
    // Before the list's own keys, which go by lines.
    this.element.addEventListener("keydown", (event) => this.key(event), { capture: true });
    new ResizeObserver(() => this.measure()).observe(this.element);
  }

  /** Show a directory; with `find`, the entry of that name (percent-encoded) is brought into view. */
  async load(path, find = "") {
    const window = await get("entries", { ref: this.ref, path_raw: path, limit: 200, find_raw: find });
    this.total = window.total;
    this.pages = new Pages(async (offset, limit) => (await get("entries", { ref: this.ref, path_raw: path, offset, limit })).entries, { onload: () => this.list.draw() });
    this.pages.seed(window.entries);
    this.selected = find ? (path ? `${path}/${find}` : find) : null;
    this.current = window.number ?? 0;
    this.measure();
    if (window.number !== null) requestAnimationFrame(() => this.moveTo(window.number));
    return window;
  }

  measure() {
    this.columns = Math.max(1, Math.floor((this.element.clientWidth - 8) / CELL));
    this.list.setTotal(Math.ceil((this.total || 0) / this.columns));
  }

  draw(line) {
    const cells = [];
    for (let index = line * this.columns; index < Math.min((line + 1) * this.columns, this.total); index++) cells.push(this.cell(index));
    return h("div", { class: "cells", role: "presentation" }, cells);
  }

  /** Return the cell of an entry: the same one again, since an image that is made anew flickers. */
  cell(index) {
    const entry = this.pages.get(index);
    if (!entry) return h("div", { class: `cell loading ${index === this.current ? "current" : ""}`, role: "option", "aria-label": "loading" });
    if (this.made.size > KEPT) this.made.clear();
    const cell = this.made.get(index) || this.make(index, entry);
    this.made.set(index, cell);
    cell.classList.toggle("current", index === this.current);
    cell.setAttribute("aria-selected", String(encodePath(entry) === this.selected));
    return cell;
  }

  make(index, entry) {
    const path = encodePath(entry), isImage = entry.shown_as === "image" && entry.size <= LARGE;
    return h("div", { class: "cell", id: `${this.list.id}-cell-${index}`, role: "option", "aria-posinset": index + 1, "aria-setsize": this.total, title: `${visible(entry.name)}\n${size(entry.size || 0)}`, onclick: () => this.choose(index) },
      isImage ? h("img", { src: contentAddress(this.ref, path), alt: "", loading: "lazy", decoding: "async" }) : h("span", { class: "big" }, entry.kind === "directory" ? "▸" : entry.shown_as),
      h("span", { class: "name" }, visible(entry.name)));
  }

  choose(index) {
    const entry = this.pages.get(index);
    if (!entry) return;
    this.selected = encodePath(entry);
    this.moveTo(index);
    this.onselect(entry, this.selected);
  }

  moveTo(index) {
    this.current = Math.max(0, Math.min(index, this.total - 1));
    this.list.moveTo(Math.floor(this.current / this.columns));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.element) return;
    const { columns } = this, page = columns * Math.max(1, Math.floor(this.element.clientHeight / CELL));
    const steps = { ArrowLeft: -1, ArrowRight: 1, l: 1, ArrowDown: columns, j: columns, ArrowUp: -columns, k: -columns, PageDown: page, PageUp: -page };
    if (event.key in steps) this.step(steps[event.key]);
    else if (event.key === "Home") this.moveTo(0);
    else if (event.key === "End") this.moveTo(this.total - 1);
    else if (event.key === "Enter" || event.key === " ") this.choose(this.current);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Move by so many; upwards and downwards no farther than the first and last line, in the same column. */
  step(by) {
    const { columns, current, total } = this;
    if (Math.abs(by) < columns || columns === 1) { this.moveTo(current + by); return; }
    const lines = Math.ceil(total / columns), line = Math.floor(current / columns) + by / columns;
    this.moveTo(Math.max(0, Math.min(line, lines - 1)) * columns + (current % columns));
  }
}
