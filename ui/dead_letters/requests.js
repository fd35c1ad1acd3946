// The requests to the server about dead letters.

import { authorization } from "../common/admin-token.js";
import { post, request } from "../common/requests.js";

/** @typedef {import("../common/requests.js").Answer} Answer */

/** Returns a page of the list. Like all functions here it rejects only with an AbortError. */
export function fetchLetters(filters, before, signal) {
  const parameters = new URLSearchParams(before === null ? filters : { ...filters, before });
  return request(`dead-letters/list?${parameters}`, signal);
}

/** Returns the number of letters of each reason. */
export function fetchCounts(filters, signal) {
  return request(`dead-letters/counts?${new URLSearchParams(filters)}`, signal);
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
  return post("dead-letters/replay", { ...filters, dry_run: true }, signal);
}

/** Replays the matching letters, if their number is still the expected one. */
export function replayAll(filters, expected, signal) {
  return post("dead-letters/replay", { ...filters, expected }, signal);
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
  return `dead-letters/${place.replace(":", "/")}`;
}
