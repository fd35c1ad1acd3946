// Formats counts, rates, durations, sizes and times of day in the reader's language.

import { language } from "../common/language.js";

const wholes = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const compacts = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 });
const times = new Intl.DateTimeFormat(language, { timeStyle: "medium" });
const MINUTE_S = 60;
const HOUR_S = 3600;
const DAY_S = 86_400;

export const NONE = "–";

/** Formats a number; from 10 on without decimals. */
export function number(value) {
  return (Math.abs(value) < 10 ? tenths : wholes).format(value);
}

/** Formats a number in few characters, such as 12K. */
export function compact(value) {
  return value < 10_000 ? number(value) : compacts.format(value);
}

/** Formats a duration in the largest unit that fits; an en dash for null. */
export function duration(seconds) {
  if (seconds === null) return NONE;
  if (seconds < 1.5 * MINUTE_S) return inUnit("second", seconds, seconds < 10 ? 1 : 0);
  if (seconds < 1.5 * HOUR_S) return inUnit("minute", seconds / MINUTE_S);
  if (seconds < 2 * DAY_S) return inUnit("hour", seconds / HOUR_S);
  return inUnit("day", seconds / DAY_S);
}

/** Formats a size in KiB; an en dash for null. */
export function size(kib) {
  return kib === null ? NONE : inUnit("megabyte", (kib * 1024) / 1e6);
}

/** Formats the time of day of an instant, to the second, in the reader's time zone. */
export function timeOfDay(instant) {
  return times.format(instant);
}

function inUnit(unit, value, digits = 0) {
  return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits }).format(value);
}
