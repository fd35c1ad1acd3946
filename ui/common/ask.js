// Sends a request to the server, with a deadline.

const DEADLINE_MS = 10_000;

/**
 * Returns the response and its text, or null without a response. Rejects only with an AbortError, when `signal` is
 * aborted.
 * @param {string} path
 * @param {AbortSignal} signal
 * @param {{method?: string, headers?: Object<string, string>, body?: string, deadlineMs?: number}} more
 * @returns {Promise<{response: Response, text: string}|null>}
 */
export async function ask(path, signal, { headers = {}, deadlineMs = DEADLINE_MS, ...more } = {}) {
  try {
    const response = await fetch(path, {
      ...more,
      headers: { Accept: "application/json", ...headers },
      cache: "no-store",
      signal: AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]),
    });
    return { response, text: await response.text() };
  } catch (error) {
    if (signal.aborted) throw error;
    return null;
  }
}

/**
 * Parses JSON. Returns null when it is not JSON: then a proxy has answered instead of the server.
 * @param {string} text
 * @param {(this: any, key: string, value: any) => any} [reviver]
 */
export function parseAnswer(text, reviver) {
  try {
    return JSON.parse(text, reviver);
  } catch {
    return null;
  }
}
