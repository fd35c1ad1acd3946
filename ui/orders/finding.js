// Finds orders by a text: an order's uid, a track number or a customer.

import { lookUp } from "./lookup.js";
import { fetchPage } from "./pages.js";
import { fetchStory } from "./story-requests.js";

/**
 * @typedef {object} Matches
 * @property {"matches"} kind
 * @property {{search: object, orders: object[], next: string|null}[]} lists The first page of each matching search.
 */

/**
 * @typedef {object} Rejected
 * @property {"rejected"} kind
 * @property {object} story The story of an order that is not stored: its dead letters.
 */

/**
 * Returns the order with this uid, or else the orders that match, or else the dead letters with this uid.
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

/** Returns the orders that match, or else the order with this uid, or else the dead letters with this uid. */
export async function findOrders(text, signal) {
  const found = await findMatches(text, signal);
  if (found.kind !== "not-found") return found;
  const answer = await lookUp(text, signal);
  return answer.kind === "not-found" ? findLetters(text, signal) : answer;
}

async function findLetters(uid, signal) {
  const answer = await fetchStory(uid, signal);
  if (answer.kind === "found") return { kind: "rejected", story: answer.story };
  return { kind: answer.kind === "notFound" ? "not-found" : answer.kind };
}

async function findMatches(text, signal) {
  const searches = [{ track_number: text }, { customer_id: text }];
  const pages = await Promise.all(searches.map((search) => fetchPage(search, null, signal)));
  const failed = pages.find((page) => page.kind !== "page");
  if (failed) return { kind: failed.kind };
  const lists = pages.map(({ orders, next }, index) => ({ search: searches[index], orders, next })).filter(({ orders }) => orders.length > 0);
  return lists.length > 0 ? { kind: "matches", lists } : { kind: "not-found" };
}
