// Tables: a head, rows, a button that copies all of it, and keys that go from row to row.

import { copyText, h } from "./dom.js";

// What has no row to go to is scrolled by keys itself.
const SCROLLED = { tabindex: "0", role: "group", "aria-label": "Table" };

/**
 * Return a table.
 * columns: [{name, right, text: name to copy}]; rows: [{cells: [element or text], href, text: [strings to copy]}].
 */
export function table(columns, rows, { caption } = {}) {
  const body = h("tbody", {}, rows.map((row) => h("tr", row.href ? { class: "link", tabindex: "0", data: { href: row.href } } : {},
    row.cells.map((cell, at) => h("td", { class: columns[at].right ? "right" : null }, cell)))));
  const copy = () => copyLines([columns.map((column) => column.text ?? column.name), ...rows.map((row) => row.text || row.cells.map(textOf))]);
  return h("div", { class: "table" },
    h("div", { class: "tablehead" }, caption ? h("h2", {}, caption) : h("span"), h("button", { class: "small", type: "button", onclick: copy }, "copy table")),
    h("div", { class: "scroll", ...(rows.some((row) => row.href) ? {} : SCROLLED) }, h("table", {}, h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: column.right ? "right" : null }, column.name)))), body)));
}

const copyLines = (lines) => copyText(lines.map((cells) => cells.map((cell) => String(cell).replaceAll(/[\t\r\n]/g, " ")).join("\t")).join("\n"), "table copied");

/** Copy a table that is in the page. */
export function copyTable(element) {
  return copyLines([...element.rows].map((row) => [...row.cells].map((cell) => textOf([...cell.childNodes]))));
}

function textOf(cell) {
  if (cell === null || cell === undefined) return "";
  if (Array.isArray(cell)) return cell.map(textOf).join(" ");
  if (!(cell instanceof Node)) return cell;
  const { tagName } = cell;
  if (tagName === "TIME") return cell.dateTime;
  if (tagName === "DATA") return cell.value;
  if (tagName === "BUTTON") return "";
  return cell.childElementCount ? [...cell.childNodes].map(textOf).join("") : cell.textContent;
}

/** Return a list of names and values. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && !(Array.isArray(value) && !value.length))
    .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

export const chip = (text, kind = "") => h("span", { class: `chip ${kind}` }, text);
export const chips = (texts, kind = "") => texts.map((text) => chip(text, kind));
