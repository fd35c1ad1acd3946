// Addresses of the orders page: an order, or a search. They are relative, like all addresses in the pages: a proxy may add a
// prefix to the path.

/**
 * Parses the query of an address.
 * @param {string} query
 * @returns {{kind: "order"|"search"|"start"|"future-search"|"future", text: string}} The last two: only orders dated in the
 *   future.
 */
export function readAddress(query) {
  const parameters = new URLSearchParams(query);
  const future = parameters.get("dated") === "future";
  const searched = future ? "future-search" : "search";
  for (const [name, kind] of [
    ["order", "order"],
    ["q", searched],
  ]) {
    const text = parameters.get(name) ?? "";
    if (text.trim()) return { kind, text };
  }
  return { kind: future ? "future" : "start", text: "" };
}

/** Returns the address of an order. */
export function orderAddress(uid) {
  return `./?${new URLSearchParams({ order: uid })}`;
}

/** Returns the address of a search for orders by track number or customer. */
export function searchAddress(text) {
  return `./?${new URLSearchParams({ q: text })}`;
}

/** Returns the address of the list of orders dated in the future; with a text, of the search for it among them. */
export function futureAddress(text) {
  return `./?${new URLSearchParams(text === "" ? { dated: "future" } : { q: text, dated: "future" })}`;
}
