// The browser history of the page. Entries are numbered, so that a step can be undone.

import { mayLeave } from "./unsaved.js";

let current = history.state?.step ?? 0;
history.replaceState({ step: current }, "");

/** Adds an address of this page to the history. */
export function goTo(address) {
  current += 1;
  history.pushState({ step: current }, "", address);
}

/**
 * Calls `follow` when the reader goes back or forward. If unsaved changes would be lost, it asks first, and undoes the
 * step if the reader does not confirm.
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
