// Making elements. There is no other way here by which data comes into a page: text is set, never parsed.

const SVG = "http://www.w3.org/2000/svg";
const SAFE_LINK = /^(\/(?![\/\\])|#|\?|https?:\/\/|mailto:)/i;

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else if ((name === "href" || name === "src") && !SAFE_LINK.test(value)) continue;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return a new element of HTML, with attributes, listeners (`onclick`) and children (elements or text). */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Return a new element of SVG. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Put children into an element instead of what was there. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Put children as `put` does, but leave open what is open, and the focus where it is; not while text is selected. */
export function renew(element, ...children) {
  const { activeElement } = document, selection = getSelection();
  if (!selection.isCollapsed && element.contains(selection.anchorNode)) return;
  const open = new Set([...element.querySelectorAll("details[open]")].map((each) => placeOf(each, element)));
  const focused = element.contains(activeElement) ? placeOf(activeElement, element) : null;
  put(element, ...children);
  for (const each of element.querySelectorAll("details")) each.open = open.has(placeOf(each, element));
  if (focused) [...element.querySelectorAll(activeElement.tagName)].find((each) => placeOf(each, element) === focused)?.focus({ preventScroll: true });
}

/** Return which of the elements of its kind this is, in what has a key of its own (data-key). */
function placeOf(each, whole) {
  const owner = each.closest("[data-key]") || whole;
  return `${owner.dataset.key || ""} ${each.tagName} ${[...owner.querySelectorAll(each.tagName)].indexOf(each)}`;
}

/** Say something to the reader, also of a screen reader. */
export function say(text, isError = false) {
  const status = document.getElementById("status");
  const line = h("div", { class: isError ? "toast error" : "toast" }, text);
  put(status, line);
  setTimeout(() => line.remove(), isError ? 12000 : 4000);
}

/** Return a page that says why there is none. */
export function errorPage(error) {
  return h("div", { class: "page" }, h("h1", {}, "This cannot be shown"), showError(error));
}

/** Show an error with its hint. */
export function showError(error) {
  return h("div", { class: "error box", role: "alert" }, h("strong", {}, error.message), error.hint ? (error.hint.includes("\n") ? h("pre", {}, error.hint) : h("p", {}, error.hint)) : null);
}

export async function copyText(text, what = "copied") {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS beyond this machine there is no clipboard: an old way that works there.
    const area = h("textarea", { class: "offscreen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(what);
}

/** Return a button that copies a text. */
export function copyButton(text, label = "copy") {
  return h("button", { class: "small", type: "button", title: "Copy", onclick: () => copyText(text) }, label);
}
