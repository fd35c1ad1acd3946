// One dead letter and what can be done with it.

import { isReadOnly, tokenWasRefused, withToken } from "./admin-access.js";
import { announce } from "../common/announcing.js";
import { actionButton } from "./dialogs.js";
import { element, icon } from "../common/elements.js";
import { letterCard, placeOf } from "./card.js";
import { mendingPanel } from "./mending.js";
import { isRevealed, messagePanel } from "./message.js";
import { followOutcome } from "./outcome.js";
import { confirmReplay } from "./replay.js";
import { fetchRevealed } from "./requests.js";
import { refusalText, words } from "./words.js";

/**
 * Returns what shows a letter and lets the reader act on it.
 * @param {object} masked What the server tells everybody.
 * @param {Node} back Leads back to the list.
 * @param {AbortSignal} signal Says when the letter is no longer shown.
 */
export function letterView(masked, back, signal) {
  const view = new LetterView(masked, signal);
  announce(words.found);
  return element("div", { class: "letter-view" }, back, view.outcome, view.trouble, view.card);
}

class LetterView {
  constructor(masked, signal) {
    this.masked = masked;
    this.place = placeOf(masked);
    this.signal = signal;
    this.outcome = element("div", { class: "outcome", hidden: "", tabindex: "-1" });
    this.trouble = element("p", { class: "trouble", role: "alert" });
    this.card = element("div");
    document.addEventListener("token-forgotten", () => this.render(this.masked), { signal });
    this.render(masked);
  }

  render(letter) {
    this.letter = letter;
    const message = messagePanel(letter, !isReadOnly() && this.revealButton());
    this.card.replaceChildren(letterCard(letter, message, this.actions()));
  }

  actions() {
    if (isReadOnly() || this.letter.state === "resolved") return [];
    const replay = () => confirmReplay(this.place, (sent) => this.follow(sent, false));
    const mend = () => this.whenRevealed((revealed) => this.edit(revealed));
    return [
      actionButton([icon("again"), words.replay], "action", () => withToken(replay)),
      actionButton([icon("pencil"), words.mend], "action primary", () => withToken(mend)),
    ];
  }

  revealButton() {
    const button = (label, act) => actionButton([icon("eye"), label], "action quiet", act);
    if (isRevealed(this.letter)) return button(words.hide, () => this.renderAndFocus(this.masked));
    const reveal = () => this.whenRevealed((revealed) => this.renderAndFocus(revealed));
    return button(words.reveal, () => withToken(reveal));
  }

  /** Rendering takes the focused button away: the focus goes to the one in its place. */
  renderAndFocus(letter) {
    this.render(letter);
    this.card.querySelector(".message-head .quiet").focus();
  }

  async whenRevealed(then) {
    this.trouble.textContent = "";
    const answer = isRevealed(this.letter) ? { kind: "ok", told: this.letter } : await this.unlessGone(fetchRevealed(this.place, this.signal));
    if (answer?.kind === "ok") then(answer.told);
    else if (answer) {
      if (answer.kind === "unauthorized") tokenWasRefused();
      this.trouble.textContent = refusalText(answer);
    }
  }

  edit(revealed) {
    const sent = (where) => {
      this.render(this.masked);
      this.follow(where, true);
    };
    const cancel = () => {
      this.render(this.letter);
      this.card.querySelector(".letter-actions .primary").focus();
    };
    this.card.querySelector("#message").replaceWith(mendingPanel(revealed, { sent, cancel }));
    this.card.querySelector("textarea").focus();
  }

  async follow(sent, mended) {
    this.outcome.hidden = false;
    this.outcome.scrollIntoView({ block: "nearest" });
    this.outcome.focus({ preventScroll: true });
    const now = await this.unlessGone(followOutcome(this.outcome, this.place, sent, mended, this.signal));
    if (!now) return;
    this.masked = now;
    this.render(now);
  }

  /** Returns what is waited for; null when the letter is no longer shown. */
  async unlessGone(awaited) {
    try {
      return await awaited;
    } catch (error) {
      if (this.signal.aborted) return null;
      throw error;
    }
  }
}
