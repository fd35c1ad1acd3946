// What becomes of a message that was sent again: looked at until the engine has taken it.

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
 * Shows in `shown` what becomes of a message. Resolves, once that is known, with the letter as it is then. Rejects only
 * with an AbortError.
 * @param {Element} shown
 * @param {string} letter The place of the letter that it is about.
 * @param {string} sent The place of the message.
 * @param {boolean} mended Whether it was another message than the letter's own.
 * @param {AbortSignal} signal
 */
export async function followOutcome(shown, letter, sent, mended, signal) {
  show(shown, "again", "", words.sentTo(sent));
  for (let looks = 1; ; looks += 1) {
    const found = await fetchLetter(sent, signal);
    if (found.kind === "ok") {
      showRejectedOther(shown, sent);
      return (await fetchLetter(letter, signal)).told;
    }
    if (found.kind === "not-found" && found.told.consumed) {
      const now = await fetchLetter(letter, signal);
      if (now.kind === "ok") {
        showSettled(shown, now.told, mended);
        return now.told;
      }
    }
    if (looks === QUICK_LOOKS) show(shown, "again", "", words.stillWaiting(sent));
    await pause(looks < QUICK_LOOKS ? QUICK_MS : SLOW_MS, signal);
  }
}

function showSettled(shown, letter, mended) {
  const uid = letter.order_uid;
  if (letter.state === "resolved") {
    const link = uid !== null && element("a", { href: orderAddress(uid) }, words.openOrder);
    show(shown, "check", words.acceptedTitle, words.acceptedText, link);
  } else if (mended) show(shown, "check", words.acceptedTitle, words.acceptedOther);
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
