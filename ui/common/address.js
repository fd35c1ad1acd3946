// Addresses of the page: which order, or which search, each of them names.

/**
 * Returns what the query of an address names.
 * @param {string} query
 * @returns {{kind: "order"|"search"|"start", text: string}}
 */
export function readAddress(query) {
  const parameters = new URLSearchParams(query);
  for (const [name, kind] of [
    ["order", "order"],
    ["q", "search"],
  ]) {
    const text = parameters.get(name) ?? "";
    if (text.trim()) return { kind, text };
  }
  return { kind: "start", text: "" };
}

/** Returns the address of an order. */
export function orderAddress(uid) {
  return `/?${new URLSearchParams({ order: uid })}`;
}

/** Returns the address of the orders that have a track number or a customer. */
export function searchAddress(text) {
  return `/?${new URLSearchParams({ q: text })}`;
}
