// The request as one types it: curl, and Python with httpx. A key is named, never shown.

import { address, mediaType } from "./api.js";
import { apiKey } from "./key.js";

/** `picture` is { blob, name } or null: then a name stands in. */
export function curl(operation, query, picture) {
  const { name, type } = about(picture);
  const headers = [`-H 'Content-Type: ${type}'`];
  if (apiKey()) headers.push('-H "Authorization: Bearer $VISION_API_KEY"');
  return `curl ${headers.join(" \\\n  ")} \\\n  --data-binary @${quoted(name)} \\\n  ${quoted(location.origin + address(operation, query))}`;
}

export function python(operation, query, picture) {
  const { name, type } = about(picture);
  const parameters = [...new URL(address(operation, query), location.origin).searchParams];
  const headers = [`"Content-Type": "${type}"`];
  if (apiKey()) headers.push('"Authorization": f"Bearer {os.environ[\'VISION_API_KEY\']}"');
  return [
    ...(apiKey() ? ["import os"] : []),
    "from pathlib import Path",
    "",
    "import httpx",
    "",
    "response = httpx.post(",
    `    "${location.origin}/v1/${operation}",`,
    `    params={${parameters.map(([key, value]) => `"${key}": "${value}"`).join(", ")}},`,
    `    headers={${headers.join(", ")}},`,
    `    content=Path(${JSON.stringify(name)}).read_bytes(),`,
    "    timeout=60,",
    ")",
    "response.raise_for_status()",
    'for found in response.json()["predictions"]:',
    `    print(found["label"], ${operation === "segment" ? 'found["area_px"]' : 'found["score"]'})`,
  ].join("\n");
}

function about(picture) {
  return picture ? { name: picture.name, type: mediaType(picture.blob) } : { name: "picture.jpg", type: "image/jpeg" };
}

/** For a POSIX shell. */
function quoted(text) {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
