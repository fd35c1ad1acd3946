// Modal dialogs.

import { element } from "./elements.js";
import { sharedWords as words } from "./shared-words.js";

/**
 * Opens a dialog and returns it. It is removed when it closes, and the browser restores the focus.
 * @param {string} title
 * @param {...(Node|string|false)} content
 */
export function openDialog(title, ...content) {
  const heading = element("h2", { id: "dialog-title" }, title);
  const dialog = element("dialog", { class: "dialog", "aria-labelledby": "dialog-title" }, heading, ...content);
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
  return dialog;
}

/** Returns a button. `kind` is "action" or "action primary". */
export function actionButton(label, kind, act) {
  const button = element("button", { type: "button", class: kind }, ...label);
  button.addEventListener("click", act);
  return button;
}

/** Returns a button that closes the dialog around it. */
export function cancelButton(label = words.cancel) {
  const button = actionButton([label], "action", () => button.closest("dialog").close());
  return button;
}
