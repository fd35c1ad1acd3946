// Asks the server for the story of an order.

import { ask, parseAnswer } from "../common/ask.js";

/**
 * @typedef {object} Told
 * @property {"told"|"untold"|"unavailable"|"network"} kind
 * @property {object} [story] How the order came to be stored, and its dead letters.
 */

/**
 * Returns the story of an order. Rejects only with an AbortError.
 * @param {string} uid
 * @param {AbortSignal} signal
 * @returns {Promise<Told>}
 */
export async function fetchStory(uid, signal) {
  const answer = await ask(`/order/${encodeURIComponent(uid)}/story`, signal);
  if (answer === null) return { kind: "network" };
  if (answer.response.status === 404) return { kind: "untold" };
  const story = answer.response.ok ? parseAnswer(answer.text) : null;
  return story === null ? { kind: "unavailable" } : { kind: "told", story };
}
