// Requests to the desk's API (docs), who asks them, and what is said when they fail.
import { desk } from "./state.js";

export class Refused extends Error {
  constructor(status, body, retryAfter) {
    super(body?.detail ?? `The server answered ${status}.`);
    this.status = status;
    this.body = body ?? {};
    this.retryAfter = retryAfter;
  }
}

const tags = new Map();
/** Asks the person for a token; set by the page. */
export const login = { token: sessionStorage.getItem("desk-token"), ask: null };

async function send(path, { method = "GET", body, tag, signal } = {}) {
  const headers = {};
  if (desk.name) headers["X-Coder"] = encodeURIComponent(desk.name);
  if (login.token) headers.Authorization = `Bearer ${login.token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (tag) headers["If-None-Match"] = tag;
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { detail: "The server does not answer; nothing is recorded until it does." }, 3);
  }
  if (response.ok || response.status === 304) return response;
  const problem = await response.json().catch(() => null);
  if (response.status === 401 && login.ask) {
    await login.ask();
    return send(path, { method, body, tag, signal });
  }
  throw new Refused(response.status, problem, Number(response.headers.get("Retry-After")) || null);
}

/** The answer as JSON. */
export const ask = async (path, options) => (await send(path, options)).json();

/** The answer as JSON, or null where it is what was seen last. */
export async function askIfChanged(path) {
  const response = await send(path, { tag: tags.get(path) });
  if (response.status === 304) return null;
  const value = await response.json();
  tags.set(path, response.headers.get("ETag"));
  return value;
}

/** Forgets what was seen, since the page shows something else now. */
export const forget = (path) => tags.delete(path);

/** Asks until the server has time; `waiting(sentence, seconds)` is told of each time it has none. */
export async function askPatiently(path, options, waiting) {
  for (;;) {
    try {
      return await ask(path, options);
    } catch (error) {
      if (!(error instanceof Refused) || ![0, 429, 503, 504].includes(error.status)) throw error;
      const seconds = error.retryAfter ?? 5;
      waiting(error.message, seconds);
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      options?.signal?.throwIfAborted();
    }
  }
}

/** Saves an export as a file; how many reviews it leaves out. */
export async function download(path) {
  const response = await send(path);
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition"))?.[1] ?? "export";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  return { name, leftOut: Number(response.headers.get("X-Left-Out") ?? 0) };
}
