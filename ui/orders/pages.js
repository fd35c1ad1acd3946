// Requests lists of orders from the server, newest first, page by page.

import { ask, parseAnswer } from "../common/ask.js";

/**
 * @typedef {object} Page
 * @property {"page"|"invalid"|"unavailable"|"network"} kind
 * @property {object[]} [orders] Summaries of orders, without personal data.
 * @property {number} [future] How many matching orders are dated in the future, at most 100.
 * @property {string|null} [next] The cursor of the next page; null after the last page.
 */

/**
 * Returns a page of the orders that match. Rejects only with an AbortError.
 * @param {{track_number?: string, customer_id?: string, dated?: "future"}} search
 * @param {string|null} before The `next` of the previous page.
 * @param {AbortSignal} signal
 * @returns {Promise<Page>}
 */
export async function fetchPage(search, before, signal) {
  const parameters = new URLSearchParams(before === null ? search : { ...search, before });
  const answer = await ask(`orders?${parameters}`, signal);
  if (answer === null) return { kind: "network" };
  if (answer.response.status === 400) return { kind: "invalid" };
  if (!answer.response.ok) return { kind: "unavailable" };
  const page = parseAnswer(answer.text);
  return page === null ? { kind: "unavailable" } : { kind: "page", ...page };
}
