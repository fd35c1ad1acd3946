// The admin token: kept for this tab alone, and only until it is closed.

const KEPT_AS = "admin-token";

/** Returns the token, or null. */
export function adminToken() {
  return sessionStorage.getItem(KEPT_AS);
}

/** Keeps a token; null forgets it. */
export function keepAdminToken(token) {
  if (token === null) sessionStorage.removeItem(KEPT_AS);
  else sessionStorage.setItem(KEPT_AS, token);
}

/** Returns the request headers that present a token; none without one. */
export function authorization(token = adminToken()) {
  // A header holds bytes, which a script writes as the first 256 characters.
  return token ? { Authorization: `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}` } : {};
}
