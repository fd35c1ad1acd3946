// Keyboard control: `/` moves to the field, the arrows move through the list and back to the field.

const STOPS = "a.line, button.more";
const STEPS = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };

/**
 * Handles key presses. `input` is the field, `result` is the element that shows lists.
 *
 * A field that got the focus with the page is not in use yet: there `/` is still the key that leads to it. So is a `/` that
 * was typed before this script ran.
 */
export function listenToKeys(input, result) {
  let unused = input.autofocus && input.value === "";
  if (input.autofocus && input.value.startsWith("/")) input.value = input.value.slice(1);
  for (const use of ["pointerdown", "input"]) input.addEventListener(use, () => (unused = false));
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = isSlash(event) ? slashTarget(event, input, unused) : arrowTarget(event, input, result);
    if (!target) return;
    event.preventDefault();
    unused = false;
    target.focus();
    if (target === input) input.select();
  });
}

/** Returns whether the slash key was pressed; on a Russian keyboard it writes a full stop. */
function isSlash(event) {
  return event.key === "/" || (event.code === "Slash" && event.key === ".");
}

function slashTarget(event, input, unused) {
  if (event.target === input && unused) return input;
  return event.target.closest("input, textarea, select") ? null : input;
}

function arrowTarget(event, input, result) {
  const step = STEPS[event.key];
  if (step === undefined || event.shiftKey) return null;
  const stops = [...result.querySelectorAll(STOPS)];
  if (event.target === input) return event.key === "ArrowDown" ? stops[0] : null;
  const here = stops.indexOf(event.target);
  if (here < 0) return null;
  return here + step === -1 ? input : stops[Math.min(Math.max(here + step, 0), stops.length - 1)];
}
