// Choosing a version to compare with: one of the same collection from a list, or any by its name.

import { encode, get } from "./api.js";
import { h, put, showError } from "./dom.js";
import { time } from "./format.js";
import { chips } from "./table.js";

const SHOWN = 200;

export function compareButton(version) {
  return h("button", { class: "small", type: "button", onclick: () => choose(version) }, "compare with…");
}

function choose(version) {
  const list = h("ul", { class: "choices", "aria-label": "Versions" }, h("li", { class: "quiet" }, "…"));
  const field = h("input", { type: "text", autofocus: true, "aria-label": "Version", placeholder: "NAME:vN, an alias, or a word of a message", spellcheck: "false", autocomplete: "off", oninput: () => filter() });
  const dialog = h("dialog", { "aria-label": "Compare", onclose: () => dialog.remove(), onkeydown: (event) => move(event) }, h("form", { onsubmit: (event) => { event.preventDefault(); compare(typed()); } },
    h("h2", {}, `Compare ${version.ref} with`), field, list,
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "cancel"), h("button", { type: "submit", class: "primary" }, "compare"))));
  const compare = (ref) => {
    if (!ref) return;
    dialog.close();
    dispatchEvent(new CustomEvent("go", { detail: { address: `/diff/${encode(ref)}/${encode(version.ref)}` } }));
  };
  const links = () => [...list.querySelectorAll("button")].filter((each) => !each.parentElement.hidden);
  // A word that is no name means the only version that is left in the list.
  const typed = () => {
    const text = field.value.trim();
    if (/^v\d+$/.test(text)) return `${version.collection}:${text}`;
    return text.includes(":") || links().length !== 1 ? text : links()[0].value;
  };
  const filter = () => { for (const each of list.children) each.hidden = !each.textContent.toLowerCase().includes(field.value.trim().toLowerCase().replace(`${version.collection}:`, "")); };
  const move = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [field, ...links()];
    all[Math.max(0, Math.min(all.length - 1, all.indexOf(document.activeElement) + step))].focus();
  };
  document.body.append(dialog);
  dialog.showModal();
  get(`collections/${encode(version.collection)}/versions`, { limit: SHOWN }).then((found) => put(list, found.versions.filter((each) => each.ref !== version.ref).map((each) => h("li", {},
    h("button", { type: "button", value: each.ref, onclick: () => compare(each.ref) }, h("strong", {}, each.version), " ", chips(each.aliases, "alias"), h("span", { class: "clip" }, each.message || each.description), h("span", { class: "quiet" }, " ", time(each.created))))),
    found.total > SHOWN ? h("li", { class: "quiet" }, `The newest ${SHOWN} of ${found.total}; others by their number.`) : null), (error) => put(list, h("li", {}, showError(error))));
}
