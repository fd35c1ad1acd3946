// Translates error messages and what is said of a masked message into the reader's language.

import { language } from "../common/language.js";
import { LABELS, LOOKS, RUSSIAN } from "./errors-in-russian.js";

/** Returns an error message in the reader's language; without a translation it stays in English. */
export function explain(message) {
  return translated(message, RUSSIAN);
}

/** Returns the label of a masked value, such as "••• text, length 4", in the reader's language. */
export function explainLabel(label) {
  return translated(label, LABELS);
}

/** Returns what bytes that are not JSON look like, in the reader's language. */
export function explainLooks(looks) {
  return translated(looks, LOOKS);
}

function translated(text, patterns) {
  if (language !== "ru") return text;
  const known = patterns.find(([pattern]) => pattern.test(text));
  return known ? text.replace(...known) : text;
}
