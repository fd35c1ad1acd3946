// Asks the server, within a deadline.

const DEADLINE_MS = 10_000;

/**
 * Returns the response and its text, or null when none came. Rejects only with an AbortError, when `signal` says that
 * nobody waits any more.
 * @param {string} path
 * @param {AbortSignal} signal
 * @returns {Promise<{response: Response, text: string}|null>}
 */
export async function ask(path, signal) {
  try {
    const response = await fetch(path, {
      headers: { Accept: "application/json" },
      cache: "no-store",
      signal: AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]),
    });
    return { response, text: await response.text() };
  } catch (error) {
    if (signal.aborted) throw error;
    return null;
  }
}
