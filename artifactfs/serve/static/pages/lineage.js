// The graph of runs and versions: the drawing that `artifactfs lineage --svg` makes, to be moved about in.

import { encode, get, load, query, versionAddress } from "../api.js";
import { h, put } from "../dom.js";
import { count, plural, time } from "../format.js";
import { table } from "../table.js";
import { View } from "../view.js";

const CHOICES = { direction: ["both", "up", "down"], show: ["all", "versions", "runs"], clusters: ["auto", "always", "never"] };
let near = null; // The node that was opened or widened last: it stays in view.
const TITLES = { direction: "direction", show: "nodes", clusters: "draw what is alike as one" };

export async function lineage(page, [raw], parameters) {
  const node = decodeURIComponent(raw);
  const wanted = { node, ...Object.fromEntries(["direction", "show", "clusters", "filter", "depth", "open", "widen", "limit"].map((name) => [name, parameters.get(name)])) };
  document.title = `Lineage of ${node} · artifactfs`;
  const [graph, drawing] = await Promise.all([get("lineage", wanted), load(`/api/lineage.svg${query({ ...wanted, styled: false })}`, "image/svg+xml")]);
  const address = (more) => `/lineage/${encode(node)}${query({ ...wanted, node: "", ...more })}`;
  const turn = (more) => dispatchEvent(new CustomEvent("go", { detail: { address: address(more), isSamePlace: true } }));
  const view = new View(drawing.documentElement, graph, { onopen: (found) => open(found, wanted, turn), onwiden: (found, direction) => widen(found, direction, wanted, turn) });
  const filter = h("input", { type: "search", placeholder: "filter by name, type, author, tag", "aria-label": "Filter", value: wanted.filter || "", onchange: () => turn({ filter: filter.value }) });
  const depth = h("input", { type: "number", min: 1, max: 1000, value: wanted.depth || 12, "aria-label": "Steps", onchange: () => turn({ depth: depth.value }) });
  put(page, h("h1", {}, "Lineage of ", h("a", { href: addressOf(graph.nodes.find((each) => each.id === graph.start)) }, graph.start)),
    h("div", { class: "toolbar" }, h("span", { class: "links" },
      Object.entries(CHOICES).map(([name, values]) => h("label", {}, TITLES[name], h("select", { onchange: (event) => turn({ [name]: event.target.value }) }, values.map((each) => h("option", { value: each, selected: each === (wanted[name] || values[0]) }, each))))),
      h("label", {}, "steps", depth), filter),
      h("span", { class: "links" }, h("button", { class: "small", type: "button", "aria-label": "Nearer", onclick: () => view.zoom(0.8) }, "+"), h("button", { class: "small", type: "button", "aria-label": "Farther", onclick: () => view.zoom(1.25) }, "−"), h("button", { class: "small", type: "button", onclick: () => view.fit() }, "all"),
        h("a", { href: `/api/lineage.svg${query(wanted)}`, download: "lineage.svg" }, "save as SVG"))),
    h("p", { class: "quiet" }, `${plural(graph.node_count, "node")}${graph.is_clustered ? `, drawn as ${count(graph.nodes.length)}: a thick frame stands for several; choose it to open it` : ""}${graph.nodes.some((each) => each.wider.length) ? "; a plus is where there is more than is shown: choose it to see that" : ""}.`),
    view.element, h("details", {}, h("summary", {}, "The same as a table"), list(graph)));
  page.addEventListener("shown", () => {
    const group = near && view.groups.get(near);
    view.begin(group ? near : graph.start);
    (group || view.element).focus({ preventScroll: true });
    near = null;
  }, { once: true });
  const paint = () => view.paint();
  addEventListener("theme", paint);
  return () => removeEventListener("theme", paint);
}

function open(found, wanted, turn) {
  if (found.kind === "cluster") near = found.id;
  if (found.kind === "cluster") turn({ open: [...new Set([...(wanted.open || "").split(","), found.id])].filter(Boolean).join(",") });
  else if (found.kind !== "unknown") dispatchEvent(new CustomEvent("go", { detail: { address: addressOf(found) } }));
}

/** Show more of what a node was made from, or of what was made from it; a cluster is opened. */
function widen(found, direction, wanted, turn) {
  if (found.kind === "cluster") { open(found, wanted, turn); return; }
  near = found.id;
  turn({ widen: [...(wanted.widen || "").split(","), `${direction}:${found.id}`].filter(Boolean).join(",") });
}

function addressOf(found) {
  return found.kind === "run" ? `/runs/${encode(found.id)}` : versionAddress(found.id);
}

function list(graph) {
  return table([{ name: "node" }, { name: "kind" }, { name: "about" }, { name: "when" }, { name: "lineage" }], graph.nodes.map((each) => ({ cells: [
    ["run", "version"].includes(each.kind) ? h("a", { href: addressOf(each) }, each.label) : each.label, each.kind, [each.type, each.state, each.job_type, each.author, each.is_deleted ? "deleted" : ""].filter(Boolean).join(", "), time(each.created || each.started),
    each.kind === "cluster" ? "" : h("a", { href: `/lineage/${encode(each.id)}` }, "from here")] })));
}
