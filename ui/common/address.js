// Addresses of the orders page: an order, or a search. They are relative, like all addresses in the pages: a proxy may add a
// prefix to the path.

/**
 * Parses the query of an address.
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
  return `./?${new URLSearchParams({ order: uid })}`;
}

/** Returns the address of a search for orders by track number or customer. */
export function searchAddress(text) {
  return `./?${new URLSearchParams({ q: text })}`;
}
