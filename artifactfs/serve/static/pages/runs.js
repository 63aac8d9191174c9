// Runs, and one of them: its command, code and configuration, what it read and what it made.

import { encode, get, versionAddress } from "../api.js";
import { copyButton, h, put } from "../dom.js";
import { duration, time, value } from "../format.js";
import { chip, chips, facts, table } from "../table.js";

const PAGE = 200;
const refs = (names) => names.map((name) => [h("a", { href: versionAddress(name) }, name), " "]);
const state = (text) => chip(text, { finished: "good", running: "warn" }[text] || "bad");

export async function runs(page, _raw, parameters) {
  document.title = "Runs · artifactfs";
  const offset = Number(parameters.get("offset")) || 0, found = await get("runs", { offset, limit: PAGE });
  put(page, h("h1", {}, "Runs"), found.runs.length ? table([{ name: "run" }, { name: "state" }, { name: "kind" }, { name: "began" }, { name: "took" }, { name: "read" }, { name: "made" }, { name: "author" }],
    found.runs.map((run) => ({ href: `/runs/${encode(run.id)}`, cells: [h("a", { href: `/runs/${encode(run.id)}`, title: run.id }, run.name || run.id.slice(0, 13)), state(run.state), run.job_type, time(run.started), duration(run.started, run.finished || run.seen), refs(run.inputs), refs(run.outputs), run.author] }))) : h("p", { class: "quiet" }, "No run is recorded."),
    h("p", { class: "links" }, offset ? h("a", { href: `/runs?offset=${Math.max(0, offset - PAGE)}` }, "newer") : null, found.is_cut ? h("a", { href: `/runs?offset=${offset + PAGE}` }, "older") : null));
}

export async function run(page, [raw]) {
  const { run: found } = await get(`runs/${raw}`);
  document.title = `${found.name || found.id} · artifactfs`;
  const command = found.command.join(" "), git = found.git;
  put(page, h("h1", {}, found.name || `Run ${found.id.slice(0, 13)}`, " ", state(found.state)), h("p", { class: "links" }, h("a", { href: `/lineage/${encode(found.id)}` }, "lineage")),
    h("div", { class: "two" }, h("section", {}, facts([["id", found.id], ["job type", found.job_type], ["project", found.project], ["author", found.author], ["host", found.host], ["began", time(found.started, { isExact: true })], ["took", duration(found.started, found.finished || found.seen)], ["exit code", found.exit_code], ["tags", chips(found.tags, "tag")], ["notes", found.notes],
      ["read", refs(found.inputs)], ["made", refs(found.outputs)]])),
    h("section", {}, command ? h("div", { class: "snippet" }, h("pre", {}, command), copyButton(command)) : null, facts([["directory", found.directory], ["commit", git?.commit], ["branch", git?.branch], ["remote", git?.remote], ["changed files", git?.dirty === true ? "yes" : null]]),
      Object.keys(found.config).length ? [h("h2", { class: "minor" }, "Configuration"), facts(Object.entries(found.config).map(([key, each]) => [key, value(each)]))] : null)));
}
