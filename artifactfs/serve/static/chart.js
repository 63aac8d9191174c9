// How what is stored grew: the size of all versions beside the bytes that are stored for them.

import { h, s } from "./dom.js";
import { size } from "./format.js";

const WIDTH = 860, HEIGHT = 260, LEFT = 74, RIGHT = 14, TOP = 12, BOTTOM = 28;

/** Return a chart of points {ref, time, size, added}, in order of time. */
export function growthChart(points) {
  let logical = 0, stored = 0;
  const sums = points.map((point) => ({ ...point, at: Date.parse(point.time), logical: (logical += point.size), stored: (stored += point.added) }));
  const first = sums[0].at, last = Math.max(sums.at(-1).at, first + 1), most = Math.max(logical, 1);
  const x = (at) => LEFT + ((at - first) / (last - first)) * (WIDTH - LEFT - RIGHT), y = (bytes) => HEIGHT - BOTTOM - (bytes / most) * (HEIGHT - TOP - BOTTOM);
  const way = (member) => sums.reduce((path, point, number) => `${path}${number ? `H${x(point.at).toFixed(1)}V` : `M${x(point.at).toFixed(1)} `}${y(point[member]).toFixed(1)}`, "");
  const area = (member) => `${way(member)}H${x(last).toFixed(1)}V${y(0)}H${x(first).toFixed(1)}Z`;
  const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => [s("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(most * share), y2: y(most * share) }), s("text", { x: LEFT - 8, y: y(most * share) + 4, "text-anchor": "end" }, size(Math.round(most * share)))]);
  const days = [first, (first + last) / 2, last].map((at, number) => s("text", { x: x(at), y: HEIGHT - 8, "text-anchor": ["start", "middle", "end"][number] }, new Date(at).toLocaleString(undefined, last - first > 3 * 86400e3 ? { dateStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" })));
  const dots = sums.length > 400 ? [] : sums.map((point) => s("circle", { class: "dot", cx: x(point.at), cy: y(point.stored), r: 3.5 }, s("title", {}, `${point.ref}: ${size(point.size)}, of which ${size(point.added)} are new`)));
  return h("figure", { class: "chart", tabindex: "0" },
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `All versions together ${size(logical)}, stored ${size(stored)}` }, marks, s("path", { class: "area logical", d: area("logical") }), s("path", { class: "line logical", d: way("logical") }), s("path", { class: "area stored", d: area("stored") }), s("path", { class: "line stored", d: way("stored") }), dots, days),
    h("figcaption", {}, h("span", { class: "key logical" }, `all versions together: ${size(logical)}`), h("span", { class: "key stored" }, `their content, each once: ${size(stored)}`), stored ? ` ${(logical / stored).toFixed(1)} times less by storing each content once` : ""));
}
