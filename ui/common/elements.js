// Makes elements. Text is only ever set as text: nothing that an order holds can become markup.

import { drawingOf } from "./icons.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * Returns a new element.
 * @param {string} tag
 * @param {Object<string, string>} attributes
 * @param {...(Node|string|number|null|false)} children Strings and numbers become text; null and false are left out.
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== false).map(asNode));
  return made;
}

/** Returns the drawing with this name from icons.js. */
export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", drawingOf(name));
  drawing.append(use);
  return drawing;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}
