// The list of dead letters, with one link per line, and a button that loads more.

import { element } from "../common/elements.js";
import { count, instant } from "../common/format.js";
import { growingList } from "../common/growing-list.js";
import { letterAddress } from "../common/letter-address.js";
import { exact } from "../common/visible.js";
import { words } from "./words.js";

/**
 * Returns the first page of a list.
 * @param {{letters: object[], next: string|null}} page
 * @param {string} total The number of all letters, as text.
 * @param {Node|false} action The button for an action on all letters.
 * @param {(before: string) => Promise<import("./requests.js").Answer>} more
 */
export function letterList(page, total, action, more) {
  const { lines, foot } = growingList(
    asItems(page),
    line,
    async (before) => {
      const answer = await more(before);
      return answer.kind === "ok" ? asItems(answer.body) : null;
    },
    { ...words, items: words.letters },
  );
  return element(
    "section",
    { class: "list" },
    element("header", { class: "list-title" }, element("h2", {}, words.heading, element("span", { class: "count" }, total)), action),
    lines,
    foot,
  );
}

function asItems({ letters, next }) {
  return { items: letters, next };
}

function line(letter) {
  const place = `${letter.partition}:${letter.offset}`;
  return element(
    "li",
    {},
    element(
      "a",
      { class: "line letter-line", href: letterAddress(place) },
      element("span", { class: "letter-reason" }, reasonName(letter.reason)),
      element("span", { class: "letter-uid" }, letter.order_uid === null ? element("em", {}, words.noUid) : exact(letter.order_uid)),
      element("span", { class: "letter-failed" }, instant(new Date(letter.failed_at))),
      element("span", { class: "letter-place" }, element("span", { class: "visually-hidden" }, `${words.place} `), place),
      element("span", { class: "letter-numbers" }, numbers(letter)),
      element("span", { class: "letter-state" }, stateBadge(letter)),
    ),
  );
}

function numbers({ error_count: errors, replay_count: replays }) {
  return [count(words.errors, errors), ...(replays > 0 ? [count(words.replays, replays)] : [])].join(" · ");
}

/** Returns the name of a reason in the reader's language. */
export function reasonName(reason) {
  return words.reasons[reason] ?? reason;
}

/** Returns a badge with the state of a letter. */
export function stateBadge({ state, on_its_way: onItsWay }) {
  const shown = onItsWay ? "on its way" : state;
  const kinds = { resolved: "hit", "on its way": "hit", waiting: "miss", published: "open" };
  return element("span", { class: `badge ${kinds[shown] ?? "bad"}`, "data-state": shown }, words.states[shown] ?? shown);
}
