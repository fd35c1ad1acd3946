// Times in messages that are valid and yet wrong: not set, in another unit, or far away. They are shown as sent, and marked.

import { element, icon } from "./elements.js";
import { instant } from "./format.js";
import { sharedWords } from "./shared-words.js";

const DAY_MS = 86_400_000;
const YEAR_MS = 365.2425 * DAY_MS;
const FIRST_USUAL_MS = Date.UTC(1990, 0);
const ZERO_MS = Date.parse("0001-01-01T00:00:00Z");
const LAST_YEAR = 9999;
/** A number of this unit, taken for milliseconds, is so many times too large. */
const UNITS = { seconds: 1 / 1000, microseconds: 1000, nanoseconds: 1_000_000 };
/** The same, of a number taken for seconds. */
const UNITS_OF_SECONDS = { milliseconds: 1000, microseconds: 1_000_000, nanoseconds: 1_000_000_000 };

/**
 * Returns what is odd about a time, in words; null when nothing is. A time is in the future if it is over a day ahead.
 * @param {number} ms Milliseconds since 1970.
 * @param {{inSeconds?: boolean}} options Whether the time was sent as a number of seconds.
 */
export function oddity(ms, { inSeconds = false } = {}) {
  const words = sharedWords.odd;
  if (ms === ZERO_MS) return words.zero;
  if (ms === 0) return words.unixZero;
  if (isUsual(ms)) return null;
  const units = inSeconds ? UNITS_OF_SECONDS : UNITS;
  const unit = Object.keys(units).find((name) => isUsual(ms / units[name]));
  if (unit) return words.unit(yearOf(ms), words.units[unit]);
  return ms > FIRST_USUAL_MS && yearOf(ms) <= LAST_YEAR ? words.future : words.year(yearOf(ms));
}

function isUsual(ms) {
  return ms >= FIRST_USUAL_MS && ms <= Date.now() + DAY_MS;
}

function yearOf(ms) {
  const year = new Date(ms).getUTCFullYear();
  return Number.isNaN(year) ? Math.floor(1970 + ms / YEAR_MS) : year;
}

/**
 * Shows an instant of a message in the reader's time zone, with the exact UTC time as a tooltip; an odd one as it was sent,
 * with what is odd about it.
 * @param {string|number} sent
 * @param {number} ms The same in milliseconds since 1970.
 * @param {{inSeconds?: boolean}} options
 */
export function messageTime(sent, ms, options) {
  const why = oddity(ms, options);
  if (why === null) return usualTime(ms);
  const shown = why === sharedWords.odd.future ? usualTime(ms) : element("span", {}, sent);
  return element("span", {}, shown, " ", oddNote(why));
}

/** Returns the mark of a time that is odd. */
export function oddNote(why) {
  return element("span", { class: "odd-note" }, icon("warning"), why);
}

function usualTime(ms) {
  const exactly = new Date(ms).toISOString();
  return element("time", { datetime: exactly, title: exactly }, instant(new Date(ms)));
}
