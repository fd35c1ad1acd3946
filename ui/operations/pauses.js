// What an operator has paused, and the controls that pause and resume.

import { forgetToken, withToken } from "../common/admin-access.js";
import { adminToken } from "../common/admin-token.js";
import { announce } from "../common/announcing.js";
import { actionButton, cancelButton, openDialog } from "../common/dialogs.js";
import { element, icon } from "../common/elements.js";
import { instant } from "../common/format.js";
import { post, refusalText } from "../common/requests.js";
import { words } from "./words.js";

// A request that changes something is never aborted, even if the page no longer waits for the answer.
const never = new AbortController().signal;

/**
 * Returns the pauses as a list, which may be empty. `partitions` are those of the snapshot, null while they are not known.
 * @param {{partition: number|null, paused_at: string, paused_by: string}[]} pauses
 */
export function pauseList(pauses, partitions) {
  return element("ul", { class: "alarms pauses", "aria-label": words.pausesTitle }, ...pauses.map((pause) => pauseItem(pause, partitions ?? [], isEverything(pauses))));
}

function isEverything(pauses) {
  return pauses.some(({ partition }) => partition === null);
}

function pauseItem({ partition, paused_at: since, paused_by: by }, partitions, everything) {
  const held = partition === null ? partitions : partitions.filter((one) => one.partition === partition);
  const undrained = held.filter(({ drained }) => drained === false).map((one) => one.partition);
  const progress = undrained.length > 0 ? words.stillWritten(undrained.join(", ")) : words.drained;
  return element(
    "li",
    {},
    icon("pause"),
    element(
      "span",
      {},
      element("strong", {}, partition === null ? words.allPaused : words.onePaused(partition)),
      element("span", {}, " · ", words.pausedSince(instant(new Date(since))), " ", element("bdi", {}, by), " · ", progress),
    ),
    resumeControl(partition, everything),
  );
}

/** Returns the button or the command that ends a pause. While everything is paused, only all pauses end together. */
function resumeControl(partition, everything) {
  if (everything && partition !== null) return null;
  if (adminToken()) return button("resume", partition, words.resume);
  return element("code", {}, partition === null ? "orderflow resume" : `orderflow resume --partition ${partition}`);
}

/** Returns the button that pauses everything; null without the token, or if everything is paused. */
export function pauseAllButton(pauses) {
  return adminToken() && !isEverything(pauses) ? button("pause", null, words.pauseAll) : null;
}

/** Returns the button that pauses one partition; null if it is paused. */
export function pauseButton(partition) {
  return partition.paused_at === null ? button("pause", partition.partition, words.pause) : null;
}

/** Buttons are replaced with every snapshot: they only say what they do, and `listenToPauses` does it. */
function button(what, partition, label) {
  const name = partition === null ? label : `${label}: ${words.partition} ${partition}`;
  return element("button", { type: "button", class: "action quiet", "data-act": what, "data-partition": String(partition ?? ""), "aria-label": name }, label);
}

/** Acts when one of the buttons in `place` is pressed. */
export function listenToPauses(place) {
  place.addEventListener("click", ({ target }) => {
    const pressed = target.closest("button[data-act]");
    if (!pressed) return;
    const { act, partition } = pressed.dataset;
    withToken(() => confirm(act, partition === "" ? null : Number(partition)));
  });
}

function confirm(act, partition) {
  const texts = words[act === "pause" ? "pausing" : "resuming"];
  const problem = element("p", { class: "trouble", role: "alert" });
  const send = actionButton([texts.act], "action primary", async () => {
    send.disabled = true;
    const answer = await post(`operations/${act}`, partition === null ? {} : { partition }, never);
    send.disabled = false;
    if (answer.kind === "ok") {
      dialog.close();
      announce(texts.done);
      return;
    }
    problem.textContent = refusalText(answer, words.refusedPauses);
    if (answer.body?.workers) problem.append(` ${answer.body.workers.join(", ")}`);
    if (answer.kind === "unauthorized") forgetToken();
  });
  const title = partition === null ? texts.all : texts.one(partition);
  const text = (partition === null && texts.textAll) || texts.text;
  const dialog = openDialog(title, element("p", {}, text), problem, element("div", { class: "dialog-buttons" }, cancelButton(), send));
}
