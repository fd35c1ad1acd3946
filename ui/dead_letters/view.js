// The view of one dead letter, with its actions.

import { isReadOnly, forgetToken, withToken } from "../common/admin-access.js";
import { announce } from "../common/announcing.js";
import { actionButton } from "../common/dialogs.js";
import { element, icon } from "../common/elements.js";
import { letterCard, placeOf } from "./card.js";
import { editorPanel } from "./editor.js";
import { isRevealed, messagePanel } from "./message.js";
import { followOutcome } from "./outcome.js";
import { confirmReplay } from "./replay.js";
import { fetchRevealed } from "./requests.js";
import { refusalText, words } from "./words.js";

/**
 * Returns the view of a letter.
 * @param {object} masked The letter with masked values.
 * @param {Node} back The link back to the list.
 * @param {AbortSignal} signal Aborted when the letter is no longer shown.
 */
export function letterView(masked, back, signal) {
  const view = new LetterView(masked, signal);
  announce(words.found);
  return element("div", { class: "letter-view" }, back, view.outcome, view.problem, view.card);
}

class LetterView {
  constructor(masked, signal) {
    this.masked = masked;
    this.place = placeOf(masked);
    this.signal = signal;
    this.outcome = element("div", { class: "outcome", hidden: "", tabindex: "-1" });
    this.problem = element("p", { class: "trouble", role: "alert" });
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
    const mend = () => this.withRevealed((revealed) => this.edit(revealed));
    return [
      actionButton([icon("again"), words.replay], "action", () => withToken(replay)),
      actionButton([icon("pencil"), words.mend], "action primary", () => withToken(mend)),
    ];
  }

  revealButton() {
    const button = (label, act) => actionButton([icon("eye"), label], "action quiet", act);
    if (isRevealed(this.letter)) return button(words.hide, () => this.renderAndFocus(this.masked));
    const reveal = () => this.withRevealed((revealed) => this.renderAndFocus(revealed));
    return button(words.reveal, () => withToken(reveal));
  }

  /** Rendering removes the focused button: moves the focus to the new one. */
  renderAndFocus(letter) {
    this.render(letter);
    this.card.querySelector(".message-head .quiet").focus();
  }

  async withRevealed(then) {
    this.problem.textContent = "";
    const answer = isRevealed(this.letter) ? { kind: "ok", body: this.letter } : await this.unlessAborted(fetchRevealed(this.place, this.signal));
    if (answer?.kind === "ok") then(answer.body);
    else if (answer) {
      if (answer.kind === "unauthorized") forgetToken();
      this.problem.textContent = refusalText(answer);
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
    this.card.querySelector("#message").replaceWith(editorPanel(revealed, { sent, cancel }));
    this.card.querySelector("textarea").focus();
  }

  async follow(sent, corrected) {
    this.outcome.hidden = false;
    this.outcome.scrollIntoView({ block: "nearest" });
    this.outcome.focus({ preventScroll: true });
    const now = await this.unlessAborted(followOutcome(this.outcome, this.place, sent, corrected, this.signal));
    if (!now) return;
    this.masked = now;
    this.render(now);
  }

  /** Returns the result of a promise; null when the letter is no longer shown. */
  async unlessAborted(promise) {
    try {
      return await promise;
    } catch (error) {
      if (this.signal.aborted) return null;
      throw error;
    }
  }
}
