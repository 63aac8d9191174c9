// What the server drew, taken over: numbers and times as this reader has them, and buttons that work.

import { count, size, time } from "./format.js";
import { copyTable } from "./table.js";

export function adopt(page) {
  for (const each of page.querySelectorAll("time")) each.replaceWith(time(each.dateTime));
  for (const each of page.querySelectorAll("data")) each.textContent = each.className === "bytes" ? size(Number(each.value)) : count(each.value);
  for (const each of page.querySelectorAll("[data-copies=table]")) each.addEventListener("click", () => copyTable(each.closest(".table").querySelector("table")));
  document.title = "Catalogue · artifactfs";
}
