// Numbers and times for people: sizes in powers of 1,024, times local with the exact one on hover.

import { h } from "./dom.js";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const STEPS = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [86400 * 30, "day", 86400], [86400 * 365, "month", 86400 * 30]];
// Made when the first is wanted: each costs the first page some milliseconds.
const made = {};
const relative = () => (made.relative ??= new Intl.RelativeTimeFormat(undefined, { numeric: "auto" }));
const exact = () => (made.exact ??= new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" }));
const numbers = () => (made.numbers ??= new Intl.NumberFormat());

export function size(bytes) {
  let amount = bytes, unit = 0;
  while (amount >= 1000 && unit < UNITS.length - 1) { amount /= 1024; unit += 1; }
  return unit ? `${amount.toFixed(1)} ${UNITS[unit]}` : `${bytes} B`;
}

/** Return a name as it is seen: what would break the line, control it or turn its direction is escaped. */
export function visible(name) {
  return name.replaceAll(/(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => ({ "\n": "\\n", "\t": "\\t", "\r": "\\r" })[c] || `\\u{${c.codePointAt(0).toString(16)}}`);
}

export const count = (number) => numbers().format(number);
// In a table: what is shown is for people, what is copied is the number.
export const countCell = (number) => h("data", { value: number }, count(number));
export const sizeCell = (bytes) => h("data", { class: "bytes", value: bytes }, size(bytes));
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

export function ago(text) {
  const seconds = (Date.parse(text) - Date.now()) / 1000, far = Math.abs(seconds);
  for (const [below, unit, step] of STEPS) if (far < below) return relative().format(Math.round(seconds / step), unit);
  return relative().format(Math.round(seconds / (86400 * 365)), "year");
}

/** Return a time: how long ago, or the local time; the exact one, in both zones, on hover. */
export function time(text, { isExact = false } = {}) {
  if (!text) return "";
  const local = exact().format(new Date(text));
  return h("time", { datetime: text, title: `${local}\n${text}` }, isExact ? local : ago(text));
}

export function duration(start, end) {
  const seconds = Math.max(0, Math.round((Date.parse(end) - Date.parse(start)) / 1000));
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return parts.map((part, at) => (at ? String(part).padStart(2, "0") : part)).join(":");
}

export function value(each) {
  return typeof each === "string" ? each : JSON.stringify(each);
}
