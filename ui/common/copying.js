// Buttons that copy a text to the clipboard.

import { element, icon } from "./elements.js";
import { sharedWords } from "./shared-words.js";

const CONFIRMED_MS = 1600;

/**
 * Returns a button that copies `text()`.
 * @param {string} label The button's label.
 * @param {() => string} text
 * @param {{iconOnly?: boolean}} options
 */
export function copyButton(label, text, { iconOnly = false } = {}) {
  const caption = element("span", iconOnly ? { class: "visually-hidden" } : {}, label);
  const button = element("button", { type: "button", class: "copy", title: label }, icon("copy"), caption);
  button.addEventListener("click", async () => {
    if (!(await copy(text()))) return;
    caption.textContent = sharedWords.copied;
    button.classList.add("copied");
    button.querySelector(".icon").replaceWith(icon("check"));
    setTimeout(() => {
      caption.textContent = label;
      button.classList.remove("copied");
      button.querySelector(".icon").replaceWith(icon("copy"));
    }, CONFIRMED_MS);
  });
  return button;
}

/** Copies text to the clipboard. Over plain HTTP from another machine, browsers support only `execCommand`. */
async function copy(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false;
    }
  }
  const field = element("textarea", { class: "visually-hidden", "aria-hidden": "true" });
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}
