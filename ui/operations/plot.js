// A plot of values over time: lines in an SVG, labels beside it, and the values at the pointer.

import { element } from "../common/elements.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;

/** Returns a new SVG element. */
export function drawing(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Returns the smallest round number (1, 2 or 5 times a power of ten) that is not below a value. */
export function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= value);
}

/**
 * Creates a plot. `show` updates it with one column of values per series (null: no value), oldest first, and the
 * instants of the values. Every series needs its own class in plot.css.
 * @param {object} options
 * @param {string} options.title
 * @param {string} options.unit
 * @param {{name: string, kind: string, filled?: boolean}[]} options.series The first is drawn above the others.
 * @param {(value: number) => string} options.format
 * @param {(instant: Date) => string} options.formatTime
 * @param {(values: string[]) => string} options.summary A sentence with the newest values, for screen readers.
 * @param {string[]} options.times The labels of the time axis, oldest first.
 */
export function makePlot({ title, unit, series, format, formatTime, summary, times }) {
  const values = series.map(() => element("span", { class: "plot-value" }));
  const moment = element("span", { class: "plot-moment" });
  const area = drawing("path", { class: "plot-fill" });
  const lines = series.map(({ kind }) => drawing("path", { class: `plot-line ${kind}` }));
  const dots = series.map(({ kind }) => drawing("path", { class: `plot-line plot-dots ${kind}` }));
  const cursor = drawing("line", { class: "plot-cursor", y1: 0, y2: HEIGHT, visibility: "hidden" });
  const canvas = drawing("svg", { preserveAspectRatio: "none" }, ...gridLines(), area, ...lines.toReversed(), ...dots.toReversed(), cursor);
  const labels = ["top", "middle", "bottom"].map((place) => element("span", { class: `plot-label ${place}` }));
  const field = element("div", { class: "plot-field", role: "img" }, ...labels, canvas);
  let shown = null;
  let pointed = null;

  function showValues() {
    const last = shown.columns[0].length - 1;
    const place = pointed === null ? last : Math.round(pointed * last);
    const texts = shown.columns.map((column) => formatOrDash(column[place], format));
    texts.forEach((text, index) => (values[index].textContent = text));
    moment.textContent = pointed === null ? "" : formatTime(shown.instants[place]);
    cursor.setAttribute("visibility", pointed === null ? "hidden" : "visible");
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
  }

  field.addEventListener("pointermove", ({ clientX }) => {
    const { left, width } = canvas.getBoundingClientRect();
    pointed = Math.min(1, Math.max(0, (clientX - left) / width));
    if (shown) showValues();
  });
  field.addEventListener("pointerleave", () => {
    pointed = null;
    if (shown) showValues();
  });

  return {
    element: element(
      "figure",
      { class: "plot" },
      element("figcaption", {}, element("h2", {}, title, " ", element("small", {}, unit)), moment, legend(series, values)),
      field,
      element("div", { class: "plot-times", "aria-hidden": "true" }, ...times.map((time) => element("span", {}, time))),
    ),
    show(columns, instants) {
      shown = { columns, instants };
      const top = roundUp(Math.max(1, ...columns.flat()));
      const last = columns[0].length - 1;
      canvas.setAttribute("viewBox", `0 0 ${last} ${HEIGHT}`);
      columns.forEach((column, index) => {
        lines[index].setAttribute("d", linePath(column, top));
        dots[index].setAttribute("d", dotsPath(column, top));
      });
      if (series[0].filled) area.setAttribute("d", `${linePath(columns[0], top)}V${HEIGHT}H0Z`);
      [top, top / 2, 0].forEach((value, place) => (labels[place].textContent = format(value)));
      field.setAttribute("aria-label", summary(columns.map((column) => formatOrDash(column[last], format))));
      showValues();
    },
  };
}

function formatOrDash(value, format) {
  return value === null ? "–" : format(value);
}

function gridLines() {
  return [0, HEIGHT / 2, HEIGHT].map((y) => drawing("line", { class: "plot-grid", x1: 0, x2: "100%", y1: y, y2: y }));
}

function legend(series, values) {
  return element(
    "ul",
    { class: "plot-legend" },
    ...series.map(({ name, kind }, index) =>
      element(
        "li",
        {},
        drawing(
          "svg",
          { class: "plot-key", viewBox: "0 0 18 4", "aria-hidden": "true" },
          drawing("path", { class: `plot-line ${kind}`, d: "M1 2H17" }),
        ),
        name,
        " ",
        values[index],
      ),
    ),
  );
}

function linePath(column, top) {
  const draw = (place) => `${has(column, place - 1) ? "L" : "M"}${point(column, place, top)}`;
  return column.map((_, place) => (has(column, place) ? draw(place) : "")).join("");
}

/**
 * Draws a value as a line of length 0, which appears as a dot because of its round ends, if it has no neighbour or one: the line
 * between two values is too short to be seen.
 */
function dotsPath(column, top) {
  const triple = (first) => [0, 1, 2].every((step) => has(column, first + step));
  const inLine = (place) => triple(place - 2) || triple(place - 1) || triple(place);
  return column.map((_, place) => (has(column, place) && !inLine(place) ? `M${point(column, place, top)}h0` : "")).join("");
}

function has(column, place) {
  return (column[place] ?? null) !== null;
}

function point(column, place, top) {
  return `${place} ${(HEIGHT * (1 - column[place] / top)).toFixed(2)}`;
}
