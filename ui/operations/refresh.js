// Updates only the changed nodes, so that the selection, the focus and the scroll position stay.

/** Makes `shown` equal to `fresh`. `fresh` must not be used afterwards. */
export function refresh(shown, fresh) {
  if (shown.isEqualNode(fresh)) return;
  if (shown.nodeName !== fresh.nodeName || shown.childNodes.length !== fresh.childNodes.length) {
    shown.replaceWith(fresh);
    return;
  }
  if (shown.nodeType === Node.TEXT_NODE) {
    shown.data = fresh.data;
    return;
  }
  for (const { name } of [...shown.attributes]) if (!fresh.hasAttribute(name)) shown.removeAttribute(name);
  for (const { name, value } of fresh.attributes) {
    if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  }
  const pairs = [...fresh.childNodes].map((child, place) => [shown.childNodes[place], child]);
  for (const [before, after] of pairs) refresh(before, after);
}
