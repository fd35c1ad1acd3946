// The editor of a dead letter's message. The corrected message is checked before it is sent.

import { forgetToken } from "../common/admin-access.js";
import { actionButton } from "../common/dialogs.js";
import { element, icon } from "../common/elements.js";
import { indent } from "../common/json.js";
import { findJsonError } from "./json-error.js";
import { placeOf } from "./card.js";
import { explain } from "./errors.js";
import { isJson } from "./message.js";
import { checkCorrected, sendCorrected } from "./requests.js";
import { refusalText, words } from "./words.js";
import { guardChanges, mayLeave } from "./unsaved.js";

const never = new AbortController().signal;

/**
 * Returns the editor, which replaces the panel of the message.
 * @param {object} letter The letter as it was sent, not masked.
 * @param {{sent: (place: string) => void, cancel: () => void}} then Called after sending, and after cancelling.
 */
export function editorPanel(letter, { sent, cancel }) {
  const editor = new Editor(letter, sent);
  guardChanges(editor);
  const leave = () => mayLeave(words.discard) && cancel();
  return element(
    "section",
    { class: "message mending", id: "message", "aria-labelledby": "mending-title" },
    element("header", { class: "message-head" }, element("h3", { id: "mending-title" }, icon("pencil"), words.mendTitle)),
    element("p", { class: "mending-text" }, words.mendText),
    element(
      "div",
      { class: "mending-body" },
      element("div", {}, element("label", { for: "mended" }, words.mendLabel), editor.field, editor.state),
      editor.findings,
    ),
    element("div", { class: "dialog-buttons" }, actionButton([words.cancel], "action", leave), editor.send),
  );
}

class Editor {
  /** The last checked text. It may be sent even if the check has found errors. */
  checked = null;

  constructor(letter, sent) {
    this.letter = letter;
    this.sent = sent;
    this.field = element("textarea", {
      id: "mended",
      spellcheck: "false",
      autocapitalize: "off",
      autocomplete: "off",
      rows: "22",
      wrap: "off",
      "aria-describedby": "mended-state",
    });
    this.field.value = startingText(letter);
    this.state = element("p", { id: "mended-state", "aria-live": "polite" });
    this.findings = element("div", { class: "findings", role: "alert" }, element("h4", {}, words.wrong), errorList(letter.errors));
    this.send = actionButton([words.check], "action primary", () => this.proceed());
    this.field.addEventListener("input", () => this.validate());
    this.validate();
  }

  /** Whether the text has unsaved changes. */
  get changed() {
    return this.field.value !== startingText(this.letter);
  }

  /** Shows whether the text is JSON. A changed text has to be checked again. */
  validate() {
    const error = findJsonError(this.field.value);
    this.state.className = `mended-state ${error ? "wrong" : "right"}`;
    this.state.replaceChildren(icon(error ? "warning" : "check"), error ? words.jsonWrong(error) : words.jsonRight);
    this.send.disabled = error !== null;
    if (this.field.value === this.checked) return;
    this.checked = null;
    this.send.className = "action primary";
    this.send.replaceChildren(words.check);
  }

  /** Checks the text, and sends it if there is no warning. A text that was checked before is sent at once. */
  async proceed() {
    const payload = this.field.value;
    const confirmed = payload === this.checked;
    this.send.disabled = true;
    const answer = await (confirmed ? sendCorrected : checkCorrected)(placeOf(this.letter), payload, never);
    this.send.disabled = findJsonError(this.field.value) !== null;
    if (answer.kind !== "ok") this.refuse(answer);
    else if (confirmed) this.sent(placeOf(answer.body));
    else await this.sendOrWarn(payload, warningsOf(answer.body, this.letter));
  }

  async sendOrWarn(payload, warnings) {
    if (payload !== this.field.value) return;
    this.checked = payload;
    if (warnings.length === 0) {
      await this.proceed();
      return;
    }
    this.showFindings(warnings);
    this.send.className = "action";
    this.send.replaceChildren(words.sendAnyway);
  }

  refuse(answer) {
    this.showFindings([element("p", { class: "trouble" }, refusalText(answer))]);
    if (answer.kind === "unauthorized") forgetToken();
  }

  showFindings(content) {
    this.findings.className = "findings bad";
    this.findings.replaceChildren(...content);
    this.findings.scrollIntoView({ block: "nearest" });
  }
}

function startingText(letter) {
  const text = letter.unwrapped ?? letter.payload ?? "";
  return isJson(text) ? indent(text) : text;
}

/** Returns the warnings before sending: the errors, or that it would not resolve the letter. */
function warningsOf({ valid, errors, order_uid: uid, resolves }, letter) {
  if (!valid) return [element("h4", {}, words.checkFailed), errorList(errors)];
  return resolves ? [] : [element("p", {}, words.otherOrder(uid), letter.order_uid !== null && ` (${letter.order_uid})`)];
}

function errorList(errors) {
  return element("ul", { class: "letter-errors" }, ...errors.map(({ path, message }) => element("li", {}, element("code", {}, path || words.wholeMessage), " ", explain(message))));
}
