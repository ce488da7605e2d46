// One call of the API: what is asked and read is what shapes.js says, errors are the API's own problem documents.

import { authorization } from "./key.js";
import { SHAPES } from "./shapes.js";

const ADDRESSES = {
  ready: "GET /health/ready",
  list_models: "GET /v1/models",
  activity: "GET /v1/activity",
  route: "POST /v1/route",
  classify: "POST /v1/classify",
  detect: "POST /v1/detect",
  segment: "POST /v1/segment",
};

/** A refusal, as application/problem+json says it. */
export class Problem extends Error {
  constructor(document) {
    super(document.detail);
    Object.assign(this, document);
  }
}

/** The path and query of a call; wishes that are null or empty are left out. */
export function address(operation, query = {}) {
  const unknown = Object.keys(query).filter((name) => !SHAPES[operation].query.includes(name));
  if (unknown.length) throw new TypeError(`shapes.js has no ${unknown} for ${operation}`);
  const said = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const [, path] = ADDRESSES[operation].split(" ");
  return said.length ? `${path}?${new URLSearchParams(said)}` : path;
}

/** { answer, tookMs }. Raises Problem; AbortError if `signal` says so. */
export async function call(operation, { query = {}, picture = null, signal = null } = {}) {
  const [method] = ADDRESSES[operation].split(" ");
  const headers = { Accept: "application/json, application/problem+json", ...authorization() };
  if (picture) headers["Content-Type"] = mediaType(picture);
  const startedMs = performance.now();
  let response, document;
  try {
    response = await fetch(address(operation, query), { method, headers, body: picture, signal, cache: "no-store" });
    document = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(unreachable(response, error));
  }
  const tookMs = performance.now() - startedMs;
  if (!response.ok) throw new Problem(picked(document, SHAPES.problem.answer, "problem"));
  return { answer: picked(document, SHAPES[operation].answer, operation), tookMs };
}

/** What the API takes; of anything else it judges the first bytes itself. */
export function mediaType(blob) {
  return ["image/jpeg", "image/png", "image/webp"].includes(blob.type) ? blob.type : "application/octet-stream";
}

function unreachable(response, error) {
  return {
    type: "",
    title: "The gateway does not answer",
    status: response?.status ?? 0,
    detail: `${error.message}. It may be restarting, or a proxy in between may have cut the connection.`,
    instance: response?.headers.get("X-Request-Id") ?? "",
  };
}

function picked(document, shape, path) {
  if (shape === 1 || document === null) return document;
  if (Array.isArray(shape)) return document.map((item) => picked(item, shape[0], path));
  const found = {};
  for (const [marked, inner] of Object.entries(shape)) {
    const name = marked.replace("?", "");
    if (name in document) found[name] = picked(document[name], inner, `${path}.${name}`);
    else if (name === marked) throw new TypeError(`the API's answer has no ${path}.${name}`);
  }
  return found;
}
