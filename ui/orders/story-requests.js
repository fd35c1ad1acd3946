// Requests the story of an order from the server.

import { ask, parseAnswer } from "../common/ask.js";

/**
 * @typedef {object} StoryAnswer
 * @property {"found"|"notFound"|"unavailable"|"network"} kind
 * @property {object} [story] How the order was stored, and its dead letters.
 */

/**
 * Returns the story of an order. Rejects only with an AbortError.
 * @param {string} uid
 * @param {AbortSignal} signal
 * @returns {Promise<StoryAnswer>}
 */
export async function fetchStory(uid, signal) {
  const answer = await ask(`order/${encodeURIComponent(uid)}/story`, signal);
  if (answer === null) return { kind: "network" };
  if ([400, 404].includes(answer.response.status)) return { kind: "notFound" };
  const story = answer.response.ok ? parseAnswer(answer.text) : null;
  return story === null ? { kind: "unavailable" } : { kind: "found", story };
}
