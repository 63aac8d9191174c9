// How many files of a version or directory are here, and which references have changed: counted while one looks.

import { encodePath, get, versionAddress } from "./api.js";
import { h, put } from "./dom.js";
import { count, plural, size, visible } from "./format.js";
import { chip } from "./table.js";

export const PRESENCE = { local: "here", cached: "here, in the cache", partial: "partly here", missing: "remote", unknown: "remote; nothing is kept" };
const AT_ONCE = 20_000;
let counts = Date.now();

/** Return an element that counts by itself, or on demand where there is much; `path` is percent-encoded. */
export function presenceOf(ref, path, files) {
  const place = h("span", { class: "presence", role: "status" });
  const again = (check, text) => h("button", { class: "small", type: "button", onclick: () => run(place, ref, path, check, again) }, text);
  if (files > AT_ONCE) put(place, again(false, `count ${plural(files, "file")}`));
  else queueMicrotask(() => run(place, ref, path, false, again));
  return place;
}

async function run(place, ref, path, check, again) {
  const mine = ++counts;
  place.dataset.count = mine;
  try {
    for (;;) {
      const found = await get("presence", { ref, path_raw: path, check, count: mine });
      if (place.dataset.count !== String(mine)) return;
      put(place, draw(found, ref, check), found.is_done ? found.references ? again(true, check ? "look again" : "have references changed?") : null : h("span", { class: "quiet" }, " counting…"));
      if (found.is_done || !place.isConnected) return;
    }
  } catch (error) {
    put(place, h("span", { class: "error" }, error.message), " ", again(check, "try again"));
  }
}

function draw(found, ref, check) {
  const parts = Object.entries(found.counts).map(([where, part]) => chip(`${count(part.files)} ${PRESENCE[where]}, ${size(part.size)}`, { local: "good", cached: "good", partial: "warn" }[where]));
  return [parts.length ? parts : found.is_done ? "no files" : "",
    found.links ? ` ${plural(found.links, "link")}${found.references ? "," : ""}` : "", found.references ? ` ${plural(found.references, "reference")}` : "",
    check ? [`, ${count(found.checked)} looked at: `, found.drift_count ? h("strong", { class: "error" }, `${count(found.drift_count)} drifted`) : found.is_done && !found.failed ? "all the same as recorded" : "", " "] : " ",
    found.failed ? h("p", { class: "error" }, `${plural(found.failed, "reference")} could not be looked at: ${found.problem}`) : null,
    found.drifted.length ? h("details", { open: true }, h("summary", {}, "What has drifted"), h("ul", {}, found.drifted.map((each) => h("li", {}, h("a", { href: versionAddress(ref, encodePath(each)) }, visible(each.path)), `: ${each.drift}`)))) : null];
}
