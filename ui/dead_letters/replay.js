// Dialogs that replay one letter, or all matching letters after showing their number.

import { forgetToken } from "./admin-access.js";
import { announce } from "../common/announcing.js";
import { actionButton, cancelButton, openDialog } from "./dialogs.js";
import { element } from "../common/elements.js";
import { count } from "../common/format.js";
import { placeOf } from "./card.js";
import { reasonName } from "./list.js";
import { planReplay, replayAll, replayLetter } from "./requests.js";
import { refusalText, words } from "./words.js";

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

/** Shows how number letters match, and replays them after confirmation. `done` is called if letters may have been sent. */
export function confirmReplayAll(filters, done) {
  const summary = element("div", { class: "plan", "aria-live": "polite" }, words.counting);
  const problem = element("p", { class: "trouble", role: "alert" });
  const foot = buttons(cancelButton());
  const dialog = openDialog(words.replayAllTitle, summary, problem, foot);
  let sentSome = false;
  dialog.addEventListener("close", () => sentSome && done());

  const showPlan = (plan) => {
    summary.replaceChildren(...planText(plan));
    const number = Math.min(plan.total, plan.per_call);
    foot.replaceChildren(cancelButton(sentSome || number === 0 ? words.close : words.cancel), ...(number > 0 ? [sendButton(plan, number)] : []));
  };
  const sendButton = (plan, number) => {
    const send = actionButton([words.sendMany(number)], "action primary", async () => {
      setBusy(send, true);
      problem.textContent = "";
      const answer = await replayAll(filters, plan.total, never);
      sentSome ||= answer.kind !== "refused" && answer.kind !== "unauthorized";
      if (!dialog.isConnected && sentSome) done();
      if (answer.kind === "refused" && answer.body.plan) showPlan(answer.body.plan);
      else if (answer.body?.replayed) showOutcome(answer.body);
      if (answer.kind !== "ok") refuse(problem, answer);
      if (send.isConnected) setBusy(send, false);
    });
    return send;
  };
  const showOutcome = (outcome) => {
    summary.replaceChildren(...outcomeText(outcome));
    const rest = outcome.left > 0 ? [actionButton([words.sendRest], "action", loadPlan)] : [];
    foot.replaceChildren(...rest, cancelButton(words.close));
    foot.lastChild.focus();
    announce(summary.textContent);
  };
  const loadPlan = async () => {
    problem.textContent = "";
    const answer = await planReplay(filters, never);
    if (answer.kind === "ok") showPlan(answer.body);
    else {
      summary.replaceChildren();
      refuse(problem, answer);
    }
  };
  loadPlan();
}

function planText(plan) {
  const total = `${count(words.letters, plan.total)}${plan.complete ? "" : "+"}`;
  const text = plan.total === 0 ? words.nothingToSend : `${total} ${words.willBeSent}.`;
  const bounded = plan.total > plan.per_call && element("p", {}, words.perCall(plan.per_call));
  const chosen = table(Object.entries(plan.chosen).map(([reason, number]) => [reasonName(reason), number]));
  const skipped = Object.entries(plan.skipped).map(([why, number]) => [words.skippedWhy[why] ?? why, number]);
  return [element("p", { class: "plan-total" }, text), bounded, chosen, ...section(words.skipped, skipped)].filter(Boolean);
}

function outcomeText({ replayed, not_acknowledged: refused, left }) {
  const sent = Object.values(replayed).reduce((sum, number) => sum + number, 0);
  const why = Object.entries(refused).map(([reason, number]) => [words.whyNot[reason] ?? reason, number]);
  return [
    element("p", { class: "plan-total" }, `${words.sentMany}: ${count(words.letters, sent)}.`),
    left > 0 && element("p", {}, `${words.leftMany}: ${left}.`),
    ...section(words.notAcknowledged, why),
  ].filter(Boolean);
}

function section(title, rows) {
  return rows.length > 0 ? [element("h3", {}, title), table(rows)] : [];
}

function table(rows) {
  return element("dl", { class: "plan-rows" }, ...rows.map(([name, number]) => element("div", {}, element("dt", {}, name), element("dd", {}, number))));
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
