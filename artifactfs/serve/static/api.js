// Asking the API. Paths of files are kept percent-encoded, byte by byte, since names need not be UTF-8.

const NO_ANSWER = { message: "The server does not answer.", hint: "Is `artifactfs ui` still running?", kind: "" };
let server = null;

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.hint = error.hint;
    this.kind = error.kind;
  }
}

async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new ApiError(0, NO_ANSWER);
  }
  const found = await response.json();
  if (!response.ok) throw new ApiError(response.status, found.error);
  return found;
}

/** Return the query of parameters; those that end in `_raw` are percent-encoded already. */
export function query(parameters = {}) {
  const parts = Object.entries(parameters)
    .filter(([, value]) => value !== undefined && value !== null && value !== "")
    .map(([name, value]) => (name.endsWith("_raw") ? `${name.slice(0, -4)}=${value}` : `${name}=${encodeURIComponent(value)}`));
  return parts.length ? `?${parts.join("&")}` : "";
}

export function get(path, parameters, signal) {
  return ask(`/api/${path}${query(parameters)}`, { signal });
}

/** Load a document that the server drew: a way into the page that runs nothing and that the policy allows. */
export function load(address, type = "text/html") {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", address);
    request.responseType = "document";
    request.overrideMimeType(type);
    request.onload = () => (request.responseXML && (request.status === 200 || type === "text/html") ? resolve(request.responseXML) : reject(new Error("What the server drew cannot be shown.")));
    request.onerror = () => reject(new ApiError(0, NO_ANSWER));
    request.send();
  });
}

/** Return what is known of the server; asked for once, whoever wants it first. */
export function getServer() {
  server ??= get("server").catch((error) => { server = null; throw error; });
  return server;
}

export async function send(method, path, body) {
  const { csrf } = await getServer();
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf };
  return ask(`/api/${path}`, { method, headers, body: JSON.stringify(body) });
}

export const encode = encodeURIComponent;

/** Return a path as it stands in addresses. */
export function encodePath(fields, member = "path") {
  const raw = fields[`${member}_base64`];
  if (raw) {
    return [...atob(raw)].map((c) => (c === "/" || /[\w.-]/.test(c) ? c : `%${c.charCodeAt(0).toString(16).padStart(2, "0")}`)).join("");
  }
  return fields[member].split("/").map(encode).join("/");
}

/** Return the path of an address as `encodePath` would have it: the same name can be encoded in several ways. */
export function canonicalPath(raw) {
  try {
    return raw.split("/").map((name) => encode(decodeURIComponent(name))).join("/");
  } catch { // not UTF-8: byte by byte
    const bytes = raw.replace(/%([0-9a-f]{2})/gi, (_, pair) => String.fromCharCode(parseInt(pair, 16)));
    return encodePath({ path_base64: btoa(bytes) });
  }
}

export function decodePath(path) {
  return path.split("/").map((name) => { try { return decodeURIComponent(name); } catch { return name; } }).join("/");
}

export function contentAddress(ref, path, more = {}) {
  return `/api/content${query({ ref, path_raw: path, ...more })}`;
}

/** Return the address of a version's page; `ref` keeps its colon. */
export function versionAddress(ref, path = "") {
  return `/v/${encode(ref).replaceAll("%3A", ":").replaceAll("%40", "@")}${path ? `/${path}` : ""}`;
}
