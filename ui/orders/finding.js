// Finds out what a text is: an order's uid, or a track number or a customer of some orders.

import { lookUp } from "./lookup.js";
import { fetchPage } from "./pages.js";
import { fetchStory } from "./story-requests.js";

/**
 * @typedef {object} Matches
 * @property {"matches"} kind
 * @property {{search: object, orders: object[], next: string|null}[]} lists A first page for each way to match.
 */

/**
 * @typedef {object} Rejected
 * @property {"rejected"} kind
 * @property {object} story What is known of an order that is not stored: its dead letters.
 */

/**
 * Returns the order with this uid; when there is none, the orders that match; and when there are none, its dead letters.
 * @param {string} text
 * @param {AbortSignal} signal
 * @returns {Promise<import("./lookup.js").Answer|Matches|Rejected>}
 */
export async function findOrder(text, signal) {
  const answer = await lookUp(text, signal);
  if (answer.kind !== "not-found") return answer;
  const found = await findMatches(text, signal);
  return found.kind === "not-found" ? findLetters(text, signal) : found;
}

/** Returns the orders that match; when there are none, the order with this uid, or its dead letters. */
export async function findOrders(text, signal) {
  const found = await findMatches(text, signal);
  if (found.kind !== "not-found") return found;
  const answer = await lookUp(text, signal);
  return answer.kind === "not-found" ? findLetters(text, signal) : answer;
}

async function findLetters(uid, signal) {
  const told = await fetchStory(uid, signal);
  if (told.kind === "told") return { kind: "rejected", story: told.story };
  return { kind: told.kind === "untold" ? "not-found" : told.kind };
}

async function findMatches(text, signal) {
  const searches = [{ track_number: text }, { customer_id: text }];
  const pages = await Promise.all(searches.map((search) => fetchPage(search, null, signal)));
  const failed = pages.find((page) => page.kind !== "page");
  if (failed) return { kind: failed.kind };
  const lists = pages.map(({ orders, next }, way) => ({ search: searches[way], orders, next })).filter(({ orders }) => orders.length > 0);
  return lists.length > 0 ? { kind: "matches", lists } : { kind: "not-found" };
}
