// The card of one dead letter: its errors, its history, and its message.

import { orderAddress } from "../common/address.js";
import { copyButton } from "../common/copying.js";
import { actionButton } from "../common/dialogs.js";
import { element, icon } from "../common/elements.js";
import { count, instant } from "../common/format.js";
import { messageTime } from "../common/odd-times.js";
import { exact } from "../common/visible.js";
import { explain } from "./errors.js";
import { reasonName, stateBadge } from "./list.js";
import { words } from "./words.js";

/**
 * Returns the card of a letter.
 * @param {object} letter The letter as the server returns it.
 * @param {{element: Element, showError: (path: string) => void}} message The panel of its message.
 * @param {Node[]} actions
 */
export function letterCard(letter, message, actions) {
  return element(
    "article",
    { class: "order letter", "aria-labelledby": "letter-place" },
    head(letter, actions),
    element("div", { class: "letter-panels" }, errorsPanel(letter, message), historyPanel(letter)),
    message.element,
  );
}

/** Returns a letter's place, such as 2:57. */
export function placeOf({ partition, offset }) {
  return `${partition}:${offset}`;
}

function head(letter, actions) {
  return element(
    "header",
    { class: "order-head" },
    element(
      "div",
      { class: "order-name" },
      element("p", { class: "eyebrow" }, `${words.letter} ${placeOf(letter)}`),
      element(
        "h2",
        { id: "letter-place", tabindex: "-1" },
        reasonName(letter.reason),
        copyButton(words.copyLink, () => location.href, { iconOnly: true }),
      ),
      element("p", { class: "letter-subject" }, stateBadge(letter), subject(letter.order_uid)),
    ),
    actions.length > 0 && element("div", { class: "letter-actions" }, ...actions),
  );
}

function subject(uid) {
  return uid === null ? element("em", {}, words.noUid) : element("a", { class: "search-link", href: orderAddress(uid) }, element("code", {}, exact(uid)));
}

function errorsPanel({ errors }, message) {
  return element(
    "section",
    { class: "panel", "aria-labelledby": "letter-errors" },
    element("h3", { id: "letter-errors" }, icon("warning"), words.wrong, element("span", { class: "count" }, errors.length)),
    element("ul", { class: "letter-errors" }, ...errors.map(({ path, message: text }) => errorLine(path, text, message))),
  );
}

function errorLine(path, text, message) {
  const name = path === "" ? element("span", {}, words.wholeMessage) : element("code", {}, path);
  const line = element("li", {}, actionButton([name], "letter-path", () => message.showError(path)), " ", explain(text));
  return line;
}

function historyPanel(letter) {
  return element(
    "section",
    { class: "panel", "aria-labelledby": "letter-history" },
    element("h3", { id: "letter-history" }, icon("box"), words.history),
    element(
      "dl",
      { class: "facts" },
      ...fact(words.produced, letter.produced_at === null ? words.unknown : messageTime(letter.produced_at, Date.parse(letter.produced_at))),
      ...fact(words.failed, time(letter.failed_at)),
      ...fact(words.published, time(letter.published_at)),
      ...fact(words.replayCount, letter.replay_count > 0 && words.replaysOf(letter.replay_count)),
      ...fact(words.replayed, time(letter.replayed_at)),
      ...fact(words.resolvedAt, time(letter.resolved_at)),
      ...fact(words.topic, element("code", {}, letter.topic)),
      ...fact(words.group, element("code", {}, letter.consumer_group)),
      ...fact(words.batch, element("code", {}, letter.batch_id)),
      ...fact(words.size, count(words.bytes, letter.payload_bytes)),
    ),
  );
}

function fact(name, value) {
  return value === null || value === false ? [] : [element("div", {}, element("dt", {}, name), element("dd", {}, value))];
}

/** Shows an instant in the reader's time zone, with the exact UTC time as a tooltip. */
function time(text) {
  return text === null ? null : element("time", { datetime: text, title: text }, instant(new Date(text)));
}
