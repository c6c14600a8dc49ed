// Asking the service. The key is kept in this tab only.

const TIMEOUT_MS = 15000;
const STORE = "foldserve-key";

let key = sessionStorage.getItem(STORE);

/** The service does not answer. */
export class Away extends Error {}

/** The service asks for a key, or for another one. */
export class KeyNeeded extends Error {
  constructor(given) {
    super("key needed");
    this.given = given;
  }
}

/** The service says no, and why. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function setKey(value) {
  key = value;
  if (value) sessionStorage.setItem(STORE, value);
  else sessionStorage.removeItem(STORE);
}

export const hasKey = () => Boolean(key);

/** The path of a version of a model. */
export const place = ({ name, version }) =>
  `/v2/models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`;

/** A layer's name in a path: separators in it stay. */
export const layerPath = (name) => name.split("/").map(encodeURIComponent).join("/");

/** The JSON of an answer; throws Away, KeyNeeded or Refused. */
export async function ask(path, { method = "GET", body, type } = {}) {
  const headers = { Accept: "application/json" };
  if (key) headers["X-API-Key"] = key;
  if (type) headers["Content-Type"] = type;
  let response;
  try {
    response = await fetch(path, {
      method, body, headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Away();
  }
  const text = await response.text().catch(() => "");
  if (response.ok) return text ? JSON.parse(text) : null;
  const answer = parsed(text);
  if (response.status === 401) throw new KeyNeeded(hasKey());
  if (!answer && response.status >= 502) throw new Away(); // a proxy, in front of nothing
  throw new Refused(response.status, answer?.error ?? `the service answered ${response.status}`);
}

/** The same, where a refusal is something to show: {data} or {problem}. */
export async function tryTo(path, options) {
  try {
    return { data: await ask(path, options) };
  } catch (error) {
    if (error instanceof Refused) return { problem: error.message, status: error.status };
    throw error;
  }
}

/** Whether the service is ready; this route is open to everybody. */
export async function isReady() {
  try {
    const response = await fetch("/v2/health/ready", {
      cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    return response.ok;
  } catch {
    throw new Away();
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
