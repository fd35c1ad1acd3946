// Asks the server, within a deadline.

const DEADLINE_MS = 10_000;

/**
 * Returns the response and its text, or null when none came. Rejects only with an AbortError, when `signal` says that
 * nobody waits any more.
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
 * Returns what a text of JSON says, or null when it is none: something between the page and the server has answered.
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
