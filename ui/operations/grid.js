// Tables that fold: on a narrow screen each row becomes a block, whose cells say what they are.

import { element } from "../common/elements.js";

/**
 * Returns a table. Its roles are spelled out: a browser forgets those of a table that is not laid out as one.
 * @param {string} title
 * @param {string} kind A class of grid.css.
 * @param {{head: string, kind?: string}[]} columns
 * @param {{kind?: string, cells: (string|Node)[][]}[]} rows Each cell is what it holds.
 */
export function grid(title, kind, columns, rows) {
  const heading = `${kind}-heading`;
  return element(
    "section",
    { class: "panel", "aria-labelledby": heading },
    element("h2", { id: heading }, title),
    element(
      "table",
      { class: `grid ${kind}`, role: "table", "aria-labelledby": heading },
      element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...columns.map(headCell))),
      element("tbody", { role: "rowgroup" }, ...rows.map((row) => bodyRow(row, columns))),
    ),
  );
}

function headCell({ head, kind = "" }) {
  return element("th", { scope: "col", role: "columnheader", class: kind }, head);
}

function bodyRow({ kind = "", cells }, columns) {
  return element("tr", { role: "row", class: kind }, ...cells.map((cell, place) => bodyCell(cell, columns[place], place)));
}

function bodyCell(content, { head, kind = "" }, place) {
  const attributes = { class: kind, "data-head": head };
  const filled = element("div", {}, ...content);
  return place === 0
    ? element("th", { ...attributes, scope: "row", role: "rowheader" }, filled)
    : element("td", { ...attributes, role: "cell" }, filled);
}
