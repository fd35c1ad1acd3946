// Shows the outcome of a message that was sent again: polls until the engine has consumed it.

import { announce } from "../common/announcing.js";
import { orderAddress } from "../common/address.js";
import { element, icon } from "../common/elements.js";
import { letterAddress } from "../common/letter-address.js";
import { fetchLetter } from "./requests.js";
import { words } from "./words.js";

const QUICK_LOOKS = 20;
const QUICK_MS = 500;
const SLOW_MS = 3000;

/**
 * Shows the outcome of a message in `shown`. Resolves with the letter's new state once the outcome is known. Rejects
 * only with an AbortError.
 * @param {Element} shown
 * @param {string} letter The letter's place.
 * @param {string} sent The sent message's place.
 * @param {boolean} corrected Whether a corrected message was sent, not the letter's own.
 * @param {AbortSignal} signal
 */
export async function followOutcome(shown, letter, sent, corrected, signal) {
  show(shown, "again", "", words.sentTo(sent));
  for (let looks = 1; ; looks += 1) {
    const found = await fetchLetter(sent, signal);
    if (found.kind === "ok") {
      showRejectedOther(shown, sent);
      return (await fetchLetter(letter, signal)).body;
    }
    if (found.kind === "not-found" && found.body.consumed) {
      const now = await fetchLetter(letter, signal);
      if (now.kind === "ok") {
        showSettled(shown, now.body, corrected);
        return now.body;
      }
    }
    if (looks === QUICK_LOOKS) show(shown, "again", "", words.stillWaiting(sent));
    await pause(looks < QUICK_LOOKS ? QUICK_MS : SLOW_MS, signal);
  }
}

function showSettled(shown, letter, corrected) {
  const uid = letter.order_uid;
  if (letter.state === "resolved") {
    const link = uid !== null && element("a", { href: orderAddress(uid) }, words.openOrder);
    show(shown, "check", words.acceptedTitle, words.acceptedText, link);
  } else if (corrected) show(shown, "check", words.acceptedTitle, words.acceptedOther);
  else show(shown, "warning", words.rejectedTitle, words.rejectedText);
}

function showRejectedOther(shown, place) {
  show(shown, "warning", words.rejectedTitle, words.rejectedOther, element("a", { href: letterAddress(place) }, place));
}

function show(shown, drawing, title, text, link = false) {
  shown.className = `outcome ${drawing}`;
  shown.replaceChildren(icon(drawing), element("p", {}, title !== "" && element("strong", {}, title), " ", text, " ", link));
  announce(`${title} ${text}`);
}

function pause(duration, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, duration);
    signal.addEventListener("abort", stop, { once: true });
  });
}
