// Asks the server about dead letters, and to send them again.

import { authorization } from "./admin-token.js";
import { ask, parseAnswer } from "../common/ask.js";

const SENDING_DEADLINE_MS = 60_000;

/**
 * @typedef {object} Answer
 * @property {"ok"|"not-found"|"refused"|"unauthorized"|"read-only"|"unavailable"|"network"} kind
 * @property {object} [told] What the server says. Of a refusal: its `error`, and why.
 */

/** Returns a page of the list. Rejects only with an AbortError, as all functions here. */
export function fetchLetters(filters, before, signal) {
  const parameters = new URLSearchParams(before === null ? filters : { ...filters, before });
  return request(`list?${parameters}`, signal);
}

/** Returns how many letters there are of each reason. */
export function fetchCounts(filters, signal) {
  return request(`counts?${new URLSearchParams(filters)}`, signal);
}

/** Returns whether anybody may write, and whether this token may. */
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

/** Returns what a replay of all that match would do. */
export function planReplay(filters, signal) {
  return post("replay", { ...filters, dry_run: true }, signal);
}

/** Replays letters that match, if they are still as many as expected. */
export function replayAll(filters, expected, signal) {
  return post("replay", { ...filters, expected }, signal);
}

/** Replays one letter. */
export function replayLetter(place, signal) {
  return post(`${path(place)}/replay`, {}, signal);
}

/** Has a mended message checked, without sending it. */
export function checkMended(place, payload, signal) {
  return post(`${path(place)}/send`, { payload, dry_run: true }, signal);
}

/** Sends a mended message in a letter's stead. */
export function sendMended(place, payload, signal) {
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
  const answer = await ask(`/dead-letters/${where}`, signal, more);
  if (answer === null) return { kind: "network" };
  const told = parseAnswer(answer.text);
  return told === null ? { kind: "unavailable" } : { kind: kindOf(answer.response.status), told };
}

function kindOf(status) {
  if (status < 300) return "ok";
  const kinds = { 401: "unauthorized", 403: "read-only", 404: "not-found" };
  return kinds[status] ?? (status < 500 ? "refused" : "unavailable");
}
