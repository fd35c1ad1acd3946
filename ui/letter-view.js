// One dead letter and what can be done with it.

import { isReadOnly, tokenWasRefused, withToken } from "./admin-access.js";
import { announce } from "./announcing.js";
import { actionButton } from "./dialogs.js";
import { element, icon } from "./elements.js";
import { letterCard, placeOf } from "./letter-card.js";
import { mendingPanel } from "./letter-mending.js";
import { isRevealed, messagePanel } from "./letter-message.js";
import { followOutcome } from "./letter-outcome.js";
import { confirmReplay } from "./letter-replay.js";
import { fetchRevealed } from "./letter-requests.js";
import { refusalText, words } from "./letters-words.js";

/**
 * Returns what shows a letter and lets the reader act on it.
 * @param {object} masked What the server tells everybody.
 * @param {Node} back Leads back to the list.
 * @param {AbortSignal} signal Says when the letter is no longer shown.
 */
export function letterView(masked, back, signal) {
  const place = placeOf(masked);
  const outcome = element("div", { class: "outcome", hidden: "", tabindex: "-1" });
  const trouble = element("p", { class: "trouble", role: "alert" });
  const card = element("div");
  const view = element("div", { class: "letter-view" }, back, outcome, trouble, card);
  let letter = masked;

  const render = (shown) => {
    letter = shown;
    const message = messagePanel(letter, !isReadOnly() && revealButton());
    card.replaceChildren(letterCard(letter, message, actions()));
  };
  const actions = () => {
    if (isReadOnly() || letter.state === "resolved") return [];
    const replay = actionButton([icon("again"), words.replay], "action", () => withToken(() => confirmReplay(place, (sent) => follow(sent, false))));
    const mend = actionButton([icon("pencil"), words.mend], "action primary", () => withToken(() => whenRevealed(edit)));
    return [replay, mend];
  };
  const revealButton = () => {
    if (isRevealed(letter)) return actionButton([icon("eye"), words.hide], "action quiet", () => refocus(() => render(masked)));
    return actionButton([icon("eye"), words.reveal], "action quiet", () =>
      withToken(() => whenRevealed((revealed) => refocus(() => render(revealed)))),
    );
  };
  /** Rendering takes the focused button away: the focus goes to the one in its place. */
  const refocus = (act) => {
    act();
    card.querySelector(".message-head .quiet").focus();
  };
  const whenRevealed = async (then) => {
    trouble.textContent = "";
    const answer = isRevealed(letter) ? { kind: "ok", told: letter } : await fetchRevealed(place, signal);
    if (answer.kind === "ok") {
      then(answer.told);
      return;
    }
    if (answer.kind === "unauthorized") tokenWasRefused();
    trouble.textContent = refusalText(answer);
  };
  const edit = (revealed) => {
    const cancel = () => render(letter);
    const sent = (where) => {
      render(masked);
      follow(where, true);
    };
    card.querySelector("#message").replaceWith(mendingPanel(revealed, { sent, cancel }));
    card.querySelector("textarea").focus();
  };
  const follow = async (sent, mended) => {
    outcome.hidden = false;
    outcome.scrollIntoView({ block: "nearest" });
    outcome.focus({ preventScroll: true });
    try {
      const now = await followOutcome(outcome, place, sent, mended, signal);
      masked = now;
      render(now);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  };

  document.addEventListener("token-forgotten", () => render(masked), { signal });
  render(masked);
  announce(words.found);
  return view;
}
