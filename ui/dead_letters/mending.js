// Mends a dead letter: an editor for its message, which is checked before it is sent.

import { tokenWasRefused } from "./admin-access.js";
import { actionButton } from "./dialogs.js";
import { element, icon } from "../common/elements.js";
import { indent } from "../common/json.js";
import { jsonTrouble } from "./json-trouble.js";
import { placeOf } from "./card.js";
import { explain } from "./errors.js";
import { isJson } from "./message.js";
import { checkMended, sendMended } from "./requests.js";
import { refusalText, words } from "./words.js";
import { guardChanges, mayLeave } from "./unsaved.js";

const never = new AbortController().signal;

/**
 * Returns an editor in place of the panel of the message.
 * @param {object} letter As it was sent, not masked.
 * @param {{sent: (place: string) => void, cancel: () => void}} then What follows.
 */
export function mendingPanel(letter, { sent, cancel }) {
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
  /** The text that was checked last and may be sent as it is, whatever was found. */
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
    this.field.addEventListener("input", () => this.judge());
    this.judge();
  }

  /** Whether there is something to lose. */
  get changed() {
    return this.field.value !== startingText(this.letter);
  }

  /** Says whether the text is JSON. One that has been changed has to be checked again. */
  judge() {
    const trouble = jsonTrouble(this.field.value);
    this.state.className = `mended-state ${trouble ? "wrong" : "right"}`;
    this.state.replaceChildren(icon(trouble ? "warning" : "check"), trouble ? words.jsonWrong(trouble) : words.jsonRight);
    this.send.disabled = trouble !== null;
    if (this.field.value === this.checked) return;
    this.checked = null;
    this.send.className = "action primary";
    this.send.replaceChildren(words.check);
  }

  /** Checks the text, and sends it when nothing speaks against it, or when it has been checked before. */
  async proceed() {
    const payload = this.field.value;
    const confirmed = payload === this.checked;
    this.send.disabled = true;
    const answer = await (confirmed ? sendMended : checkMended)(placeOf(this.letter), payload, never);
    this.send.disabled = jsonTrouble(this.field.value) !== null;
    if (answer.kind !== "ok") this.refuse(answer);
    else if (confirmed) this.sent(placeOf(answer.told));
    else await this.weigh(payload, doubtsOf(answer.told, this.letter));
  }

  async weigh(payload, doubts) {
    if (payload !== this.field.value) return;
    this.checked = payload;
    if (doubts.length === 0) {
      await this.proceed();
      return;
    }
    this.find(doubts);
    this.send.className = "action";
    this.send.replaceChildren(words.sendAnyway);
  }

  refuse(answer) {
    this.find([element("p", { class: "trouble" }, refusalText(answer))]);
    if (answer.kind === "unauthorized") tokenWasRefused();
  }

  find(content) {
    this.findings.className = "findings bad";
    this.findings.replaceChildren(...content);
    this.findings.scrollIntoView({ block: "nearest" });
  }
}

function startingText(letter) {
  const text = letter.payload ?? "";
  return isJson(text) ? indent(text) : text;
}

/** Returns what speaks against sending it. */
function doubtsOf({ valid, errors, order_uid: uid, resolves }, letter) {
  if (!valid) return [element("h4", {}, words.checkFailed), errorList(errors)];
  return resolves ? [] : [element("p", {}, words.otherOrder(uid), letter.order_uid !== null && ` (${letter.order_uid})`)];
}

function errorList(errors) {
  return element("ul", { class: "letter-errors" }, ...errors.map(({ path, message }) => element("li", {}, element("code", {}, path || words.wholeMessage), " ", explain(message))));
}
