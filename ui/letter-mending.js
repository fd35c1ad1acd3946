// Mends a dead letter: an editor for its message, which is checked before it is sent.

import { tokenWasRefused } from "./admin-access.js";
import { actionButton } from "./dialogs.js";
import { element, icon } from "./elements.js";
import { indent } from "./json.js";
import { jsonTrouble } from "./json-trouble.js";
import { placeOf } from "./letter-card.js";
import { explain } from "./letter-errors.js";
import { isJson } from "./letter-message.js";
import { checkMended, sendMended } from "./letter-requests.js";
import { refusalText, words } from "./letters-words.js";

const never = new AbortController().signal;

/**
 * Returns an editor in place of the panel of the message.
 * @param {object} letter As it was sent, not masked.
 * @param {{sent: (place: string) => void, cancel: () => void}} then What follows.
 */
export function mendingPanel(letter, { sent, cancel }) {
  const place = placeOf(letter);
  const field = element("textarea", { id: "mended", spellcheck: "false", autocapitalize: "off", autocomplete: "off", rows: "22", wrap: "off", "aria-describedby": "mended-state" });
  field.value = startingText(letter);
  const state = element("p", { id: "mended-state", class: "mended-state", "aria-live": "polite" });
  const findings = element("div", { class: "findings", role: "alert" }, element("h4", {}, words.wrong), errorList(letter.errors));
  const send = actionButton([words.check], "action primary", () => proceed());
  let checked = null;

  const judge = () => {
    const trouble = jsonTrouble(field.value);
    state.className = `mended-state ${trouble ? "wrong" : "right"}`;
    state.replaceChildren(icon(trouble ? "warning" : "check"), trouble ? words.jsonWrong(trouble) : words.jsonRight);
    send.disabled = trouble !== null;
    if (field.value !== checked) askToCheck();
  };
  const askToCheck = () => {
    checked = null;
    send.className = "action primary";
    send.replaceChildren(words.check);
  };
  const proceed = async () => {
    const payload = field.value;
    send.disabled = true;
    const confirmed = payload === checked;
    const answer = await (confirmed ? sendMended : checkMended)(place, payload, never);
    send.disabled = false;
    if (answer.kind !== "ok") refuse(findings, answer);
    else if (confirmed) sent(placeOf(answer.told));
    else {
      checked = payload;
      const doubts = doubtsOf(answer.told, letter);
      if (doubts.length === 0) await proceed();
      else doubt(doubts);
    }
  };
  const doubt = (doubts) => {
    showFindings(findings, doubts);
    send.className = "action";
    send.replaceChildren(words.sendAnyway);
  };
  field.addEventListener("input", judge);
  judge();

  return element(
    "section",
    { class: "message mending", id: "message", "aria-labelledby": "mending-title" },
    element("header", { class: "message-head" }, element("h3", { id: "mending-title" }, icon("pencil"), words.mendTitle)),
    element("p", { class: "mending-text" }, words.mendText),
    element(
      "div",
      { class: "mending-body" },
      element("div", { class: "mending-field" }, element("label", { for: "mended" }, words.mendLabel), field, state),
      findings,
    ),
    element("div", { class: "dialog-buttons" }, actionButton([words.cancel], "action", cancel), send),
  );
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

function showFindings(findings, content) {
  findings.className = "findings bad";
  findings.replaceChildren(...content);
  findings.scrollIntoView({ block: "nearest" });
}

function refuse(findings, answer) {
  showFindings(findings, [element("p", { class: "trouble" }, refusalText(answer))]);
  if (answer.kind === "unauthorized") tokenWasRefused();
}
