// Creates elements. Text is always set as text, so that data of an order never becomes markup.

import { iconAddress } from "./icons.js";
import { visibleParts } from "./visible.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * Returns a new element.
 * @param {string} tag
 * @param {Object<string, string>} attributes
 * @param {...(Node|string|number|null|false)} children Strings and numbers become text, whose hidden characters are
 *   made visible; null and false are left out.
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== false).flatMap(asNodes));
  return made;
}

/** Returns the icon with this name from icons.js. */
export function icon(name) {
  const image = document.createElementNS(SVG, "svg");
  image.setAttribute("class", "icon");
  image.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", iconAddress(name));
  image.append(use);
  return image;
}

function asNodes(child) {
  return child instanceof Node ? [child] : visibleParts(String(child));
}
