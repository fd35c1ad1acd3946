// The states of the page without an order: empty, loading, not found, and failed.

import { element, icon } from "../common/elements.js";
import { exact } from "../common/visible.js";
import { letters } from "./story.js";
import { words } from "./words.js";

/** There are no orders yet: shows how to create some. */
export function emptyState() {
  return element(
    "div",
    { class: "state" },
    stateIcon("box"),
    element("h2", {}, words.emptyTitle),
    element("p", {}, words.emptyText),
    element(
      "dl",
      { class: "tips" },
      ...tip("make demo", words.tipDemo),
      ...tip("orderflow publish 10", words.tipPublish),
      ...tip(`${location.pathname}?order=UID`, words.tipLink),
    ),
  );
}

/** No orders are dated in the future. `recent` is the address of the others. */
export function noFuture(recent) {
  const state = problem("check", words.noFutureTitle, words.noFutureText);
  state.append(element("a", { class: "secondary", href: recent }, words.allRecent));
  return state;
}

/** Returns the placeholder of an order that is being loaded. */
export function skeleton() {
  const line = (size) => element("span", { class: `bone ${size}` });
  const panel = () => element("div", { class: "panel" }, line("short"), line("long"), line("long"), line("middle"));
  return element(
    "div",
    { class: "order skeleton", "aria-hidden": "true" },
    element("div", { class: "order-head" }, line("title")),
    element("div", { class: "panels" }, panel(), panel(), panel()),
    element("div", { class: "items" }, line("short"), line("row"), line("row"), line("row")),
  );
}

/** No order has this uid, nor this track number or customer. */
export function notFound(uid) {
  return problem("missing", words.notFoundTitle, words.notFoundText, uid);
}

/** No order is stored under this uid: its messages were rejected. */
export function rejected(uid, story) {
  const state = problem("warning", words.rejectedTitle, words.rejectedText, uid);
  state.append(letters(story));
  return state;
}

/** A browser cannot request this uid; the command line can. */
export function unsupported(uid) {
  const state = problem("warning", words.unsupportedTitle, words.unsupportedText, uid);
  state.append(element("code", { class: "state-uid" }, `orderflow trace ${uid}`));
  return state;
}

/** No order can have this uid. */
export function invalid(uid) {
  return problem("warning", words.invalidTitle, uid.includes("\0") ? words.nulText : words.invalidText, uid);
}

/** A temporary failure, with a retry button. `kind` is "unavailable", "listUnavailable" or "network". */
export function failure(kind, retry) {
  const state = problem("warning", words[`${kind}Title`], words[`${kind}Text`]);
  const button = element("button", { type: "button", class: "secondary" }, words.retry);
  button.addEventListener("click", retry);
  state.classList.add("failed");
  state.append(button);
  return state;
}

function problem(drawing, title, text, uid = null) {
  return element(
    "div",
    { class: "state" },
    stateIcon(drawing),
    element("h2", {}, title),
    uid !== null && element("code", { class: "state-uid" }, exact(uid)),
    element("p", {}, text),
  );
}

function stateIcon(name) {
  return element("span", { class: "state-icon" }, icon(name));
}

function tip(code, text) {
  return [element("dt", {}, element("code", {}, code)), element("dd", {}, text)];
}
