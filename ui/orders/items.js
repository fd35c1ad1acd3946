// The items of an order as a table, which becomes a list of cards on a narrow screen.

import { element } from "../common/elements.js";
import { discount, money } from "../common/format.js";
import { words } from "./words.js";

/** Returns the table of an order's items. */
export function itemsTable(order) {
  const { currency, goods_total: goodsTotal } = order.payment;
  return element(
    "section",
    { class: "items" },
    element("h3", { id: "items" }, words.items, element("span", { class: "count" }, order.items.length)),
    element(
      "table",
      { "aria-labelledby": "items" },
      element("thead", {}, element("tr", {}, ...columns().map(([name, kind]) => element("th", { class: kind, scope: "col" }, name)))),
      element("tbody", {}, ...order.items.map((item) => row(item, currency))),
      element(
        "tfoot",
        {},
        element(
          "tr",
          {},
          element("th", { scope: "row", colspan: "5" }, words.goods),
          element("td", { class: "number" }, money(goodsTotal, currency)),
        ),
      ),
    ),
  );
}

function columns() {
  return [
    [words.product, "product"],
    [words.article, "article"],
    [words.status, "status"],
    [words.price, "number"],
    [words.discount, "number"],
    [words.sum, "number"],
  ];
}

function row(item, currency) {
  const size = item.size === "0" ? "" : ` · ${words.size} ${item.size}`;
  return element(
    "tr",
    {},
    element(
      "th",
      { class: "product", scope: "row" },
      element(
        "div",
        {},
        element("span", { class: "initial", "aria-hidden": "true" }, [...item.brand.trim()][0] ?? ""),
        element(
          "span",
          { class: "naming" },
          element("span", { class: "item-name" }, item.name),
          element("span", { class: "item-brand" }, element("bdi", {}, item.brand), size),
        ),
      ),
    ),
    cell(words.article, "article", element("code", {}, item.nm_id)),
    cell(words.status, "status", item.status),
    cell(words.price, "number", money(item.price, currency)),
    cell(words.discount, item.sale > 0 ? "number reduced" : "number", discount(item.sale)),
    cell(words.sum, "number sum", money(item.total_price, currency)),
  );
}

function cell(label, kind, content) {
  return element("td", { class: kind, "data-label": label }, content);
}
