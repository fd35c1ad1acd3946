// The list of orders, with one link per line, and a button that loads more.

import { orderAddress } from "../common/address.js";
import { element } from "../common/elements.js";
import { count, instant, money } from "../common/format.js";
import { growingList } from "../common/growing-list.js";
import { words } from "./words.js";

/**
 * Returns the first page of a list.
 * @param {(Node|string)[]} title
 * @param {{orders: object[], next: string|null}} page
 * @param {(before: string) => Promise<import("./pages.js").Page>} more
 */
export function orderList(title, page, more) {
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
    columnHeads(),
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
      element("span", { class: "line-uid" }, order.order_uid),
      part("track", words.track, order.track_number),
      part("customer", words.customer, order.customer_id),
      part("service", words.service, order.delivery_service),
      part("placed", words.placed, instant(new Date(order.date_created))),
      element("span", { class: "line-amount" }, money(order.amount, order.currency)),
      element("span", { class: "line-items" }, count(words.itemCount, order.items)),
    ),
  );
}

/** Returns a part of a line, with its name for screen readers. */
function part(kind, name, text) {
  return element("span", { class: `line-${kind}` }, text !== "" && element("span", { class: "visually-hidden" }, ` ${name} `), text);
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
