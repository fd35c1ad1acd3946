// Finds orders by a text: an order's uid, a track number or a customer.

import { lookUp } from "./lookup.js";
import { fetchPage } from "./pages.js";
import { fetchStory } from "./story-requests.js";

/**
 * @typedef {object} Matches
 * @property {"matches"} kind
 * @property {{search: object, orders: object[], next: string|null, future: number}[]} lists The first page of each
 *   matching search. A search may match only orders that are dated in the future.
 */

/**
 * @typedef {object} Rejected
 * @property {"rejected"} kind
 * @property {object} story The story of an order that is not stored: its dead letters.
 */

/**
 * Returns the order with this uid, or else the orders that match, or else the dead letters with this uid.
 *
 * Blanks around the text may be part of a uid: each is looked for with them first, and then without. `sought` of the answer
 * is the text that was found.
 * @param {string} text
 * @param {AbortSignal} signal
 * @returns {Promise<(import("./lookup.js").Answer|Matches|Rejected) & {sought: string}>}
 */
export function findOrder(text, signal) {
  return firstFound(text, signal, [lookUp, findMatches, findLetters]);
}

/** Returns the orders that match, or else the order with this uid, or else the dead letters with this uid. */
export function findOrders(text, signal) {
  return firstFound(text, signal, [findMatches, lookUp, findLetters]);
}

/** Returns the matching orders that are dated in the future. */
export function findFuture(text, signal) {
  return firstFound(text, signal, [findFutureMatches]);
}

async function firstFound(text, signal, finders) {
  const trimmed = text.trim();
  let failed = null;
  for (const find of finders) {
    for (const sought of new Set([text, trimmed])) {
      const answer = await find(sought, signal);
      if (answer.kind !== "not-found" && answer.kind !== "invalid") return { ...answer, sought };
      failed = { ...answer, sought: text };
    }
    if (failed.kind === "invalid") return failed;
  }
  return failed;
}

async function findLetters(uid, signal) {
  const answer = await fetchStory(uid, signal);
  if (answer.kind === "found") return { kind: "rejected", story: answer.story };
  return { kind: answer.kind === "notFound" ? "not-found" : answer.kind };
}

function findMatches(text, signal) {
  return matchesOf([{ track_number: text }, { customer_id: text }], signal);
}

function findFutureMatches(text, signal) {
  return matchesOf([{ track_number: text, dated: "future" }, { customer_id: text, dated: "future" }], signal);
}

async function matchesOf(searches, signal) {
  const pages = await Promise.all(searches.map((search) => fetchPage(search, null, signal)));
  const failed = pages.find((page) => page.kind !== "page");
  if (failed) return { kind: failed.kind };
  const lists = pages.map(({ kind: _kind, ...page }, index) => ({ search: searches[index], ...page })).filter(({ future, orders }) => orders.length + future > 0);
  return lists.length > 0 ? { kind: "matches", lists } : { kind: "not-found" };
}
