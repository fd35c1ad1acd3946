// Changes that a reader has not sent: leaving them, by whichever way, is asked about first.

let editor = null;

/**
 * Guards what is in an editor for as long as it is in the page.
 * @param {{field: Element, changed: boolean}} fresh
 */
export function guardChanges(fresh) {
  editor = fresh;
}

/** Whether nothing is lost by leaving, or the reader says that it may be. */
export function mayLeave(question) {
  return !hasChanges() || window.confirm(question);
}

function hasChanges() {
  return editor !== null && editor.field.isConnected && editor.changed;
}

window.addEventListener("beforeunload", (event) => hasChanges() && event.preventDefault());
