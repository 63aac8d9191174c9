// The graph of runs and versions: the drawing that `artifactfs lineage --svg` makes, to be moved about in.

import { encode, get, load, query, versionAddress } from "../api.js";
import { h, put } from "../dom.js";
import { count, plural, time } from "../format.js";
import { table } from "../table.js";

const CHOICES = { direction: ["both", "up", "down"], show: ["all", "versions", "runs"], clusters: ["auto", "always", "never"] };
const LOOKS = "svg{position:absolute;inset:0;width:100%;height:100%}g{cursor:pointer}g:focus-visible rect,g:hover rect{filter:brightness(1.1);stroke-width:3}";
const TITLES = { direction: "direction", show: "nodes", clusters: "draw what is alike as one" };

export async function lineage(page, [raw], parameters) {
  const node = decodeURIComponent(raw);
  const wanted = { node, ...Object.fromEntries(["direction", "show", "clusters", "filter", "depth", "open", "limit"].map((name) => [name, parameters.get(name)])) };
  document.title = `Lineage of ${node} · artifactfs`;
  const [graph, drawing] = await Promise.all([get("lineage", wanted), load(`/api/lineage.svg${query({ ...wanted, styled: false })}`, "image/svg+xml")]);
  const address = (more) => `/lineage/${encode(node)}${query({ ...wanted, node: "", ...more })}`;
  const turn = (more) => dispatchEvent(new CustomEvent("go", { detail: { address: address(more) } }));
  const view = new View(drawing.documentElement, graph, { onopen: (found) => open(found, wanted, turn) });
  const filter = h("input", { type: "search", placeholder: "filter by name, type, author, tag", "aria-label": "Filter", value: wanted.filter || "", onchange: () => turn({ filter: filter.value }) });
  const depth = h("input", { type: "number", min: 1, max: 1000, value: wanted.depth || 12, "aria-label": "Steps", onchange: () => turn({ depth: depth.value }) });
  put(page, h("h1", {}, "Lineage of ", h("a", { href: addressOf(graph.nodes.find((each) => each.id === graph.start)) }, graph.start)),
    h("div", { class: "toolbar" }, h("span", { class: "links" },
      Object.entries(CHOICES).map(([name, values]) => h("label", {}, TITLES[name], h("select", { onchange: (event) => turn({ [name]: event.target.value }) }, values.map((each) => h("option", { value: each, selected: each === (wanted[name] || values[0]) }, each))))),
      h("label", {}, "steps", depth), filter),
      h("span", { class: "links" }, h("button", { class: "small", type: "button", "aria-label": "Nearer", onclick: () => view.zoom(0.8) }, "+"), h("button", { class: "small", type: "button", "aria-label": "Farther", onclick: () => view.zoom(1.25) }, "−"), h("button", { class: "small", type: "button", onclick: () => view.fit() }, "all"),
        h("a", { href: `/api/lineage.svg${query(wanted)}`, download: "lineage.svg" }, "save as SVG"))),
    h("p", { class: "quiet" }, `${plural(graph.node_count, "node")}${graph.is_clustered ? `, drawn as ${count(graph.nodes.length)}: a thick frame stands for several; choose it to open it` : ""}${graph.is_cut ? "; there is more than is shown: choose a node at the edge, or more steps" : ""}.`),
    view.element, h("details", {}, h("summary", {}, "The same as a table"), list(graph)));
  page.addEventListener("shown", () => { view.fit(); view.element.focus({ preventScroll: true }); }, { once: true });
  const paint = () => view.paint();
  addEventListener("theme", paint);
  return () => removeEventListener("theme", paint);
}

function open(found, wanted, turn) {
  if (found.kind === "cluster") turn({ open: [...new Set([...(wanted.open || "").split(","), found.id])].filter(Boolean).join(",") });
  else if (found.kind !== "unknown") dispatchEvent(new CustomEvent("go", { detail: { address: addressOf(found) } }));
}

function addressOf(found) {
  return found.kind === "run" ? `/runs/${encode(found.id)}` : versionAddress(found.id);
}

function list(graph) {
  return table([{ name: "node" }, { name: "kind" }, { name: "about" }, { name: "when" }, { name: "lineage" }], graph.nodes.map((each) => ({ cells: [
    ["run", "version"].includes(each.kind) ? h("a", { href: addressOf(each) }, each.label) : each.label, each.kind, [each.type, each.state, each.job_type, each.author, each.is_deleted ? "deleted" : ""].filter(Boolean).join(", "), time(each.created || each.started),
    each.kind === "cluster" ? "" : h("a", { href: `/lineage/${encode(each.id)}` }, "from here")] })));
}

class View {
  constructor(drawing, graph, { onopen }) {
    this.nodes = new Map(graph.nodes.map((each) => [each.id, each]));
    this.svg = document.importNode(drawing, true);
    this.whole = this.svg.viewBox.baseVal;
    [this.width, this.height] = [this.whole.width, this.whole.height];
    this.element = h("div", { class: "graph", tabindex: "0", role: "application", "aria-label": "Lineage; the same is in the table below", onwheel: (event) => this.wheel(event), onpointerdown: (event) => this.grab(event), onkeydown: (event) => this.key(event) });
    const root = this.element.attachShadow({ mode: "open" });
    this.style = graph.style;
    this.sheet = new CSSStyleSheet();
    this.paint();
    root.adoptedStyleSheets = [this.sheet];
    root.append(this.svg);
    for (const group of this.svg.querySelectorAll("g[data-node]")) {
      const found = this.nodes.get(group.getAttribute("data-node"));
      if (!found) continue;
      group.setAttribute("tabindex", "0");
      group.setAttribute("role", "link");
      const choose = () => { if (!this.hasMoved) onopen(found); };
      group.addEventListener("click", choose);
      group.addEventListener("keydown", (event) => { if (event.key === "Enter") { this.hasMoved = false; choose(); event.stopPropagation(); } });
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

  fit() {
    const { clientWidth, clientHeight } = this.element, scale = Math.max(this.width / clientWidth, this.height / clientHeight, 0.7);
    this.set([(this.width - clientWidth * scale) / 2, (this.height - clientHeight * scale) / 2, clientWidth * scale, clientHeight * scale]);
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
    const moves = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    if (moves[event.key]) this.move(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(0.8);
    else if (event.key === "-") this.zoom(1.25);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }
}
