// Asks the server for lists of orders, newest first and page by page.

import { ask, parseAnswer } from "../common/ask.js";

/**
 * @typedef {object} Page
 * @property {"page"|"invalid"|"unavailable"|"network"} kind
 * @property {object[]} [orders] What tells orders apart; nothing of the recipient.
 * @property {string|null} [next] Where the next page begins; null when there is none.
 */

/**
 * Returns a page of the orders that match. Rejects only with an AbortError.
 * @param {{track_number?: string, customer_id?: string}} search
 * @param {string|null} before The `next` of the page before this one.
 * @param {AbortSignal} signal
 * @returns {Promise<Page>}
 */
export async function fetchPage(search, before, signal) {
  const parameters = new URLSearchParams(before === null ? search : { ...search, before });
  const answer = await ask(`/orders?${parameters}`, signal);
  if (answer === null) return { kind: "network" };
  if (answer.response.status === 400) return { kind: "invalid" };
  if (!answer.response.ok) return { kind: "unavailable" };
  const page = parseAnswer(answer.text);
  return page === null ? { kind: "unavailable" } : { kind: "page", ...page };
}
