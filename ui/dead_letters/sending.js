// Replays any number of letters: each request sends a part of them, and the next one begins when it was answered.

import { replayAll } from "./requests.js";

// A request is never aborted: its letters are sent in any case, and their number would not be known.
const never = new AbortController().signal;
/** How long to wait for the turn while another server process replays letters. */
const TURN_MS = 1000;

/**
 * @typedef {object} Result
 * @property {number} sent How many letters were sent and acknowledged.
 * @property {number} left How many of the plan's letters were not sent.
 * @property {Object<string, number>} refused Letters that the broker did not take, by cause.
 * @property {boolean} mayHaveSent Whether letters were sent, or the answer of a request did not arrive.
 * @property {import("./requests.js").Answer} [trouble] The answer that ended it early.
 * @property {object} [changed] The new plan, when more letters match than were confirmed.
 */

/**
 * Sends the letters of a plan. Only those that had failed by then, so that no letter is sent again when it is rejected again.
 * Letters that someone else sends or resolves meanwhile are left out.
 * @param {object} filters
 * @param {{total: number, complete: boolean, as_of: string}} plan
 * @param {AbortSignal} stopped No further request is made once it is aborted.
 * @param {(sent: number) => void} progress
 * @returns {Promise<Result>}
 */
export async function sendAll(filters, plan, stopped, progress) {
  const result = { sent: 0, left: plan.total, refused: {}, mayHaveSent: false };
  while (result.left > 0 && result.sent < plan.total && !stopped.aborted) {
    const answer = await replayAll({ ...filters, until: plan.as_of }, result.left, never);
    if (answer.kind === "refused" && answer.body.error === "replay_running") {
      await new Promise((done) => setTimeout(done, TURN_MS));
      continue;
    }
    const changed = answer.kind === "refused" ? answer.body.plan : undefined;
    if (changed) {
      // A count that is not complete does not fall while letters are sent.
      if (changed.total > result.left && changed.complete) return { ...result, changed };
      result.left = changed.total;
      continue;
    }
    result.mayHaveSent ||= answer.kind !== "refused" && answer.kind !== "unauthorized";
    const outcome = answer.body?.replayed ? answer.body : { replayed: {}, not_acknowledged: result.refused, left: result.left };
    const sent = Object.values(outcome.replayed).reduce((sum, number) => sum + number, 0);
    Object.assign(result, { sent: result.sent + sent, left: outcome.left, refused: outcome.not_acknowledged });
    progress(result.sent);
    if (answer.kind !== "ok") return { ...result, trouble: answer };
    // Only letters that the broker does not take are left.
    if (sent === 0) break;
  }
  return result;
}
