// Protects unsaved changes and a running replay: asks before the reader leaves them in any way.

let editor = null;
let sendings = 0;

/**
 * Protects the text of an editor while the editor is in the page.
 * @param {{field: Element, changed: boolean}} newEditor
 */
export function guardChanges(newEditor) {
  editor = newEditor;
}

/** Asks before the page is left or loaded again until `sending` is settled: what was not sent yet would not be. */
export async function guardSending(sending) {
  sendings += 1;
  try {
    await sending;
  } finally {
    sendings -= 1;
  }
}

/** Returns whether there are no unsaved changes, or the reader agrees to lose them. */
export function mayLeave(question) {
  return !hasChanges() || window.confirm(question);
}

function hasChanges() {
  return editor !== null && editor.field.isConnected && editor.changed;
}

window.addEventListener("beforeunload", (event) => (hasChanges() || sendings > 0) && event.preventDefault());
