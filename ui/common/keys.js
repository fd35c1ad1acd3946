// Keyboard control: `/` moves to the field, the arrows move through the list and back to the field.

const STOPS = "a.line, button.more";
const STEPS = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };

/** Handles key presses. `input` is the field, `result` is the element that shows lists. */
export function listenToKeys(input, result) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = isSlash(event) ? slashTarget(event, input) : arrowTarget(event, input, result);
    if (!target) return;
    event.preventDefault();
    target.focus();
    if (target === input) input.select();
  });
}

/** Returns whether the slash key was pressed; on a Russian keyboard it writes a full stop. */
function isSlash(event) {
  return event.key === "/" || (event.code === "Slash" && event.key === ".");
}

function slashTarget(event, input) {
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
