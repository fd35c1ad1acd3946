// Who reads the page: whoever has the admin token may do more, unless the server lets nobody.

import { adminToken, keepAdminToken } from "./admin-token.js";
import { announce } from "../common/announcing.js";
import { actionButton, cancelButton, openDialog } from "./dialogs.js";
import { element, icon } from "../common/elements.js";
import { fetchAccess } from "./requests.js";
import { refusalText, words } from "./words.js";
import { mayLeave } from "./unsaved.js";

const never = new AbortController().signal;
const place = document.getElementById("access");

let readOnly = true;

/** Whether nobody may do more than read. */
export function isReadOnly() {
  return readOnly;
}

/** Asks the server what this tab may do, and shows it. */
export async function learnAccess() {
  const answer = await fetchAccess(adminToken(), never);
  if (answer.kind === "unauthorized") {
    keepAdminToken(null);
    return learnAccess();
  }
  readOnly = answer.kind !== "ok" || answer.told.read_only;
  if (answer.kind === "ok") showAccess();
  return undefined;
}

/** Does something that needs the token, which is asked for if there is none. */
export function withToken(act) {
  if (adminToken()) act();
  else askForToken(act);
}

/** Forgets a token that the server does not take (any longer). */
export function tokenWasRefused() {
  keepAdminToken(null);
  showAccess();
}

function showAccess() {
  if (readOnly) {
    place.replaceChildren(chip("eye", words.readOnly), element("p", {}, words.readOnlyText));
    return;
  }
  const button = adminToken()
    ? actionButton([words.forget], "action quiet", forget)
    : actionButton([words.unlock], "action quiet", () => askForToken(() => {}));
  place.replaceChildren(adminToken() ? chip("unlock", words.unlocked) : chip("lock", words.locked), button);
}

function forget() {
  if (!mayLeave(words.discard)) return;
  tokenWasRefused();
  announce(words.tokenForgotten);
  // What was revealed with the token must not stay on the screen.
  document.dispatchEvent(new Event("token-forgotten"));
  place.querySelector("button").focus();
}

function chip(drawing, text) {
  return element("span", { class: "chip" }, icon(drawing), text);
}

function askForToken(then) {
  const field = element("input", { id: "admin-token", type: "password", autocomplete: "off", required: "", "aria-describedby": "token-trouble" });
  const trouble = element("p", { id: "token-trouble", class: "trouble", role: "alert" });
  const form = element(
    "form",
    { class: "dialog-form", method: "dialog" },
    element("label", { for: "admin-token" }, words.tokenLabel),
    field,
    trouble,
    element("div", { class: "dialog-buttons" }, cancelButton(), element("button", { class: "action primary" }, words.unlock)),
  );
  const dialog = openDialog(words.tokenTitle, element("p", {}, words.tokenText), form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const token = field.value.trim();
    const answer = token === "" ? { kind: "unauthorized" } : await fetchAccess(token, never);
    if (answer.kind === "ok" && answer.told.authorized) {
      keepAdminToken(token);
      dialog.close();
      showAccess();
      then();
    } else {
      trouble.textContent = answer.kind === "unauthorized" ? words.tokenWrong : refusalText(answer);
      field.select();
    }
  });
}
