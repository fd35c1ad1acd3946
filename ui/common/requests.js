// Requests that the server may refuse.

import { authorization } from "./admin-token.js";
import { ask, parseAnswer } from "./ask.js";
import { sharedWords } from "./shared-words.js";

const SENDING_DEADLINE_MS = 60_000;

/**
 * @typedef {object} Answer
 * @property {"ok"|"not-found"|"refused"|"unauthorized"|"read-only"|"unavailable"|"network"} kind
 * @property {object} [body] The JSON body. For a refusal it has `error`, and sometimes `why`.
 */

/** Returns the answer to a request. Rejects only with an AbortError. */
export async function request(path, signal, more) {
  const answer = await ask(path, signal, more);
  if (answer === null) return { kind: "network" };
  const body = parseAnswer(answer.text);
  return body === null ? { kind: "unavailable" } : { kind: kindOf(answer.response.status), body };
}

/** Sends a JSON body with the admin token. */
export function post(path, body, signal) {
  return request(path, signal, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...authorization() },
    body: JSON.stringify(body),
    deadlineMs: SENDING_DEADLINE_MS,
  });
}

/** Returns whether the server allows writes, and whether this token does. */
export function fetchAccess(token, signal) {
  return request("dead-letters/access", signal, { headers: authorization(token) });
}

/** Returns the text of a failed request. `refusals` has a page's own texts, by the server's error. */
export function refusalText({ kind, body }, refusals = {}) {
  const texts = { ...sharedWords.refusals, ...refusals };
  return texts[body?.why ?? body?.error] ?? texts[kind] ?? texts.other;
}

function kindOf(status) {
  if (status < 300) return "ok";
  const kinds = { 401: "unauthorized", 403: "read-only", 404: "not-found" };
  return kinds[status] ?? (status < 500 ? "refused" : "unavailable");
}
