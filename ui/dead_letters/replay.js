// Dialogs that replay one letter, or all matching letters after showing their number.

import { forgetToken } from "../common/admin-access.js";
import { announce } from "../common/announcing.js";
import { actionButton, cancelButton, openDialog } from "../common/dialogs.js";
import { element } from "../common/elements.js";
import { count, shownNumber } from "../common/format.js";
import { placeOf } from "./card.js";
import { reasonName } from "./list.js";
import { planReplay, replayLetter } from "./requests.js";
import { sendAll } from "./sending.js";
import { refusalText, words } from "./words.js";
import { guardSending } from "./unsaved.js";

// A replay is never aborted, even if the page no longer waits for the answer.
const never = new AbortController().signal;

/** Asks whether to replay a letter, and replays it. `sent` is called with the new message's place. */
export function confirmReplay(place, sent) {
  const problem = element("p", { class: "trouble", role: "alert" });
  const send = actionButton([words.replay], "action primary", async () => {
    setBusy(send, true);
    const answer = await replayLetter(place, never);
    if (answer.kind === "ok") {
      dialog.close();
      sent(placeOf(answer.body));
    } else {
      setBusy(send, false);
      refuse(problem, answer);
    }
  });
  const dialog = openDialog(words.replayTitle(place), element("p", {}, words.replayText), problem, buttons(cancelButton(), send));
}

/**
 * Shows how many letters match, and replays them after confirmation, one request after another. `done` is called if letters may
 * have been sent.
 */
export function confirmReplayAll(filters, done) {
  const summary = element("div", { class: "plan", "aria-live": "polite" }, words.counting);
  const problem = element("p", { class: "trouble", role: "alert" });
  const foot = buttons(cancelButton());
  const dialog = openDialog(words.replayAllTitle, summary, problem, foot);
  let sentSome = false;
  /** When the first plan was made, once letters may have been sent: what fails after it is not sent again. */
  let asOf = null;
  /** Stops the running replay; null when none runs. */
  let stop = null;
  dialog.addEventListener("cancel", (event) => {
    if (stop === null) return;
    event.preventDefault();
    stop();
  });
  dialog.addEventListener("close", () => {
    stop?.();
    if (sentSome && stop === null) done();
  });

  const showPlan = (plan) => {
    summary.replaceChildren(...planText(plan));
    const send = actionButton([words.sendMany(plan.total)], "action primary", () => run(plan));
    foot.replaceChildren(cancelButton(sentSome || plan.total === 0 ? words.close : words.cancel), ...(plan.total > 0 ? [send] : []));
  };
  const run = async (plan) => {
    const stopping = new AbortController();
    const stopButton = actionButton([words.stop], "action", () => stop());
    stop = () => {
      setBusy(stopButton, true);
      stopButton.textContent = words.stopping;
      stopping.abort();
    };
    problem.textContent = "";
    const progress = progressOf(plan.total);
    summary.replaceChildren(progress.element);
    foot.replaceChildren(stopButton);
    stopButton.focus();
    const sending = sendAll(filters, plan, stopping.signal, progress.show);
    guardSending(sending);
    const result = await sending;
    stop = null;
    sentSome ||= result.mayHaveSent;
    if (sentSome) asOf ??= plan.as_of;
    if (!dialog.isConnected && sentSome) done();
    if (result.sent === 0 && result.changed) showPlan(result.changed);
    else showOutcome(result, stopping.signal.aborted);
    if (result.trouble) refuse(problem, result.trouble);
    else if (result.changed) problem.textContent = words.refusals.count_changed;
  };
  const showOutcome = (result, stopped) => {
    summary.replaceChildren(...outcomeText(result, stopped));
    const rest = result.left > 0 ? [actionButton([words.sendRest], "action", loadPlan)] : [];
    foot.replaceChildren(...rest, cancelButton(words.close));
    foot.lastChild.focus();
    announce(summary.textContent);
  };
  const loadPlan = async () => {
    problem.textContent = "";
    const answer = await planReplay(asOf === null ? filters : { ...filters, until: asOf }, never);
    if (answer.kind === "ok") showPlan({ ...answer.body, as_of: asOf ?? answer.body.as_of });
    else {
      summary.replaceChildren();
      refuse(problem, answer);
    }
  };
  loadPlan();
}

/** Returns a progress bar with its text. `show` updates both. */
function progressOf(total) {
  const bar = element("progress", { max: total, value: 0, "aria-label": words.sending });
  const text = element("p", { class: "plan-total", "aria-live": "off" }, words.sentOf(0, total));
  return {
    element: element("div", {}, text, bar),
    show(sent) {
      bar.value = sent;
      text.textContent = words.sentOf(sent, total);
    },
  };
}

function planText(plan) {
  const total = `${count(words.letters, plan.total)}${plan.complete ? "" : "+"}`;
  const text = plan.total === 0 ? words.nothingToSend : `${total} ${words.willBeSent}.`;
  const bounded = plan.total > plan.per_call && element("p", {}, words.perCall(plan.per_call));
  const chosen = table(Object.entries(plan.chosen).map(([reason, number]) => [reasonName(reason), number]));
  const skipped = Object.entries(plan.skipped).map(([why, number]) => [words.skippedWhy[why] ?? why, number]);
  return [element("p", { class: "plan-total" }, text), bounded, chosen, ...section(words.skipped, skipped)].filter(Boolean);
}

function outcomeText({ sent, refused, left }, stopped) {
  const why = Object.entries(refused).map(([reason, number]) => [words.whyNot[reason] ?? reason, number]);
  return [
    stopped && left > 0 && element("p", {}, words.stopped),
    element("p", { class: "plan-total" }, `${words.sentMany}: ${count(words.letters, sent)}.`),
    left > 0 && element("p", {}, `${words.leftMany}: ${shownNumber(left)}.`),
    ...section(words.notAcknowledged, why),
  ].filter(Boolean);
}

function section(title, rows) {
  return rows.length > 0 ? [element("h3", {}, title), table(rows)] : [];
}

function table(rows) {
  return element("dl", { class: "plan-rows" }, ...rows.map(([name, number]) => element("div", {}, element("dt", {}, name), element("dd", {}, shownNumber(number)))));
}

function buttons(...made) {
  return element("div", { class: "dialog-buttons" }, ...made);
}

function setBusy(button, busy) {
  button.disabled = busy;
  button.setAttribute("aria-busy", String(busy));
}

function refuse(problem, answer) {
  problem.textContent = refusalText(answer);
  if (answer.kind === "unauthorized") forgetToken();
}
