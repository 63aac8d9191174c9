// A list of any length, of which only what is in view exists. Rows have one height; beyond what browsers can scroll,
// a pixel of the bar stands for more than one of the list.

import { h, put } from "./dom.js";

const LARGEST = 8_000_000;
const ITEMS = { listbox: "option", tree: "treeitem" };
let lists = 0;

export class VirtualList {
  /** rowHeight in pixels; render(index) returns an element, or null while it is not there; label for screen readers. */
  constructor({ rowHeight, render, label, role = "listbox", onactivate, onkey, onmove }) {
    Object.assign(this, { rowHeight, render, onactivate, onkey, onmove, id: `list-${++lists}` });
    this.total = 0;
    this.current = 0;
    this.rows = h("div", { class: "rows" });
    this.spacer = h("div", { class: "spacer" });
    this.element = h("div", { class: "virtual", tabindex: "0", role, "aria-label": label, onscroll: () => this.draw(), onkeydown: (event) => this.key(event) }, this.spacer, this.rows);
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  setTotal(total) {
    this.total = total;
    this.height = Math.min(total * this.rowHeight, LARGEST);
    this.spacer.style.height = `${this.height}px`;
    this.current = Math.max(0, Math.min(this.current, total - 1));
    this.draw();
  }

  get visible() { return Math.ceil(this.element.clientHeight / this.rowHeight) + 1; }

  get first() {
    const { scrollTop, clientHeight } = this.element;
    if (this.total * this.rowHeight <= LARGEST) return scrollTop / this.rowHeight;
    const most = this.height - clientHeight;
    return (scrollTop / most) * (this.total - clientHeight / this.rowHeight);
  }

  draw() {
    const first = Math.floor(this.first), shift = (this.first - first) * this.rowHeight;
    const count = Math.max(0, Math.min(this.visible, this.total - first));
    const rows = [];
    for (let index = first; index < first + count; index++) {
      const row = this.render(index) || h("div", { class: "row loading", role: ITEMS[this.element.getAttribute("role")], "aria-label": "loading" }, "…");
      row.style.height = `${this.rowHeight}px`;
      if (row.getAttribute("role") === "option") {
        row.setAttribute("aria-posinset", index + 1);
        row.setAttribute("aria-setsize", this.total);
      }
      row.id = `${this.id}-${index}`;
      row.classList.toggle("current", index === this.current);
      row.addEventListener("click", () => this.moveTo(index, { isQuiet: true }));
      rows.push(row);
    }
    put(this.rows, rows);
    this.name();
    this.rows.style.transform = `translateY(${this.element.scrollTop - shift}px)`;
  }

  /** Tell screen readers where the keyboard is. */
  name() {
    const current = [...this.rows.querySelectorAll(".current")].pop(); // the innermost
    if (current?.id) this.element.setAttribute("aria-activedescendant", current.id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  moveTo(index, { isQuiet = false } = {}) {
    this.current = Math.max(0, Math.min(index, this.total - 1));
    const first = this.first, seen = this.element.clientHeight / this.rowHeight;
    if (!isQuiet && (this.current < first || this.current > first + seen - 1)) this.scrollTo(this.current < first ? this.current : this.current - seen + 1);
    this.draw();
    this.onmove?.(this.current);
  }

  scrollTo(index) {
    const { clientHeight } = this.element;
    const isPlain = this.total * this.rowHeight <= LARGEST;
    this.element.scrollTop = isPlain ? index * this.rowHeight : (index / (this.total - clientHeight / this.rowHeight)) * (this.height - clientHeight);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.element) return;
    const page = Math.max(1, this.visible - 2);
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page };
    if (event.key in steps) this.moveTo(this.current + steps[event.key]);
    else if (event.key === "Home") this.moveTo(0);
    else if (event.key === "End") this.moveTo(this.total - 1);
    else if (event.key === "Enter") this.onactivate?.(this.current);
    else if (!this.onkey?.(event.key, this.current)) return;
    event.preventDefault();
  }
}

/** Pages of a list that is asked for in parts; the ones used last are kept. */
export class Pages {
  constructor(load, { size = 200, kept = 60, onload } = {}) {
    Object.assign(this, { load, size, kept, onload });
    this.pages = new Map();
  }

  seed(items) { this.pages.set(0, { items }); }

  get(index) {
    const number = Math.floor(index / this.size);
    let page = this.pages.get(number);
    if (page === undefined) {
      page = { items: null };
      this.load(number * this.size, this.size).then((items) => { page.items = items; this.onload?.(); }, () => this.pages.delete(number));
    } else {
      this.pages.delete(number);
    }
    this.pages.set(number, page);
    if (this.pages.size > this.kept) this.pages.delete(this.pages.keys().next().value);
    return page.items ? page.items[index % this.size] : null;
  }
}
