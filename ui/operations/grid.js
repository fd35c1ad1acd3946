// Responsive tables: on a narrow screen each row becomes a block with labelled cells.

import { element } from "../common/elements.js";

/**
 * Returns a table. It sets the ARIA roles, because browsers drop them when CSS changes a table's layout.
 * @param {string} title
 * @param {string} kind A class of grid.css.
 * @param {{head: string, kind?: string}[]} columns
 * @param {{kind?: string, cells: (string|Node)[][]}[]} rows Each cell is a list of its contents.
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
