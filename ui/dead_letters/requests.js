// The requests to the server about dead letters.

import { authorization } from "./admin-token.js";
import { ask, parseAnswer } from "../common/ask.js";

const SENDING_DEADLINE_MS = 60_000;

/**
 * @typedef {object} Answer
 * @property {"ok"|"not-found"|"refused"|"unauthorized"|"read-only"|"unavailable"|"network"} kind
 * @property {object} [body] The JSON body. For a refusal it has `error`, and sometimes `why`.
 */

/** Returns a page of the list. Like all functions here it rejects only with an AbortError. */
export function fetchLetters(filters, before, signal) {
  const parameters = new URLSearchParams(before === null ? filters : { ...filters, before });
  return request(`list?${parameters}`, signal);
}

/** Returns the number of letters of each reason. */
export function fetchCounts(filters, signal) {
  return request(`counts?${new URLSearchParams(filters)}`, signal);
}

/** Returns whether the server allows writes, and whether this token does. */
export function fetchAccess(token, signal) {
  return request("access", signal, { headers: authorization(token) });
}

/** Returns one letter, masked. */
export function fetchLetter(place, signal) {
  return request(path(place), signal);
}

/** Returns one letter as it was sent. */
export function fetchRevealed(place, signal) {
  return request(`${path(place)}?reveal=1`, signal, { headers: authorization() });
}

/** Returns the plan of a replay of all matching letters. */
export function planReplay(filters, signal) {
  return post("replay", { ...filters, dry_run: true }, signal);
}

/** Replays the matching letters, if their number is still the expected one. */
export function replayAll(filters, expected, signal) {
  return post("replay", { ...filters, expected }, signal);
}

/** Replays one letter. */
export function replayLetter(place, signal) {
  return post(`${path(place)}/replay`, {}, signal);
}

/** Checks a corrected message without sending it. */
export function checkCorrected(place, payload, signal) {
  return post(`${path(place)}/send`, { payload, dry_run: true }, signal);
}

/** Sends a corrected message instead of a letter. */
export function sendCorrected(place, payload, signal) {
  return post(`${path(place)}/send`, { payload }, signal);
}

function path(place) {
  return place.replace(":", "/");
}

function post(where, body, signal) {
  return request(where, signal, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...authorization() },
    body: JSON.stringify(body),
    deadlineMs: SENDING_DEADLINE_MS,
  });
}

async function request(where, signal, more) {
  const answer = await ask(`dead-letters/${where}`, signal, more);
  if (answer === null) return { kind: "network" };
  const body = parseAnswer(answer.text);
  return body === null ? { kind: "unavailable" } : { kind: kindOf(answer.response.status), body };
}

function kindOf(status) {
  if (status < 300) return "ok";
  const kinds = { 401: "unauthorized", 403: "read-only", 404: "not-found" };
  return kinds[status] ?? (status < 500 ? "refused" : "unavailable");
}
