// A directory as a grid of images, of which only those in view are read.

import { contentAddress, encodePath, get } from "./api.js";
import { h } from "./dom.js";
import { size, visible } from "./format.js";
import { Pages, VirtualList } from "./virtual.js";

const CELL = 148, LARGE = 8 << 20;

export class Grid {
  constructor(ref, { onselect }) {
    Object.assign(this, { ref, onselect });
    this.list = new VirtualList({ rowHeight: CELL, label: "Images", render: (line) => this.draw(line) });
    this.element = this.list.element;
    this.element.classList.add("grid");
    new ResizeObserver(() => this.measure()).observe(this.element);
  }

  async load(path) {
    const window = await get("entries", { ref: this.ref, path_raw: path, limit: 200 });
    this.total = window.total;
    this.pages = new Pages(async (offset, limit) => (await get("entries", { ref: this.ref, path_raw: path, offset, limit })).entries, { onload: () => this.list.draw() });
    this.pages.seed(window.entries);
    this.measure();
    return window;
  }

  measure() {
    this.columns = Math.max(1, Math.floor((this.element.clientWidth - 8) / CELL));
    this.list.setTotal(Math.ceil((this.total || 0) / this.columns));
  }

  draw(line) {
    const cells = [];
    for (let index = line * this.columns; index < Math.min((line + 1) * this.columns, this.total); index++) cells.push(this.cell(this.pages.get(index)));
    return h("div", { class: "cells" }, cells);
  }

  cell(entry) {
    if (!entry) return h("div", { class: "cell loading" });
    const path = encodePath(entry), isImage = entry.shown_as === "image" && entry.size <= LARGE;
    return h("button", { class: "cell", type: "button", title: `${visible(entry.name)}\n${size(entry.size || 0)}`, onclick: () => this.onselect(entry, path) },
      isImage ? h("img", { src: contentAddress(this.ref, path), alt: "", loading: "lazy", decoding: "async" }) : h("span", { class: "big" }, entry.kind === "directory" ? "▸" : entry.shown_as),
      h("span", { class: "name" }, visible(entry.name)));
  }
}
