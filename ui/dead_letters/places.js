// The history of one page's addresses: how far each is from the others, so that a step can be taken back.

import { mayLeave } from "./unsaved.js";

let current = history.state?.step ?? 0;
history.replaceState({ step: current }, "");

/** Goes to an address within the page. */
export function goTo(address) {
  current += 1;
  history.pushState({ step: current }, "", address);
}

/**
 * Calls `follow` when the reader goes back or forward. A step that would lose changes is asked about, and taken back.
 * @param {string} question
 * @param {() => void} follow
 */
export function onStep(question, follow) {
  window.addEventListener("popstate", ({ state }) => {
    const step = state?.step ?? 0;
    if (step === current) return;
    if (!mayLeave(question)) {
      history.go(current - step);
      return;
    }
    current = step;
    follow();
  });
}
