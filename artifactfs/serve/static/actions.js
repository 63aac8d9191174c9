// What may be changed with --write: each after a question, in a dialog.

import { h, say } from "./dom.js";
import { get, send } from "./api.js";
import { count } from "./format.js";

const SHOWN = 20; // aliases that the API tells with a collection
const reload = () => dispatchEvent(new Event("reload"));

/** Ask for the values of some fields and do something with them. What that will do is told, and what went wrong. */
export function ask(title, { text, tell, fields = [], yes, isDangerous = false, work }) {
  const inputs = fields.map((field) => {
    const input = field.kind === "text" ? h("textarea", { rows: 4 }) : h("input", { type: field.kind || "text" });
    if (field.kind === "checkbox") input.checked = Boolean(field.value);
    else input.value = field.value || "";
    input.name = field.name;
    return [field, input];
  });
  const valuesOf = () => Object.fromEntries(inputs.map(([field, input]) => [field.name, field.kind === "checkbox" ? input.checked : input.value]));
  const told = tell ? h("p", { role: "status" }) : null;
  const problem = h("p", { class: "error", role: "alert" });
  const button = h("button", { type: "submit", class: isDangerous ? "danger" : "primary" }, yes);
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const done = await work(valuesOf());
      dialog.close();
      if (done) say(done);
      reload();
    } catch (error) {
      problem.textContent = `${error.message} ${error.hint || ""}`;
      button.disabled = false;
    }
  };
  const dialog = h("dialog", { "aria-label": title, onclose: () => dialog.remove() }, h("form", { onsubmit: submit, oninput: () => { if (told) told.textContent = tell(valuesOf()); } }, h("h2", {}, title), text ? h("p", {}, text) : null,
    inputs.map(([field, input]) => h("label", { class: field.kind === "checkbox" ? "check" : null }, field.kind === "checkbox" ? [input, field.label] : [field.label, input])),
    told, problem, h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "cancel"), button)));
  document.body.append(dialog);
  dialog.showModal();
}

const words = (text) => text.split(/[\s,]+/).filter(Boolean);

export async function setAlias({ ref, collection, version }) {
  const known = await get(`collections/${encodeURIComponent(collection)}`).then((found) => new Map(Object.entries(found.aliases)), () => null);
  const tell = (alias) => {
    const from = known?.get(alias);
    if (from) return from === version ? `${alias} is ${version} already` : `${alias} moves from ${from} to ${version}`;
    return known && known.size < SHOWN ? `${alias} is new` : `${alias} is new, or moves`;
  };
  ask("Move an alias here", { text: `It will point to ${ref}; if it exists, it moves.`, tell: ({ aliases }) => words(aliases).map(tell).join("; "), fields: [{ name: "aliases", label: "Aliases" }], yes: "move",
    work: async ({ aliases }) => { await send("POST", "aliases/set", { ref, aliases: words(aliases) }); return `${aliases} is ${ref} now`; } });
}

export function removeAlias(collection, alias) {
  ask("Remove the alias?", { text: `${alias} of ${collection} goes; the version stays.`, yes: "remove", isDangerous: true,
    work: async () => { await send("POST", "aliases/remove", { collection, aliases: [alias] }); return `${alias} is gone`; } });
}

export function editVersion(version) {
  ask(`Edit ${version.ref}`, { text: "The data stays as it is.", yes: "save",
    fields: [{ name: "description", label: "Description", kind: "text", value: version.description }, { name: "tags", label: "Tags", value: version.tags.join(" ") }],
    work: async ({ description, tags }) => {
      const wanted = words(tags);
      await send("PATCH", `versions/${encodeURIComponent(version.ref)}`, { description, tag: wanted.filter((tag) => !version.tags.includes(tag)), untag: version.tags.filter((tag) => !wanted.includes(tag)) });
      return `changed ${version.ref}`;
    } });
}

export function commitStaging(staging) {
  ask(`Commit ${staging.staging}?`, { text: "What it shows now becomes the next version, and latest moves to it.", yes: "commit",
    fields: [{ name: "message", label: "Message" }, { name: "aliases", label: "Further aliases" }, { name: "if_changed", label: "only if the content changed", kind: "checkbox", value: true }, { name: "close", label: "remove the staging directory afterwards", kind: "checkbox" }],
    work: async ({ message, aliases, if_changed, close }) => {
      const done = await send("POST", `staging/${encodeURIComponent(staging.staging)}/commit`, { message, aliases: words(aliases), if_changed, close });
      return `${done.is_new ? "made" : "nothing changed since"} ${done.version.ref}. ${done.note}`;
    } });
}

export function discardStaging(staging, changes) {
  ask(`Discard ${staging.staging}?`, { text: changes ? `${count(changes)} uncommitted ${changes === 1 ? "change is" : "changes are"} lost for good.` : "Nothing in it is uncommitted.", yes: "discard", isDangerous: true,
    work: async () => { await send("POST", `staging/${encodeURIComponent(staging.staging)}/discard`, { changes }); return `removed ${staging.staging}`; } });
}
