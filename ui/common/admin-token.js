// The admin token. It is kept only in this tab, until the tab is closed.

const KEPT_AS = "admin-token";

/** Returns the token, or null. */
export function adminToken() {
  return sessionStorage.getItem(KEPT_AS);
}

/** Stores a token; null deletes it. */
export function keepAdminToken(token) {
  if (token === null) sessionStorage.removeItem(KEPT_AS);
  else sessionStorage.setItem(KEPT_AS, token);
}

/** Returns the request headers with the token; no headers without a token. */
export function authorization(token = adminToken()) {
  // A header value is a string in which each character stands for one byte (0 to 255).
  return token ? { Authorization: `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}` } : {};
}
