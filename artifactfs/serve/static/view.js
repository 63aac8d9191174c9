// A drawing of a graph that is moved about in: by the pointer, by the wheel, and by keys from node to node.

import { h } from "./dom.js";

const LOOKS = "svg{position:absolute;inset:0;width:100%;height:100%}g{cursor:pointer;outline:none}g:focus-visible rect,g:hover rect{filter:brightness(1.1);stroke-width:3}g:focus-visible rect{stroke-width:4}g:hover circle{stroke-width:2.5}";
const READABLE = 1.4; // Drawn smaller than this many times, letters cannot be read.

export class View {
  /** onopen(node) and onwiden(node, direction) are called when a node, or the plus at its corner, is chosen. */
  constructor(drawing, graph, { onopen, onwiden }) {
    Object.assign(this, { onopen, onwiden });
    this.nodes = new Map(graph.nodes.map((each) => [each.id, each]));
    this.svg = document.importNode(drawing, true);
    for (const name of ["role", "aria-label"]) this.svg.removeAttribute(name); // It is no image here: one goes about in it.
    this.whole = this.svg.viewBox.baseVal;
    [this.width, this.height] = [this.whole.width, this.whole.height];
    this.element = h("div", { class: "graph", tabindex: "0", role: "application", "aria-label": "Lineage; the same is in the table below", onwheel: (event) => this.wheel(event), onpointerdown: (event) => this.grab(event), onkeydown: (event) => this.key(event) });
    const root = this.element.attachShadow({ mode: "open" });
    this.style = graph.style;
    this.sheet = new CSSStyleSheet();
    this.paint();
    root.adoptedStyleSheets = [this.sheet];
    root.append(this.svg);
    this.groups = new Map();
    for (const group of this.svg.querySelectorAll("g[data-node]")) {
      const found = this.nodes.get(group.getAttribute("data-node"));
      if (!found) continue;
      this.groups.set(found.id, group);
      // One of them is reached by Tab; from there arrows go on.
      group.setAttribute("tabindex", found.id === graph.start ? "0" : "-1");
      group.setAttribute("role", "link");
      group.addEventListener("click", () => { if (!this.hasMoved) onopen(found); });
      group.addEventListener("focus", () => this.reveal(group));
    }
    for (const more of this.svg.querySelectorAll("g[data-more]")) {
      const found = this.nodes.get(more.getAttribute("data-of"));
      if (found) more.addEventListener("click", () => { if (!this.hasMoved) onwiden(found, more.getAttribute("data-more")); });
    }
  }

  /** Set the style sheet, where the policy allows it; a theme that was chosen goes before that of the system. */
  paint() {
    const { theme } = document.documentElement.dataset;
    this.sheet.replaceSync((theme ? this.style.replace("(prefers-color-scheme:dark)", theme === "dark" ? " all" : " not all") : this.style) + LOOKS);
  }

  set([x, y, width, height]) {
    this.box = [x, y, width, height];
    this.svg.setAttribute("viewBox", this.box.map((each) => each.toFixed(1)).join(" "));
  }

  get fitting() { return Math.max(this.width / this.element.clientWidth, this.height / this.element.clientHeight, 0.7); }

  /** Show all of it. */
  fit() { this.look(this.width / 2, this.height / 2, this.fitting); }

  /** Show all of it where that can be read, else what is around a node. */
  begin(name) {
    const group = this.groups.get(name);
    if (this.fitting <= READABLE || !group) { this.fit(); return; }
    const { x, y } = centre(group), across = this.element.clientWidth, down = this.element.clientHeight;
    // Not beyond the edge of what is drawn, where it is larger than the window.
    const within = (middle, whole, seen) => (whole <= seen ? whole / 2 : Math.max(seen / 2, Math.min(middle, whole - seen / 2)));
    this.look(within(x, this.width, across), within(y, this.height, down), 1);
  }

  look(x, y, scale) {
    const { clientWidth, clientHeight } = this.element;
    this.set([x - (clientWidth * scale) / 2, y - (clientHeight * scale) / 2, clientWidth * scale, clientHeight * scale]);
  }

  /** Bring a node into view, and let Tab come back to it. */
  reveal(group) {
    const [left, top, width, height] = this.box, { x, y, across, down } = centre(group);
    if (x - across < left || x + across > left + width || y - down < top || y + down > top + height) this.set([x - width / 2, y - height / 2, width, height]);
    for (const each of this.groups.values()) each.setAttribute("tabindex", each === group ? "0" : "-1");
  }

  /** Go to the nearest node in a direction. */
  step(from, [right, down]) {
    const here = centre(from);
    let nearest = null, least = Infinity;
    for (const group of this.groups.values()) {
      const there = centre(group), x = there.x - here.x, y = there.y - here.y;
      const along = x * Math.sign(right) + y * Math.sign(down), aside = right ? Math.abs(y) : Math.abs(x);
      const cost = along + 3 * aside;
      if (along > 1 && cost < least) [nearest, least] = [group, cost];
    }
    nearest?.focus();
  }

  zoom(factor, [across, down] = [0.5, 0.5]) {
    const [x, y, width, height] = this.box, next = Math.max(80, Math.min(width * factor, 20 * Math.max(this.width, 1000))) / width;
    this.set([x + width * (1 - next) * across, y + height * (1 - next) * down, width * next, height * next]);
  }

  move(right, down) { const [x, y, width, height] = this.box; this.set([x + right * width, y + down * height, width, height]); }

  wheel(event) {
    event.preventDefault();
    const box = this.element.getBoundingClientRect();
    this.zoom(event.deltaY > 0 ? 1.15 : 0.87, [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
  }

  grab(event) {
    let [x, y] = [event.clientX, event.clientY];
    const [startX, startY] = [x, y];
    this.hasMoved = false;
    const drag = (next) => {
      if (Math.hypot(next.clientX - startX, next.clientY - startY) > 4) this.hasMoved = true;
      this.move((x - next.clientX) / this.element.clientWidth, (y - next.clientY) / this.element.clientHeight);
      [x, y] = [next.clientX, next.clientY];
    };
    const drop = () => { removeEventListener("pointermove", drag); removeEventListener("pointerup", drop); };
    addEventListener("pointermove", drag);
    addEventListener("pointerup", drop);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    const focused = this.element.shadowRoot.activeElement, found = focused && this.nodes.get(focused.getAttribute("data-node"));
    if (moves[event.key] && found) this.step(focused, moves[event.key]);
    else if (moves[event.key]) this.move(...moves[event.key]);
    else if (event.key === "Enter" && found) this.onopen(found);
    else if (event.key === "u" && found?.wider.includes("up")) this.onwiden(found, "up");
    else if (event.key === "d" && found?.wider.includes("down")) this.onwiden(found, "down");
    else if (event.key === "Escape" && found) this.element.focus();
    else if (event.key === "+" || event.key === "=") this.zoom(0.8);
    else if (event.key === "-") this.zoom(1.25);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

function centre(group) {
  const rect = group.querySelector("rect"), across = rect.width.baseVal.value / 2, down = rect.height.baseVal.value / 2;
  return { x: rect.x.baseVal.value + across, y: rect.y.baseVal.value + down, across, down };
}
