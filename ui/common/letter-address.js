// Addresses of the dead letters page: a list with its filters, or one letter.

const PLACE = /^\d{1,10}:\d{1,19}$/;
const FILTERS = ["reason", "order_uid", "period", "state"];
const HOURS = { hour: 1, day: 24, week: 168 };

/** The periods by which a list can be filtered. */
export const periods = Object.keys(HOURS);

/**
 * Parses the query of an address: a letter's place such as 2:57, or the filters of a list.
 * @param {string} query
 * @returns {{letter: string|null, filters: Object<string, string>}}
 */
export function readLettersAddress(query) {
  const parameters = new URLSearchParams(query);
  const letter = parameters.get("letter");
  const filters = Object.fromEntries(FILTERS.map((name) => [name, parameters.get(name) ?? ""]));
  return { letter: letter !== null && PLACE.test(letter) ? letter : null, filters };
}

/** Returns the address of a letter. */
export function letterAddress(place) {
  return `dead-letters?letter=${place}`;
}

/** Returns the address of a list. */
export function listAddress(filters) {
  const query = new URLSearchParams(Object.entries(filters).filter(([, text]) => text !== "")).toString();
  return query ? `dead-letters?${query}` : "dead-letters";
}

/** Returns the filters for the server: a period becomes the instant at which it begins. */
export function requestedFilters({ period, ...filters }) {
  const asked = Object.fromEntries(Object.entries(filters).filter(([, text]) => text !== ""));
  return period in HOURS ? { ...asked, since: new Date(Date.now() - HOURS[period] * 3_600_000).toISOString() } : asked;
}
