// The list of orders, with one link per line, and a button that loads more.

import { futureAddress, orderAddress } from "../common/address.js";
import { element, icon } from "../common/elements.js";
import { count, money } from "../common/format.js";
import { growingList } from "../common/growing-list.js";
import { messageTime } from "../common/odd-times.js";
import { exact } from "../common/visible.js";
import { words } from "./words.js";

/** The server counts orders dated in the future up to this number. */
const MAX_FUTURE = 100;

/**
 * Returns the first page of a list.
 * @param {(Node|string)[]} title
 * @param {{orders: object[], next: string|null, future: number}} page
 * @param {(before: string) => Promise<import("./pages.js").Page>} more
 * @param {string|null} text The text that was searched for, for a link to the orders that the list leaves out because they
 *   are dated in the future; null for the list of those.
 */
export function orderList(title, page, more, text) {
  const total = element("span", { class: "count" });
  const { lines, foot } = growingList(
    asItems(page),
    line,
    async (before) => {
      const following = await more(before);
      return following.kind === "page" ? asItems(following) : null;
    },
    { ...words, items: words.orders },
    (length, complete) => (total.textContent = `${length}${complete ? "" : "+"}`),
  );
  return element(
    "section",
    { class: "list" },
    element("header", { class: "list-title" }, element("h2", {}, ...title, total), keyHints()),
    text !== null && page.future > 0 && futureNote(page.future, text),
    page.orders.length > 0 && columnHeads(),
    lines,
    foot,
  );
}

function asItems({ orders, next }) {
  return { items: orders, next };
}

function line(order) {
  return element(
    "li",
    {},
    element(
      "a",
      { class: "line", href: orderAddress(order.order_uid) },
      element("span", { class: "line-uid" }, exact(order.order_uid)),
      part("track", words.track, exact(order.track_number)),
      part("customer", words.customer, exact(order.customer_id)),
      part("service", words.service, order.delivery_service),
      part("placed", words.placed, messageTime(order.date_created, Date.parse(order.date_created))),
      element("span", { class: "line-amount" }, money(order.amount, order.currency)),
      element("span", { class: "line-items" }, count(words.itemCount, order.items)),
    ),
  );
}

/** Returns a part of a line, with its name for screen readers. */
function part(kind, name, content) {
  return element("span", { class: `line-${kind}` }, content !== "" && element("span", { class: "visually-hidden" }, ` ${name} `), content);
}

function futureNote(number, text) {
  const shown = number < MAX_FUTURE ? count(words.datedFuture, number) : `${number}+ ${words.datedFuture.many ?? words.datedFuture.other}`;
  return element("p", { class: "list-future" }, icon("warning"), element("a", { class: "search-link", href: futureAddress(text) }, shown));
}

function columnHeads() {
  const head = (kind, text) => element("span", { class: `line-${kind}` }, text);
  return element(
    "div",
    { class: "line list-heads", "aria-hidden": "true" },
    head("uid", `${words.uid}, ${words.trackShort}`),
    head("customer", `${words.customer}, ${words.serviceShort}`),
    head("placed", words.placed),
    head("amount", words.total),
  );
}

function keyHints() {
  const key = (name) => element("kbd", {}, name);
  return element("p", { class: "key-hints" }, key("↑"), key("↓"), words.keyMove, key("Enter"), words.keyOpen, key("/"), words.keySearch);
}
