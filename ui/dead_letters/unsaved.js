// Protects unsaved changes: asks before the reader leaves the editor in any way.

let editor = null;

/**
 * Protects the text of an editor while the editor is in the page.
 * @param {{field: Element, changed: boolean}} newEditor
 */
export function guardChanges(newEditor) {
  editor = newEditor;
}

/** Returns whether there are no unsaved changes, or the reader agrees to lose them. */
export function mayLeave(question) {
  return !hasChanges() || window.confirm(question);
}

function hasChanges() {
  return editor !== null && editor.field.isConnected && editor.changed;
}

window.addEventListener("beforeunload", (event) => hasChanges() && event.preventDefault());
