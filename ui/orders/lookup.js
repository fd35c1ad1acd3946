// Requests an order from the server.

import { ask, parseAnswer } from "../common/ask.js";

/**
 * @typedef {object} Answer
 * @property {"found"|"not-found"|"invalid"|"unsupported"|"unavailable"|"network"} kind
 * @property {object} [order] The order, when it was found. Integers beyond 2^53 are strings of digits.
 * @property {string} [text] The answer's bytes as text, unchanged.
 * @property {"hit"|"miss"} [cache]
 * @property {number} [roundTripMs] From the request to the last byte, measured by this page.
 * @property {number|null} [serverMs] The server's own measurement.
 */

/**
 * Looks an order up. Rejects only with an AbortError, when `signal` is aborted.
 * @param {string} uid
 * @param {AbortSignal} signal
 * @returns {Promise<Answer>}
 */
export async function lookUp(uid, signal) {
  if (!isSupported(uid)) return { kind: "unsupported" };
  const began = performance.now();
  const answer = await ask(`order/${encodeURIComponent(uid)}`, signal);
  if (answer === null) return { kind: "network" };
  return parseResponse(answer.response, answer.text, performance.now() - began);
}

/** Returns whether a path can contain the uid: browsers treat "." and ".." as path steps, even when they are encoded. */
function isSupported(uid) {
  return uid !== "." && uid !== "..";
}

function parseResponse(response, text, roundTripMs) {
  if (response.status === 404) return { kind: "not-found" };
  if (response.status === 400) return { kind: "invalid" };
  if (!response.ok) return { kind: "unavailable" };
  const order = parseAnswer(text, exactInteger);
  if (order === null) return { kind: "unavailable" };
  return {
    kind: "found",
    order,
    text,
    cache: response.headers.get("X-Cache") === "hit" ? "hit" : "miss",
    roundTripMs,
    serverMs: serverTime(response.headers.get("Server-Timing")),
  };
}

/** Keeps the digits of integers that a JavaScript number would round. */
function exactInteger(_key, value, context) {
  return typeof value === "number" && !Number.isSafeInteger(value) && context?.source ? context.source : value;
}

function serverTime(header) {
  const duration = /\bdur=([\d.]+)/.exec(header ?? "");
  return duration ? Number(duration[1]) : null;
}
