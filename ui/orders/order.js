// The card of an order.

import { searchAddress } from "../common/address.js";
import { copyButton } from "../common/copying.js";
import { element, icon } from "../common/elements.js";
import { milliseconds, money } from "../common/format.js";
import { messageTime } from "../common/odd-times.js";
import { exact } from "../common/visible.js";
import { itemsTable } from "./items.js";
import { indent } from "../common/json.js";
import { storySection } from "./story.js";
import { words } from "./words.js";

/** Returns the card of a found order. `answer` is what lookup.js returns. */
export function orderCard(answer) {
  const { order } = answer;
  return element(
    "article",
    { class: "order", "aria-labelledby": "found-uid" },
    head(answer),
    element("div", { class: "panels" }, about(order), delivery(order.delivery), payment(order.payment)),
    itemsTable(order),
    storySection(order.order_uid),
    json(answer.text),
  );
}

function head({ order, cache, roundTripMs, serverMs }) {
  const hit = cache === "hit";
  return element(
    "header",
    { class: "order-head" },
    element(
      "div",
      { class: "order-name" },
      element("p", { class: "eyebrow" }, words.order),
      element(
        "h2",
        { id: "found-uid", tabindex: "-1" },
        element("span", { class: "order-uid" }, exact(order.order_uid)),
        copyButton(words.copyUid, () => order.order_uid, { iconOnly: true }),
      ),
    ),
    element(
      "div",
      { class: "order-facts" },
      element("p", { class: "order-total" }, money(order.payment.amount, order.payment.currency)),
      element(
        "p",
        { class: "measures" },
        element(
          "span",
          { class: `badge ${cache}`, title: hit ? words.cacheHitTitle : words.cacheMissTitle, "data-x-cache": cache },
          icon(hit ? "bolt" : "disk"),
          hit ? words.cacheHit : words.cacheMiss,
        ),
        element("span", {}, `${milliseconds(roundTripMs)} ${words.roundTrip}`),
        serverMs !== null && element("span", {}, `${milliseconds(serverMs)} ${words.server}`),
      ),
    ),
  );
}

function about(order) {
  return panel("box", words.order, [
    [words.track, searchLink(order.track_number)],
    [words.placed, messageTime(order.date_created, Date.parse(order.date_created))],
    [words.customer, searchLink(order.customer_id)],
    [words.service, order.delivery_service],
    [words.locale, order.locale],
    [words.entry, order.entry],
    [words.updated, messageTime(order.updated_at, Date.parse(order.updated_at))],
  ]);
}

function delivery(delivery) {
  const place = [delivery.address, delivery.city, delivery.region, delivery.zip].filter(Boolean).join(", ");
  return panel("parcel", words.delivery, [
    [words.recipient, element("strong", {}, delivery.name)],
    [words.address, place],
    [words.phone, delivery.phone],
    [words.email, breakable(delivery.email)],
  ]);
}

function payment(payment) {
  const amount = (value) => money(value, payment.currency);
  const made = panel("card", words.payment, [
    [words.provider, payment.provider],
    [words.bank, payment.bank],
    [words.paid, messageTime(payment.payment_dt, payment.payment_dt * 1000, { inSeconds: true })],
    [words.transaction, code(payment.transaction)],
  ]);
  made.append(
    element(
      "dl",
      { class: "sums" },
      ...sum(words.goods, amount(payment.goods_total)),
      ...sum(words.shipping, amount(payment.delivery_cost)),
      ...(payment.custom_fee > 0 ? sum(words.fee, amount(payment.custom_fee)) : []),
      ...sum(`${words.total}, ${payment.currency}`, amount(payment.amount), "total"),
    ),
  );
  return made;
}

function json(text) {
  return element(
    "details",
    { class: "json" },
    element("summary", {}, words.json, element("span", { class: "hint" }, words.jsonHint)),
    element("div", { class: "json-body" }, copyButton(words.copy, () => indent(text)), element("pre", { tabindex: "0" }, indent(text))),
  );
}

function panel(drawing, title, facts) {
  return element(
    "section",
    { class: "panel" },
    element("h3", {}, icon(drawing), title),
    element(
      "dl",
      { class: "facts" },
      ...facts
        .filter(([, value]) => value !== "")
        .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
    ),
  );
}

function sum(name, value, kind = "part") {
  return [element("dt", { class: kind }, name), element("dd", { class: kind }, value)];
}

/** Returns an e-mail address that may wrap after its @ and its full stops. */
function breakable(address) {
  return address === "" ? "" : element("span", {}, ...address.split(/(?<=[@.])/).flatMap((part) => [part, element("wbr")]));
}

function code(text) {
  return text === "" ? "" : element("code", {}, exact(text));
}

/** Returns a link to all orders with this track number or customer. */
function searchLink(text) {
  return element("a", { class: "search-link", href: searchAddress(text) }, code(text));
}
