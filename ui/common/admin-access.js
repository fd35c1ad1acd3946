// What the reader may do: with the admin token more than reading, unless the server is read-only.

import { adminToken, keepAdminToken } from "./admin-token.js";
import { announce } from "./announcing.js";
import { actionButton, cancelButton, openDialog } from "./dialogs.js";
import { element, icon } from "./elements.js";
import { fetchAccess, refusalText } from "./requests.js";
import { sharedWords as words } from "./shared-words.js";

const never = new AbortController().signal;
const place = document.getElementById("access");

let readOnly = true;
let options = {};

/** Returns whether the server is read-only. */
export function isReadOnly() {
  return readOnly;
}

/**
 * Asks the server what this tab may do, and shows it. `mayForget` is asked before the token is forgotten, `changed` is called
 * after that, and after a token was entered.
 * @param {{readOnlyText: string, mayForget?: () => boolean, changed?: () => void}} wanted
 */
export async function loadAccess(wanted = options) {
  options = wanted;
  const answer = await fetchAccess(adminToken(), never);
  if (answer.kind === "unauthorized") {
    keepAdminToken(null);
    return loadAccess();
  }
  readOnly = answer.kind !== "ok" || answer.body.read_only;
  if (answer.kind === "ok") showAccess();
  return undefined;
}

/** Runs an action that needs the token; asks for the token first if there is none. */
export function withToken(act) {
  if (adminToken()) act();
  else askForToken(act);
}

/** Forgets a token that the server has refused. */
export function forgetToken() {
  keepAdminToken(null);
  showAccess();
}

function showAccess() {
  if (readOnly) {
    place.replaceChildren(chip("eye", words.readOnly), element("p", {}, options.readOnlyText));
    return;
  }
  const button = adminToken()
    ? actionButton([words.forget], "action quiet", forget)
    : actionButton([words.unlock], "action quiet", () => askForToken(() => {}));
  place.replaceChildren(adminToken() ? chip("unlock", words.unlocked) : chip("lock", words.locked), button);
  options.changed?.();
}

function forget() {
  if (options.mayForget?.() === false) return;
  forgetToken();
  announce(words.tokenForgotten);
  // A message that was revealed with the token must not stay on the screen.
  document.dispatchEvent(new Event("token-forgotten"));
  place.querySelector("button").focus();
}

function chip(drawing, text) {
  return element("span", { class: "chip" }, icon(drawing), text);
}

function askForToken(then) {
  const field = element("input", { id: "admin-token", type: "password", autocomplete: "off", required: "", "aria-describedby": "token-trouble" });
  const problem = element("p", { id: "token-trouble", class: "trouble", role: "alert" });
  const form = element(
    "form",
    { class: "dialog-form", method: "dialog" },
    element("label", { for: "admin-token" }, words.tokenLabel),
    field,
    problem,
    element("div", { class: "dialog-buttons" }, cancelButton(), element("button", { class: "action primary" }, words.unlock)),
  );
  const dialog = openDialog(words.tokenTitle, element("p", {}, words.tokenText), form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const token = field.value.trim();
    const answer = token === "" ? { kind: "unauthorized" } : await fetchAccess(token, never);
    if (answer.kind === "ok" && answer.body.authorized) {
      keepAdminToken(token);
      dialog.close();
      showAccess();
      then();
    } else {
      problem.textContent = answer.kind === "unauthorized" ? words.tokenWrong : refusalText(answer);
      field.select();
    }
  });
}
