// Replays: one letter, or all that match, with their number first.

import { tokenWasRefused } from "./admin-access.js";
import { announce } from "../common/announcing.js";
import { actionButton, cancelButton, openDialog } from "./dialogs.js";
import { element } from "../common/elements.js";
import { count } from "../common/format.js";
import { placeOf } from "./card.js";
import { reasonName } from "./list.js";
import { planReplay, replayAll, replayLetter } from "./requests.js";
import { refusalText, words } from "./words.js";

// What was asked for is done even if nobody waits for the answer any more.
const never = new AbortController().signal;

/** Asks whether to replay a letter, and does. `sent` is told where the message lies then. */
export function confirmReplay(place, sent) {
  const trouble = element("p", { class: "trouble", role: "alert" });
  const send = actionButton([words.replay], "action primary", async () => {
    setBusy(send, true);
    const answer = await replayLetter(place, never);
    if (answer.kind === "ok") {
      dialog.close();
      sent(placeOf(answer.told));
    } else {
      setBusy(send, false);
      refuse(trouble, answer);
    }
  });
  const dialog = openDialog(words.replayTitle(place), element("p", {}, words.replayText), trouble, buttons(cancelButton(), send));
}

/** Shows how many letters match, and replays them when told to. `done` is called when some may have been sent. */
export function confirmReplayAll(filters, done) {
  const told = element("div", { class: "plan", "aria-live": "polite" }, words.counting);
  const trouble = element("p", { class: "trouble", role: "alert" });
  const foot = buttons(cancelButton());
  const dialog = openDialog(words.replayAllTitle, told, trouble, foot);
  let sentSome = false;
  dialog.addEventListener("close", () => sentSome && done());

  const showPlan = (plan) => {
    told.replaceChildren(...planText(plan));
    const many = Math.min(plan.total, plan.per_call);
    foot.replaceChildren(cancelButton(sentSome || many === 0 ? words.close : words.cancel), ...(many > 0 ? [sendButton(plan, many)] : []));
  };
  const sendButton = (plan, many) => {
    const send = actionButton([words.sendMany(many)], "action primary", async () => {
      setBusy(send, true);
      trouble.textContent = "";
      const answer = await replayAll(filters, plan.total, never);
      sentSome ||= answer.kind !== "refused" && answer.kind !== "unauthorized";
      if (!dialog.isConnected && sentSome) done();
      if (answer.kind === "refused" && answer.told.plan) showPlan(answer.told.plan);
      else if (answer.told?.replayed) showOutcome(answer.told);
      if (answer.kind !== "ok") refuse(trouble, answer);
      if (send.isConnected) setBusy(send, false);
    });
    return send;
  };
  const showOutcome = (outcome) => {
    told.replaceChildren(...outcomeText(outcome));
    const rest = outcome.left > 0 ? [actionButton([words.sendRest], "action", look)] : [];
    foot.replaceChildren(...rest, cancelButton(words.close));
    foot.lastChild.focus();
    announce(told.textContent);
  };
  const look = async () => {
    trouble.textContent = "";
    const answer = await planReplay(filters, never);
    if (answer.kind === "ok") showPlan(answer.told);
    else {
      told.replaceChildren();
      refuse(trouble, answer);
    }
  };
  look();
}

function planText(plan) {
  const total = `${count(words.letters, plan.total)}${plan.complete ? "" : "+"}`;
  const text = plan.total === 0 ? words.nothingToSend : `${total} ${words.willBeSent}.`;
  const bounded = plan.total > plan.per_call && element("p", {}, words.perCall(plan.per_call));
  const chosen = table(Object.entries(plan.chosen).map(([reason, many]) => [reasonName(reason), many]));
  const skipped = Object.entries(plan.skipped).map(([why, many]) => [words.skippedWhy[why] ?? why, many]);
  return [element("p", { class: "plan-total" }, text), bounded, chosen, ...section(words.skipped, skipped)].filter(Boolean);
}

function outcomeText({ replayed, not_acknowledged: refused, left }) {
  const sent = Object.values(replayed).reduce((sum, many) => sum + many, 0);
  const why = Object.entries(refused).map(([reason, many]) => [words.whyNot[reason] ?? reason, many]);
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
  return element("dl", { class: "plan-rows" }, ...rows.map(([name, many]) => element("div", {}, element("dt", {}, name), element("dd", {}, many))));
}

function buttons(...made) {
  return element("div", { class: "dialog-buttons" }, ...made);
}

function setBusy(button, busy) {
  button.disabled = busy;
  button.setAttribute("aria-busy", String(busy));
}

function refuse(trouble, answer) {
  trouble.textContent = refusalText(answer);
  if (answer.kind === "unauthorized") tokenWasRefused();
}
