// The message of a dead letter, masked or as it was sent, with each error marked at its path.

import { copyButton } from "../common/copying.js";
import { element, icon } from "../common/elements.js";
import { count } from "../common/format.js";
import { jsonLines, lineOf } from "./json-lines.js";
import { explain, explainLabel, explainLooks } from "./errors.js";
import { words } from "./words.js";

const MAX_LINES = 2000;
const MAX_DEPTH = 24;
const LABEL = /^"(••• [^"\\]*)"(,?)$/;

/**
 * Returns the panel of a letter's message.
 * @param {object} letter The letter, masked or as it was sent.
 * @param {Node|false} action The button for an action on the message.
 */
export function messagePanel(letter, action) {
  const text = textOf(letter);
  const body = isJson(text) ? linesOf(text, letter) : { element: plainText(letter, text), showError: () => {} };
  const hint = isRevealed(letter) ? words.asSent : words.masked;
  const panel = element(
    "section",
    { class: "message", id: "message", "aria-labelledby": "message-title" },
    element(
      "header",
      { class: "message-head" },
      element("h3", { id: "message-title" }, icon("parcel"), words.message, element("span", { class: "hint" }, hint)),
      isRevealed(letter) && text !== "" && copyButton(words.copyMessage, () => text),
      action,
    ),
    isJson(text) && looksOf(letter),
    body.element,
    isRevealed(letter) && envelope(letter),
  );
  return { element: panel, showError: body.showError };
}

/** Returns whether the letter is as it was sent, not masked. */
export function isRevealed(letter) {
  return Array.isArray(letter.headers);
}

/** Returns whether a text is JSON. */
export function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function textOf(letter) {
  if (isRevealed(letter)) return letter.unwrapped ?? letter.payload ?? letter.payload_base64 ?? "";
  return "shape" in letter ? JSON.stringify(letter.shape) : "";
}

function plainText(letter, text) {
  const why = whyPlain(letter, text);
  return element("div", { class: "message-plain" }, why && element("p", {}, why), looksOf(letter), text !== "" && element("pre", { tabindex: "0" }, text));
}

function whyPlain(letter, text) {
  if (letter.payload_bytes === 0) return words.emptyMessage;
  if ("unwrapped" in letter) return null;
  if ("payload_base64" in letter) return words.notText;
  if (text !== "") return null;
  return letter.reason === "invalid_json" ? words.maskedNoJson : words.maskedTooLarge;
}

/** Returns a line that says what is around the JSON, or what the bytes look like. */
function looksOf(letter) {
  if ("unwrapped" in letter) return element("p", { class: "message-looks" }, words.behindFrame);
  return "looks_like" in letter && element("p", { class: "message-looks" }, words.looksLike(explainLooks(letter.looks_like)));
}

function linesOf(text, letter) {
  const { errors } = letter;
  const lines = jsonLines(text);
  const noted = new Map();
  for (const error of errors) {
    const number = lineOf(lines, error.path);
    noted.set(number, [...(noted.get(number) ?? []), error]);
  }
  const shown = lines.slice(0, MAX_LINES).map((line, number) => jsonLine(line, noted.get(number) ?? [], isRevealed(letter)));
  const left = lines.length - shown.length;
  const list = element("div", { class: "json-lines", role: "group", tabindex: "0", "aria-labelledby": "message-title" }, ...shown);
  return {
    element: element("div", {}, list, left > 0 && element("p", { class: "message-plain" }, count(words.linesLeft, left))),
    showError: (path) => {
      const line = shown[lineOf(lines, path)];
      line?.scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
      line?.focus({ preventScroll: true });
    },
  };
}

function jsonLine(line, errors, revealed) {
  const label = revealed ? null : LABEL.exec(line.text);
  const made = element(
    "div",
    errors.length > 0 ? { class: "json-line bad", tabindex: "-1" } : { class: "json-line" },
    element(
      "code",
      {},
      line.name !== null && element("span", { class: "json-name" }, line.name, ": "),
      element("span", { class: label ? "json-masked" : "json-value" }, label ? explainLabel(label[1]) + label[2] : line.text),
    ),
    ...errors.map((error) => note(line, error)),
  );
  made.firstChild.style.paddingInlineStart = `${2 * Math.min(line.depth, MAX_DEPTH)}ch`;
  return made;
}

/** Returns the note of an error beside its line, with its path if that differs from the line's path. */
function note(line, { path, message }) {
  return element("span", { class: "json-note" }, path !== line.path && element("code", {}, path, " "), explain(message));
}

function envelope(letter) {
  const { key, key_base64: binaryKey, headers } = letter;
  return element(
    "dl",
    { class: "facts envelope" },
    element("div", {}, element("dt", {}, words.key), element("dd", {}, value(key ?? binaryKey))),
    element(
      "div",
      {},
      element("dt", {}, words.headers),
      element("dd", {}, headers.length === 0 ? words.noValue : element("ul", {}, ...headers.map(header))),
    ),
  );
}

function header({ name, value: text, value_base64: binary }) {
  return element("li", {}, element("code", {}, name), ": ", value(text ?? binary));
}

function value(text) {
  return text === null || text === undefined ? words.noValue : element("code", {}, text);
}
