// Moves the focus to content that was asked for by a click and arrives later.

/** Focuses the element, unless the reader types in a field by now: Enter would otherwise follow a link. */
export function focusContent(target, preventScroll) {
  if (!document.activeElement?.matches("input, textarea, select")) target?.focus({ preventScroll });
}
